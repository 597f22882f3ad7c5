"""How many tokens a text is, without asking anybody.

An estimate on the safe side: a prompt that is thought too long is cut a little early, one that is thought short is
refused by the server. English prose comes out about a quarter too high. Letters and spaces share tokens; digits
and signs often have one of their own (families like Falcon split every digit); other scripts take up to two
tokens for three UTF-8 bytes.
"""

from __future__ import annotations

import string
from math import ceil
from typing import Protocol

from core.guard import guard
from core.types import Message

OVERHEAD = 8
"""Tokens for what a template writes around one message: role, separators, line ends."""

_LETTERS = (string.ascii_letters + " ").encode()
_ASCII = bytes(range(128))
_SIGNS = bytes(byte for byte in _ASCII if byte not in _LETTERS)


class TokenCounter(Protocol):
    """Counts the tokens of a text for one model."""

    def __call__(self, text: str) -> int:
        """At least as many tokens as the model would make of ``text``, as far as can be known."""
        ...


def estimate(text: str) -> int:
    """Tokens of ``text`` for an unknown tokenizer: high rather than low."""
    data = text.encode("utf-8", "replace")
    signs_and_others = data.translate(None, _LETTERS)
    others = len(signs_and_others.translate(None, _SIGNS))
    letters = len(data) - len(signs_and_others)
    signs = len(signs_and_others) - others
    return ceil(letters / 3 + signs * 0.75 + others * 0.67)


def count_message(message: Message, count: TokenCounter = estimate) -> int:
    """Tokens of one message in a prompt: its text as it is guarded, its author's name, and what stands around it."""
    name = count(message.author.name) if message.author else 0
    return count(guard(message.text)) + name + OVERHEAD
