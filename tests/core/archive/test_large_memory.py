"""A channel with a thousand full threads: Redis serves others meanwhile, and everything that reads it works."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from core.archive.archive import Archive
from core.archive.person import PersonEraser
from core.memory.conversations import Memory
from core.memory.exchange import MAX_CONVERSATION_BYTES
from core.store.connection import connect
from core.store.keys import Keys
from core.turns.operator import Operator
from core.turns.queue import TurnQueue
from core.types import Author, ConversationKey, Message, Role, Turn
from tests.redis_server import running_redis

CHANNEL = ConversationKey("slack", "T1", "C1")
ADA = Author("U-ADA", "Ada")
THREADS = 1000
LONGEST_STEP = 1_000_000
"""Microseconds that one step may take here. Alone on a machine each takes less than 20,000, and one that looked at all
threads would take 3,500,000; beside other tests, whatever runs instead of Redis meanwhile is counted as well."""


@pytest.fixture
async def large(tmp_path: Path) -> AsyncIterator[Redis]:
    """A thousand threads of one channel, each as large as it can be, and a lane that waits for each."""
    async with running_redis(tmp_path / "s") as server:
        client: Any = await connect(server.url)
        text = "word " * (MAX_CONVERSATION_BYTES // 40 // 5 - 30)
        said = [
            Message(
                Role.ASSISTANT if n % 2 else Role.USER,
                text,
                id=f"m{n}",
                author=None if n % 2 else ADA,
                at=float(n),
                reply_to=f"m{n - 1}" if n % 2 else "",
            ).to_json()
            for n in range(40)
        ]
        for start in range(0, THREADS, 50):
            async with client.pipeline(transaction=False) as pipe:
                for number in range(start, start + 50):
                    key = ConversationKey("slack", "T1", "C1", f"{number}.0")
                    pipe.rpush(Keys.messages(key), *said)
                    pipe.hset(
                        Keys.state(key),
                        mapping={"epoch": 0, "bytes": MAX_CONVERSATION_BYTES, "summary": "-", "folded": "m1"},
                    )
                    pipe.sadd(Keys.forks(CHANNEL), str(key))
                    for name in (Keys.messages(key), Keys.state(key), Keys.forks(CHANNEL)):
                        pipe.expire(name, 3600)
                await pipe.execute()
        queue = TurnQueue(client, Memory(client, retention=3600), platforms=["slack"])
        await queue.submit(Turn("root", CHANNEL, "slack:root", Author("U", ""), "?", 1.0))
        for number in range(THREADS):
            key = ConversationKey("slack", "T1", "C1", f"{number}.0")
            await queue.submit(Turn(f"t{number}", key, str(key), Author(f"U{number}", ""), "?", 1.0, root="root"))
        await client.config_set("slowlog-log-slower-than", LONGEST_STEP)
        await client.config_set("slowlog-max-len", 100)
        await client.slowlog_reset()
        yield client
        await client.aclose()


@pytest.mark.slow
async def test_no_step_takes_redis_from_everybody(large: Redis) -> None:
    """Reading, listing, correcting, forgetting, claiming: one step after the other, each a moment."""
    client: Any = large
    memory, archive = Memory(client, retention=3600), Archive(client, retention=3600)
    queue = TurnQueue(client, memory, platforms=["slack"])
    [family] = await archive.families()
    assert len([record async for record in archive.records(family) if record.stored]) == THREADS
    await memory.correct(CHANNEL, "m0", "better")
    await memory.withdraw(CHANNEL, "m1")
    assert len(await Operator(client).lanes()) == THREADS + 1
    [root] = (await queue.claim(16, idle=True)).jobs
    await queue.commit(root, None)
    for _ in range(3):
        jobs = (await queue.claim(16, idle=False)).jobs
        assert len(jobs) == 16
        await queue.beat(dict.fromkeys(jobs, "so far"))
    await queue.requeue_orphans()
    await queue.set_aside_damaged_keys()
    assert await memory.forget(CHANNEL) >= THREADS * 38
    assert await client.slowlog_get(20) == []


@pytest.mark.slow
async def test_nor_does_a_person_or_a_place_that_is_forgotten(large: Redis) -> None:
    """Who said half of all there is, in a thousand threads; then all that is left of the channel."""
    client: Any = large
    memory = Memory(client, retention=3600)
    queue = TurnQueue(client, memory, platforms=["slack"])
    assert await PersonEraser(client, memory, queue, ADA.id).forget() == 40
    thread = ConversationKey("slack", "T1", "C1", "7.0")
    left = await memory.load(thread)
    assert (left.messages, left.summary) == ((), "")
    await memory.erase(CHANNEL)
    assert await client.slowlog_get(20) == []
