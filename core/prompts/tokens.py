"""Counts tokens: with the model's own tokenizer if its file is given, else by an estimate.

The estimate is on the high side: a prompt that is counted too high is cut a little early, while one that is counted too
low is refused by the server. English prose comes out about a quarter too high. Letters and spaces share tokens; digits
and signs often have one each (families like Falcon split every digit); other scripts take up to two tokens for three
UTF-8 bytes. What servers report corrects it, for each model on its own.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from math import ceil
from pathlib import Path

from core.errors import SettingsError
from core.prompts.quoting import marks, words
from core.types import Message
from core.version import how_to_install

MESSAGE_OVERHEAD = 8
"""Tokens that a template adds around one message: role, separators, line ends."""

MIN_SAMPLE_TOKENS = 200
"""Counted tokens of the smallest prompt that corrects the estimate."""

_LETTERS = (string.ascii_letters + " ").encode()
_ASCII = bytes(range(128))
_SIGNS = bytes(byte for byte in _ASCII if byte not in _LETTERS)


TokenCounter = Callable[[str], int]
"""Counts the tokens that one model makes of a text, high rather than low."""


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of ``text`` for an unknown tokenizer, high rather than low."""
    data = text.encode("utf-8", "replace")
    signs_and_others = data.translate(None, _LETTERS)
    others = len(signs_and_others.translate(None, _SIGNS))
    letters = len(data) - len(signs_and_others)
    signs = len(signs_and_others) - others
    return ceil(letters / 3 + signs * 0.75 + others * 0.67)


def message_tokens(message: Message, count: TokenCounter = estimate_tokens) -> int:
    """Tokens of one message in a prompt: its guarded quotes and text, its author's name, and what the template adds.

    The mark of an edit is counted whether it is there or not.
    """
    name = count(message.author.name) if message.author else 0
    marked = marks(message, answered=message.edited / 2)
    return count(words(message)) + (count(marked) if marked else 0) + name + MESSAGE_OVERHEAD


class Calibration:
    """Corrects counts by what one model's server reports.

    Quick to learn that they are too low, since a prompt that is too long is refused, and slow to learn the opposite.
    """

    def __init__(self) -> None:
        self.ratio = 1.0
        """Real tokens per counted token."""

    def learn(self, *, estimated: int, real: int) -> None:
        """Learn from one prompt; short ones are ignored, since most of their tokens are the template's."""
        if estimated < MIN_SAMPLE_TOKENS:
            return
        seen = min(max(real / estimated, 0.25), 4.0)
        self.ratio = seen if seen > self.ratio else self.ratio + 0.1 * (seen - self.ratio)

    def room(self, tokens: int) -> int:
        """How many counted tokens make ``tokens`` real ones."""
        return max(1, int(tokens / self.ratio))


def read_tokenizer(path: Path, setting: str = "TOKENIZER") -> TokenCounter:
    """Make a counter from a model's ``tokenizer.json``, which ``setting`` names.

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
