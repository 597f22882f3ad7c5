"""Reasoning in the text of an answer, between ``<think>`` and ``</think>``: never shown.

Models open it at the beginning of a line, most at the very beginning. Where a chat template opens it for them the text
begins in the middle of it, and only a lone ``</think>`` at the beginning of a line tells; in the middle of one it is
somebody's talk about it. Pure: text in, text out.
"""

from __future__ import annotations

from enum import StrEnum

OPEN, CLOSE = "<think>", "</think>"


class Opened(StrEnum):
    """Whether reasoning is under way before the first token."""

    NO = "no"
    MAYBE = "maybe"
    """This model's template has opened it before; without an end to it, all of the text is the answer."""
    YES = "yes"
    """The prompt says so."""


class ThoughtTrimmer:
    """Keeps reasoning out of a text that comes in pieces.

    ``thinking`` says that reasoning is under way; ``retracted``, that a lone ``</think>`` has just made reasoning of
    all that was given before, which the caller has to take back (once).
    """

    def __init__(self, opened: Opened = Opened.NO) -> None:
        self.retracted = False
        self.thinking = opened is not Opened.NO
        self._keeps = opened is Opened.MAYBE
        self._quoted = False
        self._said = False
        self._begins_line = True
        self._held = ""

    def feed(self, text: str) -> str:
        """What is visible of the text so far and was not given yet."""
        self.retracted = False
        if not self.thinking and not self._held and "<" not in text:
            return self._visible(text)
        text, self._held = self._held + text, ""
        shown = ""
        while text:
            if self.thinking:
                place = text.find(CLOSE)
                if place < 0:
                    self._held = text if self._keeps else _begun(text, CLOSE)
                    break
                self.thinking = self._keeps = False
                self._begins_line, self._quoted, self._said = True, True, False
                text = text[place + len(CLOSE) :]
            else:
                place = text.find("<")
                if place < 0:
                    shown += self._visible(text)
                    break
                shown += self._visible(text[:place])
                text = text[place:]
                if text.startswith(OPEN):
                    self.thinking, self._quoted = self._begins_line, True
                    shown += "" if self.thinking else self._visible(OPEN)
                    text = text[len(OPEN) :]
                elif text.startswith(CLOSE) and self._begins_line and not self._quoted:
                    self.retracted, self._quoted, self._begins_line, self._said = True, True, True, False
                    shown, text = "", text[len(CLOSE) :]
                elif len(text) < len(CLOSE) and (OPEN.startswith(text) or CLOSE.startswith(text)):
                    self._held = text
                    break
                else:
                    shown, text = shown + self._visible("<"), text[1:]
        return shown

    def flush(self) -> str:
        """The rest, when no more text comes."""
        text, self._held = self._held, ""
        if self.thinking:
            return text if self._keeps else ""
        return self._visible(text)

    def _visible(self, text: str) -> str:
        """Note where in a line an answer stands; white space after reasoning is nobody's."""
        if not text:
            return text
        line = text.rpartition("\n")[2]
        self._begins_line = not line.strip() and ("\n" in text or self._begins_line)
        if not self._said and self._quoted:
            text = text.lstrip()
        self._said = self._said or bool(text.strip())
        return text


def _begun(text: str, mark: str) -> str:
    """The end of ``text`` that may become ``mark``."""
    for size in range(min(len(mark) - 1, len(text)), 0, -1):
        if mark.startswith(text[-size:]):
            return text[-size:]
    return ""
