"""Makes the standard streams safe for all commands: each is open, and takes any text."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOWrapper


def open_streams() -> None:
    """Replace closed streams (``<&-``) by /dev/null, and print ``?`` for what stdout's encoding cannot write."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # Like the stream that it replaces, it stays open until the end.
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def discard_stdout() -> None:
    """Send the rest of stdout's buffer to /dev/null, so that the flush at exit does not fail again."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(*lines: str) -> None:
    """Print lines on stderr; do nothing if its reader is gone."""
    with suppress(OSError):
        print(*filter(None, lines), sep="\n", file=sys.stderr)  # noqa: T201 - for the person at the terminal
