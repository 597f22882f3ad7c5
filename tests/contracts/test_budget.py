"""What every budget promises: fair, keeps what was reserved, listens to refusals; in one process or shared in Redis.

Buckets and windows alike: a window of as many calls as the bucket holds comes back in the time in which that is filled.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from core.pacing.budget import CallBudget
from core.pacing.shared import CallBudgets, SharedCallBudget
from tests.waiting import UNHURRIED

Make = Callable[..., CallBudget]
"""Makes the one under test: (capacity, per_second, clock)."""


@pytest.fixture(params=["alone", "shared", "away"])
def where(request: pytest.FixtureRequest) -> str:
    """A budget of this process, one shared in Redis, and a shared one whose Redis is away."""
    return str(request.param)


@pytest.fixture(params=["bucket", "window"])
def kind(request: pytest.FixtureRequest) -> str:
    """How calls come in."""
    return str(request.param)


@pytest.fixture
async def make(where: str, kind: str, redis_client: Redis) -> AsyncIterator[Make]:
    """Makes the budget under test."""
    if where == "alone":

        def alone(capacity: float, per_second: float, clock: Callable[[], float] | None = None) -> CallBudget:
            clocks: dict[str, Any] = {"clock": clock} if clock else {}
            if kind == "window":
                return CallBudget(capacity, seconds=capacity / per_second, **clocks)
            return CallBudget(capacity, per_second, **clocks)

        yield alone
        return
    opened: list[CallBudgets] = []

    def share(capacity: float, per_second: float, clock: Callable[[], float] | None = None) -> CallBudget:
        clocks: dict[str, Any] = {"clock": clock, "server_clock": clock} if clock else {}
        opened.append(CallBudgets(redis_client, deadline=UNHURRIED, **clocks))
        if kind == "window":
            budget = opened[-1].open_window("discord:9:C1:edits", int(capacity), capacity / per_second)
        else:
            budget = opened[-1].open("slack:T1:chat.update", capacity, per_second)
        if where == "away":
            opened[-1].lost(budget, ConnectionError())
        return budget

    yield share
    for budgets in opened:
        await budgets.aclose()


@pytest.fixture
async def served() -> AsyncIterator[list[str]]:
    """Who was served, in order."""
    yield []  # noqa: PT022 - an asynchronous fixture has a loop


async def ask(budget: CallBudget, name: str, served: list[str]) -> None:
    """Wait for a call and note it."""
    await budget.take()
    served.append(name)


async def settle(budget: CallBudget) -> None:
    """Let everything that can happen now, happen."""
    for _ in range(3):
        for _ in range(5):
            await asyncio.sleep(0)
        if isinstance(budget, SharedCallBudget):
            await budget.sync()


async def test_a_burst_goes_out_at_once_and_the_rest_in_the_order_of_asking(make: Make, served: list[str]) -> None:
    """First come, first served."""
    budget = make(2, 50)
    async with asyncio.TaskGroup() as group:
        for name in "abcdef":
            group.create_task(ask(budget, name, served))
            await asyncio.sleep(0)
    assert served == list("abcdef")


async def test_what_is_reserved_is_not_spent_by_others(make: Make, served: list[str]) -> None:
    """An answer that is done never waits for others that still grow."""
    budget = make(2, 0.001)
    await budget.reserve()
    await budget.take()
    waiting = asyncio.create_task(ask(budget, "preview", served))
    await settle(budget)
    assert served == []
    budget.spend()  # at once, although nothing else is left
    waiting.cancel()


async def test_a_released_reservation_serves_who_waits(make: Make, served: list[str]) -> None:
    """Nothing is lost when an answer ends without its last edit."""
    budget = make(1, 0.001)
    await budget.reserve()
    waiting = asyncio.create_task(ask(budget, "next", served))
    await settle(budget)
    budget.release()
    await waiting
    assert served == ["next"]


async def test_a_spent_reservation_frees_nothing(make: Make, served: list[str]) -> None:
    """It was made: the next one waits until there is another."""
    budget = make(1, 0.001)
    await budget.reserve()
    budget.spend()
    waiting = asyncio.create_task(ask(budget, "next", served))
    await settle(budget)
    assert served == []
    waiting.cancel()


async def test_who_gives_up_waiting_costs_nothing(make: Make, served: list[str]) -> None:
    """The next in line is served in its place."""
    budget = make(1, 4)
    await budget.take()
    first, second = (asyncio.create_task(ask(budget, name, served)) for name in "ab")
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert served == ["b"]


@pytest.mark.parametrize("reserve", [False, True], ids=["taken", "reserved"])
@pytest.mark.parametrize("steps", [0, 1, 2, 4, 8])
async def test_a_call_that_is_served_and_cancelled_in_one_moment_is_given_back(
    make: Make, steps: int, reserve: bool
) -> None:
    """Neither taken nor reserved calls leak, however far the giving had come."""
    budget = make(1, 0.001)
    await budget.reserve()
    waiting = asyncio.create_task(budget.reserve() if reserve else budget.take())
    await settle(budget)
    budget.release()
    for _ in range(steps):
        await asyncio.sleep(0)
    waiting.cancel()
    (end,) = await asyncio.gather(waiting, return_exceptions=True)
    if end is None:  # it was quicker
        assert not await budget.spare(1)
    else:
        await asyncio.wait_for(budget.take(), UNHURRIED)


async def test_spare_calls_are_those_that_nobody_waits_for(make: Make, served: list[str]) -> None:
    """All or nothing, and at once."""
    budget = make(4, 0.001)
    await budget.reserve()
    assert await budget.spare(2)
    assert not await budget.spare(2)
    assert await budget.spare(1)
    waiting = asyncio.create_task(ask(budget, "next", served))
    await settle(budget)
    budget.release()
    assert not await budget.spare(1)
    await waiting


async def test_after_a_refusal_nobody_calls_until_the_platform_allows_it(make: Make) -> None:
    """The refusal says when; what was reserved stays reserved."""
    loop = asyncio.get_running_loop()
    budget = make(5, 1000)
    await budget.reserve()
    budget.refused(0.05)
    asked = loop.time()
    assert not await budget.spare(1)
    await budget.take()
    assert loop.time() - asked >= 0.049
    await budget.unblocked()
    budget.spend()


async def test_no_more_calls_in_a_minute_than_the_platform_allows(make: Make, kind: str) -> None:
    """Capacity and refill together stay below the limit, on a clock that we turn by hand."""
    now = 1000.0
    budget = make(20, 0.5, lambda: now)
    made: list[float] = []
    for tick in range(300):
        now = 1000 + tick / 2.5
        task = asyncio.create_task(budget.take())
        await settle(budget)
        if task.done():
            made.append(now)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert max(sum(start <= at < start + 60 for at in made) for start in made) <= 50
    assert len(made) >= {"bucket": 75, "window": 60}[kind]
