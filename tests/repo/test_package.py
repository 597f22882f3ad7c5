"""Parley as a package: a wheel that works where nothing else is installed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import urllib.request
import zipfile
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest
import redis

from core.version import DISTRIBUTION, parley_version
from tests.journeys.process import environment
from tests.needs import BROUGHT_REDIS

ROOT = Path(__file__).parents[2]
WORDS = {
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "?": 2}, "unk_token": "?"},
}
"""A tokenizer.json as small as can be."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def run(*command: str | Path, cwd: Path = ROOT, said: str = "", **env: str) -> str:
    """What a command prints."""
    done = subprocess.run(
        command, cwd=cwd, env=env or None, input=said, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def ours() -> list[Path]:
    """All files of core and bots."""
    files = (path for folder in ("core", "bots") for path in (ROOT / folder).rglob("*") if path.is_file())
    return [path for path in files if "__pycache__" not in path.parts]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as anybody would build it."""
    folder = tmp_path_factory.mktemp("dist")
    build = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(folder), "."]
    run(sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", *build)
    [made] = folder.iterdir()
    return made


def install(home: Path, *what: str | Path) -> None:
    """Into an environment, wheels alone, and nothing that was not asked for."""
    quiet = ["--disable-pip-version-check", "install", "--quiet", "--no-deps", "--no-compile"]
    run(sys.executable, "-m", "pip", "--python", home / "bin" / "python", *quiet, "--only-binary", ":all:", *what)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment that holds the wheel, and what it needs, as pinned."""
    home = tmp_path_factory.mktemp("env")
    run(sys.executable, "-m", "venv", "--without-pip", home)
    install(home, "--require-hashes", "-r", ROOT / "requirements" / "run.txt")
    install(home, "--no-index", wheel)
    return home / "bin"


def test_everything_that_parley_reads_is_in_the_wheel(wheel: Path) -> None:
    """Scripts, templates, styles: every file of core and bots, and nothing else."""
    with zipfile.ZipFile(wheel) as package:
        packed = {name for name in package.namelist() if ".dist-info/" not in name}
    assert packed == {str(path.relative_to(ROOT)) for path in ours()}
    assert any(name.endswith(".lua") for name in packed)


def test_the_version_stands_in_one_place(wheel: Path) -> None:
    """In pyproject.toml; whoever else says it has it from there. What may be added is named in the wheel."""
    with zipfile.ZipFile(wheel) as package:
        folder = f"{DISTRIBUTION.replace('-', '_')}-{PROJECT['version']}.dist-info"
        about = Parser().parsestr(package.read(f"{folder}/METADATA").decode())
    assert (
        (about["Name"], about["Version"]) == (DISTRIBUTION, PROJECT["version"]) == (PROJECT["name"], parley_version())
    )
    assert set(about.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])
    for path in ours():
        if path.suffix == ".py":
            assert not re.search(r"__version__|VERSION = [\"']", path.read_text(encoding="utf-8")), path


@pytest.mark.slow
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
    assert '"My name is Ada."' in said.partition('You wrote: "What is my name?"')[2]
    assert json.loads(run(parley, "slack", "manifest", cwd=empty, **env))["settings"]["socket_mode_enabled"]
    name = json.loads(run(parley, "memory", "ls", "--json", cwd=empty, **env))[0]["conversation"]
    assert "Ada" in run(parley, "prompt", "show", name, cwd=empty, **env, PROMPT_TEMPLATE="llama3")
    assert json.loads(run(parley, "doctor", "--json", cwd=empty, **env))["ok"]
    code = "import slack_bolt, discord, text_generation, bots.run, core, sys; print(core.__file__)"
    assert str(installed.parent) in run(installed / "python", "-c", code, cwd=empty, **env)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_what_can_be_added_works_there_too(installed: Path, tmp_path: Path, redis_url: str) -> None:
    """The page, and a model's own tokens; without them each says how to add it, to this very environment."""
    env = environment(tmp_path, REDIS_URL=redis_url, PATH=f"{installed}:{os.defpath}", WEB_PORT="0")
    tokens = (
        "import sys, pathlib, core.prompts.tokens as t; print(t.read_tokenizer(pathlib.Path(sys.argv[1]))('a b a'))"
    )
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text(json.dumps(WORDS), encoding="utf-8")
    page = [str(installed / "parley"), "run", "web"]
    doctor = [str(installed / "parley"), "doctor"]
    for command, package, settings in ((page, "gradio", {}), (doctor, "tokenizers", {"TOKENIZER": str(tokenizer)})):
        done = subprocess.run(
            command, cwd=tmp_path, env=env | settings, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode
        said = " ".join((done.stdout + done.stderr).split())
        assert f"{installed / 'python'} -m pip install '{package}" in said
    install(installed.parent, "--require-hashes", "-r", ROOT / "requirements" / "web.txt")
    assert run(installed / "python", "-c", tokens, tokenizer, cwd=tmp_path, **env) == "3\n"
    with subprocess.Popen(page, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        address = next(found[0] for line in process.stderr if (found := re.search(r"http://[\d.:]+/", line)))
        with urllib.request.urlopen(address, timeout=20) as response:  # noqa: S310 - our own, and http
            assert b"Parley" in response.read()
        process.terminate()
        process.communicate()
        assert process.returncode == 0


def test_nothing_sends_people_to_the_other_parley_of_the_package_index() -> None:
    """There, `parley` is a package of 2007 that has nothing to do with this one."""
    theirs = re.compile(r"\bpip\b.* install\b.*[\s'\"]parley\b(?!-)|\bparley\[|\bversion\(['\"]parley['\"]\)")
    folders = [ours(), *((ROOT / name).rglob("*") for name in (".ci", ".github", "deploy", "requirements"))]
    tops = (path for path in ROOT.iterdir() if path.name not in ("CHANGELOG.md", ".git"))
    for path in (path for paths in (tops, *folders) for path in paths if path.is_file()):
        assert not theirs.search(path.read_text(encoding="utf-8")), path.relative_to(ROOT)
    assert theirs.search("pip install 'parley[web]'")
    assert theirs.search("python -m pip install -q parley")


def test_the_pins_hold_a_gradio_without_known_holes_and_pip_can_resolve_what_is_published() -> None:
    """The pins overrule text-generation's bound on huggingface-hub; the metadata does not, so pip finds an answer."""
    pins = {
        file: dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements" / f"{file}.txt").read_text(), re.MULTILINE))
        for file in ("run", "web", "dev")
    }
    for file in ("web", "dev"):
        assert tuple(map(int, pins[file]["gradio"].split("."))) >= (6, 31)
    assert {file: int(of["huggingface-hub"].split(".")[0]) for file, of in pins.items()} == dict.fromkeys(pins, 2)
    for file in ("run", "web"):
        assert pins[file].items() <= pins["dev"].items()
    published = [
        *PROJECT["dependencies"],
        *(line for extra in PROJECT["optional-dependencies"].values() for line in extra),
    ]
    assert "gradio>=6.17,<7" in published  # the newest beside huggingface-hub < 1
    assert not [line for line in published if line.startswith("huggingface")]
    for file in ("run", "web", "dev", "build", "redis"):
        assert "://" not in (ROOT / "requirements" / f"{file}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("step", ["run", "web", "dev", "redis"])
def test_the_set_up_says_how_much_each_step_brings(step: str) -> None:
    """As it is on the disk here, within a quarter: platforms differ."""
    command = [sys.executable, str(ROOT / "requirements" / "announce.py"), step]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.fullmatch(r"  \d/3 [\w ]+: (\d+) packages?, (\d+) MB\n", done.stderr)
    assert found, done.stderr
    assert not done.stdout
    names = set(re.findall(r"^([\w.-]+)==", _pinned(step), re.MULTILINE))
    names -= set(re.findall(r"^([\w.-]+)==", _pinned("run"), re.MULTILINE)) if step in ("web", "dev") else set()
    if step == "redis":
        sizes = [path.stat().st_size for path in Path(sys.prefix, "redis").rglob("*") if path.is_file()]
        if not sizes:
            BROUGHT_REDIS.path()
        count = 1
    else:
        there = [package for package in metadata.distributions() if _normal(package.name) in names]
        sizes = [size(package) for package in there]
        count = len(sizes)
    assert int(found[1]) == pytest.approx(count, abs=4)
    assert sum(sizes) / 1e6 == pytest.approx(int(found[2]), rel=0.25)


def _pinned(step: str) -> str:
    files = ("run", "build") if step == "run" else (step,)
    return "".join((ROOT / "requirements" / f"{file}.txt").read_text(encoding="utf-8") for file in files)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def size(package: metadata.Distribution) -> int:
    """Bytes that an installed package takes."""
    paths = (Path(str(package.locate_file(file))) for file in package.files or ())
    return sum(path.stat().st_size for path in paths if path.is_file())
