"""What waits is counted in Redis, for all processes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from core import metrics
from core.errors import StorageError
from core.memory.conversations import Memory
from core.metrics.meters import isolated_values
from core.store.keys import Keys
from core.turns.backlog import measure_backlog
from core.turns.queue import TurnQueue
from core.types import Author, ConversationKey, Turn


def turn(lane: str, number: int, *, age: float = 0.0) -> Turn:
    """A message in a lane."""
    key = ConversationKey("slack", "T1", lane)
    return Turn(f"slack:T1:{lane}:{number}", key, f"slack:T1:{lane}", Author("U1", "Ada"), "hi", time.time() - age)


async def test_what_waits_and_how_long(client: redis.asyncio.Redis) -> None:
    """What is being answered does not wait; what nobody has taken is what an age is asked of."""
    queue = TurnQueue(client, Memory(client, retention=60), platforms=["slack"], lease=60)
    with isolated_values():
        await measure_backlog(client, ["slack", "discord"])
        assert (metrics.QUEUE_DEPTH.value(), metrics.QUEUE_OLDEST_AGE.value()) == (0, 0)
        for lane, number, age in (("A", 1, 500), ("A", 2, 400), ("B", 1, 90)):
            await queue.submit(turn(lane, number, age=age))
        await measure_backlog(client, ["slack"])
        assert metrics.QUEUE_DEPTH.value() == 3
        assert metrics.QUEUE_OLDEST_AGE.value() == pytest.approx(500, abs=5)
        taken = await queue.claim(1, idle=False)
        assert [job.lane for job in taken.jobs] == ["slack:T1:A"]
        await measure_backlog(client, ["slack"])
        assert metrics.QUEUE_DEPTH.value() == 2
        assert metrics.QUEUE_OLDEST_AGE.value() == pytest.approx(90, abs=5)
        await queue.commit(taken.jobs[0], None, dead="why")
        await measure_backlog(client, ["slack"])
        assert metrics.DEAD_LETTERS.value() == 1


async def test_an_answer_whose_worker_died_waits_again(client: redis.asyncio.Redis) -> None:
    """As soon as its lease is over, although nobody has noticed."""
    queue = TurnQueue(client, Memory(client, retention=60), platforms=["slack"], lease=60)
    with isolated_values():
        await queue.submit(turn("A", 1, age=50))
        [job] = (await queue.claim(1, idle=False)).jobs
        await client.zadd(Keys.lanes("held", "slack"), {job.lane: 1}, xx=True)
        await measure_backlog(client, ["slack"])
        assert metrics.QUEUE_DEPTH.value() == 1
        assert metrics.QUEUE_OLDEST_AGE.value() == pytest.approx(50, abs=5)


async def test_what_cannot_be_counted_is_not_shown(tmp_path: Path) -> None:
    """An old number would say that all is well; the failure is counted."""
    nowhere = redis.asyncio.Redis(unix_socket_path=str(tmp_path / "redis.sock"), retry=Retry(NoBackoff(), 0))
    with isolated_values():
        metrics.QUEUE_DEPTH.set(7)
        with pytest.raises(StorageError):
            await measure_backlog(nowhere, ["slack"])
        assert metrics.QUEUE_DEPTH.value() is None
        assert metrics.REDIS_DISRUPTIONS.value() == 1
    await nowhere.aclose()
