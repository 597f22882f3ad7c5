"""How `parley doctor` looks: at a terminal, in a pipe, and its last line."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from bots.doctor.examine import examine

LONG = "a-folder-with-a-rather-long-name"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    for name in list(os.environ):
        if name not in ("PATH", "HOME", "LANG", "TMPDIR"):
            monkeypatch.delenv(name)
    folder = tmp_path / LONG / LONG
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    for name, value in {"REDIS_URL": redis_url, "WEB_PORT": "0", "MODEL_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)


async def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of one run, without colours."""
    await examine()
    return re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()


@pytest.mark.parametrize("columns", [40, 60, 80, 132])
async def test_a_terminal_gets_no_line_that_it_would_break(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lines end between words; what follows a mark, a remedy or a step is indented under it."""
    whole = await said(capsys)
    monkeypatch.setenv("FORCE_COLOR", "1")  # what makes rich take stdout for a terminal
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = await said(capsys)
    assert [line for line in lines if len(line) > columns and " " in line.strip()] == []
    starts = [line for line in lines if re.match(r"[✓!✗] ", line)]
    assert [line.partition(":")[0] for line in starts] == [
        line.partition(":")[0] for line in whole if re.match(r"[✓!✗] ", line)
    ]
    steps = lines.index("What to do, in this order:")
    for line in lines[: steps - 1]:
        assert re.match(r"[✓!✗] \S|  \S|    \S", line), line
    for line in lines[steps + 1 : lines.index("", steps)]:
        assert re.match(r"  \d\. \S|     \S", line), line
    unmeasured = [re.sub(r"[\d.,]+( [kMG]B)?", "·", " ".join(" ".join(text).split())) for text in (lines, whole)]
    assert unmeasured[0].replace(" ", "") == unmeasured[1].replace(" ", "")


async def test_a_pipe_gets_each_check_on_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that it can be searched, whatever the terminal's width."""
    monkeypatch.setenv("COLUMNS", "40")
    lines = await said(capsys)
    assert any(len(line) > 100 for line in lines)
    assert all(re.match(r"[✓!✗] |    |  \d\. |What|$|\d+ thing", line) for line in lines)


@pytest.mark.parametrize(
    ("given", "last"),
    [
        (
            {},
            "No errors, 1 warning. Next: `parley run` opens the page, `parley chat` starts a chat in this terminal.",
        ),
        ({"MODEL_URL": "http://127.0.0.1:9"}, "1 thing to fix, 1 warning. Begin with Model, test question, then run"),
        ({"TEMPERATURE": "hot"}, "1 thing to fix, 1 warning. Begin with TEMPERATURE, then run"),
        (
            {"SLACK_BOT_TOKEN": "xoxb-1", "SLACK_API_URL": "http://127.0.0.1:9"},
            "2 things to fix, 1 warning. Begin with Slack, bot",
        ),
    ],
)
async def test_it_ends_with_what_to_run_next(
    given: dict[str, str], last: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By what is set up, and by what is wrong; the Redis of these tests has no append-only file."""
    monkeypatch.delenv("MODEL_URL")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert (await said(capsys))[-1].startswith(last)
