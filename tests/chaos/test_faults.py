"""What goes wrong around an answer: frozen clocks, a Redis that is away, upgrades, poison. Nobody loses anything."""

from __future__ import annotations

import asyncio
import json
import math

import pytest

from core.metrics.tags import tag
from tests.chaos.conftest import together
from tests.chaos.fleet import Fleet
from tests.chaos.oracle import judge, settle
from tests.chaos.people import USERS, People
from tests.waiting import wait_until


async def check(fleet: Fleet, people: People, *, marked: int = 0) -> None:
    """Everything is answered, whole but for ``marked``, and nothing is left over."""
    try:
        await settle(fleet, people)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{fleet.log()}") from None
    verdict = await judge(fleet, people)
    verdict.check()
    texts = [posted.text[-120:] for question in people.asked for posted in people.reply(question)]
    assert (verdict.marked, verdict.whole) == (marked, verdict.messages - marked), texts


async def growing(fleet: Fleet, people: People, number: int) -> None:
    """Wait until so many replies are there, and grow."""
    await wait_until(
        lambda: sum(bool(p.buttons) for q in people.asked for p in people.reply(q)) >= number,
        description="answers that grow",
    )


@pytest.mark.slow
@together
async def test_a_worker_that_was_frozen_edits_nothing_when_it_wakes(fleet: Fleet) -> None:
    """Its time is over by its own clock, too; and scripts that Redis forgot are sent to it again."""
    people = People(fleet)
    fleet.tgi.rate = 12
    await fleet.listener()
    first = await fleet.worker()
    await asyncio.gather(*(people.ask(channel, words=100) for channel in people.channels(6)))
    await growing(fleet, people, 6)
    await fleet.redis.script_flush()
    first.freeze()
    await fleet.worker()
    await fleet.until(lambda: sum(taken.tries > 1 for taken in fleet.taken()) == 6)
    first.thaw()
    await check(fleet, people)
    assert first.running


@together
async def test_redis_is_killed_in_the_middle_of_answers(fleet: Fleet) -> None:
    """It comes back with what it wrote down; nobody said that they took what they could not keep."""
    people = People(fleet)
    fleet.tgi.rate = 30
    await fleet.listener()
    await fleet.worker()
    await fleet.worker()
    await asyncio.gather(*(people.ask(channel, words=100) for channel in people.channels(6)))
    await growing(fleet, people, 3)
    fleet.server.kill()
    unheard = [await people.call_out(channel) for channel in people.channels(6)]
    await asyncio.sleep(1.5)
    assert not any(people.heard(question) for question in unheard)
    fleet.server.start()
    await wait_until(lambda: all(people.heard(question) for question in unheard))
    await check(fleet, people)


@pytest.mark.slow
@together
async def test_redis_holds_its_breath(fleet: Fleet) -> None:
    """For longer than leases last: for a while nobody may go on, and then somebody does."""
    people = People(fleet)
    fleet.tgi.rate = 30
    await fleet.listener()
    await fleet.worker()
    await fleet.worker()
    await asyncio.gather(*(people.ask(channel, words=100) for channel in people.channels(6)))
    await growing(fleet, people, 3)
    await fleet.redis.execute_command("CLIENT", "PAUSE", "4000", "ALL")  # type: ignore[no-untyped-call]
    await people.ask(people.channels(1)[0], user="U0BOB")
    await check(fleet, people)


@pytest.mark.slow
@together
async def test_what_is_delivered_again_is_answered_once(fleet: Fleet) -> None:
    """At once, to another listener, while it is answered, and afterwards."""
    people = People(fleet)
    fleet.tgi.rate = 15
    await fleet.listener()
    await fleet.listener()
    await fleet.worker()
    questions = [await people.call_out(channel, user=user) for channel in people.channels(4) for user in USERS]
    for _ in range(2):
        for question in questions:
            await fleet.slack.resend(question.ts)
    await growing(fleet, people, 1)
    for question in questions:
        await fleet.slack.resend(question.ts)
    await settle(fleet, people)
    for question in questions:
        await fleet.slack.resend(question.ts)
    await wait_until(lambda: not fleet.slack.unacked())
    await check(fleet, people)
    assert len(fleet.scribe.written) == len(questions)


@pytest.mark.slow
@together
async def test_fifty_live_answers_outlive_the_worker_that_is_stopped(fleet: Fleet) -> None:
    """Those that have the time end with it, the others are handed over, and it exits with 0."""
    people = People(fleet)
    fleet.tgi.rate = 9
    await fleet.listener()
    first = await fleet.worker(GRACE="0.5")
    asking = [people.ask(channel, words=5 + number) for number, channel in enumerate(people.channels(50))]
    await asyncio.gather(*asking)
    await fleet.until(lambda: len(fleet.taken()) == 50)
    await fleet.worker()
    await wait_until(lambda: two_workers(fleet))
    assert await first.stop() == 0
    assert first.lines("answers handed over")
    await check(fleet, people)


@pytest.mark.slow
@together
async def test_an_upgrade_rolls_through_and_leaves_the_newer_jobs_to_the_newer(fleet: Fleet) -> None:
    """New workers come and old ones go while people ask; what only a newer version can read stays where it is."""
    people = People(fleet)
    fleet.tgi.rate = 40
    await fleet.listener()
    old = await fleet.worker(GRACE="0.2")
    newer = await store_newer(fleet)
    for number, channel in enumerate(people.channels(3)):
        asked = [await people.ask(channel, user=user, words=40) for user in USERS]
        await fleet.until(lambda: {tag(q.turn) for q in asked} & {taken.turn for taken in fleet.taken()})  # noqa: B023
        new = await fleet.worker(GRACE="0.2")
        if number == 1:
            listener = fleet.listeners[0]
            await fleet.listener()
            assert await listener.stop() == 0
        assert await old.stop() == 0
        old = new
    await settle(fleet, people, but=2)
    assert [place for place in await fleet.waits() if newer not in place] == []
    before = (await fleet.redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    await asyncio.sleep(1)
    calls = (await fleet.redis.info("commandstats"))["cmdstat_evalsha"]["calls"] - before
    assert calls < 20, f"{calls} scripts in a second in which nothing can be done"
    await fleet.redis.delete(f"{{parley}}:lane:{newer}:inbox", "{parley}:ready:slack")
    await check(fleet, people)


async def two_workers(fleet: Fleet) -> bool:
    """Whether they know of each other."""
    return int(await fleet.redis.zcard("{parley}:workers")) == 2


async def store_newer(fleet: Fleet) -> str:
    """What a listener of the next version stores. Returns its lane."""
    lane = "slack:T0TEAM:C0NEWER/U0ADA"
    await fleet.redis.rpush(f"{{parley}}:lane:{lane}:inbox", json.dumps({"v": 99, "turn": {"root": "", "uid": "U1"}}))
    await fleet.redis.zadd("{parley}:ready:slack", {lane: 0})
    await fleet.redis.rpush("{parley}:bell:slack", "1")
    return lane


@together
async def test_a_message_that_kills_whoever_answers_it_takes_no_neighbour_with_it(fleet: Fleet) -> None:
    """It is looked for by halves, tried alone at last, and put aside; its author is told under which name."""
    people = People(fleet)
    fleet.tgi.rate = 40
    await fleet.listener()
    async with fleet.kept(2, PARLEY_CRASH_ON="hemlock"):
        channels = people.channels(21)
        asking = [people.ask(channel, words=20) for channel in channels[1:]]
        await asyncio.gather(*asking)
        poison = await people.ask(channels[0], beside="hemlock")
        await check(fleet, people, marked=1)
        assert poison.turn in people.reply(poison)[0].text
        dead = [json.loads(letter) for letter in await fleet.redis.lrange("{parley}:dead", 0, -1)]
        assert [letter["job"]["turn"]["id"] for letter in dead] == [poison.turn]
        died = [member for member in fleet.members if not member.running]
        assert 3 <= len(died) <= 2 + math.ceil(math.log2(len(channels))) + 1
