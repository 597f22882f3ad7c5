"""The text so far: one writer appends and never waits, one reader takes the newest."""

from __future__ import annotations

import asyncio

from core.types import Outcome


class Draft:
    """An answer that is being written.

    ``append`` and ``close`` return at once, however slow the reader is; between two looks of the reader any number of
    appends cost it one.
    """

    def __init__(self) -> None:
        self._text = ""
        self._more: list[str] = []
        self._length = 0
        self._news = asyncio.Event()
        self._closed = asyncio.Event()
        self.outcome: Outcome | None = None
        """How it ended; None while it grows."""

    def __len__(self) -> int:
        return self._length

    @property
    def text(self) -> str:
        """All of the text so far."""
        if self._more:
            self._text += "".join(self._more)
            self._more.clear()
        return self._text

    def append(self, text: str) -> None:
        """Add text. What comes after the end is dropped."""
        if text and not self.outcome:
            self._more.append(text)
            self._length += len(text)
            self._news.set()

    def retract(self) -> None:
        """Take all of the text back: it was not for people. What they see stays until there is more than that."""
        if not self.outcome:
            self._text, self._length = "", 0
            self._more.clear()

    def close(self, outcome: Outcome) -> None:
        """End it; the first end counts."""
        if not self.outcome:
            self.outcome = outcome
            self._closed.set()
            self._news.set()

    async def grown(self, beyond: int) -> None:
        """Wait until there are more than ``beyond`` characters, or the end. For one reader."""
        while self._length <= beyond and not self.outcome:
            self._news.clear()
            await self._news.wait()

    async def closed(self) -> Outcome:
        """Wait for the end."""
        await self._closed.wait()
        assert self.outcome is not None  # noqa: S101 - set just before the event
        return self.outcome
