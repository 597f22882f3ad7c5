"""People's questions to a model's server take priority over background requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Preempted(Exception):
    """A background request was ended by a question; it can be made again later."""


class Priority:
    """The requests of this process to one model's server.

    A server with a single slot serves one request after the other, and a question would wait until a background request
    is done. So each question ends the background requests.

    Example::

        async with priority.use(background=True):   # raises Preempted when somebody asks
            ...
    """

    def __init__(self) -> None:
        self._questions = 0
        self._last_at = float("-inf")
        self._free = asyncio.Event()
        self._free.set()
        self._background: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def use(self, *, background: bool) -> AsyncIterator[None]:
        """Hold a place at the server while the block runs.

        Raises:
            Preempted: a background request met a question.
        """
        if background:
            async with self._giving_way():
                yield
            return
        self._questions += 1
        self._free.clear()
        for scope in self._background:
            if not scope.expired():
                scope.reschedule(0)
        try:
            yield
        finally:
            self._questions -= 1
            self._last_at = time.monotonic()
            if not self._questions:
                self._free.set()

    @asynccontextmanager
    async def _giving_way(self) -> AsyncIterator[None]:
        if self._questions:
            raise Preempted
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._background.add(scope)
                yield
        except TimeoutError:
            if scope.expired():
                raise Preempted from None
            raise
        finally:
            self._background.discard(scope)

    async def wait_idle(self, seconds: float) -> None:
        """Wait until there was no question for so many seconds."""
        while True:
            await self._free.wait()
            left = self._last_at + seconds - time.monotonic()
            if left <= 0:
                return
            await asyncio.sleep(left)
