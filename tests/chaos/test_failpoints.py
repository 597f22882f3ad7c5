"""A process killed at every place that a turn comes to: somebody else finishes what it began."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from core.failpoints import POINTS
from tests.chaos.fleet import Fleet, Member, Nursery, sailing
from tests.chaos.oracle import judge, settle
from tests.chaos.people import People

IN_LISTENERS = ("submit", "stored")
IN_DRAINS = ("release", "released")
AGAIN = ("post.unwritten:2", "posted:2", "edit:2", "beat:3", "finish:2")
"""The same places, later: in the middle of a long answer, or with others beside it."""
FLEETS = 4
"""Side by side: most of their time they wait."""


@pytest.mark.timeout(120)
async def test_nobody_notices_where_a_process_dies(tmp_path_factory: pytest.TempPathFactory, nursery: Nursery) -> None:
    """Each message has one whole answer, in order, and it is remembered once."""
    points = (*POINTS, *AGAIN)
    async with asyncio.TaskGroup() as group:
        for number in range(FLEETS):
            group.create_task(die_at(points[number::FLEETS], tmp_path_factory.mktemp("fleet"), nursery))


async def die_at(points: tuple[str, ...], folder: Path, nursery: Nursery) -> None:
    """Let processes die at these places, one after the other."""
    async with sailing(folder, nursery=nursery) as fleet:
        fleet.tgi.rate = 45
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
    name = point.partition(":")[0]
    if name in IN_LISTENERS:
        doomed = await fleet.listener(PARLEY_CRASH_AT=point)
        await ask_thrice(people, channel)
    else:
        heir.freeze()
        doomed = await fleet.worker(PARLEY_CRASH_AT=point, GRACE="0.1")
        asking = asyncio.create_task(ask_thrice(people, channel))
        if name in IN_DRAINS:
            await fleet.until(lambda: doomed.lines("taken"))
            heir.thaw()
            doomed.signal(signal.SIGTERM)
        await doomed.wait(15)
        heir.thaw()
        await asking
    assert await doomed.wait(15) == -signal.SIGKILL
    await settle(fleet, people, timeout=20)


async def ask_thrice(people: People, channel: str) -> None:
    """A long question, one behind it, and one in the thread of the first."""
    first = await people.ask(channel, words=1400)
    await people.ask(channel)
    await people.ask(channel, thread=first.ts)
