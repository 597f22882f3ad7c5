"""Edits and deletions: turns and the memory follow them, however long that takes.

Discord tells of each once. While Redis is away they wait here, one for each message: a newer text replaces an older
one, and a deleted message stays deleted.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import discord
import structlog

from bots.discord.cleanup import forget_place
from bots.discord.events import Place
from bots.discord.store import DiscordStore
from bots.listening import follow_change, take_back
from core.errors import StorageError
from core.memory import Memory
from core.metrics import tag
from core.quotes import Quote
from core.turns import TurnQueue
from core.types import ConversationKey, Message

log = structlog.get_logger()

MOST_WAITING = 5000
"""Messages whose change may wait; the oldest is dropped first."""
LONGEST_RETRY_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a message: its author has it say ``text`` now, or deleted it if that is None.

    ``quotes`` are what comes with it now, None if the edit does not tell that. ``at`` is when it was edited, by
    Discord's clock, 0 where that is not known; ``early`` says that it is for us. ``thread`` is where it stands if that
    may be a thread of a channel that nobody names: discord.py does not know threads that are archived.
    """

    message: str
    keys: tuple[ConversationKey, ...]
    text: str | None = None
    quotes: tuple[Quote, ...] | None = None
    at: float = 0.0
    early: bool = False
    thread: tuple[str, str] | None = None
    """Server and thread."""
    others: bool = False
    """Whether it is meant for somebody else now; ``heard`` is then what it says to them, where that is overheard."""
    heard: tuple[ConversationKey, Message] | None = None

    @property
    def said(self) -> float:
        """When the message was written, by Discord's clock."""
        return discord.utils.snowflake_time(int(self.message.rpartition(":")[2])).timestamp()


@dataclass(frozen=True, slots=True)
class End:
    """A channel or thread was deleted: see ``bots.discord.cleanup.forget_place``."""

    place: Place
    text: None = None
    at: float = 0.0

    @property
    def message(self) -> str:
        """What waits is called by it."""
        return str(self.place.key)


class Changes:
    """Makes changes, one after another."""

    def __init__(self, queue: TurnQueue, memory: Memory, store: DiscordStore) -> None:
        self._queue = queue
        self._memory = memory
        self._store = store
        self._waiting: dict[str, Change | End] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, change: Change | End) -> None:
        """Make a change as soon as it can be made."""
        earlier = self._waiting.pop(change.message, None)
        newer = not earlier or change.text is None or (earlier.text is not None and change.at >= earlier.at)
        self._waiting[change.message] = change if newer or not earlier else earlier
        if len(self._waiting) > MOST_WAITING:
            given_up = self._waiting.pop(next(iter(self._waiting)))
            log.error("message change dropped: too many queued", turn=tag(given_up.message))
        if not self._task or self._task.done():
            self._task = asyncio.create_task(self._make_all())

    async def drain(self) -> None:
        """Give what waits a moment to be made."""
        if self._task:
            await asyncio.wait({self._task}, timeout=5)
            self._task.cancel()

    async def _make_all(self) -> None:
        wait = 0.5
        while self._waiting:
            change = next(iter(self._waiting.values()))
            try:
                await self._make(change)
            except StorageError as error:
                log.warning("message change delayed; retrying", turn=tag(change.message), error=str(error))
                await asyncio.sleep(wait)
                wait = min(LONGEST_RETRY_SECONDS, 2 * wait)
                if self._waiting.get(change.message) is change:  # to the end: another one may be possible
                    self._waiting[change.message] = self._waiting.pop(change.message)
                continue
            except Exception:
                log.exception("message change failed", turn=tag(change.message))
            wait = 0.5
            if self._waiting.get(change.message) is change:
                del self._waiting[change.message]

    async def _make(self, change: Change | End) -> None:
        """All of it; it may be made twice."""
        if isinstance(change, End):
            await forget_place(change.place, self._memory)
            return
        archived = await self._store.threads(*change.thread) if change.thread else ()
        change = replace(change, keys=(*change.keys, *archived))
        reads, quotes, early = change.text or "", change.quotes, change.early
        left = await take_back(self._queue, change.message) if change.others else None
        await follow_change(self._queue, self._memory, change, reads, typed=quotes or (), quotes=quotes, early=early)
        if left and change.heard:
            await self._memory.overhear(*change.heard)
