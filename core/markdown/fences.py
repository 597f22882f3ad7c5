"""Finds where Markdown's code blocks begin and end.

Code blocks break worst when text is cut or unfinished: an open fence makes code of everything after it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE_MARKS = re.compile(r"`{3,}|~{3,}")
# A list item may begin with its code block: "1. ```python".
_FENCE_LINE = re.compile(r"(?P<lead>[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*)(?P<marks>`{3,}|~{3,})(?P<info>[^\n]*)")


@dataclass(frozen=True, slots=True)
class Fence:
    """An open code fence: its indentation, its marks, and the language after them."""

    indent: str
    marks: str
    info: str


def fence_lines(
    text: str, fence: Fence | None = None, *, longest: int = sys.maxsize
) -> Iterator[tuple[re.Match[str], Fence | None]]:
    """Yield the lines that open or close a code block, each with the fence that is open after it.

    Follows CommonMark but for one liberty: a fence may be indented by any amount, because models indent those in lists
    as they please. The match covers the line without its line break.

    Args:
        text: Markdown.
        fence: The fence that is open at the beginning.
        longest: Marks of more characters than this open nothing.
    """
    at = 0
    while hit := _FENCE_MARKS.search(text, at):
        line = _FENCE_LINE.match(text, text.rfind("\n", at, hit.start()) + 1 or at)
        if line:
            lead, marks, info = line["lead"], line["marks"], line["info"]
            if fence is None:
                if len(marks) <= longest and not (marks[0] == "`" and "`" in info):
                    indent = "".join(c if c in " \t" else " " for c in lead)
                    fence = Fence(indent, marks, info.rstrip())
                    yield line, fence
            elif fence.marks in marks and not info.strip() and not lead.strip():
                fence = None
                yield line, None
        at = text.find("\n", hit.end())
        if at < 0:
            return
        at += 1


def open_fence(text: str, fence: Fence | None = None, *, longest: int = sys.maxsize) -> Fence | None:
    """The code fence that is still open at the end of ``text``; the arguments are those of ``fence_lines``."""
    for _, after in fence_lines(text, fence, longest=longest):
        fence = after
    return fence


def fences_balanced(text: str) -> bool:
    """Whether every code block that ``text`` opens is closed again."""
    return open_fence(text) is None
