"""The listening token: the same while everything is heard, another one after a gap."""

from __future__ import annotations

import asyncio

import pytest
import redis.asyncio

from core.errors import StorageError
from core.memory.listening import LISTENING_TTL, Listening, heard_since
from core.store.keys import Keys
from core.types import Hear

TOKEN = Keys.listening("slack")


def listener(client: redis.asyncio.Redis, hear: Hear = "thread") -> Listening:
    """A process that hears Slack."""
    return Listening(client, "slack", hear)


async def token(client: redis.asyncio.Redis) -> str:
    """The token now."""
    return str(await client.get(TOKEN) or "")


async def test_it_stays_while_anybody_listens(client: redis.asyncio.Redis) -> None:
    """Also if processes take turns, and as long as it is renewed in time."""
    one, two = listener(client), listener(client)
    await one.keep()
    first = await token(client)
    await client.expire(TOKEN, 3)
    await two.keep()
    assert await token(client) == first
    assert LISTENING_TTL - 1 <= await client.ttl(TOKEN) <= LISTENING_TTL
    seconds, _ = await client.time()
    assert abs(heard_since(first, "thread") - seconds) < 5
    assert heard_since(first, "room") == 0


async def test_after_a_gap_there_is_another(client: redis.asyncio.Redis) -> None:
    """Nobody listened for a while; a process knows that it missed something; another mode hears something else."""
    one, two = listener(client), listener(client)
    seen = set()
    for step in (one.keep, one.restart, two.restart, listener(client, "room").keep, one.keep):
        await step()
        seen.add(await token(client))
    await client.delete(TOKEN)
    await one.keep()
    seen.add(await token(client))
    assert len(seen) == 6


async def test_what_could_not_be_stored_is_a_gap_at_the_next_renewal(client: redis.asyncio.Redis) -> None:
    """Once, and not at each one."""
    one = listener(client)
    await one.keep()
    first = await token(client)
    one.missed()
    assert await token(client) == first
    await one.keep()
    second = await token(client)
    await one.keep()
    assert first != second == await token(client)


async def test_a_gap_is_not_lost_with_a_call(client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is away when it is told; a second gap while the first is told counts too."""
    one = listener(client)
    await one.keep()
    first = await token(client)
    await client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StorageError):
            await one.restart()
    finally:
        await client.config_set("maxmemory", 0)
    await one.keep()
    second = await token(client)
    assert second != first
    restarting = asyncio.ensure_future(one.restart())
    await asyncio.sleep(0)
    one.missed()
    await restarting
    third = await token(client)
    await one.keep()
    assert len({first, second, third, await token(client)}) == 4


async def test_nobody_listens_to_mentions_alone(client: redis.asyncio.Redis) -> None:
    """A token from before would say that everything was heard."""
    await listener(client).keep()
    await listener(client, "mention").keep()
    assert not await token(client)


@pytest.mark.parametrize("damaged", ["", "x", "1:thread", "nan:thread:x", ":::", "1.0:thread:", "\u0661:thread:a"])
async def test_a_damaged_token_is_replaced(client: redis.asyncio.Redis, damaged: str) -> None:
    """Also one of another type."""
    await client.set(TOKEN, damaged)
    await listener(client).keep()
    assert heard_since(await token(client), "thread") > 0
    await client.delete(TOKEN)
    await client.rpush(TOKEN, damaged)
    await listener(client).keep()
    assert heard_since(await token(client), "thread") > 0
