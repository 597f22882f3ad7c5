"""What kills a worker is found among any number of innocent turns, and they are not answered one by one for it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import redis.asyncio

from core.memory.conversations import Memory
from core.store.keys import Keys
from core.turns.jobs import Job
from core.turns.queue import TurnQueue
from core.types import Author, ConversationKey, Turn

CHANNEL = ConversationKey("slack", "T1", "C1")


@pytest.fixture
def queue(client: redis.asyncio.Redis) -> TurnQueue:
    """The queue, as one process sees it."""
    return TurnQueue(client, Memory(client, retention=3600), platforms=["slack"], lease=60)


class Crowd:
    """Turns in lanes of their own, some of which kill whoever answers them."""

    def __init__(self, client: redis.asyncio.Redis, queue: TurnQueue, size: int, poison: Sequence[int]) -> None:
        self.client, self.queue, self.size = client, queue, size
        self.poison = {f"t{number}" for number in poison}
        self.deaths = 0
        self.rounds: list[int] = []
        self.answered: set[str] = set()
        self.buried: set[str] = set()

    async def ask(self) -> None:
        """Everybody asks, and two workers die with all of it."""
        for number in range(self.size):
            name, user = f"t{number}", f"U{number}"
            assert (await self.queue.submit(Turn(name, CHANNEL, f"slack:{name}", Author(user, ""), "?", 1.0))).accepted
        for _ in range(2):
            jobs: list[Job] = []
            while taken := (await self.queue.claim(16, idle=not jobs)).jobs:
                jobs += taken
            assert len(jobs) == self.size
            await self.die(jobs)

    async def die(self, jobs: Sequence[Job]) -> None:
        """The leases of a dead worker run out."""
        await self.client.zadd(Keys.lanes("held", "slack"), {job.lane: 1 for job in jobs}, xx=True)

    async def claim_until_empty(self) -> None:
        """Take what there is, until nothing is left."""
        while jobs := (await self.queue.claim(16, idle=True)).jobs:
            names = {job.turn.id for job in jobs}
            if hopeless := [job for job in jobs if job.hopeless]:
                assert len(jobs) == 1
                await self.queue.commit(hopeless[0], None, dead="it kills")
                self.buried |= names
                continue
            self.rounds.append(len(jobs))
            if names & self.poison:
                self.deaths += 1
                await self.die(jobs)
                continue
            for job in jobs:
                await self.queue.commit(job, None)
            self.answered |= names


async def test_an_innocent_crowd_is_not_put_in_single_file(client: redis.asyncio.Redis, queue: TurnQueue) -> None:
    """Two deaths that nobody of them caused cost two rounds more, and no turn is given up."""
    crowd = Crowd(client, queue, 32, [])
    await crowd.ask()
    await crowd.claim_until_empty()
    assert crowd.rounds == [16, 16]
    assert len(crowd.answered) == 32


@pytest.mark.parametrize("poison", [[0], [31], [7], [3, 4], [0, 15, 16, 31]])
async def test_what_kills_is_found_by_halves(client: redis.asyncio.Redis, queue: TurnQueue, poison: list[int]) -> None:
    """All the others are answered; a few workers die of it, and not one for each."""
    crowd = Crowd(client, queue, 32, poison)
    await crowd.ask()
    await crowd.claim_until_empty()
    assert crowd.buried == crowd.poison
    assert len(crowd.answered) == 32 - len(poison)
    assert crowd.deaths <= len(poison) * math.log2(32)


async def test_a_suspect_that_is_let_go_is_not_suspected_more(client: redis.asyncio.Redis, queue: TurnQueue) -> None:
    """A worker that is asked to stop gives back what it looks after, as often as that happens."""
    crowd = Crowd(client, queue, 8, [])
    await crowd.ask()
    for _ in range(5):
        jobs = (await queue.claim(16, idle=True)).jobs
        assert len(jobs) == 4
        for job in jobs:
            assert await queue.release(job)
    await crowd.claim_until_empty()
    assert len(crowd.answered) == 8


@pytest.mark.parametrize("lease", [1.0, 2.0, 3.0, 15.0])
async def test_what_waits_for_its_platform_is_not_taken_before_its_time(
    client: redis.asyncio.Redis, lease: float
) -> None:
    """However short leases are: once they were taken for given before the clock was set back, again and again."""
    queue = TurnQueue(client, Memory(client, retention=3600), platforms=["slack"], lease=lease)
    await queue.submit(Turn("t1", CHANNEL, "slack:a", Author("U1", ""), "?", 1.0))
    [job] = (await queue.claim(1, idle=True)).jobs
    assert await queue.release(job, wait=30.0)
    assert (await queue.claim(1, idle=True)).jobs == ()
