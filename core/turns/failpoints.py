"""Points at which tests make a process crash, to prove that nothing is lost when it does.

``PARLEY_CRASH_AT=commit`` kills the process with SIGKILL the first time it reaches the crash point of that name,
``PARLEY_CRASH_AT=edit:3`` the third time. ``PARLEY_CRASH_ON=word`` kills it whenever it begins to answer a message that
contains that word: a poison message. Without these variables, a crash point compares two strings and does nothing.
"""

from __future__ import annotations

import os
import signal

POINTS = (
    "submit",
    "stored",
    "claimed",
    "understood",
    "post",
    "post.written",
    "post.unwritten",
    "posted",
    "edit",
    "edited",
    "beat",
    "seal",
    "sealed",
    "finish",
    "finished",
    "commit",
    "committed",
    "release",
    "released",
)
"""All crash points, in the order in which a turn reaches them."""

_NAME, _, _TIMES = os.environ.get("PARLEY_CRASH_AT", "").partition(":")
_WORD = os.environ.get("PARLEY_CRASH_ON", "")
_left = int(_TIMES or 1)


def crash_point(name: str) -> None:
    """Crash here, if ``PARLEY_CRASH_AT`` says so."""
    global _left  # noqa: PLW0603 - a process dies once
    if name == _NAME:
        _left -= 1
        if _left == 0:
            _crash()


def crash_on(text: str) -> None:
    """Crash on this message, if ``PARLEY_CRASH_ON`` says that it is poison."""
    if _WORD and _WORD in text:
        _crash()


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
