"""The clean-up: what is remembered of servers, channels and threads that are no more, whether we heard of it or not."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import structlog

from bots.discord.calls import CallPriority, Calls
from bots.discord.events import Place
from bots.discord.store import DiscordStore
from core.errors import MessageGone, PlatformError
from core.memory import Memory

log = structlog.get_logger()

UNKNOWN_CHANNEL = "10003"
MOST_LOOKED_AT = 50
"""Channels and threads that Discord is asked about at each clean-up: discord.py does not know archived threads."""


class Cleanup:
    """Keeps the memory as it would be if we had heard everything."""

    def __init__(self, client: Any, calls: Calls, *, grace: float) -> None:
        """A server that was left is forgotten after ``grace`` seconds."""
        self._client = client
        self._calls = calls
        self._grace = grace

    async def clean(self, store: DiscordStore, memory: Memory, owns: Callable[[str], bool]) -> None:
        """Forget what is no more. ``owns`` says of a server whether we would know that we are there.

        Raises:
            StorageError: Redis is away.
        """
        here = [guild for guild in self._client.guilds if not guild.unavailable]
        servers = {str(guild.id) for guild in self._client.guilds}
        for server in filter(owns, await store.left_unheard(servers)):
            await store.part(server, self._grace)
        if forgotten := await store.left.forget(memory, owns):
            log.info("left servers forgotten", messages=forgotten)
        # Where we are no members, somebody may have installed us for themselves alone: nobody can tell.
        known = {str(place.id) for guild in here for place in (*guild.channels, *guild.threads)}
        places: set[tuple[str, str, str]] = set()
        async for key in store.left.conversations({str(guild.id) for guild in here}):
            place = (key.workspace, key.channel, "" if key.owner else key.thread)
            if (place[2] or place[1]) not in known and (place[2] or place[1]).isdecimal():
                places.add(place)
        for place in random.sample(sorted(places), min(MOST_LOOKED_AT, len(places))):
            await self._look_at(Place(*place), memory)

    async def _look_at(self, place: Place, memory: Memory) -> None:
        """Forget a channel or a thread, if Discord says that there is none."""
        try:
            await self._calls("look for a channel", "GET", f"/channels/{place.id}", priority=CallPriority.PREVIEW)
        except PlatformError as error:
            if isinstance(error, MessageGone) and error.code == UNKNOWN_CHANNEL:
                await forget_place(place, memory)


async def forget_place(place: Place, memory: Memory) -> None:
    """A channel or a thread is no more: nor is what was said there, nor what anybody asked there in private."""
    apart = Place(place.guild, place.id)
    forgotten = sum([await memory.erase(one.key) for one in dict.fromkeys((place, apart))])
    log.info("deleted channel forgotten", messages=forgotten)
