"""Reasoning in the text of an answer: never shown, however the text is chunked.

Where a chat template opens the reasoning, the text begins in the middle of it, and only a lone end tag tells. A tag in
a code span, a code block or quotes, or in the middle of a sentence, is talk about it. Pure: text in, text out.
"""

from __future__ import annotations

from enum import StrEnum

from core.models.reasoning_formats import (
    ANSWER_WRAPPERS,
    BY_END_TAG,
    BY_OPENING_WORDS,
    BY_START_TAG,
    FIRST_CHARACTERS,
    HARMONY_ENDS,
    HARMONY_FINAL,
    LONE_END_TAGS,
    LONGEST_MARK,
    NEXT_MARK,
    OPENING_WORDS,
    PARTIAL_MARKS,
    PARTIAL_MARKS_AND_FINAL,
    PARTIAL_OPENINGS,
    STRIPPED_FINAL,
    STRIPPED_OPENING,
    ReasoningFormat,
    TagPlace,
    any_of,
    is_start_tag,
    partial_marks,
)

SHOWN_AT_ONCE = 3
"""Letters of an answer that are shown although they may become one of these: many an answer begins with them."""
LONGEST_CHANNEL_NAME = 200
"""Characters between two of harmony's markers that may name a channel."""

_QUOTES = {**{mark: mark for mark in "`'\"*_|"}, "(": ")", "[": "]", "\u201c": "\u201d", "\u2018": "\u2019", "«": "»"}
_SENTENCE_END = frozenset(".!?…:)]}*\u3002\uff01\uff1f")


class ReasoningOpened(StrEnum):
    """Whether reasoning is under way before the first token."""

    NO = "no"
    MAYBE = "maybe"
    """This model's template has opened it several times; without an end to it, all of the text is the answer."""
    YES = "yes"
    """The prompt says so."""


class ReasoningTrimmer:
    """Keeps reasoning out of a text that comes in pieces.

    ``retracted`` is true right after a lone end tag has made reasoning of all text that was returned before: the caller
    takes that text back. ``began_inside`` is true once a lone end tag was met.

    Example::

        trimmer = ReasoningTrimmer()
        shown = "".join(trimmer.feed(piece) for piece in pieces) + trimmer.flush()
    """

    def __init__(self, opened: ReasoningOpened = ReasoningOpened.NO) -> None:
        self.retracted = self.began_inside = False
        self._withholds = opened is ReasoningOpened.MAYBE
        self._withheld: list[str] = []
        self._reasons = opened is ReasoningOpened.YES
        self._end_tags = LONE_END_TAGS if self._reasons else ()
        self._channel: str | None = None  # harmony: None outside, "" in a header, else the name
        self._header = ""
        self._reasoning: list[str] = []
        self._maybe_talk: str | None = None  # the start tag of reasoning that may turn out to be talk about it
        self._nested = 0
        self._wrapper = ""
        self._shown: list[str] = []
        self._unread = ""
        # Where the answer stands.
        self._first_letters, self._names_channel = "", False
        self._at_start, self._said, self._after_reasoning = not self._reasons, False, False
        self._quoted = self._had_end = False
        self._begins_line, self._fence_just_opened = True, False
        self._fence, self._code_span = "", 0
        self._last, self._last_solid = "\n", ""

    @property
    def thinking(self) -> bool:
        """Whether reasoning is under way, or may be."""
        return self._reasons or self._withholds

    @property
    def reasoning(self) -> str:
        """The reasoning that is under way; "" if none is."""
        return "".join(self._reasoning) if self._reasons else ""

    def feed(self, text: str) -> str:
        """Take the next piece; returns what can be shown now."""
        self.retracted = False
        watches = self._unread or self._at_start or self._reasons or self._withholds or self._names_channel
        if not watches and FIRST_CHARACTERS.isdisjoint(text):
            self._show(text)
        else:
            self._read(text, final=False)
        return self._take_shown()

    def flush(self) -> str:
        """Take the end of the text; returns the rest of what can be shown."""
        self.retracted = False
        self._read("", final=True)
        if self._withholds:
            self._withholds = False
            self._shown, self._withheld = [*self._withheld, *self._shown], []
        if self._reasons and self._maybe_talk is not None:
            self._shown += [self._maybe_talk, *self._reasoning]
        return self._take_shown()

    def _take_shown(self) -> str:
        if self._withholds:
            self._withheld += self._shown
            self._shown.clear()
            return ""
        text = "".join(self._shown)
        self._shown.clear()
        return text

    def _read(self, text: str, *, final: bool) -> None:
        text, self._unread = self._unread + text, ""
        at = self._read_start(text, final=final) if self._at_start else 0
        while 0 <= at < len(text):
            at = (self._read_reasoning if self._reasons else self._read_answer)(text, at, final=final)

    # Each step reads on from a place in the text and returns the next; -1 if it has to wait for more, which it holds.

    def _read_start(self, text: str, *, final: bool) -> int:
        """Read the first words of an answer: a few letters are shown, and taken back if they open reasoning."""
        begun = 0 if self._first_letters else len(text) - len(text.lstrip())
        self._show(text[:begun])
        rest = self._first_letters + text[begun:]
        if not final and rest.lower() in PARTIAL_OPENINGS:
            if len(rest) > SHOWN_AT_ONCE:
                return self._wait(text, begun)
            self._show(text[begun:])
            self._first_letters = rest
            return len(text)
        self._at_start = False
        self._names_channel = rest.lower().startswith(("analysis", "commentary"))
        opened = STRIPPED_OPENING.match(rest)
        found = opened or STRIPPED_FINAL.match(rest) or OPENING_WORDS.match(rest)
        if not found:
            return begun
        if self._first_letters:
            self.retracted, self._said = not self._withholds, False
            self._shown.clear()
            self._withheld.clear()
        self._after_reasoning = self._begins_line = True
        if opened:
            self._begin_reasoning(HARMONY_ENDS, channel=found.group())
        elif one := BY_OPENING_WORDS.get(found.group()):
            self._begin_reasoning((one.closes,))
        return begun + found.end() - len(self._first_letters)

    def _read_answer(self, text: str, at: int, *, final: bool) -> int:
        """Read visible text up to the next mark."""
        found = NEXT_MARK.search(text, at)
        if not found:
            cut = (
                len(text)
                if final
                else _begun(text, at, PARTIAL_MARKS_AND_FINAL if self._names_channel else PARTIAL_MARKS)
            )
            self._show(text[at:cut])
            return self._wait(text, cut)
        place, end, mark = found.start(), found.end(), found.group()
        self._show(text[at:place])
        if mark == "\n":
            self._show(mark)
            return end
        following = text[end : end + 2]
        if len(following) < 2 and not final and len(mark) < LONGEST_MARK:
            return self._wait(text, place)
        if mark[0] in "`~":
            self._show_fence(mark)
        elif self._fence or self._code_span or self._is_quoted(following):
            self._quoted = self._quoted or is_start_tag(mark)
            self._show(mark)
        else:
            self._meet_tag(mark, following)
        return end

    def _read_reasoning(self, text: str, at: int, *, final: bool) -> int:
        """Read reasoning up to its end."""
        found = any_of(self._end_tags).search(text, at)
        if not found:
            cut = len(text) if final else _begun(text, at, partial_marks(self._end_tags))
            self._think(text[at:cut])
            return self._wait(text, cut)
        place, end, mark = found.start(), found.end(), found.group()
        self._think(text[at:place])
        if end == len(text) and not final:
            return self._wait(text, place)
        following = text[end : end + 1]
        if self._channel is not None:
            self._meet_harmony_marker(mark)
        elif self._is_quoted(following):
            self._think(mark)
        elif is_start_tag(mark):
            self._nested += 1
            self._think(mark)
        else:
            self._end_reasoning()
        return end

    def _wait(self, text: str, at: int) -> int:
        self._unread = text[at:]
        return -1

    def _meet_tag(self, mark: str, following: str) -> None:
        """A tag in visible text."""
        low = mark.lower()
        if one := BY_START_TAG.get(low):
            self._meet_start_tag(one, mark, following)
        elif mark == "<|channel|>" or (mark == "<|start|>" and not self._said):
            self._begin_reasoning(HARMONY_ENDS, channel="")
        elif low in ANSWER_WRAPPERS and self._after_reasoning:
            self._wrapper = ANSWER_WRAPPERS[low]
        elif self._wrapper and low == self._wrapper:
            self._wrapper = ""
        elif mark == HARMONY_FINAL and self._names_channel:
            self._retract()
        elif (closed := BY_END_TAG.get(low)) and self._ends_reasoning(closed, following):
            if following:  # with nothing after it, what came before is all the answer there is
                self._retract()
        else:
            self._show(mark)

    def _meet_start_tag(self, one: ReasoningFormat, mark: str, following: str) -> None:
        """A start tag: of reasoning, or in the middle of a line."""
        if one.where is not TagPlace.ANYWHERE and self._said and not self._begins_line:
            self._quoted = True
            self._show(mark)
            return
        talks = self._said and one.where is TagPlace.LINE and following[:1] in (" ", "\t")
        self._begin_reasoning((one.closes, one.opens), talk=mark if talks else None)

    def _ends_reasoning(self, closed: ReasoningFormat, following: str) -> bool:
        """Whether a lone end tag ends reasoning that a template had begun, and is not talk about it."""
        if not closed.lone or self._quoted:
            return False
        if not self._said:
            return True
        if self._had_end and not self._nested:
            return False  # its reasoning had an end already
        if closed.where is TagPlace.ANYWHERE or self._begins_line:
            return True
        if self._last.isspace():
            return self._last_solid in _SENTENCE_END and not following.strip()[:1].islower()
        return self._last not in _QUOTES and following[:1] not in {*",.;:)]`'\""}

    def _meet_harmony_marker(self, mark: str) -> None:
        """One of harmony's markers, or its last channel without them."""
        if mark == "<|message|>" and self._channel == "":
            words = self._header.split()
            self._channel = words[0].lower() if words else "final"
        if mark == HARMONY_FINAL or self._channel in ("final", "assistant"):
            self._end_reasoning()
        elif mark not in ("<|message|>", "<|constrain|>"):
            self._channel = self._header = ""
            self._reasoning.clear()

    def _begin_reasoning(
        self, closers: tuple[str, ...], *, channel: str | None = None, talk: str | None = None
    ) -> None:
        """Reasoning begins."""
        if self._withholds and not self._said:
            self._withholds = False
            self._shown, self._withheld = [*self._withheld, *self._shown], []
        self._reasons, self._end_tags, self._channel, self._header = True, closers, channel, ""
        self._maybe_talk, self._nested = talk, 0
        self._reasoning.clear()

    def _end_reasoning(self) -> None:
        """Reasoning ends; white space after it is dropped."""
        self._reasons, self._channel, self._maybe_talk = False, None, None
        self._reasoning.clear()
        self._after_reasoning = self._begins_line = self._had_end = True

    def _retract(self) -> None:
        """All of the text so far was reasoning."""
        if self._said:
            self.began_inside = True
            self.retracted = not self._withholds
        self._withholds = self._said = False
        self._withheld.clear()
        self._shown.clear()
        self._after_reasoning = self._begins_line = True
        self._nested = 0

    def _think(self, text: str) -> None:
        if not text:
            return
        self._last = text[-1]
        if self._channel == "":
            self._header = (self._header + text)[:LONGEST_CHANNEL_NAME]
        else:
            self._reasoning.append(text)

    def _show(self, text: str) -> None:
        """Show text, and note where in a line it ends."""
        if self._after_reasoning:
            text = text.lstrip()
        if not text:
            return
        line = text.rpartition("\n")[2]
        if "\n" in text:
            self._begins_line, self._code_span, self._fence_just_opened = not line.strip(), 0, False
        else:
            self._begins_line = self._begins_line and not line.strip()
        self._last = text[-1]
        if solid := text.rstrip():
            self._last_solid, self._said = solid[-1], True
            self._after_reasoning = False
        self._shown.append(text)

    def _show_fence(self, run: str) -> None:
        """A run of back-ticks or tildes: the edge of a code block, or of a code span."""
        begins_line = self._begins_line
        self._show(run)
        if self._fence:
            if run[0] == self._fence[0] and len(run) >= len(self._fence) and (begins_line or self._fence_just_opened):
                self._fence = ""
        elif len(run) >= 3 and begins_line and not self._code_span:
            self._fence, self._fence_just_opened = run, True
        elif run[0] == "`":
            self._code_span = 0 if self._code_span == len(run) else self._code_span or len(run)

    def _is_quoted(self, following: str) -> bool:
        return bool(following) and _QUOTES.get(self._last) == following[0]


def _begun(text: str, at: int, beginnings: frozenset[str]) -> int:
    """Where the first mark begins that ``text`` breaks off, looking no further back than ``at``."""
    for place in range(max(at, len(text) - LONGEST_MARK), len(text)):
        if text[place:].lower() in beginnings:
            return place
    return len(text)
