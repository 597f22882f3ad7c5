"""Links that people can trust.

What a model writes may have been dictated by whatever it was given to read. An image is fetched without anybody's
doing, and its address can carry text away; a link can say one address and lead to another. Pure: text in, text out.
"""

from __future__ import annotations

import html
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator

from core.fences import fence_lines

_MARKUP = re.compile(
    r"""
      (?P<image> !+\[ )
      # HTML that fetches something, runs something, or hides where it leads.
    | < (?P<tag> (?:a|audio|base|body|embed|form|iframe|image|img|input|link|meta|object|picture|script|source|style|svg
                 |track|video) (?=[\s/>]) )
    | \[ (?P<label> (?:[^\[\]\\]|\\.|\[[^\[\]]*\]){1,1000} )
      \] (?: \(\s* (?: <(?P<angled>[^<>\n]*)> | (?P<bare>(?:[^\s()<>\\]|\\.|\([^\s()<>]*\))*) )
             (?:\s+(?:"[^"]*"|'[^']*'|\([^()]*\)))? \s*\)
         | (?P<reference>\[|:) )
    """,
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)
_ADDRESS = re.compile(
    r"(?:[a-z][a-z0-9+.-]{0,30}://|www\.)\S+"
    r"|(?<![\w.@-])(?:[\w-]+\.)+(?:com|org|net|edu|gov|io|co|ai|app|dev|info|me)\b\S*",
    re.IGNORECASE,
)
_LABEL_MARKS = re.compile(r"[\\*_~`<>\[\]]")
_CODE_OR_HTML = re.compile(r"\\.|(?P<ticks>`+)|(?P<html><[a-z/!?])", re.DOTALL | re.IGNORECASE)
_TICKS = re.compile(r"`+")
_HTML_BLOCK = re.compile(r"^ *<(?!https?:)[a-z/!?]", re.IGNORECASE | re.MULTILINE)
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_PASSES = 8


def plain_links(text: str) -> str:
    """``text`` without anything that is fetched unasked, and without links that lie about where they lead.

    An image becomes a link. HTML that would fetch something becomes text. A link whose label is another address than its
    own becomes the address it leads to. Code is left alone wherever it is code beyond doubt; anything else is unchanged,
    and nothing becomes longer.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    for _ in range(_PASSES):
        plain = _without_markup(text)
        if plain == text:
            return text
        text = plain
    # Only somebody who nests links on purpose gets here.
    return text.replace("](", "]").replace("![", "[").replace("][", "]").replace("]:", "]")


def _without_markup(text: str) -> str:
    if not _MARKUP.search(text):
        return text
    code = list(_code(text))
    starts = [start for start, _ in code]

    def in_code(at: int) -> bool:
        place = bisect_right(starts, at) - 1
        return place >= 0 and at < code[place][1]

    def plain(match: re.Match[str]) -> str:
        if in_code(match.start()):
            return match[0]
        if match["image"]:
            return "["
        if match["tag"]:
            return "\u2039" + match["tag"]
        target = match["angled"] if match["bare"] is None else match["bare"]
        if in_code(match.end("label")) or not _is_deceptive(match["label"], target):
            return match[0]
        return _spaced(match, target or _LABEL_MARKS.sub("", match["label"]))

    return _MARKUP.sub(plain, text)
