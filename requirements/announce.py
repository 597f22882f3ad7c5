"""Say which step of the set-up begins, how many packages it brings and how large they are: ``python announce.py web``.

A few pins are only for some versions of Python, so the number can be one or two too high.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

STEPS = {
    "run": ("1/3", "Parley", ("run", "build"), (), 110),
    "web": ("2/3", "the page", ("web",), ("run", "build"), 280),
    "dev": ("2/3", "the page and what tests need", ("dev",), ("run", "build"), 580),
    "redis": ("3/3", "Redis", ("redis",), (), 25),
}
"""Each step's number and name, the files of pins that it installs, those installed before it, and MB on the disk."""


def packages(files: tuple[str, ...]) -> set[str]:
    """The packages in files of pins, without those for Windows and for browsers alone."""
    pin = re.compile(r"^([\w.-]+)==(?!.*== '(?:win32|emscripten)')", re.MULTILINE)
    text = "".join(Path(__file__).with_name(f"{file}.txt").read_text(encoding="utf-8") for file in files)
    return set(pin.findall(text))


def announcement(step: str) -> str:
    """``2/3 the page: 24 packages, 280 MB``."""
    number, what, files, before, size = STEPS[step]
    count = len(packages(files) - packages(before))
    return f"{number} {what}: {count} package{'s' if count > 1 else ''}, {size} MB"


if __name__ == "__main__":
    sys.stderr.write(f"  {announcement(sys.argv[1])}\n")
