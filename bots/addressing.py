"""Removes the mentions that only address Parley from both ends of a message."""

from __future__ import annotations

import re


def without_mentions_at_ends(text: str, mention: re.Pattern[str]) -> str:
    """Remove the mentions at the beginning and end of ``text``, with the white space and commas around them.

    A mention inside a sentence stays. The time is linear in the length of the text; a single pattern for "spaces and
    mentions up to the end" would be quadratic in a long run of spaces.

    Args:
        text: What a person wrote.
        mention: Matches one mention, from ``<`` to ``>``.
    """
    begin, end = 0, len(text)
    after = _skip(text, begin)
    while match := mention.match(text, after):
        begin = after = _skip(text, match.end(), ",:")
    while end > begin:
        last = end
        while last > begin and text[last - 1].isspace():
            last -= 1
        opening = text.rfind("<", begin, last)
        if opening < 0 or not mention.fullmatch(text, opening, last):
            break
        end = opening
    return text[begin:end].strip()


def _skip(text: str, at: int, more: str = "") -> int:
    """The index of the first character from ``at`` on that is neither white space nor one of ``more``."""
    while at < len(text) and (text[at].isspace() or text[at] in more):
        at += 1
    return at
