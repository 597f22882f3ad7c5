"""An operator sees everything that waits and everything that was given up, whatever stands beside it."""

from __future__ import annotations

import time

import pytest
import redis.asyncio

from core.memory.conversations import Memory
from core.metrics.tags import tag
from core.store.keys import Keys
from core.turns.operator import Operator, matching
from core.turns.queue import TurnQueue
from core.types import Author, ConversationKey, Turn

CHANNEL = ConversationKey("slack", "T1", "C1")


def turn(name: str, lane: str = "slack:a", user: str = "U1") -> Turn:
    """A turn in a lane."""
    return Turn(name, CHANNEL, lane, Author(user, ""), f"question {name}", time.time())


@pytest.fixture
def queue(client: redis.asyncio.Redis) -> TurnQueue:
    """The queue, as one process sees it."""
    return TurnQueue(client, Memory(client, retention=3600), platforms=["slack"], lease=60)


async def test_lanes_are_seen_where_they_stand(client: redis.asyncio.Redis, queue: TurnQueue) -> None:
    """Ready, held, and for how long by Redis's clock."""
    for name, lane in (("t1", "slack:a"), ("t2", "slack:a"), ("t3", "slack:b")):
        await queue.submit(turn(name, lane))
    [job] = (await queue.claim(1, idle=True)).jobs
    lanes = {lane.name: lane for lane in await Operator(client).lanes()}
    assert (lanes[job.lane].place, lanes[job.lane].owner, lanes[job.lane].tries) == ("held", queue.worker, 1)
    assert 50 < lanes[job.lane].seconds <= 60
    [other] = lanes.keys() - {job.lane}
    assert (lanes[other].place, lanes[other].seconds) == ("ready", 0)
    assert [job.turn.id for job in lanes["slack:a"].jobs] == ["t1", "t2"]


async def test_a_lane_that_cannot_be_read_hides_no_other(client: redis.asyncio.Redis, queue: TurnQueue) -> None:
    """An entry, a state or an inbox of another kind costs itself."""
    for lane in "abcd":
        await queue.submit(turn(lane, f"slack:{lane}"))
    await client.rpush(Keys.inbox("slack:a"), "no JSON")
    await client.set(Keys.lane_state("slack:b"), "x")
    await client.delete(Keys.inbox("slack:c"))
    await client.hset(Keys.inbox("slack:c"), "x", "y")
    seen = {lane.name: [job.turn.id for job in lane.jobs] for lane in await Operator(client).lanes()}
    assert seen["slack:a"] == ["a"]
    assert seen["slack:d"] == ["d"]


async def test_a_turn_is_put_back_as_if_nothing_had_been_tried(client: redis.asyncio.Redis, queue: TurnQueue) -> None:
    """Also one that was given up already, and never one that is done with."""
    await queue.submit(turn("t1"))
    for _ in range(4):
        [job] = (await queue.claim(1, idle=True)).jobs
        await client.zadd(Keys.lanes("held", "slack"), {"slack:a": 1})
    assert job.hopeless
    assert await Operator(client).requeue("t1")
    [job] = (await queue.claim(1, idle=True)).jobs
    assert (job.tries, job.hopeless) == (1, False)
    await queue.commit(job, None)
    assert not await Operator(client).requeue("t1")
    assert not await Operator(client).requeue("unknown")


async def test_of_a_letter_that_cannot_be_read_it_is_known_whom_it_concerns(client: redis.asyncio.Redis) -> None:
    """So that a person can be forgotten there, too."""
    letters = ["no JSON of U1", '{"v":1,"at":1,"tries":0,"why":"so","key":"k","entry":"said by U1"}', "of U2"]
    await client.rpush(Keys.DEAD, *letters)
    found = await Operator(client).dead_letters()
    assert [letter.concerns("U1") for letter in found] == [True, True, False]
    assert len({letter.name for letter in found}) == 3


async def test_dead_letters_of_another_kind_are_none(client: redis.asyncio.Redis, queue: TurnQueue) -> None:
    """The next turn that is given up is found there."""
    await client.set(Keys.DEAD, "x")
    assert await Operator(client).dead_letters() == []
    await queue.submit(turn("t1"))
    [job] = (await queue.claim(1, idle=True)).jobs
    await queue.commit(job, None, dead="as an example")
    assert [letter.name for letter in await Operator(client).dead_letters()] == ["t1"]


def test_a_turn_is_meant_by_its_id_its_tag_or_its_end() -> None:
    """The whole id counts more than an end of another."""
    turns = ["slack:T1:C1:1.0", "1.0", "slack:T1:C1:2.0"]
    assert matching(turns, "1.0") == ["1.0"]
    assert matching(turns, "2.0") == ["slack:T1:C1:2.0"]
    assert matching(turns, tag("slack:T1:C1:1.0")) == ["slack:T1:C1:1.0"]
    assert matching(turns, "3.0") == []
