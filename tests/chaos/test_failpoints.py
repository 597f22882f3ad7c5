"""A process killed at every place that a turn comes to: nobody notices, since somebody else finishes what it began."""

from __future__ import annotations

import asyncio
import signal

import pytest

from core.turns.failpoints import POINTS
from tests.chaos.conftest import together
from tests.chaos.fleet import Fleet, Member
from tests.chaos.oracle import judge, settle
from tests.chaos.people import People

LISTENING = ("submit", "stored")
BEGINNING = ("claimed", "understood", "post", "post.written", "post.unwritten", "posted")
WATCHED = ("edit", "edited", "beat", "edit:2", "beat:3", "post.unwritten:2", "posted:2")
ENDING = ("seal", "sealed", "finish", "finished", "commit", "committed", "finish:2")
LEAVING = ("release", "released")


@pytest.mark.slow
@together
async def test_listeners_die_before_and_after_they_stored_a_message(fleet: Fleet) -> None:
    """What was not acknowledged is delivered again, and what was stored is known."""
    await die_at(fleet, *LISTENING)


@pytest.mark.slow
@together
async def test_workers_die_before_much_is_shown(fleet: Fleet) -> None:
    """A message that was posted and not written down is found again."""
    await die_at(fleet, *BEGINNING)


@together
async def test_workers_die_while_people_watch(fleet: Fleet) -> None:
    """The same messages grow on."""
    await die_at(fleet, *WATCHED, rate=15)  # long enough for a third beat


@pytest.mark.slow
@together
async def test_workers_die_at_the_end_of_answers(fleet: Fleet) -> None:
    """What people saw as the end is the end, and it is remembered once."""
    await die_at(fleet, *ENDING)


@pytest.mark.slow
@together
async def test_workers_die_while_they_hand_over(fleet: Fleet) -> None:
    """They were asked to stop, and did not get far."""
    await die_at(fleet, *LEAVING, rate=15)


def test_no_place_is_left_out() -> None:
    """Whoever adds a failpoint adds it here."""
    assert {point.partition(":")[0] for point in (*LISTENING, *BEGINNING, *WATCHED, *ENDING, *LEAVING)} == set(POINTS)


async def die_at(fleet: Fleet, *points: str, rate: float = 45) -> None:
    """Let processes die at these places, one after the other, while the model writes so many pieces a second."""
    fleet.tgi.rate = rate
    people = People(fleet)
    await fleet.listener()
    heir = await fleet.worker()
    for channel, point in zip(people.channels(len(points)), points, strict=True):
        try:
            await _die(fleet, people, heir, channel, point)
        except (AssertionError, TimeoutError) as error:
            raise AssertionError(f"{point}: {error!r}\n{fleet.log()}") from error
    verdict = await judge(fleet, people)
    verdict.check()
    assert verdict.whole == verdict.messages


async def _die(fleet: Fleet, people: People, heir: Member, channel: str, point: str) -> None:
    """One process dies there, and what it had is done by the others."""
    await fleet.refill()
    if point in LISTENING:
        doomed = await fleet.listener(PARLEY_CRASH_AT=point)
        await ask_thrice(people, channel)
    else:
        heir.freeze()
        doomed = await fleet.worker(PARLEY_CRASH_AT=point, GRACE="0.1")
        asking = asyncio.create_task(ask_thrice(people, channel))
        if point in LEAVING:
            await fleet.until(lambda: doomed.lines("turn claimed"))
            heir.thaw()
            doomed.signal(signal.SIGTERM)
        await doomed.wait()
        heir.thaw()
        await asking
    assert await doomed.wait() == -signal.SIGKILL
    await settle(fleet, people)


async def ask_thrice(people: People, channel: str) -> None:
    """A long question, one behind it, and one in the thread of the first."""
    first = await people.ask(channel, words=1400)
    await people.ask(channel)
    await people.ask(channel, thread=first.ts)
