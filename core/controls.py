"""A template's own strings in what a model writes: never shown, however the text is chunked.

Servers leave most of them out, but not all of them, and a model that has lost its way writes them letter by letter.
What the guard broke in somebody's words may be repeated, since it is broken. Pure: text in, text out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import regex

MARK = "\u200b"
"""Stands where taking something out would put a new control string together."""
LONGEST = 64
"""Characters of the longest control string."""

_GENERAL = (
    r"<\|[A-Za-z0-9_]{1,48}\|>",
    r"</?(?:start_of_turn|end_of_turn)>",
    r"<</?SYS>>",
    r"\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]",
)


class ControlTrimmer:
    """Takes control strings out of a text that comes in pieces: the unmistakable ones of all families, and ``own``."""

    def __init__(self, own: Iterable[str] = ()) -> None:
        self._pattern = _compiled(tuple(sorted(own)))
        self._firsts = frozenset("<[") | {control[0] for control in own if control}
        self._held = ""
        self._tail = ""

    def feed(self, text: str) -> str:
        """What is safe to show now: all but an end that may still become a control string."""
        if not self._held and self._firsts.isdisjoint(text):
            self._tail = (self._tail + text)[-LONGEST:]
            return text
        text = self._cut(self._held + text)
        begun = self._begun(text)
        self._held = text[begun:]
        return self._given(text[:begun])

    def flush(self) -> str:
        """The rest, when no more text comes."""
        text, self._held = self._held, ""
        return self._given(text)

    def _given(self, text: str) -> str:
        self._tail = (self._tail + text)[-LONGEST:]
        return text

    def _cut(self, text: str) -> str:
        """``text`` without control strings."""
        pieces, end = [""], 0
        for found in self._pattern.finditer(text):
            pieces.append(text[end : found.start()])
            end = found.end()
            before = (self._tail + "".join(pieces))[-LONGEST:]
            # Only where a control string has begun before can what follows complete one.
            if any(first in before for first in self._firsts):
                pieces.append(MARK)
        return "".join([*pieces, text[end:]])

    def _begun(self, text: str) -> int:
        """Where the first control string begins that ``text`` breaks off; the length of ``text`` if there is none."""
        for place in range(max(0, len(text) - LONGEST), len(text)):
            if text[place] in self._firsts and self._pattern.fullmatch(text, place, partial=True):
                return place
        return len(text)


@lru_cache(maxsize=64)
def _compiled(own: tuple[str, ...]) -> regex.Pattern[str]:
    return regex.compile("|".join([*_GENERAL, *(re.escape(control) for control in own if control)]))
