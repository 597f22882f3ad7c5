"""How many tokens a text is: by the model's own tokenizer where its file is given, else without asking anybody.

An estimate on the safe side: a prompt that is thought too long is cut a little early, one that is thought short is
refused by the server. English prose comes out about a quarter too high. Letters and spaces share tokens; digits
and signs often have one of their own (families like Falcon split every digit); other scripts take up to two
tokens for three UTF-8 bytes. What servers report corrects it, for each model by itself.
"""

from __future__ import annotations

import string
from math import ceil
from pathlib import Path
from typing import Protocol

from core.errors import SettingsError
from core.prompts.guard import guard
from core.types import Message
from core.version import how_to_install

MESSAGE_OVERHEAD = 8
"""Tokens for what a template writes around one message: role, separators, line ends."""

MIN_SAMPLE_TOKENS = 200
"""Counted tokens of the smallest prompt from which anything is learned."""

_LETTERS = (string.ascii_letters + " ").encode()
_ASCII = bytes(range(128))
_SIGNS = bytes(byte for byte in _ASCII if byte not in _LETTERS)


class TokenCounter(Protocol):
    """Counts the tokens of a text for one model."""

    def __call__(self, text: str) -> int:
        """At least as many tokens as the model would make of ``text``, as far as can be known."""
        ...


def estimate_tokens(text: str) -> int:
    """Tokens of ``text`` for an unknown tokenizer: high rather than low."""
    data = text.encode("utf-8", "replace")
    signs_and_others = data.translate(None, _LETTERS)
    others = len(signs_and_others.translate(None, _SIGNS))
    letters = len(data) - len(signs_and_others)
    signs = len(signs_and_others) - others
    return ceil(letters / 3 + signs * 0.75 + others * 0.67)


def message_tokens(message: Message, count: TokenCounter = estimate_tokens) -> int:
    """Tokens of one message in a prompt: its text as it is guarded, its author's name, and what stands around it."""
    name = count(message.author.name) if message.author else 0
    return count(guard(message.text)) + name + MESSAGE_OVERHEAD


class Calibration:
    """How far counts are from what one model's server reports.

    Quick to learn that they are too low, since a prompt that is too long is refused, and slow to learn the opposite.
    """

    def __init__(self) -> None:
        self.ratio = 1.0
        """Real tokens for one that was counted."""

    def learn(self, *, estimated: int, real: int) -> None:
        """Take one prompt into account; a short one says little, since most of it is the template's."""
        if estimated < MIN_SAMPLE_TOKENS:
            return
        seen = min(max(real / estimated, 0.25), 4.0)
        self.ratio = seen if seen > self.ratio else self.ratio + 0.1 * (seen - self.ratio)

    def room(self, tokens: int) -> int:
        """How many counted tokens fit into so many real ones."""
        return max(1, int(tokens / self.ratio))


def read_tokenizer(path: Path, setting: str = "TOKENIZER") -> TokenCounter:
    """Count by a model's ``tokenizer.json``, which ``setting`` names.

    Raises:
        SettingsError: it cannot be read, or the package for it is not installed.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise SettingsError(
            f"{setting}: needs a package that is not installed",
            remedy=how_to_install("tokenizer"),
        ) from None
    if path.is_dir():
        path /= "tokenizer.json"
    remedy = "Name the model's tokenizer.json, or the folder that it is in."
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{setting}: '{path}' cannot be read ({error.strerror})", remedy=remedy) from None
    except Exception:  # the package raises nothing more special
        raise SettingsError(f"{setting}: '{path}' is not a model's tokenizer.json", remedy=remedy) from None

    def count(text: str) -> int:
        return len(tokenizer.encode(text.encode("utf-8", "replace").decode(), add_special_tokens=False).ids)

    return count
