"""Parley as a package: a wheel that works where nothing else is installed."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest
import redis

from tests.journeys.process import environment

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def run(*command: str | Path, cwd: Path = ROOT, said: str = "", **env: str) -> str:
    """What a command prints."""
    done = subprocess.run(
        command, cwd=cwd, env=env or None, input=said, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as anybody would build it."""
    folder = tmp_path_factory.mktemp("dist")
    build = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(folder), "."]
    run(sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", *build)
    [made] = folder.iterdir()
    return made


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Iterator[Path]:
    """The folder of commands of an environment that holds the wheel, and what it needs, as pinned."""
    with Path(os.environ.get("TMPDIR", "/tmp"), f"parley-package-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one at a time on a machine: it is heavy
        home = tmp_path / "env"
        run(sys.executable, "-m", "venv", "--without-pip", home)
        python = home / "bin" / "python"
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(python),
            "--disable-pip-version-check",
            "install",
            "--quiet",
        ]
        pinned = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-compile"]
        run(*pip, *pinned, "-r", ROOT / "requirements" / "run.txt")
        run(*pip, "--no-deps", "--no-index", "--no-compile", wheel)
        yield home / "bin"


def test_everything_that_parley_reads_is_in_the_wheel(wheel: Path) -> None:
    """Scripts, templates, styles: every file of core and bots, and nothing else."""
    tracked = run("git", "ls-files", "core", "bots").splitlines()
    with zipfile.ZipFile(wheel) as package:
        packed = {name for name in package.namelist() if ".dist-info/" not in name}
    assert packed == set(tracked)
    assert any(name.endswith(".lua") for name in packed)


def test_the_version_stands_in_one_place(wheel: Path) -> None:
    """In pyproject.toml; whoever else says it has it from there. What may be added is named in the wheel."""
    with zipfile.ZipFile(wheel) as package:
        about = Parser().parsestr(package.read(f"parley-{PROJECT['version']}.dist-info/METADATA").decode())
    assert about["Version"] == PROJECT["version"]
    assert set(about.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])
    for name in run("git", "ls-files", "core", "bots").splitlines():
        path = ROOT / name
        if path.suffix == ".py":
            assert not re.search(r"__version__|VERSION = [\"']", path.read_text(encoding="utf-8")), name


@pytest.mark.timeout(180)
def test_it_works_where_nothing_else_is_installed(installed: Path, tmp_path: Path, redis_url: str) -> None:
    """The command, a conversation that is remembered, the manifest, a template of its own, and the doctor."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()  # nothing of other tests
    parley = installed / "parley"
    env = environment(tmp_path, REDIS_URL=redis_url, PATH=f"{installed}:{os.defpath}")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(parley, "--version", cwd=empty, **env) == f"parley {PROJECT['version']}\n"
    said = run(parley, "chat", cwd=empty, said="My name is Ada.\nWhat is my name?\n", **env)
    assert "Your name is Ada" in said
    assert json.loads(run(parley, "slack", "manifest", cwd=empty, **env))["settings"]["socket_mode_enabled"]
    name = json.loads(run(parley, "memory", "ls", "--json", cwd=empty, **env))[0]["conversation"]
    assert "Ada" in run(parley, "prompt", "show", name, cwd=empty, **env, PROMPT_TEMPLATE="llama3")
    assert json.loads(run(parley, "doctor", "--json", cwd=empty, **env))["ok"]
    code = "import slack_bolt, discord, text_generation, bots.app, core, sys; print(core.__file__)"
    assert str(installed.parent) in run(installed / "python", "-c", code, cwd=empty, **env)
