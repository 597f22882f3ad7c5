"""Reasoning in the text of an answer: never shown, however the text is chunked.

``FORMATS`` lists how models mark it; a new format is one more row. Harmony (gpt-oss) has channels instead of a pair of
tags, and is read apart, also where a server has stripped its markers.

Where a chat template opens the reasoning, the text begins in the middle of it, and only a lone end tag tells. A tag in
a code span, a code block or quotes, or in the middle of a sentence, is talk about it. Pure: text in, text out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache


class Where(StrEnum):
    """Where the start tag of a format counts."""

    START = "start"
    """At the start of an answer: ordinary words that open it there."""
    LINE = "line"
    """At the start of a line: a tag that people talk about, too."""
    ANYWHERE = "anywhere"
    """Anywhere: a token of its own, which nobody writes by chance."""


@dataclass(frozen=True, slots=True)
class Format:
    """How one kind of model marks its reasoning: ``opens`` … ``closes``."""

    opens: str
    closes: str
    where: Where = Where.LINE
    lone: bool = True
    """Whether the end tag may come alone, because a template has opened the reasoning."""


FORMATS = (
    *(
        Format(f"<{tag}>", f"</{tag}>")
        for tag in ("think", "thinking", "thought", "thoughts", "reasoning", "longcat_think")
    ),
    *(
        Format(f"<{tag}>", f"</{tag}>", lone=False)
        for tag in (
            *(
                "reason",
                "rationale",
                "analysis",
                "scratchpad",
                "reflection",
                "inner_monologue",
                "inner_thoughts",
                "cot",
            ),
            *("judge", "think_on", "internal_reasoning", "antthinking", "contemplator", "thinking_process"),
        )
    ),
    Format('<details type="reasoning"', "</details>", lone=False),
    Format("<seed:think>", "</seed:think>", Where.ANYWHERE),  # Seed-OSS
    Format("[THINK]", "[/THINK]", Where.ANYWHERE),  # Magistral
    Format("◁think▷", "◁/think▷", Where.ANYWHERE),  # Kimi
    Format("<|START_THINKING|>", "<|END_THINKING|>", Where.ANYWHERE),  # Command A
    Format("<|channel>", "<channel|>", Where.ANYWHERE),  # Gemma 4
    Format("<|begin_of_thought|>", "<|end_of_thought|>", Where.ANYWHERE),  # Sky-T1, OpenThinker, Skywork
    Format("<|think|>", "<|content|>", Where.ANYWHERE),  # Solar Open, with "<|end|><|begin|>assistant" in between
    Format("<unused94>", "<unused95>", Where.ANYWHERE),  # MedGemma
    Format("Here is my thought process:", "Here is my response:", Where.START, lone=False),  # Granite 3.2
    Format("Here's my thought process:", "Here's my response:", Where.START, lone=False),
    Format("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]", Where.START, lone=False),  # Apriel
)
"""Every way that open models are known to mark reasoning. Tags of words are read in upper and lower case."""

WRAPPERS = {
    **{f"<{tag}>": f"</{tag}>" for tag in ("answer", "response", "output", "solution", "final_answer")},
    "[begin final response]": "[end final response]",
}
"""What some models put around the answer after their reasoning, in lower case: taken off."""

HARMONY = ("<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>", "<|call|>", "<|return|>")
"""The markers of gpt-oss: ``<|start|>`` role ``<|channel|>`` name ``<|message|>`` words ``<|end|>``."""
_FINAL = "assistantfinal"
"""Harmony's last channel where a server has stripped the markers: the channel's name is glued to what stands around."""
_STRIPPED = re.compile(r"(?:assistant)?(?:(?:analysis|commentary)(?=\w|[\"'<{])|commentary(?= to=))")
_STRIPPED_FINAL = re.compile(rf"{_FINAL}|final(?=[A-Z])")
_STRIPPED_NAMES = ("analysis", "commentary to=", "final", "assistantanalysis", "assistantcommentary to=", _FINAL)
SHOWN_AT_ONCE = 3
"""Letters of an answer that are shown although they may become one of these: many an answer begins with them."""
LONGEST_NAME = 200
"""Characters between two of harmony's markers that may name a channel."""

_QUOTES = {**{mark: mark for mark in "`'\"*_|"}, "(": ")", "[": "]", "\u201c": "\u201d", "\u2018": "\u2019", "«": "»"}
_SENTENCE_END = frozenset(".!?…:)]}*\u3002\uff01\uff1f")


class Opened(StrEnum):
    """Whether reasoning is under way before the first token."""

    NO = "no"
    MAYBE = "maybe"
    """This model's template has opened it several times; without an end to it, all of the text is the answer."""
    YES = "yes"
    """The prompt says so."""


def is_mark(token: str) -> bool:
    """Whether a special token begins or ends reasoning, so that a reader has to see it."""
    return token.lower() in _LOWER_MARKS


def opens_in(prompt: str) -> bool:
    """Whether a prompt ends with the start of reasoning."""
    end = prompt[-200:].rstrip()
    return any(end.endswith(one.opens) for one in FORMATS if one.where is not Where.START)


class ThoughtTrimmer:
    """Keeps reasoning out of a text that comes in pieces.

    ``retracted`` says that a lone end tag has just made reasoning of all that was given before, which the caller has to
    take back (once); ``began_inside``, that a lone end tag was met at all.
    """

    def __init__(self, opened: Opened = Opened.NO) -> None:
        self.retracted = self.began_inside = False
        self._keeps = opened is Opened.MAYBE
        self._kept: list[str] = []
        self._inside = opened is Opened.YES
        self._closers = _ALL_CLOSERS if self._inside else ()
        self._channel: str | None = None  # harmony: None outside, "" in a header, else the name
        self._header = ""
        self._reasoning: list[str] = []
        self._talk: str | None = None  # the start tag of reasoning that may turn out to be talk about it
        self._nested = 0
        self._wrapper = ""
        self._shown: list[str] = []
        self._held = ""
        # Where in the answer we stand.
        self._first, self._names_channel = "", False
        self._starts, self._said, self._after = not self._inside, False, False
        self._quoted = self._closed = False
        self._begins_line, self._fresh_fence = True, False
        self._fence, self._span = "", 0
        self._before, self._solid = "\n", ""

    @property
    def thinking(self) -> bool:
        """Whether reasoning is under way, or may be."""
        return self._inside or self._keeps

    @property
    def reasoning(self) -> str:
        """What was kept out since reasoning began last, if it has no end yet."""
        return "".join(self._reasoning) if self._inside else ""

    def feed(self, text: str) -> str:
        """What is visible of the text so far and was not given yet."""
        self.retracted = False
        watches = self._held or self._starts or self._inside or self._keeps or self._names_channel
        if not watches and _FIRSTS.isdisjoint(text):
            self._show(text)
        else:
            self._read(text, final=False)
        return self._given()

    def flush(self) -> str:
        """The rest, when no more text comes."""
        self.retracted = False
        self._read("", final=True)
        if self._keeps:
            self._keeps = False
            self._shown, self._kept = [*self._kept, *self._shown], []
        if self._inside and self._talk is not None:
            self._shown += [self._talk, *self._reasoning]
        return self._given()

    def _given(self) -> str:
        if self._keeps:
            self._kept += self._shown
            self._shown.clear()
            return ""
        text = "".join(self._shown)
        self._shown.clear()
        return text

    def _read(self, text: str, *, final: bool) -> None:
        text, self._held = self._held + text, ""
        at = self._start(text, final=final) if self._starts else 0
        while 0 <= at < len(text):
            at = (self._hide if self._inside else self._tell)(text, at, final=final)

    # Each step reads on from a place in the text and returns the next; -1 if it has to wait for more, which it holds.

    def _start(self, text: str, *, final: bool) -> int:
        """What only the first words of an answer can be. A few letters of it are shown, and taken back if it is."""
        begun = 0 if self._first else len(text) - len(text.lstrip())
        self._show(text[:begun])
        rest = self._first + text[begun:]
        if not final and rest.lower() in _START_BEGINNINGS:
            if len(rest) > SHOWN_AT_ONCE:
                return self._hold(text, begun)
            self._show(text[begun:])
            self._first = rest
            return len(text)
        self._starts = False
        self._names_channel = rest.lower().startswith(("analysis", "commentary"))
        opened = _STRIPPED.match(rest)
        found = opened or _STRIPPED_FINAL.match(rest) or _STARTS.match(rest)
        if not found:
            return begun
        if self._first:
            self.retracted, self._said = not self._keeps, False
            self._shown.clear()
            self._kept.clear()
        self._after = self._begins_line = True
        if opened:
            self._enter(_HARMONY_CLOSERS, channel=found.group())
        elif one := _START_FORMATS.get(found.group()):
            self._enter((one.closes,))
        return begun + found.end() - len(self._first)

    def _tell(self, text: str, at: int, *, final: bool) -> int:
        """Visible text, up to the next thing of note in it."""
        found = _LEXEME.search(text, at)
        if not found:
            cut = len(text) if final else _begun(text, at, _ALL_BEGINNINGS if self._names_channel else _BEGINNINGS)
            self._show(text[at:cut])
            return self._hold(text, cut)
        place, end, mark = found.start(), found.end(), found.group()
        self._show(text[at:place])
        if mark == "\n":
            self._show(mark)
            return end
        following = text[end : end + 2]
        if len(following) < 2 and not final and len(mark) < _LONGEST:
            return self._hold(text, place)
        if mark[0] in "`~":
            self._tick(mark)
        elif self._fence or self._span or self._is_quoted(following):
            self._quoted = self._quoted or _is_open(mark)
            self._show(mark)
        else:
            self._mark(mark, following)
        return end

    def _hide(self, text: str, at: int, *, final: bool) -> int:
        """Reasoning, up to what ends it."""
        found = _compiled(self._closers).search(text, at)
        if not found:
            cut = len(text) if final else _begun(text, at, _beginnings(self._closers))
            self._think(text[at:cut])
            return self._hold(text, cut)
        place, end, mark = found.start(), found.end(), found.group()
        self._think(text[at:place])
        if end == len(text) and not final:
            return self._hold(text, place)
        following = text[end : end + 1]
        if self._channel is not None:
            self._harmony(mark)
        elif self._is_quoted(following):
            self._think(mark)
        elif _is_open(mark):
            self._nested += 1
            self._think(mark)
        else:
            self._leave()
        return end

    def _hold(self, text: str, at: int) -> int:
        self._held = text[at:]
        return -1

    def _mark(self, mark: str, following: str) -> None:
        """A tag in visible text."""
        low = mark.lower()
        if one := _OPENS.get(low):
            self._open(one, mark, following)
        elif mark == "<|channel|>" or (mark == "<|start|>" and not self._said):
            self._enter(_HARMONY_CLOSERS, channel="")
        elif low in WRAPPERS and self._after:
            self._wrapper = WRAPPERS[low]
        elif self._wrapper and low == self._wrapper:
            self._wrapper = ""
        elif mark == _FINAL and self._names_channel:
            self._retract()
        elif (closed := _CLOSES.get(low)) and self._ends(closed, following):
            if following:  # with nothing after it, what came before is all the answer there is
                self._retract()
        else:
            self._show(mark)

    def _open(self, one: Format, mark: str, following: str) -> None:
        """A start tag: of reasoning, or in the middle of a line."""
        if one.where is not Where.ANYWHERE and self._said and not self._begins_line:
            self._quoted = True
            self._show(mark)
            return
        talks = self._said and one.where is Where.LINE and following[:1] in (" ", "\t")
        self._enter((one.closes, one.opens), talk=mark if talks else None)

    def _ends(self, closed: Format, following: str) -> bool:
        """Whether a lone end tag ends reasoning that a template had begun, and is not talk about it."""
        if not closed.lone or self._quoted:
            return False
        if not self._said:
            return True
        if self._closed and not self._nested:
            return False  # its reasoning had an end already
        if closed.where is Where.ANYWHERE or self._begins_line:
            return True
        if self._before.isspace():
            return self._solid in _SENTENCE_END and not following.strip()[:1].islower()
        return self._before not in _QUOTES and following[:1] not in {*",.;:)]`'\""}

    def _harmony(self, mark: str) -> None:
        """One of harmony's markers, or its last channel without them."""
        if mark == "<|message|>" and self._channel == "":
            words = self._header.split()
            self._channel = words[0].lower() if words else "final"
        if mark == _FINAL or self._channel in ("final", "assistant"):
            self._leave()
        elif mark not in ("<|message|>", "<|constrain|>"):
            self._channel = self._header = ""
            self._reasoning.clear()

    def _enter(self, closers: tuple[str, ...], *, channel: str | None = None, talk: str | None = None) -> None:
        """Reasoning begins."""
        if self._keeps and not self._said:
            self._keeps = False
            self._shown, self._kept = [*self._kept, *self._shown], []
        self._inside, self._closers, self._channel, self._header = True, closers, channel, ""
        self._talk, self._nested = talk, 0
        self._reasoning.clear()

    def _leave(self) -> None:
        """Reasoning ends; white space after it is nobody's."""
        self._inside, self._channel, self._talk = False, None, None
        self._reasoning.clear()
        self._after = self._begins_line = self._closed = True

    def _retract(self) -> None:
        """All of the text so far was reasoning."""
        if self._said:
            self.began_inside = True
            self.retracted = not self._keeps
        self._keeps = self._said = False
        self._kept.clear()
        self._shown.clear()
        self._after = self._begins_line = True
        self._nested = 0

    def _think(self, text: str) -> None:
        if not text:
            return
        self._before = text[-1]
        if self._channel == "":
            self._header = (self._header + text)[:LONGEST_NAME]
        else:
            self._reasoning.append(text)

    def _show(self, text: str) -> None:
        """Give text to people, and note where in a line it ends."""
        if self._after:
            text = text.lstrip()
        if not text:
            return
        line = text.rpartition("\n")[2]
        if "\n" in text:
            self._begins_line, self._span, self._fresh_fence = not line.strip(), 0, False
        else:
            self._begins_line = self._begins_line and not line.strip()
        self._before = text[-1]
        if solid := text.rstrip():
            self._solid, self._said = solid[-1], True
            self._after = False
        self._shown.append(text)

    def _tick(self, run: str) -> None:
        """A run of back-ticks or tildes: the edge of a code block, or of a code span."""
        begins_line = self._begins_line
        self._show(run)
        if self._fence:
            if run[0] == self._fence[0] and len(run) >= len(self._fence) and (begins_line or self._fresh_fence):
                self._fence = ""
        elif len(run) >= 3 and begins_line and not self._span:
            self._fence, self._fresh_fence = run, True
        elif run[0] == "`":
            self._span = 0 if self._span == len(run) else self._span or len(run)

    def _is_quoted(self, following: str) -> bool:
        return bool(following) and _QUOTES.get(self._before) == following[0]


def _begun(text: str, at: int, beginnings: frozenset[str]) -> int:
    """Where the first mark begins that ``text`` breaks off, looking no further back than ``at``."""
    for place in range(max(at, len(text) - _LONGEST), len(text)):
        if text[place:].lower() in beginnings:
            return place
    return len(text)


def _is_open(mark: str) -> bool:
    return mark.lower() in _OPENS


def _pattern(marks: Iterable[str]) -> str:
    """Any of the marks; tags made of a word in any case."""
    return "|".join(
        f"(?i:{re.escape(mark)})" if _WORD_TAG.fullmatch(mark) else re.escape(mark)
        for mark in sorted(set(marks), key=len, reverse=True)
    )


@lru_cache(maxsize=64)
def _compiled(marks: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(_pattern(marks))


@lru_cache(maxsize=64)
def _beginnings(marks: tuple[str, ...]) -> frozenset[str]:
    """All that may become one of the marks with more text, in lower case."""
    return frozenset(mark.lower()[:size] for mark in marks for size in range(1, len(mark)))


_WORD_TAG = re.compile(r"</?[A-Za-z_]+>")
_OPENS = {one.opens.lower(): one for one in FORMATS if one.where is not Where.START}
_CLOSES = {one.closes.lower(): one for one in FORMATS}
_ALL_CLOSERS = tuple(one.closes for one in FORMATS if one.lone)
_HARMONY_CLOSERS = (*HARMONY, _FINAL)
_MARKS = tuple(
    dict.fromkeys(
        (
            *(one.opens for one in FORMATS if one.where is not Where.START),
            *(one.closes for one in FORMATS),
            *WRAPPERS,
            *WRAPPERS.values(),
            *HARMONY,
        )
    )
)
_LOWER_MARKS = frozenset(mark.lower() for mark in _MARKS)
_LEXEME = re.compile(rf"\n|`+|~{{3,}}|{_pattern((*_MARKS, _FINAL))}")
_BEGINNINGS = _beginnings((*_MARKS, "~~~"))
_ALL_BEGINNINGS = _beginnings((*_MARKS, "~~~", _FINAL))
_FIRSTS = frozenset(mark[0] for mark in (*_MARKS, "`", "~"))
_LONGEST = max(len(mark) for mark in (*_MARKS, *_STRIPPED_NAMES))
_START_FORMATS = {one.opens: one for one in FORMATS if one.where is Where.START}
_STARTS = re.compile(_pattern(_START_FORMATS))
_START_BEGINNINGS = _beginnings((*_STRIPPED_NAMES, *_START_FORMATS)) | {
    "",
    *("analysis", "commentary", "final", "assistantanalysis", "assistantcommentary"),
}
