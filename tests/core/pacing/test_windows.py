"""Several processes call no more often than a window allows, whatever the times between their calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from core.pacing.budget import CallBudget
from core.pacing.shared import CallBudgets
from core.store.connection import connect
from core.store.keys import Keys
from tests.core.company import NAME, OPERATIONS, Company, assert_never_more, live
from tests.examples import examples
from tests.waiting import UNHURRIED


@examples(80)
@given(
    calls=st.integers(1, 5),
    seconds=st.sampled_from([4.0, 10.0]),
    story=st.lists(
        st.tuples(st.sampled_from((*OPERATIONS, "time")), st.integers(0, 2), st.floats(0.01, 9)),
        min_size=5,
        max_size=50,
    ),
)
def test_together_they_never_make_more_calls_in_any_window(
    redis_url: str, calls: int, seconds: float, story: list[tuple[str, int, float]]
) -> None:
    """Whatever three processes do, in whatever order; and no reservation is lost or left behind."""

    async def tell() -> None:
        redis = await connect(redis_url)
        await redis.flushall()
        company = Company(redis, calls, seconds=seconds, size=3)
        await live(company, story)
        company.assert_limit_holds()
        await company.close()
        await redis.aclose()

    asyncio.run(tell())


@examples(8)
@given(
    calls=st.integers(2, 20),
    on_their_way=st.lists(st.floats(0.0, 0.15), min_size=10, max_size=60),
    processes=st.integers(2, 4),
)
def test_calls_on_their_way_count_until_they_are_answered(
    redis_url: str, calls: int, on_their_way: list[float], processes: int
) -> None:
    """On real clocks: wherever between its beginning and its answer a call is counted, it is never one too many.

    This is how all calls of a bot are counted: reserved, made, and spent when they were answered.
    """
    seconds = 0.25

    async def tell() -> None:
        redis = await connect(redis_url)
        await redis.flushall()
        company = [CallBudgets(redis, deadline=UNHURRIED) for _ in range(processes)]
        begun: list[float] = []
        arrived: list[float] = []

        async def call(budget: CallBudget, away: float) -> None:
            await budget.reserve()
            begun.append(time.monotonic())
            await asyncio.sleep(away / 2)
            arrived.append(time.monotonic())
            await asyncio.sleep(away / 2)
            budget.spend()

        budgets = [one.open_window(NAME, calls, seconds) for one in company]
        await asyncio.gather(
            *(call(budgets[number % processes], away) for number, away in enumerate(on_their_way)),
        )
        assert_never_more(begun, calls, seconds)
        assert_never_more(arrived, calls, seconds)
        for one in company:
            await one.aclose()
        await redis.aclose()

    asyncio.run(tell())


@pytest.fixture
async def company(client: Redis) -> AsyncIterator[Company]:
    """Two processes; five calls in five seconds."""
    company = Company(client, 5, seconds=5.0)
    yield company
    await company.close()


async def test_calls_come_back_when_their_time_is_over_and_not_before(company: Company) -> None:
    """Not one after the other, as into a bucket."""
    one, two = company.processes
    assert await one.spare(3)
    await company.settle()
    company.clock.now += 2
    assert await two.spare(2)
    await company.settle()
    company.clock.now += 2.9
    assert not await one.spare(1)
    company.clock.now += 0.2
    assert await one.spare(3)
    await company.settle()
    assert not await two.spare(1)


async def test_rank_goes_before_time_in_all_processes(client: Redis) -> None:
    """The end of an answer in one process goes before previews that have waited longer in another."""
    company = Company(client, 1, seconds=1.0)
    one, two = company.processes
    order: list[str] = []

    async def ask(budget: CallBudget, rank: int, name: str) -> None:
        await budget.take(rank)
        order.append(name)

    assert await one.spare(1)
    tasks = []
    for process, rank, name in ((one, 3, "preview"), (one, 1, "sign"), (two, 3, "later preview"), (two, 0, "end")):
        tasks.append(asyncio.create_task(ask(process.budget, rank, name)))
        await company.settle()
        company.clock.now += 0.05
    while not all(task.done() for task in tasks):
        company.clock.now += 0.25
        await company.settle()
    assert order == ["end", "sign", "preview", "later preview"]
    await company.close()


async def test_what_a_dead_process_reserved_of_a_short_window_comes_back_soon(client: Redis) -> None:
    """Calls of a whole bot cannot wait for a dozen seconds, because one of its workers died."""
    company = Company(client, 3, seconds=1.0)
    dead, other = company.processes
    for _ in range(3):
        dead.reserve()
    await company.settle()
    assert dead.reserved == 3
    company.clock.now += 3.5
    assert not await other.spare(1)
    company.clock.now += 1
    assert await other.spare(3)
    await company.close()


async def test_it_lives_for_no_longer_than_it_matters(client: Redis, company: Company) -> None:
    """One key, with what was made in the last window and no more."""
    one, _ = company.processes
    for _ in range(3):
        one.take()
        await company.pass_time(2)
    assert await client.keys() == [Keys.budget(NAME)]
    assert len((await client.hget(Keys.budget(NAME), "releases") or "").split()) == 3
    await company.pass_time(6)
    await one.budget.sync()
    assert await client.hget(Keys.budget(NAME), "releases") == ""
    assert 60 < await client.ttl(Keys.budget(NAME)) <= 72
