"""How models mark their reasoning in the text of an answer.

``FORMATS`` lists the known ways; a new one is one more row. Harmony (gpt-oss) has channels instead of a pair of tags,
and some servers strip its markers, so that only the channels' names are left.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache


class TagPlace(StrEnum):
    """Where the start tag of a format counts."""

    START = "start"
    """At the start of an answer: ordinary words that open it there."""
    LINE = "line"
    """At the start of a line: a tag that people talk about, too."""
    ANYWHERE = "anywhere"
    """Anywhere: a token of its own, which nobody writes by chance."""


@dataclass(frozen=True, slots=True)
class ReasoningFormat:
    """How one kind of model marks its reasoning: ``opens`` … ``closes``."""

    opens: str
    closes: str
    where: TagPlace = TagPlace.LINE
    lone: bool = True
    """Whether the end tag may come alone, because a template has opened the reasoning."""


# A tag in angle brackets is one word more in one of these two.
_TAGS = ("think", "thinking", "thought", "thoughts", "reasoning", "longcat_think")
# Words that people write in angle brackets too: a lone end tag of these is text.
_TAGS_IN_PAIRS = (
    *("reason", "rationale", "analysis", "scratchpad", "reflection", "inner_monologue", "inner_thoughts", "cot"),
    *("judge", "think_on", "internal_reasoning", "antthinking", "contemplator", "thinking_process"),
)

FORMATS = (
    *(ReasoningFormat(f"<{tag}>", f"</{tag}>") for tag in _TAGS),
    *(ReasoningFormat(f"<{tag}>", f"</{tag}>", lone=False) for tag in _TAGS_IN_PAIRS),
    ReasoningFormat('<details type="reasoning"', "</details>", lone=False),
    ReasoningFormat("<seed:think>", "</seed:think>", TagPlace.ANYWHERE),  # Seed-OSS
    ReasoningFormat("[THINK]", "[/THINK]", TagPlace.ANYWHERE),  # Magistral
    ReasoningFormat("◁think▷", "◁/think▷", TagPlace.ANYWHERE),  # Kimi
    ReasoningFormat("<|START_THINKING|>", "<|END_THINKING|>", TagPlace.ANYWHERE),  # Command A
    ReasoningFormat("<|channel>", "<channel|>", TagPlace.ANYWHERE),  # Gemma 4
    ReasoningFormat("<|begin_of_thought|>", "<|end_of_thought|>", TagPlace.ANYWHERE),  # Sky-T1, OpenThinker, Skywork
    # Solar Open, with "<|end|><|begin|>assistant" in between.
    ReasoningFormat("<|think|>", "<|content|>", TagPlace.ANYWHERE),
    ReasoningFormat("<unused94>", "<unused95>", TagPlace.ANYWHERE),  # MedGemma
    ReasoningFormat("Here is my thought process:", "Here is my response:", TagPlace.START, lone=False),  # Granite 3.2
    ReasoningFormat("Here's my thought process:", "Here's my response:", TagPlace.START, lone=False),
    ReasoningFormat("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]", TagPlace.START, lone=False),  # Apriel
)
"""Every way that open models are known to mark reasoning. Tags that are words match in upper and lower case."""

ANSWER_WRAPPERS = {
    **{f"<{tag}>": f"</{tag}>" for tag in ("answer", "response", "output", "solution", "final_answer")},
    "[begin final response]": "[end final response]",
}
"""What some models put around the answer after their reasoning, in lower case. It is taken off."""

HARMONY_MARKERS = ("<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>", "<|call|>", "<|return|>")
"""The markers of gpt-oss: ``<|start|>`` role ``<|channel|>`` name ``<|message|>`` words ``<|end|>``."""
HARMONY_FINAL = "assistantfinal"
"""Harmony's last channel where a server has stripped the markers: its name is glued to the words around it."""
STRIPPED_OPENING = re.compile(r"(?:assistant)?(?:(?:analysis|commentary)(?=\w|[\"'<{])|commentary(?= to=))")
STRIPPED_FINAL = re.compile(rf"{HARMONY_FINAL}|final(?=[A-Z])")
STRIPPED_NAMES = ("analysis", "commentary to=", "final", "assistantanalysis", "assistantcommentary to=", HARMONY_FINAL)


def is_reasoning_mark(token: str) -> bool:
    """Whether a special token begins or ends reasoning, so that a reader has to see it."""
    return token.lower() in _LOWER_MARKS


def opens_reasoning(prompt: str) -> bool:
    """Whether a prompt ends with the start of reasoning."""
    end = prompt[-200:].rstrip()
    return any(end.endswith(one.opens) for one in FORMATS if one.where is not TagPlace.START)


def is_start_tag(mark: str) -> bool:
    """Whether a mark begins reasoning."""
    return mark.lower() in BY_START_TAG


def _pattern(marks: Iterable[str]) -> str:
    """A pattern's source for any of the marks; tags that are words match in any case."""
    return "|".join(
        f"(?i:{re.escape(mark)})" if _WORD_TAG.fullmatch(mark) else re.escape(mark)
        for mark in sorted(set(marks), key=len, reverse=True)
    )


@lru_cache(maxsize=64)
def any_of(marks: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern for any of the marks."""
    return re.compile(_pattern(marks))


@lru_cache(maxsize=64)
def partial_marks(marks: tuple[str, ...]) -> frozenset[str]:
    """Every proper beginning of the marks, in lower case: what may become one with more text."""
    return frozenset(mark.lower()[:size] for mark in marks for size in range(1, len(mark)))


_WORD_TAG = re.compile(r"</?[A-Za-z_]+>")
BY_START_TAG = {one.opens.lower(): one for one in FORMATS if one.where is not TagPlace.START}
BY_END_TAG = {one.closes.lower(): one for one in FORMATS}
LONE_END_TAGS = tuple(one.closes for one in FORMATS if one.lone)
HARMONY_ENDS = (*HARMONY_MARKERS, HARMONY_FINAL)
_MARKS = tuple(
    dict.fromkeys(
        (
            *(one.opens for one in FORMATS if one.where is not TagPlace.START),
            *(one.closes for one in FORMATS),
            *ANSWER_WRAPPERS,
            *ANSWER_WRAPPERS.values(),
            *HARMONY_MARKERS,
        )
    )
)
_LOWER_MARKS = frozenset(mark.lower() for mark in _MARKS)
NEXT_MARK = re.compile(rf"\n|`+|~{{3,}}|{_pattern((*_MARKS, HARMONY_FINAL))}")
PARTIAL_MARKS = partial_marks((*_MARKS, "~~~"))
PARTIAL_MARKS_AND_FINAL = partial_marks((*_MARKS, "~~~", HARMONY_FINAL))
FIRST_CHARACTERS = frozenset(mark[0] for mark in (*_MARKS, "`", "~"))
LONGEST_MARK = max(len(mark) for mark in (*_MARKS, *STRIPPED_NAMES))
BY_OPENING_WORDS = {one.opens: one for one in FORMATS if one.where is TagPlace.START}
OPENING_WORDS = re.compile(_pattern(BY_OPENING_WORDS))
PARTIAL_OPENINGS = partial_marks((*STRIPPED_NAMES, *BY_OPENING_WORDS)) | {
    "",
    *("analysis", "commentary", "final", "assistantanalysis", "assistantcommentary"),
}
