"""Keeps the boards that browsers show up to date: one subscription and one copy for all browsers of a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from bots.web.board import Boards, Entry
from core.errors import StorageError
from core.store import Keys
from core.tasks import end_tasks
from core.types import ConversationKey

log = structlog.get_logger()

RETRY_SECONDS = 1.0
"""Seconds before Redis is tried again."""


class LiveBoard:
    """One board as it is now; ``version`` grows with every change."""

    def __init__(self, key: ConversationKey) -> None:
        self.key = key
        self.version = 0
        self.watchers = 0
        self.stale: set[str] = {""}
        self._entries: dict[str, Entry] = {}
        self._news = asyncio.Event()

    @property
    def entries(self) -> list[Entry]:
        """All entries, oldest first."""
        return sorted(self._entries.values(), key=lambda entry: entry.at)

    @property
    def open(self) -> list[Entry]:
        """The entries that are not finished, oldest first."""
        return [entry for entry in self.entries if entry.open]

    async def changed(self, version: int) -> None:
        """Wait for a change since ``version``."""
        while self.version == version:
            await self._news.wait()

    def wake(self) -> None:
        """Wake all watchers of this board."""
        self.version += 1
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def refresh(self, boards: Boards) -> None:
        """Read the stale entries again. Raises StorageError, and they stay stale."""
        stale, self.stale = self.stale, set()
        try:
            if "" in stale:
                self._entries = {entry.turn: entry for entry in await boards.entries(self.key)}
            else:
                for turn in stale:
                    if entry := await boards.find(self.key, turn):
                        self._entries[turn] = entry
                    else:
                        self._entries.pop(turn, None)
        except StorageError:
            self.stale |= stale
            raise
        self.wake()


class LiveBoards:
    """The boards that browsers of this process are showing. ``reachable`` is False while Redis is away."""

    def __init__(self, boards: Boards) -> None:
        self.boards = boards
        self.reachable = True
        self._live: dict[str, LiveBoard] = {}
        self._stale = asyncio.Event()

    @asynccontextmanager
    async def watching(self, key: ConversationKey) -> AsyncIterator[LiveBoard]:
        """A board that is up to date while inside."""
        name = Keys.board(key)
        board = self._live.setdefault(name, LiveBoard(key))
        board.watchers += 1
        self._stale.set()
        try:
            yield board
        finally:
            board.watchers -= 1
            if not board.watchers:
                self._live.pop(name, None)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Follow changes while inside."""
        tasks = [asyncio.create_task(self._repeat(step)) for step in (self._follow, self._refresh)]
        try:
            yield
        finally:
            await end_tasks(tasks)

    async def _follow(self) -> None:
        """Mark what changed as stale; after a lost connection, that is everything."""
        async for name, turn in self.boards.changes():
            for board in self._live.values() if not name else filter(None, [self._live.get(name)]):
                board.stale.add(turn)
            self._stale.set()

    async def _refresh(self) -> None:
        """Read stale boards again. Changes that come meanwhile are read together in the next step."""
        await self._stale.wait()
        self._stale.clear()
        for board in list(self._live.values()):
            if board.stale:
                await board.refresh(self.boards)
        if not self.reachable:
            self.reachable = True
            self.wake()

    async def _repeat(self, step: object) -> None:
        """Repeat a step for ever; after a StorageError, wait for ``RETRY_SECONDS``."""
        while True:
            try:
                await step()  # type: ignore[operator]
            except StorageError as error:
                if self.reachable:
                    log.warning("page updates interrupted", error=str(error), remedy=error.remedy)
                    self.reachable = False
                    self.wake()
                await asyncio.sleep(RETRY_SECONDS)
                self._stale.set()

    def wake(self) -> None:
        """Wake all watchers of all boards."""
        for board in self._live.values():
            board.wake()
