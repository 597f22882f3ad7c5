"""What is not installed is said, and nowhere forgotten: a test is skipped in one way only."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import needs

ROOT = Path(__file__).parents[2]
SKIPS = re.compile(r"\b(shutil\.which|pytest\.skip|skipif|importorskip|find_spec)\b|\"git\"")
MAY_SKIP = {"tests/needs.py", "tests/repo/test_needs.py", "tests/engine/test_engine.py"}
SKIPPED = """
from tests.needs import Need
def test_that_needs_something(): Need("a crystal ball", "apt install crystal-ball", lambda: None).path()
def test_that_needs_it_too(): Need("a crystal ball", "apt install crystal-ball", lambda: None).path()
"""


def test_only_one_place_knows_what_may_be_missing() -> None:
    """Whoever looks for a program in a test of their own would pass where it is missing, and nobody would know."""
    for path in (ROOT / "tests").rglob("*.py"):
        name = str(path.relative_to(ROOT))
        assert name in MAY_SKIP or not SKIPS.search(path.read_text(encoding="utf-8")), name


def test_a_docker_client_without_its_plugin_is_no_compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not know the command; one with its plugin does, and the older docker-compose needs neither."""
    docker, alone = tmp_path / "docker", tmp_path / "docker-compose"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert needs.find_compose() is None
    for code, found in ((1, None), (0, [str(docker), "compose"])):
        docker.write_text(f"#!/bin/sh\nexit {code}\n", encoding="utf-8")
        docker.chmod(0o755)
        assert needs.find_compose() == found
    alone.touch(0o755)
    assert needs.find_compose() == str(alone)


@pytest.mark.slow
@pytest.mark.parametrize(("option", "code"), [("-q", 0), ("--no-skips", 1)])
def test_what_is_skipped_is_counted_and_fails_where_all_is_installed(tmp_path: Path, option: str, code: int) -> None:
    """One line for each thing that is missing, with what to install."""
    file = tmp_path / "test_missing.py"
    file.write_text(SKIPPED, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", option, str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout
    counted = "2 skipped: needs a crystal ball (apt install crystal-ball)"
    failed = "a skipped test fails with --no-skips: needs a crystal ball (apt install crystal-ball)"
    assert (counted if not code else failed) in done.stdout
