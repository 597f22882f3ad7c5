"""The standard streams as all commands may take them to be: there, and able to take any text."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOWrapper


def open_streams() -> None:
    """Where a stream was closed (``<&-``), open one that leads nowhere; ``?`` stands for what stdout cannot write."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # Like those that it stands for, it is there until the end.
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def give_stdout_up() -> None:
    """Let what is left in stdout's buffer lead nowhere: written at the end once more, it would fail once more."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(*lines: str) -> None:
    """Say something on stderr, to whoever can still hear it."""
    with suppress(OSError):
        print(*filter(None, lines), sep="\n", file=sys.stderr)  # noqa: T201 - for the person at the terminal
