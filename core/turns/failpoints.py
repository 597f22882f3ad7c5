"""Places at which a process can be made to die, to prove that nothing is lost when it does.

``PARLEY_CRASH_AT=commit`` kills the process with SIGKILL the first time that it comes to the place of that name, and
``PARLEY_CRASH_AT=edit:3`` the third time. ``PARLEY_CRASH_ON=word`` kills it whenever it begins to answer a message with
that word in it: a message that is poison. Without these variables, passing a place costs a look at a constant.
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
"""All places, in the order in which a turn comes to them."""

_NAME, _, _TIMES = os.environ.get("PARLEY_CRASH_AT", "").partition(":")
_WORD = os.environ.get("PARLEY_CRASH_ON", "")
_left = int(_TIMES or 1)


def crash_point(name: str) -> None:
    """Die here, if this is the place."""
    global _left  # noqa: PLW0603 - a process dies once
    if name == _NAME:
        _left -= 1
        if _left == 0:
            _die()


def crash_on(text: str) -> None:
    """Die of this message, if it is poison."""
    if _WORD and _WORD in text:
        _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
