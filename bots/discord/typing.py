"""Signs of life: typing, from when a question is stored until the first words of its answer.

Whoever hears a question begins to type, and the answer's editor goes on where it finds that: so people see within
milliseconds that they were heard, however many ask at once and however long the answer waits for a slot. An answer that
is written by another process types for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from bots.discord.calls import Calls, Rank
from core.errors import PlatformError
from core.types import Turn

AGAIN = 8.0
"""Seconds between two signs of typing; each is shown for ten."""
UNTAKEN = 1.0
"""Seconds for which typing that no editor takes over may still begin: its answer may be on its way elsewhere."""
DEADLINE = 3.0
"""Seconds that one call may take."""


class Typing:
    """Types where ``find_channel`` says, again and again, until it is asked to ``rest``."""

    def __init__(self, calls: Calls, find_channel: Callable[[], Awaitable[str]]) -> None:
        self.seen = False
        """Whether Discord has shown it."""
        self._calls = calls
        self._task = asyncio.create_task(self._type(find_channel))

    def rest(self) -> None:
        """Type no more; a call that is on its way arrives."""
        self._task.cancel()

    async def _type(self, find_channel: Callable[[], Awaitable[str]]) -> None:
        channel = int(await find_channel())
        http = self._calls.client.http
        while True:
            with suppress(PlatformError):
                await self._calls(
                    "type",
                    lambda: http.send_typing(channel),
                    Rank.BEGINNING if self.seen else Rank.SIGN,
                    deadline=DEADLINE,
                    to_its_end=True,
                )
                self.seen = True
            await asyncio.sleep(AGAIN)


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
            asyncio.get_running_loop().call_later(UNTAKEN, self._give_up, turn.id)

    def take(self, turn: Turn) -> Typing | None:
        """The typing that was begun for a turn, to be ended by whoever takes it."""
        return self._begun.pop(turn.id, None)

    def _give_up(self, turn: str) -> None:
        if typing := self._begun.pop(turn, None):
            typing.rest()
