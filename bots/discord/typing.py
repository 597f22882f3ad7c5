"""Signs of life: typing, from when a question is stored until the first words of its answer.

The process that stores a question begins to type, and the answer's editor continues where it finds that: so people see
within milliseconds that they were heard, however many ask at once and however long the answer waits for a slot. An
answer that is written by another process types for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from bots.discord.calls import CallPriority, Calls
from core.errors import PlatformError
from core.types import Turn

REPEAT_SECONDS = 8.0
"""Seconds between two signs of typing; each is shown for ten."""
UNCLAIMED_SECONDS = 1.0
"""Seconds for which typing that no editor takes over may still begin: its answer may be on its way elsewhere."""
CALL_DEADLINE = 3.0
"""Seconds that one call may take."""


class Typing:
    """Types where ``find_channel`` says, again and again, until its ``end``."""

    def __init__(self, calls: Calls, find_channel: Callable[[], Awaitable[str]]) -> None:
        self.seen = False
        """Whether Discord has shown it."""
        self._calls = calls
        self._task = asyncio.create_task(self._type(find_channel))

    def end(self) -> None:
        """Type no more; a call that is on its way arrives."""
        self._task.cancel()

    async def _type(self, find_channel: Callable[[], Awaitable[str]]) -> None:
        path = f"/channels/{await find_channel()}/typing"
        while True:
            with suppress(PlatformError):
                priority = CallPriority.BEGINNING if self.seen else CallPriority.SIGN
                await self._calls("type", "POST", path, priority=priority, deadline=CALL_DEADLINE, shielded=True)
                self.seen = True
            await asyncio.sleep(REPEAT_SECONDS)


class Typists:
    """The typing that was begun in this process and that no editor has taken over yet, by turn."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._begun: dict[str, Typing] = {}

    def begin(self, turn: Turn) -> None:
        """Type where a question was asked, until its answer's editor takes over."""

        async def channel() -> str:
            return turn.place["channel"]

        if turn.id not in self._begun:
            self._begun[turn.id] = Typing(self._calls, channel)
            asyncio.get_running_loop().call_later(UNCLAIMED_SECONDS, self._end_unclaimed, turn.id)

    def take(self, turn: Turn) -> Typing | None:
        """The typing that was begun for a turn, for its editor to end."""
        return self._begun.pop(turn.id, None)

    def _end_unclaimed(self, turn: str) -> None:
        if typing := self._begun.pop(turn, None):
            typing.end()
