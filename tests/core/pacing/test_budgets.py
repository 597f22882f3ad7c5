"""Several processes draw from one budget in Redis: never too much together, nobody starves, nothing stays reserved."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from core.pacing.connection import budget_script
from core.pacing.shared import DROP_UNUSED_AFTER, RESERVATION_LIFE, CallBudgets
from core.store.connection import connect
from core.store.keys import Keys
from tests.core.company import NAME, OPERATIONS, Clock, Company, Process, live
from tests.examples import examples
from tests.waiting import UNHURRIED


@examples(60)
@given(
    capacity=st.integers(1, 5),
    per_second=st.sampled_from([0.25, 1.0, 3.0]),
    story=st.lists(
        st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 1), st.floats(0.01, 15)), min_size=5, max_size=40
    ),
)
def test_together_they_never_call_more_often_than_one_might(
    redis_url: str, capacity: int, per_second: float, story: list[tuple[str, int, float]]
) -> None:
    """Whatever two processes do, in whatever order: the limit holds, and no reservation is lost or left behind."""

    async def tell() -> None:
        redis = await connect(redis_url)
        await redis.flushall()
        company = Company(redis, capacity, per_second)
        await live(company, story)
        company.assert_limit_holds()
        await company.close()
        await redis.aclose()

    asyncio.run(tell())


@pytest.fixture
async def company(client: Redis) -> AsyncIterator[Company]:
    """Two processes; five calls at once, one more each second."""
    company = Company(client, 5, 1)
    yield company
    await company.close()


async def test_nobody_starves_beside_a_process_with_many_replies(client: Redis) -> None:
    """Who waits longest is served first, in whatever process; uneven load makes no difference."""
    company = Company(client, 1, 1, size=3)
    crowded, lonely, other = company.processes
    order: list[str] = []

    async def ask(process: Process, name: str) -> None:
        await process.budget.take()
        order.append(name)

    asked = []
    tasks = []
    for number in range(30):
        company.clock.now += 0.03
        await company.settle()
        process = lonely if number % 10 == 7 else other if number == 15 else crowded
        asked.append(f"{number}")
        tasks.append(asyncio.create_task(ask(process, f"{number}")))
        await company.settle()
    while not all(task.done() for task in tasks):
        company.processes.append(company.processes.pop(0))  # each is the first to ask, in turn
        company.clock.now += 0.5
        await company.settle()
    assert order == asked
    await company.close()


async def test_spare_calls_are_none_while_another_process_waits(company: Company) -> None:
    """What comes in belongs to who waits, even if it did not come for it yet."""
    one, two = company.processes
    assert await one.spare(5)
    one.take()
    await company.settle()
    company.clock.now += 1.5
    assert not await two.spare(1)
    await company.settle()
    assert len(company.made) == 6


async def test_a_killed_process_gives_back_what_it_reserved(client: Redis, redis_url: str) -> None:
    """Within a minute; and as long as it lives, it keeps it."""
    program = f"""if True:
        import asyncio
        from core.pacing.shared import CallBudgets
        from core.store.connection import connect

        async def main():
            budget = CallBudgets(await connect({redis_url!r})).open({NAME!r}, 3, 0.001)
            for _ in range(3):
                await budget.reserve()
            print("reserved", flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
    """
    victim = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert victim.stdout
    assert await victim.stdout.readline() == b"reserved\n"
    victim.kill()
    await victim.wait()
    seconds, micros = await client.time()
    clock = Clock(seconds + micros / 1e6)
    budgets = CallBudgets(client, clock=clock, server_clock=clock, deadline=UNHURRIED)
    budget = budgets.open(NAME, 3, 0.001)
    clock.now += RESERVATION_LIFE - 1
    assert not await budget.spare(1)
    clock.now += 2
    assert await budget.spare(3)
    await budgets.aclose()


async def test_a_process_that_was_frozen_has_its_reservations_again(company: Company) -> None:
    """Taken for dead meanwhile, it may spend what it was promised, and everybody else waits for that."""
    frozen, other = company.processes
    frozen.reserve()
    frozen.reserve()
    await company.settle()
    company.clock.now += RESERVATION_LIFE + 1
    assert await other.spare(5)
    frozen.spend()
    await company.pass_time(2)
    assert not await other.spare(1)
    await company.pass_time(1)
    assert await other.spare(1)


async def test_closing_gives_back_at_once(company: Company) -> None:
    """A process that ends in peace leaves nothing reserved; who waits there still is served."""
    one, two = company.processes
    for _ in range(5):
        one.reserve()
    one.take()
    await company.settle()
    assert not await two.spare(1)
    await one.budgets.aclose()
    await one.waiting[-1]
    assert await two.spare(4)


async def test_it_lives_for_no_longer_than_it_matters(client: Redis, company: Company) -> None:
    """One key, which a full and idle budget does not need."""
    one, _ = company.processes
    one.take()
    await company.settle()
    assert await client.keys() == [Keys.budget(NAME)] == ["{parley}:budget:slack:T1:chat.update"]
    assert 60 < await client.ttl(Keys.budget(NAME)) <= RESERVATION_LIFE + 60


async def test_a_clock_that_jumps_is_not_believed(client: Redis) -> None:
    """Neither a server's clock that goes back nor one that leaps makes calls, or keeps anybody waiting."""
    server, own = Clock(1e6), Clock()
    budgets = CallBudgets(client, clock=own, server_clock=server, deadline=UNHURRIED)
    budget = budgets.open(NAME, 5, 1)
    assert await budget.spare(5)
    for jump in (-86_400, 86_400 * 365):
        server.now += jump
        assert not await budget.spare(2), "made of nothing"
        for _ in range(3):
            server.now += 1
            own.now += 1
            await budget.sync()
        assert await budget.spare(3), "an hour does not matter"
    await budgets.aclose()


async def test_a_call_that_is_sent_twice_or_late_costs_nothing(client: Redis) -> None:
    """The client sends it again when a connection breaks; one that it gave up may still come, after a newer one."""
    ask = budget_script(client)

    def request(number: int, made: int, reserved: int, *waiting: int) -> dict[str, object]:
        told: dict[str, object] = {
            "capacity": 5,
            "per_second": 0.001,
            "window": 0,
            "number": number,
            "made": made,
            "unreported": 0,
            "ages": [],
        }
        told |= {"free": 5, "reserved": reserved, "passed": -1, "refused": 0, "life": 40_000, "poll": 1000}
        told |= {"time": 1_000_000, "spares": [1], "waiters": [(0, reserve) for reserve in waiting]}
        return told

    async def granted(request: dict[str, object]) -> tuple[int, int]:
        answer = json.loads(await ask(key=Keys.budget(NAME), name="me", request=request))
        return answer.get("served", 0), answer.get("granted", 0)

    async def left() -> tuple[str, str]:
        calls, mine = await client.hmget(Keys.budget(NAME), "releases", "of:me")
        assert calls
        assert mine
        return str(calls), str(mine)

    first = request(1, 0, 0, 0, 1)
    assert await granted(first) == (2, 1)
    once = await left()
    for _ in range(3):
        assert await granted(first) == (2, 1)
    assert await left() == once
    await granted(request(2, 2, 1))
    newer = await left()
    assert await granted(first) == (0, 0)
    assert await left() == newer


async def test_what_an_answer_granted_that_was_never_heard_comes_back(company: Company) -> None:
    """Redis was too slow, and did it all the same."""
    one, two = company.processes
    request = one.budget._request(company.clock.now, [])
    waiters = [(0, 0), (0, 1), (0, 0)]  # two calls, one reserved
    granted = await one.budgets.ask(Keys.budget(NAME), one.budget._process, {**request, "waiters": waiters})
    assert granted["served"] == 3
    await one.budget.sync()
    assert await two.spare(5)


async def test_budgets_that_nobody_uses_are_dropped(client: Redis) -> None:
    """There may be thousands of channels; those in which something is under way stay."""
    clock = Clock()
    budgets = CallBudgets(client, clock=clock, deadline=UNHURRIED)
    busy = budgets.open("busy", 5, 1)
    await busy.reserve()
    idle = [budgets.open(f"idle {number}", 5, 1) for number in range(100)]
    assert budgets.open("idle 7", 5, 1) is idle[7]
    clock.now += DROP_UNUSED_AFTER + 1
    assert budgets.open("idle 7", 5, 1) is not idle[7]
    assert budgets.open("busy", 5, 1) is busy
    assert len(budgets._open) == 2
    await budgets.aclose()
