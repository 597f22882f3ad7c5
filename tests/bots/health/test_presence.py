"""Which processes say that they are connected, and for how long that is believed."""

from __future__ import annotations

import time
from dataclasses import dataclass

from redis.asyncio import Redis

from bots.health.presence import TTL, connections, publishing_status
from core.store.keys import Keys
from tests.waiting import wait_until


@dataclass
class Line:
    """A connection that a test cuts."""

    connected: bool = True


async def test_it_is_told_while_it_stands(client: Redis) -> None:
    """By each process; a cut is noticed, an end is said, and nothing stays for ever."""
    here, there = Line(), Line()

    async def found(**expected: tuple[int, int]) -> bool:
        return await connections(client) == expected

    async with publishing_status(client, "one", {"slack": here, "web": here}):
        async with publishing_status(client, "two", {"slack": there}):
            await wait_until(lambda: found(slack=(2, 0), web=(1, 0)), description="both")
            there.connected = False
            await wait_until(lambda: found(slack=(1, 1), web=(1, 0)), description="the cut")
        assert await found(slack=(1, 0), web=(1, 0))
        assert 0 < await client.ttl(Keys.CONNECTIONS) <= TTL
    assert await found()


async def test_the_dead_are_not_believed(client: Redis) -> None:
    """One that was killed took nothing back."""
    now = time.time()
    await client.zadd(Keys.CONNECTIONS, {"slack up dead": now - TTL - 1, "discord up alive": now})
    assert await connections(client) == {"discord": (1, 0)}


async def test_who_listens_nowhere_says_nothing(client: Redis) -> None:
    """A worker."""
    async with publishing_status(client, "one", {}):
        assert await connections(client) == {}
