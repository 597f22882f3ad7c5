"""Splits a long answer into messages. Pure: text in, text out.

A part that is followed by another never changes while the answer grows, so a posted message needs no second edit. To
keep that promise, a cut is made only when the text does not fit any more, and its place depends only on the text that
fits and one character after it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import regex

from core.markdown.fences import Fence, fence_lines, open_fence
from core.types import MessageLimits

_GRAPHEME = regex.compile(r"\X")
_PARAGRAPH_END = re.compile(r"\n(?:[ \t\r]*\n)+")
_LINE_END = re.compile(r"\n")
# "1. " begins a list item. Chinese and Japanese sentences end without a space.
_SENTENCE_END = re.compile(
    r"(?:(?<!\d)\.|[!?\u2026])[\"'\u201d\u2019)\]*_]{0,4}[ \t]+"
    r"|[\u3002\uff01\uff1f]+[\u201d\u2019\u300d\u300f\uff09]*[ \t]*"
)
_WORD_END = re.compile(r"[ \t\u2000-\u2006\u2008-\u200a\u3000]+")
# At the beginning of a line, a fence, or what may become one.
_FENCELIKE = re.compile(r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*(?:`{3}|~{3}|(?:`{1,2}|~{1,2})\Z)")


@dataclass(frozen=True, slots=True)
class Part:
    """The text of one message: ``raw`` is the slice of what was generated, ``text`` is what is posted.

    They differ where a cut fell inside a code block: there ``text`` closes it, and the next one opens it again.
    """

    raw: str
    text: str


def split(text: str, limits: MessageLimits) -> list[Part]:
    """Cut ``text`` into parts of at most ``limits.size``; an empty text has no parts.

    The ``raw`` of all parts joined is ``text``. Code blocks are balanced in every part's ``text``; only the last part
    leaves open what ``text`` itself leaves open. Cuts fall, in order of preference, after a paragraph, a line outside a
    code block, a line of code, a sentence, a word, and in the second half of a part if possible. White space stays
    before the cut. A grapheme cluster is cut only if it alone is too long for a message.

    Stable: once there are k parts, the first k - 1 are the same for any longer text.

    Args:
        text: Markdown.
        limits: ``measure`` must count at least one unit per character, and never less for more text. From a ``size`` of
            16 on there is room for code blocks. A fence whose marks take more than a quarter of a message counts as
            text; a language name or an indentation of that length is not repeated.
    """
    return Splitter(limits).parts(text)


class Splitter:
    """``split`` for text that grows: a call costs as much as the new text and the last part.

    Example::

        splitter = Splitter(limits)
        for text in growing_texts:
            messages = [part.text for part in splitter.parts(text)]
    """

    def __init__(self, limits: MessageLimits) -> None:
        self._limits = limits
        self._longest = limits.size // 4 - 1
        self._begin()

    def _begin(self) -> None:
        self._frozen: list[Part] = []
        self._text = ""
        self._end = 0
        self._fence: Fence | None = None

    def parts(self, text: str) -> list[Part]:
        """The same as ``split(text, limits)``; fastest if ``text`` continues that of the last call."""
        if not text.startswith(self._text):
            self._begin()
        at = self._end
        while True:
            opening = self._opening(self._fence)
            room = self._fitting(text, at, opening)
            if at + room == len(text):
                break
            # If not even one character fits, one is taken all the same, so that there is an end.
            view = _CutFinder(text[at : at + max(room, 1) + 1], self._fence, self._longest)
            cut = self._cut(view, opening)
            raw, self._fence = view.text[:cut], view.fence_at(cut)
            self._frozen.append(Part(raw, opening + raw + self._closing(raw, self._fence)))
            at += cut
        self._text, self._end = text, at
        rest = text[at:]
        return [*self._frozen, Part(rest, opening + rest)] if rest else []

    def _fitting(self, text: str, at: int, opening: str) -> int:
        """How many characters from ``at`` fit into one message after ``opening``."""
        size, measure = self._limits.size, self._limits.measure
        low, high = 0, max(0, min(len(text) - at, size))
        if measure(opening + text[at : at + high]) <= size:
            return high
        while low < high:
            middle = (low + high + 1) // 2
            if measure(opening + text[at : at + middle]) <= size:
                low = middle
            else:
                high = middle - 1
        return low

    def _opening(self, fence: Fence | None) -> str:
        if not fence:
            return ""
        return self._short(f"{fence.indent}{fence.marks}{fence.info}\n", f"{fence.marks}\n")

    def _closing(self, raw: str, fence: Fence | None) -> str:
        if not fence:
            return ""
        closing = self._short(f"\n{fence.indent}{fence.marks}", f"\n{fence.marks}")
        return closing[1:] if raw.endswith("\n") else closing

    def _short(self, wanted: str, least: str) -> str:
        return wanted if self._limits.measure(wanted) <= self._limits.size // 4 else least

    def _cut(self, view: _CutFinder, opening: str) -> int:
        """Where the part ends that begins with ``view``."""

        def fits(cut: int) -> bool:
            raw = view.text[:cut]
            return self._limits.measure(opening + raw + self._closing(raw, view.fence_at(cut))) <= self._limits.size

        kinds = (view.paragraphs, view.lines_of_prose, view.lines, view.sentences, view.words)
        for kind in kinds:
            if cut := _last(kind(), view.room // 2, fits):
                return cut
        # A short part is better than a torn word or a broken line of code, but not a tiny one.
        if cut := max(_last(kind(), view.room // 4, fits) for kind in kinds):
            return cut
        for kind in (view.words_of_code, view.clean_graphemes, view.graphemes, view.characters):
            if cut := _last(kind(), 1, fits):
                return cut
        return 1


def _last(cuts: Iterator[int], least: int, fits: Callable[[int], bool]) -> int:
    """The last of ``cuts``, which come in descending order, that is at least ``least`` and fits; 0 for none."""
    for cut in cuts:
        if cut < least:
            break
        if fits(cut):
            return cut
    return 0


class _CutFinder:
    """Finds cuts in the text that fits; the character after it counts as context."""

    def __init__(self, text: str, fence: Fence | None, longest: int) -> None:
        self.text = text
        self.room = len(text) - 1
        self._longest = longest
        turns = list(fence_lines(text[:-1], fence, longest=longest))
        self._turned = [line.start() for line, _ in turns]
        self._fences = [fence, *(after for _, after in turns)]
        self._opened = {line.end() + 1 for line, after in turns if after}
        self._borders: list[int] = []

    def fence_at(self, cut: int) -> Fence | None:
        """The fence that is open after ``text[:cut]``, whose end counts as the end of a line."""
        line = self.text.rfind("\n", 0, cut) + 1
        return open_fence(self.text[line:cut], self._fence_before(line), longest=self._longest)

    def _fence_before(self, line: int) -> Fence | None:
        """The fence that is open where the line at ``line`` starts."""
        return self._fences[bisect_left(self._turned, line)]

    def paragraphs(self) -> Iterator[int]:
        """After blank lines between paragraphs."""
        return (cut for cut in self._line_ends(_PARAGRAPH_END) if not self._fence_before(cut))

    def lines_of_prose(self) -> Iterator[int]:
        """After lines outside code blocks."""
        return (cut for cut in self._line_ends(_LINE_END) if not self._fence_before(cut))

    def lines(self) -> Iterator[int]:
        """After lines, but not where a code block of no lines would be left on either side."""
        for cut in self._line_ends(_LINE_END):
            if not self._fence_before(cut) or not (cut in self._opened or _FENCELIKE.match(self.text, cut)):
                yield cut

    def sentences(self) -> Iterator[int]:
        """After sentences outside code blocks."""
        return (cut for cut in self._within_lines(_SENTENCE_END) if not self.fence_at(cut))

    def words(self) -> Iterator[int]:
        """After words outside code blocks."""
        return (cut for cut in self._within_lines(_WORD_END) if not self.fence_at(cut))

    def words_of_code(self) -> Iterator[int]:
        """After words, in the later half."""
        return (cut for cut in self._within_lines(_WORD_END) if cut >= self.room // 2)

    def clean_graphemes(self) -> Iterator[int]:
        """Between grapheme clusters, where the cut does not change the meaning of its neighbours."""
        return (cut for cut in self.graphemes() if self._is_clean(cut))

    def graphemes(self) -> Iterator[int]:
        """Between grapheme clusters."""
        return (cut for cut in reversed(self._grapheme_borders()) if 0 < cut <= self.room)

    def characters(self) -> Iterator[int]:
        """Between code points."""
        return iter(range(self.room, 0, -1))

    def _line_ends(self, pattern: re.Pattern[str]) -> Iterator[int]:
        ends = [match.end() for match in pattern.finditer(self.text, 0, self.room)]
        return (end for end in reversed(ends) if self.text[end] not in "\r\n")

    def _within_lines(self, pattern: re.Pattern[str]) -> Iterator[int]:
        borders = set(self._grapheme_borders())
        ends = [match.end() for match in pattern.finditer(self.text, 0, self.room)]
        return (end for end in reversed(ends) if end in borders and self._is_clean(end))

    def _is_clean(self, cut: int) -> bool:
        """Whether a cut within a line makes no fence of either side, tears no marks apart, and no space follows."""
        before, after = self.text[cut - 1], self.text[cut]
        if after.isspace() or (before == after and after in "`~*_") or _FENCELIKE.match(self.text, cut):
            return False
        return self.fence_at(cut) == self._fence_before(self.text.rfind("\n", 0, cut) + 1)

    def _grapheme_borders(self) -> list[int]:
        # Whether there is a border before a character depends on nothing that follows it.
        if not self._borders:
            self._borders = [match.start() for match in _GRAPHEME.finditer(self.text)]
        return self._borders
