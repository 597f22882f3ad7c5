"""Strips control tokens from a model's output; a token that ends or begins a turn ends the answer.

Servers remove most control tokens, but not all: a model on the wrong template writes those of its own family, and a
confused one writes them letter by letter. Tokens that the guard broke in somebody's message are shown, since they are
broken. Pure: text in, text out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import regex

SEPARATOR = "\u200b"
"""Put where removing something would otherwise join its surroundings to a new control token."""
LONGEST_CONTROL_TOKEN = 64
"""Characters of the longest control token."""

SHORTEST_PARTIAL_TOKEN = 3
"""At the end of a text, so many characters of a control token are dropped; fewer may be meant as they are."""

TURN_ENDS = (
    r"<\|(?:im_end|eot_id|eom_id|eot|eom|end|end_of_text|endoftext|endofturn|end_of_turn|return|call|stop)\|>",
    r"<\|(?:end_of_sentence|end_of_user|end_of_assistant|endofassistant|endofprompt|END_OF_TURN_TOKEN|END_RESPONSE)\|>",
    r"<\|(?:im_user|im_system|user|system|observation|prompter|human|tool|developer|USER_TOKEN|SYSTEM_TOKEN)\|>",
    r"<end_of_turn>|<turn\|>|<eos>|<end_of_utterance>|<</?SYS>>|\[/?(?:SYSTEM_PROMPT|AVAILABLE_TOOLS)\]|\[INST\]",
    r"<\uff5c(?:end|User|System)[^<>\uff5c\s]{0,40}\uff5c>",
)
"""Control tokens, of all families, that end the model's turn, or begin somebody else's."""
TURN_STARTS = (
    r"<\|(?:im_start|im_assistant|start_header_id|header_start|start_of_role|start|begin|assistant|bot)\|>",
    r"<\|(?:START_OF_TURN_TOKEN|CHATBOT_TOKEN|begin_of_text|startoftext|start_of_text)\|>",
    r"<start_of_turn>|<\|turn>|<\uff5c(?:Assistant|begin)[^<>\uff5c\s]{0,40}\uff5c>|\[/INST\]",
)
"""Control tokens that begin a turn. At the very start of an answer one is its own; later it ends the answer."""
_OTHERS = (
    r"<\|[A-Za-z0-9_]{1,48}\|>",
    r"<\uff5c[^<>\uff5c\s]{1,48}\uff5c>",
    r"</(?:start_of_turn|end_of_turn)>",
    r"\[/?(?:TOOL_CALLS|TOOL_RESULTS)\]",
)
_ROLES = ("assistant", "model", "bot", "ai", "chatbot")
_OTHER_ROLES = ("user", "system", "human", "tool", "developer")
_ROLE = re.compile(rf"\s*(?:({'|'.join(_ROLES)})|{'|'.join(_OTHER_ROLES)})[^\S\n]*(?=[\n<]|$)", re.IGNORECASE)
_ROLE_BEGINNINGS = frozenset(role[:size] for role in (*_ROLES, *_OTHER_ROLES) for size in range(len(role) + 1))
_QUOTES = frozenset("`'\"")


class ControlTrimmer:
    """Strips control tokens from a text that comes in pieces: the unmistakable ones of all families, and ``own``.

    ``ended`` once the model's turn is over; later pieces are ignored. A token in quotes or backticks is talk about it:
    it is removed, and the text continues.
    """

    def __init__(self, own: Iterable[str] = ()) -> None:
        self.ended = False
        own = tuple(sorted(control for control in own if control))
        self._pattern = _compiled(own)
        self._owns_strike = "</s>" in own or "<s>" in own
        self._firsts = frozenset("<[") | {control[0] for control in own}
        self._held = ""
        self._tail = ""
        self._said = self._struck = False
        self._names_role = False

    def feed(self, text: str) -> str:
        """Take the next piece; returns all that can't become a control token with more text."""
        if self.ended:
            return ""
        if not self._held and not self._names_role and self._firsts.isdisjoint(text):
            return self._given(text)
        return self._read(self._held + text, final=False)

    def flush(self, *, halves: bool = True) -> str:
        """Take the end of the text; returns the rest, which includes half a control token only with ``halves``."""
        if not halves and len(self._held) >= SHORTEST_PARTIAL_TOKEN and self._begun(self._held, 0) == 0:
            self._held = ""
        return self._read(self._held, final=True)

    def _read(self, text: str, *, final: bool) -> str:
        """What can be shown of ``text``; the rest waits for more."""
        self._held, at, shown = "", 0, ""
        while not self.ended:
            if self._names_role:
                if not final and text[at:].strip().lower() in _ROLE_BEGINNINGS:
                    self._held = text[at:]
                    break
                at = self._role(text, at)
                continue
            found = self._pattern.search(text, at)
            place = found.start() if found else len(text) if final else self._begun(text, at)
            shown += self._given(text[at:place])
            if not found:
                self._held = text[place:]
                break
            if found.end() == len(text) and not final:
                self._held = text[place:]  # the next character may say that it is quoted
                break
            shown += self._meet(found, text[found.end() : found.end() + 1])
            at = found.end()
        return shown

    def _meet(self, found: regex.Match[str], following: str) -> str:
        """The replacement for a control token."""
        control, kind = found.group(), found.lastgroup
        quoted = bool(following) and self._tail[-1:] == following and following in _QUOTES
        if kind == "strike" and not self._owns_strike:
            lone = control == "</s>" and not self._struck
            self._struck = control == "<s>"
            self.ended = lone and not quoted and following in ("", "\n", "<", "[")
            return "" if self.ended else self._given(control)
        if kind == "starts" and not self._said:
            self._names_role = True
        elif kind in ("ends", "starts", "strike") and not quoted:
            self.ended = True
        # Only where a control token has begun before can what follows complete one.
        return self._given(SEPARATOR) if not self.ended and any(first in self._tail for first in self._firsts) else ""

    def _role(self, text: str, at: int) -> int:
        """Skip the role's name after the start of a turn; a role other than the model's ends the answer."""
        self._names_role = False
        if not (role := _ROLE.match(text, at)):
            return at
        self.ended = not role[1]
        return role.end()

    def _given(self, text: str) -> str:
        self._tail = (self._tail + text)[-LONGEST_CONTROL_TOKEN:]
        self._said = self._said or bool(text.strip())
        return text

    def _begun(self, text: str, at: int) -> int:
        """Where the first control token begins that ``text`` breaks off; the length of ``text`` if there is none."""
        for place in range(max(at, len(text) - LONGEST_CONTROL_TOKEN), len(text)):
            if text[place] in self._firsts and self._pattern.fullmatch(text, place, partial=True):
                return place
        return len(text)


@lru_cache(maxsize=64)
def _compiled(own: tuple[str, ...]) -> regex.Pattern[str]:
    kinds = {"ends": TURN_ENDS, "starts": TURN_STARTS, "strike": ("</?s>",), "others": _OTHERS}
    own_kind = f"|(?P<own>{'|'.join(map(regex.escape, own))})" if own else ""
    return regex.compile("|".join(f"(?P<{kind}>{'|'.join(rows)})" for kind, rows in kinds.items()) + own_kind)


def ends_turn(token: str) -> bool:
    """Whether a special token begins or ends a turn, so that a reader has to see it."""
    found = _compiled(()).fullmatch(token)
    return bool(found) and found.lastgroup in ("ends", "starts", "strike")
