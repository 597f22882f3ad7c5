"""Places that Parley has left: they are forgotten after a grace period, unless it comes back.

A bot that is removed by mistake is often invited again within days, and platforms don't always report either.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

from redis.asyncio import Redis

from core.memory.conversations import Memory
from core.store import Keys, kind_of, redis_errors
from core.types import ConversationKey

KEPT_WHEN_DUE_SECONDS = 30 * 86_400


class Departures:
    """The servers, workspaces and channels of one platform that Parley has left.

    A place is ``workspace`` or ``workspace:channel``. Every method raises StorageError if Redis is away.
    """

    def __init__(self, redis: Redis, platform: str) -> None:
        self._redis = redis
        self._platform = platform
        self._left = Keys.left(platform)

    async def leave(self, *places: str, grace: float) -> None:
        """Record that Parley left these places: forget them in ``grace`` seconds, or when an earlier call said."""
        if not places:
            return
        with redis_errors("note that a place was left"):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.zadd(self._left, dict.fromkeys(places, time.time() + grace), lt=True)
                pipe.expire(self._left, int(grace) + KEPT_WHEN_DUE_SECONDS)
                await pipe.execute()

    async def join(self, *places: str) -> None:
        """Record that Parley is in these places (again): they are not forgotten."""
        if places:
            with redis_errors("note that a place was joined"):
                await self._redis.zrem(self._left, *places)

    async def forget(self, memory: Memory, ours: Callable[[str], bool] = bool) -> int:
        """Forget the places whose grace period is over, among ``ours``. Returns how many messages that were."""
        forgotten = 0
        with redis_errors("forget places that were left"):
            due: Any = await self._redis.zrangebyscore(self._left, "-inf", time.time())
        for place in filter(ours, due):
            forgotten += await self.erase(place, memory)
        return forgotten

    async def erase(self, place: str, memory: Memory) -> int:
        """Forget a place now. Returns how many messages that were."""
        forgotten = await memory.erase(self.key(place))
        await self.join(place)
        return forgotten

    def key(self, place: str) -> ConversationKey:
        """The key of a place."""
        workspace, _, channel = place.partition(":")
        return ConversationKey(self._platform, workspace, channel)

    async def conversations(self, workspaces: Collection[str]) -> AsyncIterator[ConversationKey]:
        """Yield every conversation in these workspaces that has stored keys, once."""
        seen: set[ConversationKey] = set()
        with redis_errors("look through the memory"):
            async for name in self._redis.scan_iter(match=f"{Keys.CONVERSATIONS}{self._platform}:*", count=1000):
                if kind_of(name) and (key := Keys.part_of(name)[0]).workspace in workspaces and key not in seen:
                    seen.add(key)
                    yield key
