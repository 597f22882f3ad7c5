"""The threads that branched off a channel: each starts with a copy of what the channel knew."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from redis.asyncio import Redis

from core.store import Keys
from core.stored import choice_in, readable
from core.types import ConversationKey

CONVERSATIONS_PER_ROUND_TRIP = 50
"""Conversations that one round trip to Redis reads or changes."""


async def forks_of(redis: Redis, key: ConversationKey) -> AsyncIterator[list[ConversationKey]]:
    """Yield the threads that branched off a conversation, ``CONVERSATIONS_PER_ROUND_TRIP`` at a time."""
    names: Any = await redis.smembers(Keys.forks(key))
    forks, _ = readable(_thread, names)
    for start in range(0, len(forks), CONVERSATIONS_PER_ROUND_TRIP):
        yield forks[start : start + CONVERSATIONS_PER_ROUND_TRIP]


def _thread(name: str) -> ConversationKey:
    return choice_in({"a thread": name}, "a thread", ConversationKey.parse)
