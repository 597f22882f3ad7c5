"""What people write to have something remembered, corrected or removed: ``remember: standup is at 9:15``. Pure.

Only what is clearly an order counts, because what counts never reaches the model: *remember* with a colon, *remember
that* with one sentence, and *that is wrong* with a colon. "Remember when we…?" and "That is wrong." are for the model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.types import Fact

_COLON = "[:\uff1a]"
_REMEMBER = re.compile(
    rf"(?:please\s+)?remember(?:\s+(?:this|the\s+following|that))?\s*{_COLON}(.*)", re.IGNORECASE | re.DOTALL
)
_REMEMBER_THAT = re.compile(r"(?:please\s+)?remember\s+that\s+(.+)", re.IGNORECASE | re.DOTALL)
_MORE_SENTENCES = re.compile(r"\n|(?:\w{4}|\d)[.!?]+\s+\S")
"""More than one sentence after *remember that*: what comes later may be a question. A short word can be "Dr."."""
_REMEMBER_MARKED = re.compile(r"[/!]remember\b(?!\s*\?)(?:\s+that\b)?(.*)", re.IGNORECASE | re.DOTALL)
_NOT_A_CLAUSE = re.compile(
    r"(?:time|day|night|week|year|moment|one|guy|person|thing|feeling|conversation|discussion|question|answer|episode"
    r"|scene|film|movie|song|meeting|email|bug|issue|incident|part)s?\b"
    r"(?!\s+(?:is|are|was|were|will|has|have|must|should|can|needs?|starts?|begins?)\b)",
    re.IGNORECASE,
)
"""What follows *remember that* where it points at something, as in "remember that time we lost the key"."""
_NUMBER = r"(?:(?:fact|number|no\.?)\s*)?#?(\d{1,9})"
_WRONG = re.compile(
    rf"(?:(?:no|sorry|actually|please),?\s+)*(?:{_NUMBER}\s+is|that(?:\s+is|['\u2019]?s))\s+(?:wrong|incorrect|not\s+(?:right|correct|true))\s*"
    rf"{_COLON}(.*)",
    re.IGNORECASE | re.DOTALL,
)
_NUMBER_WRONG = re.compile(
    rf"{_NUMBER}\s+is\s+(?:wrong|incorrect|not\s+(?:right|correct|true))()[.!\s]*", re.IGNORECASE
)
_REMOVE = re.compile(rf"(?:please\s+)?[/!]?forget\s+{_NUMBER}(?:,?\s+please)?([.!?\s]*)", re.IGNORECASE)
_EDGES = " \t\r\n\u200b\u2060\ufeff"
_WORDS = re.compile(r"\w+(?:[:.,'\u2019-]\w+)*")
_COMMON_WORDS = frozenset(
    "a an and are as at be been but by do does for from had has have he her his i if in is it its me my no not of on or"  # noqa: SIM905
    " our she so that the their them then there they this to was we were will with you your now instead every".split()
)
"""Words that say nothing about what a sentence is about."""


@dataclass(frozen=True, slots=True)
class TellFact:
    """Remember ``text``; "" where nothing was told."""

    text: str


@dataclass(frozen=True, slots=True)
class CorrectFact:
    """A fact is wrong, and ``text`` is right; ``number`` is 0 for the fact that is most like it."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class RemoveFact:
    """Forget a fact; ``asks`` says that it was written as a question."""

    number: int
    asks: bool


def read_fact_command(text: str) -> TellFact | CorrectFact | RemoveFact | None:
    """What a message tells to remember, correct or forget; None for anything else."""
    line = text.strip(_EDGES)
    if line.startswith("`") and line.endswith("`"):  # copied from the help, as code
        line = line.strip("`").strip(_EDGES)
    if found := _REMEMBER.fullmatch(line) or _REMEMBER_MARKED.fullmatch(line):
        return TellFact(_text(found[1]))
    if (found := _REMEMBER_THAT.fullmatch(line)) and _is_a_clause(found[1]):
        return TellFact(_text(found[1]))
    if found := _WRONG.fullmatch(line) or _NUMBER_WRONG.fullmatch(line):
        return CorrectFact(int(found[1] or 0), _text(found[2]))
    if found := _REMOVE.fullmatch(line):
        return RemoveFact(int(found[1]), "?" in found[2])
    return None


def _is_a_clause(text: str) -> bool:
    """Whether what follows *remember that* says one thing, asks nothing, and doesn't just point at something."""
    return not (text.endswith("?") or _NOT_A_CLAUSE.match(text) or _MORE_SENTENCES.search(text))


def told_in(text: str) -> str:
    """The fact that a message tells, as a new one or a correction; "" for none."""
    found = read_fact_command(text)
    return found.text if isinstance(found, TellFact | CorrectFact) else ""


def most_alike(text: str, facts: Sequence[Fact]) -> Fact | None:
    """The fact that a correction without a number means: the one with which it shares most words.

    They are half of the words of the shorter one at least; of several, it is the shortest, and then the newest.
    """
    words, alike = _significant(text), []
    for fact in facts:
        others = _significant(fact.text)
        shared = len(words & others)
        if shared and 2 * shared >= min(len(words), len(others)):
            alike.append((shared, -len(others), fact.number, fact))
    return max(alike, key=lambda one: one[:3])[3] if alike else None


def _text(found: str | None) -> str:
    return " ".join((found or "").lstrip(_EDGES + ":\uff1a").split())


def _significant(text: str) -> set[str]:
    """The words of a sentence that say what it is about, in any case."""
    return {word for word in map(str.casefold, _WORDS.findall(text)) if word not in _COMMON_WORDS}
