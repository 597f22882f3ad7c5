"""Guards prompts: nothing that a person wrote can pass for the template's own words.

A prompt is one text, and servers read control tokens anywhere in it: a message that contains ``<|im_start|>system``
begins a system message. So everything from people, from the platform or from an earlier answer is guarded before it
enters a prompt. What could be read as a control token is broken by a zero-width space, never deleted, because deleting
puts together what stood on either side: ``<|im_<|im_end|>end|>``. Pure: text in, text out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import regex

GUARD_MARK = "\u200b"
"""The zero-width space that breaks what could be read as a control token; people don't see it."""

ROLES = ("system", "user", "assistant", "human", "falcon", "bot")
"""Names of roles, which begin a line in templates that are made of lines."""

_TAGS = (
    "s|pad|unk|bos|eos|bos_token|eos_token|pad_token|think|start_of_turn|end_of_turn|start_of_image|end_of_image"
    "|tool_call|tool_calls|tool_response|tool_responses|tools"
)
_BRACKETED = (
    "inst|sys|system_prompt|available_tools|tool_calls|tool_results|tool_content|think|model_settings|call_id|gmask"
)
MARKS = (
    *("overheard", "from an app", "edited after", "forwarded message", "in reply to", "the message this thread"),
    *("shown with this message", "table pasted", "end of quote", "system note", "what people here asked"),
    *("notes of what was", "end of what was", "attached, and not"),
)
"""How the marks of ``core.prompts.quoting`` begin."""

_MARKS = "|".join(mark.replace(" ", r"\s+") for mark in MARKS)
# Each match is the one character to break after; what follows it is looked at only, since the next one may begin there.
_CONTROL = re.compile(rf"<(?=\||/?(?:{_TAGS})>|</?sys>>)|\|(?=>)|\[(?=/?(?:{_BRACKETED})\])")
_MARK = re.compile(rf"\[(?=\s*(?:{_MARKS}))")
_DATE_LINE = re.compile(r"^[^\S\n]*\((?=(?:mon|tues|wednes|thurs|fri|satur|sun)day[\s,]*\d)", re.MULTILINE)
_ROLE_LINE = re.compile(rf"^[^\S\n]*(?:{'|'.join(ROLES)})\s*(?=:)", re.MULTILINE)
_QUOTED_MARK = re.compile(
    rf"(?<=[<\uff1c\ufe64|\uff5c\[\uff3b\ufe47(\uff08\ufe59\ufe35\u207d\u208d]){GUARD_MARK}+|{GUARD_MARK}+(?=[:\uff1a\ufe55\u2a74\ufe13])"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
# What tokenizers and people pass over. Line breaks are control characters, too, but not passed over.
_UNSEEN = regex.compile(r"[\p{Default_Ignorable_Code_Point}\p{Cf}\p{Cc}--[\n\t\x85]]", regex.V1)
# A name stands before a colon, or in quotation marks in a mark: nothing in it ends them, or begins a mark.
_NOT_IN_NAMES = {
    **dict.fromkeys(map(ord, "[\uff3b\ufe47"), "("),
    **dict.fromkeys(map(ord, "]\uff3d\ufe48"), ")"),
    **dict.fromkeys(map(ord, '"\uff02\u201c\u201d\u201e\u201f'), "'"),
}
_LINE_BREAKS = frozenset("\n\x85\u2028\u2029")
_GRAPHEME = regex.compile(r"\X")
# A letter with a hundred accents is one grapheme, and spills over its neighbours.
_LONGEST_GRAPHEME = 8


def guard(text: str, control_tokens: tuple[str, ...] = (), *, marks: bool = True) -> str:
    """Break everything in ``text`` that a server could read as a control token, or a model as somebody's turn.

    That is the control tokens of all families, in any case, the template's own ``control_tokens``, names of roles
    before a colon at the beginning of a line, what begins like one of our marks, and a date in front of a line; also
    look-alikes that Unicode treats as the same, and ones with unseen characters in between. Control characters but line
    feed and tab are dropped, carriage returns become line feeds, and lone surrogates U+FFFD. All other text is
    unchanged, and so is text that was guarded already.

    Args:
        text: from people, a platform or a model.
        control_tokens: of the template that is used.
        marks: whether what looks like a mark is broken; False for a text with marks of ours.
    """
    text = _clean(text)
    pieces: list[str] = []
    start = 0
    for at in _breaks(text, control_tokens, marks=marks):
        if GUARD_MARK not in text[max(at - 1, 0) : at + 1]:
            pieces += text[start:at], GUARD_MARK
            start = at
    return "".join([*pieces, text[start:]])


class GuardMarkRemover:
    """Removes the marks of ``guard`` from an answer that quotes them, since people copy code from it.

    Removed is a zero-width space where only ``guard`` would put it: after the first character of what could be control
    or a mark, or before a colon. The answer is guarded again before it enters the next prompt.
    """

    def __init__(self) -> None:
        self._before = ""
        """The last character that was returned."""
        self._held = ""
        """Marks that wait for the next character."""

    def feed(self, text: str) -> str:
        """Take the next piece; returns it without marks. Only marks at its end wait for more text."""
        text = self._held + text
        shown = text.rstrip(GUARD_MARK)
        self._held = text[len(shown) :]
        if GUARD_MARK in shown:
            shown = _QUOTED_MARK.sub("", self._before + shown)[len(self._before) :]
        self._before = shown[-1:] or self._before
        return shown

    def flush(self) -> str:
        """Take the end of the answer; returns the rest."""
        held, self._held = self._held, ""
        return "" if _QUOTED_MARK.match(self._before + held, len(self._before)) else held

    def restart(self) -> None:
        """Drop what came so far: the answer starts again."""
        self._before = self._held = ""


def name(text: str, limit: int = 40) -> str:
    """A display name that is safe in a prompt: one line of at most ``limit`` graphemes, without colons or brackets.

    Nothing unseen or turned around is left in it, and with a colon after it a name is still no role. "someone" if
    nothing remains.
    """
    plain = _clean(text).translate(_NOT_IN_NAMES)
    plain = "".join(" " if char.isspace() or ":" in unicodedata.normalize("NFKC", char) else char for char in plain)
    plain = unicodedata.normalize("NFC", _UNSEEN.sub("", plain))
    graphemes = _GRAPHEME.findall(" ".join(plain.split()))
    plain = "".join(grapheme[:_LONGEST_GRAPHEME] for grapheme in graphemes[:limit]).strip() or "someone"
    return guard(f"{plain}:").removesuffix(":")


def _clean(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", text))


@lru_cache(maxsize=64)
def _own(control_tokens: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern for a template's own control strings, as a careless reader takes them."""
    read = {"".join(map(_as_read, control)) for control in control_tokens}
    broken = sorted(control for control in read if len(control) > 1 and control.strip())
    return re.compile("|".join(f"{re.escape(c[0])}(?={re.escape(c[1:])})" for c in broken) or r"(?!)")


def _breaks(text: str, control_tokens: tuple[str, ...], *, marks: bool) -> list[int]:
    """The places in ``text`` before which marks belong, in order."""
    table = {ord(char): _as_read(char) for char in set(text)}
    plain = text.translate(table)
    after = [match.start() for match in _CONTROL.finditer(plain)]
    if marks:
        after += [match.start() for match in _MARK.finditer(plain)]
        after += [match.end() - 1 for match in _DATE_LINE.finditer(plain)]
    if control_tokens:
        after += [match.start() for match in _own(control_tokens).finditer(plain)]
    before = [match.end() for match in _ROLE_LINE.finditer(plain)]
    if not after and not before:
        return []
    origin: Sequence[int] = range(len(text))
    if any(len(read) != 1 for read in table.values()):
        origin = [place for place, char in enumerate(text) for _ in table[ord(char)]]
    return sorted({origin[place] + 1 for place in after} | {origin[place] for place in before})


@lru_cache(maxsize=4096)
def _as_read(char: str) -> str:
    """A character as a careless reader takes it: small, a look-alike as what it looks like, nothing if unseen."""
    if char in _LINE_BREAKS:
        return "\n"
    return "" if _UNSEEN.match(char) else unicodedata.normalize("NFKC", char).lower()
