"""Heals Markdown that is still being written. Pure: text in, text out.

A preview shows the beginning of an answer. ``heal`` closes what that beginning leaves open, so that half a code block
does not swallow the rest of the message and nobody reads stray asterisks.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from core.markdown.fences import Fence, fence_lines, fences_balanced

MAX_ADDED_CHARACTERS = 16
"""Characters that ``heal`` adds at the most, unless the marks that it has to repeat are unusually long."""

_BLOCK_START = re.compile(r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)]|#{1,6})[ \t]+|\|)")
_RULE = re.compile(r"[ \t]*([-*_])(?:\1{2,}|(?:[ \t]+\1){2,})[ \t]*")
# Under a paragraph, a lone "-" would make a heading of it.
_HALF_ITEM = re.compile(r"[ \t]*(?:[-*+]|--|==?|#{1,6})[ \t]*")
_TICKS = re.compile(r"`+")
_TOKEN = re.compile(
    r"""
      \\.
    | `+
    | https?://(?:[^\s<>()\[\]*`~_]|_+(?=[^\s<>()\[\]*`~_.,;:!?]))*   # an underscore in an address is no emphasis
    | \](?:\((?:[^()\s\\]|\\.|\([^()\s]*\))*(?:[ \t]+"[^"]*")?\))?    # the end of a label, with its whole target
    | !?\[
    | \*+ | _+ | ~+
    """,
    re.DOTALL | re.VERBOSE,
)
_HALF_TARGET = re.compile(r'\((?:<[^<>\n]*|[^\s<>]*(?:[ \t]+(?:"[^"\n]*"?[ \t]*)?)?)\Z')
# Beyond these it is a paragraph that merely mentions a bracket; and looking back stays cheap.
_LONGEST_LABEL = 200
_LONGEST_TARGET = 2000
_MAX_PASSES = 4


def heal(text: str) -> str:
    """Close what ``text`` leaves open, so that it can be shown before the rest of it is there.

    Closes a code block and, in the last paragraph, code, bold, italic and struck-out text. Hides marks at the very end
    whose meaning is not known yet: the brackets and the address of half a link, asterisks with nothing after them, half
    a fence, a bullet without an item. Text that leaves nothing open is returned unchanged. For previews only: a hidden
    mark can turn out to be text.

    >>> heal("some **bold")
    'some **bold**'
    """
    for _ in range(_MAX_PASSES):
        healed = _healed(text)
        if len(healed) >= len(text):
            return healed
        # What is hidden may leave something else at the end.
        text = healed
    return text


def _healed(text: str) -> str:
    fence, floor = None, 0
    for line, after in fence_lines(text):
        fence, floor = after, line.end()
    if fence:
        return _close_block(text, fence)
    start = max(text.rfind("\n") + 1, floor)
    if _HALF_ITEM.fullmatch(text, start):
        return text[:start]
    start = _last_block(text, floor)
    healed = _heal_inline(text[start:])
    # Taking a bracket away can turn the rest of its line into a fence.
    return text[:start] + healed if fences_balanced(healed) else text


def _close_block(text: str, fence: Fence) -> str:
    """``text`` with its open code block closed, without the half of a closing fence that may stand at its end."""
    line = text.rfind("\n") + 1
    last = text[line:].strip(" \t")
    if last and len(last) < len(fence.marks) and fence.marks.startswith(last):
        text = text[:line]
    line_end = "" if text.endswith("\n") else "\n"
    return f"{text}{line_end}{fence.indent}{fence.marks}"


def _last_block(text: str, floor: int) -> int:
    """Where the last paragraph, list item, heading or table row of ``text`` begins, not before ``floor``."""
    start = len(text)
    while start > floor:
        line = text.rfind("\n", floor, start - 1) + 1 or floor
        if text[start - 1] == "\n" and text[line:start].isspace():
            break
        start = line
        if _BLOCK_START.match(text, line):
            break
    return start


@dataclass(slots=True)
class _Run:
    """A run of ``*``, ``_`` or ``~`` and what it may do; ``left`` counts those that found no partner."""

    char: str
    start: int
    end: int
    left: int
    opens: bool
    closes: bool

    @property
    def idle(self) -> bool:
        return self.left == self.end - self.start


def _heal_inline(block: str) -> str:
    """``block``, which holds no fence, with its emphasis, code and links closed."""
    if _RULE.fullmatch(block, block.rfind("\n") + 1):
        return block
    prefix = _BLOCK_START.match(block)
    begin = prefix.end() if prefix else 0
    block = _without_half_escape(_without_half_link(block, begin))
    runs: list[_Run] = []
    closing = ""
    for token in _tokens(block, begin):
        if token[0][0] == "`":
            body = block.rstrip()
            if token.end() >= len(body):
                block = block[: token.start()]
            else:
                closing = _closing_ticks(body, token[0])
        elif token[0][0] in "*_~":
            runs.append(_run(token, block))
    waiting = _unpartnered(runs, len(block.rstrip()))
    if not closing:
        block = _without_idle_end(block, runs, waiting)
    closing += "".join(run.char * run.left for run in reversed(waiting))
    body = block.rstrip() if closing else block
    return body + closing + block[len(body) :]


def _tokens(block: str, at: int) -> Iterator[re.Match[str]]:
    """What may mean something to Markdown outside code; last, the backticks of code that is still open."""
    while token := _TOKEN.search(block, at):
        at = token.end()
        if block[token.start()] == "`":
            closing = next((ticks for ticks in _TICKS.finditer(block, at) if len(ticks[0]) == len(token[0])), None)
            if not closing:
                yield token
                return
            at = closing.end()
        else:
            yield token


def _without_half_link(block: str, begin: int) -> str:
    """``block`` with the link that it breaks off in reduced to its label."""
    brackets: list[re.Match[str]] = []
    for token in _tokens(block, begin):
        if token[0] in ("[", "!["):
            brackets.append(token)
        elif token[0][0] == "]" and brackets:
            bracket = brackets.pop()
            near_end = len(block) - token.end() <= _LONGEST_TARGET
            if token[0] == "]" and near_end and _HALF_TARGET.match(block, token.end()):
                block = block[: bracket.start()] + block[bracket.end() : token.start()]
                break
    for bracket in reversed(brackets):
        label = block[bracket.end() :]
        if "\n" in label or len(label) > _LONGEST_LABEL:
            break
        before = block[bracket.start() - 1 : bracket.start()]
        # "values[0" is about to become an index, not a link.
        if not (before.isascii() and before.isalnum()):
            block = block[: bracket.start()] + label
    return block


def _without_half_escape(block: str) -> str:
    """``block`` without a backslash at its end that would take the next mark's meaning away."""
    body = block.rstrip()
    odd = (len(body) - len(body.rstrip("\\"))) % 2
    return body[:-1] + block[len(body) :] if odd else block


def _closing_ticks(body: str, opening: str) -> str:
    """What closes the code that ``opening`` began; ``body`` may end in a part of it."""
    trailing = len(body) - len(body.rstrip("`"))
    if trailing < len(opening):
        return opening[trailing:]
    return " " + opening


def _run(token: re.Match[str], block: str) -> _Run:
    """The rules of CommonMark for what may open and close emphasis, and one more: ``2*3`` opens nothing."""
    char, size = token[0][0], len(token[0])
    before, after = block[token.start() - 1 : token.start()], block[token.end() : token.end() + 1]
    opens = not _blank(after) and (not _punctuation(after) or _blank(before) or _punctuation(before))
    closes = not _blank(before) and (not _punctuation(before) or _blank(after) or _punctuation(after))
    if char == "_":
        opens, closes = opens and (not closes or _punctuation(before)), closes and (not opens or _punctuation(after))
    within_word = before.isascii() and before.isalnum() and after.isascii() and after.isalnum()
    opens = opens and not within_word and (size == 2 if char == "~" else size <= 3)
    return _Run(char, token.start(), token.end(), size, opens, closes)


def _blank(char: str) -> bool:
    return not char or char.isspace()


def _punctuation(char: str) -> bool:
    return bool(char) and unicodedata.category(char)[0] in "PS"


def _unpartnered(runs: list[_Run], end: int) -> list[_Run]:
    """The runs that opened something which nothing closed, outermost first.

    A run at the ``end`` that is shorter than its partner is the first half of it. Where the same marks open twice,
    the earlier ones were meant as they stand (``*.py and *.js``).
    """
    waiting: list[_Run] = []
    for run in runs:
        if run.closes and (run.char != "~" or run.left == 2 or run.end == end):
            while run.left and (partner := next((w for w in reversed(waiting) if w.char == run.char), None)):
                used = min(run.left, partner.left)
                run.left -= used
                partner.left -= used
                del waiting[waiting.index(partner) + bool(partner.left) :]
        if run.left and run.opens:
            waiting = [other for other in waiting if (other.char, other.left) != (run.char, run.left)]
            waiting.append(run)
    return waiting


def _without_idle_end(block: str, runs: list[_Run], waiting: list[_Run]) -> str:
    """``block`` without the marks at its end that neither close anything nor have anything to open yet."""
    while runs and runs[-1].end == len(block.rstrip()):
        run = runs.pop()
        if run in waiting and run.idle:
            waiting.remove(run)
        elif not (run.idle and (waiting or (run.end == len(block) and not run.closes))):
            break
        block = block[: run.start]
    return block
