"""Leases, suspects and dead letters: what every queue promises when workers die; run against each redis-server."""

from __future__ import annotations

import json

import pytest
import redis.asyncio

from core.memory.conversations import Memory
from core.store.keys import Keys
from core.turns.queue import TurnQueue
from core.types import MessageRef
from tests.contracts.queueing import CHANNEL, MINUTE, Open, answered, ask, expire, take, take_one


async def test_who_lost_the_lease_may_change_nothing(
    open_queue: Open, redis_client: redis.asyncio.Redis, memory: Memory
) -> None:
    """The heir has a higher epoch, and is told where the reply stands."""
    old, heir = open_queue(), open_queue()
    await old.submit(ask("t1"))
    job = await take_one(old, "t1")
    ref = MessageRef("C1", "1.0")
    assert await old.mark(job, posting=1, refs=[ref], text="so far")
    await expire(redis_client)
    taken = await take_one(heir, "t1")
    assert taken.epoch > job.epoch
    assert (taken.tries, taken.refs, taken.text, taken.posting) == (2, (ref,), "so far", 1)
    assert not await old.mark(job, posting=2, refs=[], text="stale")
    assert not await old.seal(job, answered(job, "stale"), [], None)
    assert not await old.release(job)
    assert await old.commit(job, answered(job, "stale")) == "lost"
    assert await old.beat({job: "stale"}) == {job: None}
    assert await heir.beat({taken: ""}) == {taken: ("",)}
    assert await heir.commit(taken, answered(taken, "mine")) == "done"
    assert await old.commit(job, answered(job, "stale")) == "lost"
    assert [message.text for message in (await memory.load(CHANNEL)).messages] == ["question t1", "mine"]


async def test_a_lease_that_ran_out_is_still_ours_as_long_as_nobody_took_it(
    queue: TurnQueue, redis_client: redis.asyncio.Redis
) -> None:
    """Redis was away for a while, and so were the others."""
    await queue.submit(ask("t1"))
    job = await take_one(queue, "t1")
    await expire(redis_client)
    assert await queue.beat({job: ""}) == {job: ("",)}
    assert await take(queue) == ()


async def test_a_clock_that_is_set_back_keeps_nobody_waiting(
    queue: TurnQueue, redis_client: redis.asyncio.Redis
) -> None:
    """A lease that ends in a year was given before."""
    await queue.submit(ask("t1"))
    await take_one(queue, "t1")
    await redis_client.zadd(Keys.lanes("held", "slack"), {"slack:a": 4e12}, xx=True)
    await take_one(queue, "t1")


async def test_what_was_sealed_is_given_to_the_heir(queue: TurnQueue, redis_client: redis.asyncio.Redis) -> None:
    """It shows that, and asks no model again."""
    await queue.submit(ask("t1"))
    job = await take_one(queue, "t1")
    seal = answered(job)
    assert await queue.seal(job, seal, [MessageRef("C1", "1.0")], None)
    await expire(redis_client)
    assert (await take_one(queue, "t1")).seal == seal


async def test_a_released_job_is_the_next_and_was_no_try(queue: TurnQueue) -> None:
    """Before those that wait longer."""
    await queue.submit(ask("t1"))
    job = await take_one(queue, "t1")
    for number in range(5):
        await queue.submit(ask(f"other{number}", f"slack:{number}", user="U2"))
    assert await queue.release(job)
    [again] = await take(queue, 1)
    assert (again.turn.id, again.tries) == ("t1", 1)


async def test_a_job_can_be_put_off(queue: TurnQueue, redis_client: redis.asyncio.Redis) -> None:
    """Until its time has come."""
    await queue.submit(ask("t1"))
    assert await queue.release(await take_one(queue, "t1"), wait=MINUTE, failed=True)
    assert await take(queue) == ()
    await expire(redis_client)
    assert (await take_one(queue, "t1")).tries == 2


async def test_the_third_try_is_made_alone_and_then_it_is_given_up(
    queue: TurnQueue, redis_client: redis.asyncio.Redis
) -> None:
    """Its neighbours are not taken down with it; who looks after it is asked to become idle."""
    await queue.submit(ask("poison"))
    await queue.submit(ask("after"))
    for tries in (1, 2):
        assert (await take_one(queue, "poison")).tries == tries
        await expire(redis_client)
    await queue.submit(ask("neighbour", "slack:b"))
    claimed = await queue.claim(16, idle=False)
    assert claimed.quarantine
    assert claimed.jobs == ()
    suspect = await take_one(queue, "poison")
    assert (suspect.tries, suspect.hopeless) == (3, False)
    await expire(redis_client)
    hopeless = await take_one(queue, "poison")
    assert hopeless.hopeless
    assert await queue.commit(hopeless, None, dead="it kills") == "done"
    [letter] = [json.loads(entry) for entry in await redis_client.lrange(Keys.DEAD, 0, -1)]
    assert (letter["why"], letter["tries"], letter["job"]["turn"]["id"]) == ("it kills", 4, "poison")
    assert {job.turn.id for job in await take(queue)} == {"neighbour", "after"}


@pytest.mark.parametrize("failed", [False, True])
async def test_a_suspect_that_is_handed_over_is_still_taken_alone(
    queue: TurnQueue, redis_client: redis.asyncio.Redis, failed: bool
) -> None:
    """By a worker that is asked to stop while it looks after it; and so is what failed twice."""
    await queue.submit(ask("poison"))
    await take(queue)
    if not failed:
        for _ in range(2):
            await expire(redis_client)
            [job] = await take(queue)
        await queue.release(job)
    else:
        await expire(redis_client)
        [job] = await take(queue)
        await queue.release(job, failed=True)
    await queue.submit(ask("neighbour", "slack:b"))
    assert (await queue.claim(16, idle=False)).quarantine
    assert (await take_one(queue, "poison")).tries == 3


async def test_what_kills_even_those_who_give_it_up_is_put_away(
    queue: TurnQueue, redis_client: redis.asyncio.Redis
) -> None:
    """The lane goes on."""
    await queue.submit(ask("poison"))
    await queue.submit(ask("after"))
    for _ in range(9):
        await take_one(queue, "poison")
        await expire(redis_client)
    await take_one(queue, "after")
    assert await redis_client.llen(Keys.DEAD) == 1


async def test_one_worker_is_enough_for_quarantine(open_queue: Open, redis_client: redis.asyncio.Redis) -> None:
    """The others go on with what waits."""
    busy, other = open_queue(), open_queue()
    await busy.submit(ask("poison"))
    for _ in range(2):
        await take(busy)
        await expire(redis_client)
    await busy.submit(ask("neighbour", "slack:b"))
    assert (await busy.claim(1, idle=False)).quarantine
    claimed = await other.claim(16, idle=False)
    assert [job.turn.id for job in claimed.jobs] == ["neighbour"]
    assert not claimed.quarantine
