"""The text so far: one writer appends and never waits, one reader takes the newest."""

from __future__ import annotations

import asyncio
from typing import Self

from core.types import Ending, Outcome


class Draft:
    """An answer that is being written.

    ``append`` and ``close`` return at once, however slow the reader is; a reader that comes late reads any number of
    appends as one.

    Args:
        floor: What people see of an earlier try at the same answer. It stands until the new text is longer, and for
            good if the new text ends early before that.
    """

    def __init__(self, floor: str = "") -> None:
        self.floor = floor
        self._text = ""
        self._more: list[str] = []
        self._length = 0
        self._news = asyncio.Event()
        self._closed = asyncio.Event()
        self.thinking = False
        """Whether the model has begun to reason."""
        self.outcome: Outcome | None = None
        """How it ended; None while it grows."""

    @classmethod
    def ended(cls, text: str, outcome: Outcome) -> Self:
        """A draft that has ended already."""
        draft = cls()
        draft.append(text)
        draft.close(outcome)
        return draft

    def __len__(self) -> int:
        return self._length

    @property
    def text(self) -> str:
        """All of the text so far."""
        if self._more:
            self._text += "".join(self._more)
            self._more.clear()
        return self._text

    @property
    def best(self) -> str:
        """The text so far, or that of an earlier try if it is longer."""
        return self.text if self._length >= len(self.floor) else self.floor

    def append(self, text: str) -> None:
        """Add text; after the end it is dropped."""
        if text and not self.outcome:
            self._more.append(text)
            self._length += len(text)
            self._news.set()

    def think(self) -> None:
        """Note that the model reasons; what it reasons is not shown."""
        if not self.thinking:
            self.thinking = True
            self._news.set()

    def retract(self) -> None:
        """Drop all of the text: it was reasoning. What people see stays until the new text is longer."""
        if not self.outcome:
            self._text, self._length = "", 0
            self._more.clear()

    def close(self, outcome: Outcome) -> None:
        """End it; the first end counts."""
        if not self.outcome:
            if outcome.ending not in (Ending.COMPLETE, Ending.LENGTH):
                best = self.best
                self._more.clear()  # where an earlier try got further, nothing of this one counts
                self._text, self._length = best, len(best)
            self.outcome = outcome
            self._closed.set()
            self._news.set()

    async def grown(self, beyond: int) -> None:
        """Wait until there are more than ``beyond`` characters, or the end. For one reader."""
        while self._length <= beyond and not self.outcome:
            self._news.clear()
            await self._news.wait()

    async def begun(self) -> None:
        """Wait until the model writes or reasons, or the end. For one reader."""
        while not (self._length or self.thinking or self.outcome):
            self._news.clear()
            await self._news.wait()

    async def closed(self) -> Outcome:
        """Wait for the end."""
        await self._closed.wait()
        assert self.outcome is not None  # noqa: S101 - set just before the event
        return self.outcome
