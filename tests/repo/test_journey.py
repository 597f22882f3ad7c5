"""The journey of a mention stays straight."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SHOWN = Path("docs/journey.txt")


def crossings(table: str) -> set[tuple[str, str]]:
    """Which room calls which, in the table that ``make journey`` prints."""
    return set(re.findall(r"^(\S+) +[→↩] (\S+)", table, re.MULTILINE))


def test_a_mention_goes_down_through_the_rooms_and_back_once() -> None:
    """It ends with 1 if a mention enters more rooms or files, or returns to rooms more often, than it may."""
    ran = subprocess.run([sys.executable, "-m", "tests.journey"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert crossings(ran.stdout) == crossings(SHOWN.read_text(encoding="utf-8")), (
        f"`make journey > {SHOWN}` shows it as it is now:\n{ran.stdout}"
    )
