"""What the model says in a chaos run: texts from which one can tell who asked, and for which time they were written."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tests.doubles.tgi import TgiDouble

_ASKED = re.compile(r"\b(q\d+)w(\d+)\b")
PIECES = 60
"""An answer comes in about so many pieces, however long it is."""
PARAGRAPH = 60
"""Words of a paragraph."""


class Scribe:
    """Answers ``q17w40`` with 40 words, of which the first name the question and the number of the request."""

    def __init__(self, tgi: TgiDouble) -> None:
        self.written: list[str] = []
        """Every answer as it was meant to be, whether it was heard to its end or not."""
        tgi.answer, tgi.rate = self.write, PIECES
        tgi.max_input_tokens, tgi.max_total_tokens = 100_000, 120_000

    def write(self, inputs: str) -> Sequence[str]:
        """The answer to the last question in a prompt; what asks for notes of what was said is no question."""
        if not (asked := _ASKED.findall(inputs)):
            return ["(nothing of note)"]
        tag, length = asked[-1]
        words = [f"#{len(self.written) + 1}", tag, *(f"word{number}" for number in range(int(length))), "end."]
        spaced = [word + ("\n\n" if number % PARAGRAPH == PARAGRAPH - 1 else " ") for number, word in enumerate(words)]
        spaced[-1] = "end."
        self.written.append("".join(spaced))
        each = -(-len(spaced) // PIECES)
        return ["".join(spaced[start : start + each]) for start in range(0, len(spaced), each)]


def tag_of(text: str) -> str:
    """The question that an answer names; "" if it names none."""
    found = re.match(r"\s*#\d+ (q\d+)\b", text)
    return found[1] if found else ""
