"""Makes links safe to read and click. Pure: text in, text out.

A text that the model read can dictate what it writes. An image is fetched without a click, and its address can carry
text away; a link can show one address and lead to another.
"""

from __future__ import annotations

import html
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Generator, Iterator
from functools import cache

from core.markdown.fences import fence_lines

# HTML that fetches something, runs something, or hides where it leads.
_TAGS = (
    "a|audio|base|body|embed|form|iframe|image|img|input|link|meta|object|picture|script|source|style|svg|track|video"
)
_TOKEN = re.compile(
    rf"(?P<tag><(?=(?:{_TAGS})[\s/>]))|\\(?!<).|!*(?P<opens>\[)|(?P<closes>\])", re.DOTALL | re.IGNORECASE
)
_SUSPECT = re.compile(rf"!\[|\]\s*[(\[:]|<(?:{_TAGS})[\s/>]", re.IGNORECASE)
_TARGET_PIECE = re.compile(r"[^\s()\\]++|\\.|[()]")
_TARGET_END = re.compile(
    r"""(?:\s++(?:"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|\((?:[^()\\]|\\.)*+\)))?+\s*+\)""", re.DOTALL
)
_ANGLED_TARGET = re.compile(r"<((?:[^<>\\\n]|\\.)*+)>")
_MAX_DEPTH = 32
# What may be read as an address: with a scheme, an e-mail address, four numbers, or a host, if there is its last part.
_ADDRESS = re.compile(
    r"(?P<sure>(?:[a-z][a-z0-9+.-]{0,30}://|www\.|mailto:|localhost(?=[:/])|(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]))\S*)"
    r"|(?<![\w.-])(?:[\w.+-]{1,64}@)?(?:[\w-]{1,63}\.){1,9}(?P<last>xn--[a-z0-9-]{2,59}|[^\W\d_]{2,63})(?![\w-])\S*",
    re.IGNORECASE,
)
_LABEL_MARKS = re.compile(r"[\\*_~`<>\[\]]")
_INLINE = re.compile(r"\\.|(?P<ticks>`+)|<https?://[^\s<>`]*>|(?P<html><[a-z/!?])", re.IGNORECASE)
_TICKS = re.compile(r"`+")
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_MAX_PASSES = 5


def safe_links(text: str) -> str:
    """Remove everything that is fetched without a click, and links that lie about their target.

    An image becomes a link. HTML that would fetch something becomes text. A link whose label shows another address than
    its target becomes the target. Only code beyond doubt is left alone. Nothing else changes, and nothing becomes
    longer.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    for _ in range(_MAX_PASSES):
        if not _SUSPECT.search(text):
            return text
        before, text = text, _edited(text)
        if text == before:
            return text
    # Only links that were nested on purpose get here.
    return text.translate({ord("["): None, ord("]"): None, ord("<"): "\u2039"})


def _edited(text: str) -> str:
    """``text`` after one pass; removing one thing can uncover another."""
    code = list(certain_code_spans(text))
    edits: list[tuple[int, int, str]] = []
    brackets: list[int] = []
    closed = -1
    at = 0
    while token := _TOKEN.search(text, at):
        at = token.end()
        place = bisect_right(code, (token.start(), len(text))) - 1
        if place >= 0 and token.start() < code[place][1]:
            at = max(at, code[place][1])
        elif token["tag"]:
            edits.append((token.start(), at, "\u2039"))
        elif token["opens"]:
            brackets.append(token.start("opens"))
            if at - token.start() > 1:
                edits.append((token.start(), at - 1, ""))
        elif token["closes"]:
            # A closing bracket in what may or may not be code leaves the next one without a partner.
            closed = brackets.pop() if brackets else closed
            if edit := _link_edit(text, closed, at - 1):
                while edits and edits[-1][0] >= edit[0]:
                    edits.pop()
                edits.append(edit)
                at = edit[1]
    return "".join(_apply(text, edits))


def _apply(text: str, edits: list[tuple[int, int, str]]) -> Iterator[str]:
    at = 0
    for start, end, instead in edits:
        yield text[at:start]
        yield instead
        at = end
    yield text[at:]


def _link_edit(text: str, opening: int, closing: int) -> tuple[int, int, str] | None:
    """The replacement for the link whose label is between two brackets; None if it is honest."""
    if opening < 0:
        return None
    label = text[opening + 1 : closing]
    if text[closing + 1 : closing + 2] in ("[", ":"):
        # By reference. Where it leads may not have been written yet, so an address is no name for it.
        return (opening, closing + 1, _bare(label)) if _shown_addresses(label) else None
    target = _target(text, closing + 1)
    if not target or is_honest_link(label, target[0]):
        return None
    instead = _bare(target[0] or label)
    before, after = text[opening - 1 : opening], text[target[1] : target[1] + 1]
    return opening, target[1], f"{' ' * before.isalnum()}{instead}{' ' * after.isalnum()}"


def _bare(text: str) -> str:
    """An address without brackets, which could make something else of it."""
    return text.replace("[", "").replace("]", "").replace("<", "").replace(">", "")


def _target(text: str, at: int) -> tuple[str, int] | None:
    """The target in parentheses at ``at``, and where it ends; None if there is none."""
    if text[at : at + 1] != "(":
        return None
    start = at + 1
    while text[start : start + 1].isspace():
        start += 1
    if angled := _ANGLED_TARGET.match(text, start):
        end = _TARGET_END.match(text, angled.end())
        return (angled[1], end.end()) if end else None
    depth, stop = 0, start
    while piece := _TARGET_PIECE.match(text, stop):
        depth += (piece[0] == "(") - (piece[0] == ")")
        if depth < 0 or depth > _MAX_DEPTH:
            break
        stop = piece.end()
    end = _TARGET_END.match(text, stop)
    return (text[start:stop], end.end()) if end else None


def is_honest_link(label: str, target: str) -> bool:
    """Whether every address that people read in ``label`` is ``target`` or a parent of it."""
    return all(_leads_to(shown, target) for shown in _shown_addresses(label))


def _shown_addresses(label: str) -> list[str]:
    """The addresses that people read in ``label``."""
    shown = unicodedata.normalize("NFKC", html.unescape(label))
    shown = "".join(char for char in shown if unicodedata.category(char) != "Cf")
    found = _ADDRESS.finditer(_LABEL_MARKS.sub("", shown))
    return [address[0] for address in found if address["sure"] or address["last"].lower() in _top_level_domains()]


@cache
def _top_level_domains() -> frozenset[str]:
    """All top-level domains of publicsuffix.org, in letters and as ``xn--…``. Read once, in about 10 ms."""
    from publicsuffixlist import PSLFILE

    with open(PSLFILE, encoding="utf-8") as lines:  # noqa: PTH123 - a path as text
        names = [line.strip().removeprefix("*.") for line in lines if line[0] not in "/!\n"]
    letters = {name for name in names if "." not in name}
    return frozenset(letters | {f"xn--{name.encode('punycode').decode()}" for name in letters if not name.isascii()})


def _leads_to(shown: str, target: str) -> bool:
    """Whether ``target`` is the shown address or below it."""
    short, full = _comparable(shown), _comparable(html.unescape(target))
    return full == short or full.startswith((f"{short}/", f"{short}?", f"{short}#"))


def _comparable(address: str) -> str:
    address = _LABEL_MARKS.sub("", address).lower()
    return re.sub(r"^(?:https?://|mailto:)?(?:www\.)?", "", address).rstrip("/.,;:!?)'\"")


def certain_code_spans(text: str, *, html: bool = True) -> Iterator[tuple[int, int]]:
    """Yield where ``text`` is code to every Markdown parser, in order, as (start, end).

    Only a whole Markdown parser knows for sure what is code, and an attacker who hides an image uses what a simpler one
    takes for code. So everything in doubt counts as text: all that follows HTML, or a code block that may have ended
    with its list; and inline code in a paragraph with backticks that don't pair on their own line.

    Args:
        text: Markdown.
        html: False if the caller shows each tag outside of these places as text, so that there is no HTML.
    """
    at = 0
    opening: re.Match[str] | None = None
    for line, fence in fence_lines(text):
        if fence:
            if not (yield from _certain_inline_code(text, at, line.start(), html=html)):
                return
            opening = line
        elif opening:
            if not _is_certain(text, opening, line.start(), line):
                return
            yield opening.start(), line.end()
            at, opening = line.end(), None
    if not opening:
        yield from _certain_inline_code(text, at, len(text), html=html)
    elif _is_certain(text, opening, len(text), None):
        yield opening.start(), len(text)


def _is_certain(text: str, opening: re.Match[str], end: int, closing: re.Match[str] | None) -> bool:
    """Whether a code block is one in any context, and ends where it seems to end."""
    lead = opening["lead"]
    if "|" in opening["info"]:
        return False  # it may be the head of a table
    depth, margin = len(lead), len(lead) - len(lead.lstrip(" "))
    if "\t" in lead or margin > 3:
        return False
    if closing and ("\t" in closing["lead"] or not depth <= len(closing["lead"]) <= max(3, depth)):
        return False
    indent = " " * depth
    lines = text[opening.end() : end].split("\n") if depth else []
    return all(line.startswith(indent) or not line.strip() for line in lines)


def _certain_inline_code(text: str, start: int, end: int, *, html: bool) -> Generator[tuple[int, int], None, bool]:
    """Yield certain inline code between ``start`` and ``end``. Returns False at HTML, if ``html`` counts."""
    while start < end:
        blank = _BLANK_LINES.search(text, start, end)
        stop = blank.end() if blank else end
        spans: list[tuple[int, int]] = []
        paired = True
        at = start
        while token := _INLINE.search(text, at, stop):
            at = token.end()
            if token["html"] and html:
                return False
            if token["ticks"]:
                line_end = text.find("\n", at, stop)
                ticks = _TICKS.finditer(text, at, line_end if line_end >= 0 else stop)
                partner = next((other for other in ticks if len(other[0]) == len(token[0])), None)
                if partner:
                    at = partner.end()
                    spans.append((token.start(), at))
                paired = paired and partner is not None
        if paired:
            # In a table a bar ends the cell, and the code with it.
            yield from (span for span in spans if "|" not in text[slice(*span)])
        start = stop
    return True
