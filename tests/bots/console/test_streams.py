"""Standard streams that are full, closed or of few signs, and Ctrl-C before anything has begun: no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journeys.process import environment
from tests.needs import DEV_FULL
from tests.nursery import Ran

PARLEY = f"{sys.executable} -m bots"


def in_a_shell(folder: Path, command: str, **settings: str) -> Ran:
    """A command line as a person writes it, with its redirections."""
    env = environment(folder, WEB_PORT="0", **settings)
    ran = subprocess.run(["sh", "-c", command], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert "Traceback" not in ran.stderr
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def test_a_full_disk_behind_stdout_is_one_line(tmp_path: Path, redis_url: str) -> None:
    """Whether it shows at once or only at the end."""
    full = DEV_FULL.path()
    for command in ("config", "complete hello", "doctor"):
        ran = in_a_shell(tmp_path, f"{PARLEY} {command} > {full}", REDIS_URL=redis_url)
        assert (ran.code, ran.err) == (1, "Stopped: No space left on device.\n"), command


def test_who_hangs_up_hears_nothing_more(tmp_path: Path, redis_url: str) -> None:
    """`| head` needs no excuse."""
    ran = in_a_shell(tmp_path, f"{PARLEY} config --json | true", REDIS_URL=redis_url)
    assert (ran.code, ran.err) == (0, "")


def test_a_closed_stream_leads_nowhere(tmp_path: Path, redis_url: str) -> None:
    """What comes from it is nothing, and what goes there is lost."""
    for command, code, said in (
        ("run <&-", 2, "the input was empty"),
        ("complete - <&-", 2, "There is no text to complete"),
        ("memory ls >&-", 0, ""),
    ):
        ran = in_a_shell(tmp_path, f"{PARLEY} {command}", REDIS_URL=redis_url)
        assert (ran.code, ran.out) == (code, ""), command
        assert said in ran.err


def test_what_stdout_cannot_write_is_left_out_and_nothing_is_lost_for_programs(tmp_path: Path, redis_url: str) -> None:
    """In the plainest of locales; whether all is well can still be told."""
    settings = {"PYTHONIOENCODING": "ascii", "REDIS_URL": redis_url, "WEB_USER": "Zoë"}
    assert "Zo? " in in_a_shell(tmp_path, f"{PARLEY} config", **settings).out
    rows = json.loads(in_a_shell(tmp_path, f"{PARLEY} config --json", **settings).out)
    assert {row["name"]: row["value"] for row in rows}["WEB_USER"] == "Zoë"
    said = in_a_shell(tmp_path, f"{PARLEY} doctor", **settings | {"TEMPERATURE": "hot"}).out.splitlines()
    assert [line[0] for line in said if "Settings:" in line or "response time" in line] == ["x", "+"]


@pytest.mark.parametrize("start", [PARLEY, str(Path(sys.executable).with_name("parley"))])
def test_ctrl_c_while_libraries_are_loaded_is_no_traceback(tmp_path: Path, start: str) -> None:
    """It comes in the middle of an import."""
    (tmp_path / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n", encoding="utf-8")
    ran = in_a_shell(tmp_path, f"exec {start} memory ls", PYTHONPATH=str(tmp_path))
    assert (ran.code, ran.out, ran.err) == (130, "", "")
