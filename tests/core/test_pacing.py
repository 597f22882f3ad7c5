"""Budgets are fair, keep what was reserved, and listen to refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from core.pacing import Budget


@pytest.fixture
async def served() -> AsyncIterator[list[str]]:
    """Who was served, in order."""
    yield []  # noqa: PT022 - an asynchronous fixture has a loop


async def ask(budget: Budget, name: str, served: list[str]) -> None:
    """Wait for a call and note it."""
    await budget.take()
    served.append(name)


async def settle() -> None:
    """Let everything that can run, run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_burst_goes_out_at_once_and_the_rest_in_the_order_of_asking(served: list[str]) -> None:
    """First come, first served."""
    budget = Budget(capacity=2, per_second=200)
    async with asyncio.TaskGroup() as group:
        for name in "abcdef":
            group.create_task(ask(budget, name, served))
        await settle()
        assert served == ["a", "b"]
    assert served == list("abcdef")


async def test_what_is_reserved_is_not_spent_by_others(served: list[str]) -> None:
    """An answer that is done never waits for others that still grow."""
    budget = Budget(capacity=2, per_second=0.001)
    await budget.reserve()
    await budget.take()
    waiting = asyncio.create_task(ask(budget, "preview", served))
    await settle()
    assert served == []
    budget.spend()  # at once, although nothing else is left
    waiting.cancel()


async def test_a_released_reservation_serves_who_waits(served: list[str]) -> None:
    """Nothing is lost when an answer ends without its last edit."""
    budget = Budget(capacity=1, per_second=0.001)
    await budget.reserve()
    waiting = asyncio.create_task(ask(budget, "next", served))
    await settle()
    budget.release()
    await waiting
    assert served == ["next"]


async def test_who_gives_up_waiting_costs_nothing(served: list[str]) -> None:
    """The next in line is served in its place."""
    budget = Budget(capacity=1, per_second=100)
    await budget.take()
    first, second = (asyncio.create_task(ask(budget, name, served)) for name in "ab")
    await settle()
    first.cancel()
    await second
    assert served == ["b"]


async def test_a_call_that_is_served_and_cancelled_in_one_moment_is_given_back() -> None:
    """Neither taken nor reserved calls leak."""
    for reserve in (False, True):
        budget = Budget(capacity=1, per_second=0.001)
        await budget.reserve()
        waiting = asyncio.create_task(budget.reserve() if reserve else budget.take())
        await settle()
        budget.release()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.wait_for(budget.take(), 1)


async def test_after_a_refusal_nobody_calls_until_the_platform_allows_it() -> None:
    """The refusal says when; what was reserved stays reserved."""
    loop = asyncio.get_running_loop()
    budget = Budget(capacity=5, per_second=1000)
    await budget.reserve()
    budget.refused(0.05)
    asked = loop.time()
    await budget.take()
    assert loop.time() - asked >= 0.049
    await budget.unblocked()
    budget.spend()


async def test_no_more_calls_in_a_minute_than_the_platform_allows() -> None:
    """Capacity and refill together stay below the limit, on a clock that we turn by hand."""
    now = 0.0
    budget = Budget(capacity=20, per_second=0.5, clock=lambda: now)
    made: list[float] = []
    for tick in range(1200):
        now = tick / 10
        task = asyncio.create_task(budget.take())
        await settle()
        if task.done():
            made.append(now)
        task.cancel()
        await settle()
    assert max(sum(start <= at < start + 60 for at in made) for start in made) <= 50
    assert len(made) >= 75
