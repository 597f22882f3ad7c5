"""Several processes draw from one budget in Redis: never too much together, nobody starves, nothing stays reserved."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from structlog.testing import capture_logs

from core.budgets import LIFE, UNUSED, Budgets, SharedBudget
from core.redis import Keys, connect
from core.scripts import script
from tests.redis_server import RedisServer
from tests.waiting import wait_until

NAME = "slack:T1:chat.update"


@dataclass
class Clock:
    """Time that a test turns by hand."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Process:
    """What one process has of a budget, and when it made calls."""

    budgets: Budgets
    budget: SharedBudget
    clock: Callable[[], float]
    made: list[float]
    waiting: list[asyncio.Task[None]] = field(default_factory=list)
    reserved: int = 0

    def take(self) -> None:
        """Begin to wait for a call."""
        self.waiting.append(asyncio.create_task(self._take()))

    def reserve(self) -> None:
        """Begin to wait for a reservation."""
        self.waiting.append(asyncio.create_task(self._reserve()))

    async def spare(self, calls: int) -> bool:
        """Make calls that can be spared."""
        spared = await self.budget.spare(calls)
        self.made += [self.clock()] * calls * spared
        return spared

    def spend(self) -> None:
        """Make the call that was reserved."""
        if self.reserved:
            self.reserved -= 1
            self.made.append(self.clock())
            self.budget.spend()

    def release(self) -> None:
        """Give it back."""
        if self.reserved:
            self.reserved -= 1
            self.budget.release()

    def give_up(self) -> None:
        """Whoever waits longest does not any more."""
        if waiting := [task for task in self.waiting if not task.done()]:
            waiting[0].cancel()

    async def _take(self) -> None:
        await self.budget.take()
        self.made.append(self.clock())

    async def _reserve(self) -> None:
        await self.budget.reserve()
        self.reserved += 1


class Company:
    """Processes that share one budget."""

    def __init__(
        self, redis: Redis, capacity: int, per_second: float = 0.0, *, seconds: float = 0.0, size: int = 2
    ) -> None:
        """A bucket; or, with ``seconds``, a window."""
        self.clock = Clock()
        self.made: list[float] = []
        self.processes: list[Process] = []
        self.capacity = capacity
        self.full_after = seconds or capacity / per_second
        self.step = seconds / 4 if seconds else 5.0  # nobody is silent for so long that they are taken for dead
        for _ in range(size):
            budgets = Budgets(redis, clock=self.clock, server_clock=self.clock, deadline=5)
            window = budgets.open_window(NAME, capacity, seconds) if seconds else None
            budget = window or budgets.open(NAME, capacity, per_second)
            self.processes.append(Process(budgets, budget, self.clock, self.made))

    async def settle(self) -> None:
        """Let everything that can happen now, happen."""
        for _ in range(3):
            for process in self.processes:
                await process.budget.sync()
                for _ in range(4):
                    await asyncio.sleep(0)

    async def pass_time(self, seconds: float, *, step: float = 1.0) -> None:
        """Turn the clock on, a little at a time."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now = min(end, self.clock.now + step)
            await self.settle()

    async def close(self) -> None:
        """Everybody goes home."""
        for process in self.processes:
            for task in process.waiting:
                task.cancel()
            await asyncio.gather(*process.waiting, return_exceptions=True)
            await process.budgets.aclose()


def assert_within(made: list[float], capacity: float, per_second: float) -> None:
    """In any window of t seconds there are at most capacity + per_second * t calls."""
    made = sorted(made)
    for first, start in enumerate(made):
        for last in range(first, len(made)):
            assert last - first + 1 <= capacity + per_second * (made[last] - start) + 1e-6


async def live(company: Company, story: list[tuple[str, int, float]]) -> None:
    """Let processes do what a story tells; in the end nothing is lost or left behind."""
    until = 0.0
    for operation, who, number in story:
        process = company.processes[who]
        match operation:
            case "take":
                process.take()
            case "reserve":
                process.reserve()
            case "spend" if company.clock.now >= until:  # as `unblocked` sees to it
                process.spend()
            case "release":
                process.release()
            case "spare":
                await process.spare(1)
            case "give up":
                process.give_up()
            case "refuse":
                await company.settle()
                process.budget.refused(number)
                until = max(until, company.clock.now + number)
                await company.settle()
            case "settle":
                await company.settle()
            case "time":
                await company.settle()
                before = len(company.made)
                await company.pass_time(min(number, max(0.0, until - company.clock.now - 0.01)), step=company.step)
                assert len(company.made) == before, "a call although the platform refuses"
                await company.pass_time(number, step=company.step)
    await company.settle()
    for process in company.processes:
        for task in process.waiting:
            task.cancel()
    await company.pass_time(max(0.0, until - company.clock.now) + company.full_after + 1, step=company.step)
    reserved = sum(process.reserved for process in company.processes)
    spared = [await company.processes[0].spare(1) for _ in range(company.capacity + 1)]
    assert sum(spared) == company.capacity - reserved
    for process in company.processes:
        while process.reserved:
            process.spend()


OPERATIONS = ("take", "take", "reserve", "reserve", "spend", "release", "spare", "give up", "refuse", "settle", "time")


@settings(max_examples=60, deadline=None)
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
        assert_within(company.made, capacity, per_second)
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


async def test_the_end_of_a_reply_never_waits_for_previews_of_another_process(company: Company) -> None:
    """A reservation holds against everybody."""
    one, two = company.processes
    one.reserve()
    await company.settle()
    for _ in range(20):
        two.take()
    await company.settle()
    assert len(company.made) == 4
    await one.budget.unblocked()
    one.spend()
    await company.pass_time(3)
    assert len(company.made) == 8
    assert_within(company.made, 5, 1)


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


async def test_a_refusal_stops_all_processes(company: Company) -> None:
    """The one that heard it at once, the others with their next question; and what was counted too high is gone."""
    one, two = company.processes
    await company.settle()
    one.budget.refused(2)
    await one.budget.sync()
    two.take()
    await company.pass_time(1.75, step=0.25)
    assert company.made == []
    await company.pass_time(0.5, step=0.25)
    assert company.made == [1002.0]
    assert await two.spare(2) is False


async def test_a_killed_process_gives_back_what_it_reserved(client: Redis, redis_url: str) -> None:
    """Within a minute; and as long as it lives, it keeps it."""
    program = f"""if True:
        import asyncio
        from core.budgets import Budgets
        from core.redis import connect

        async def main():
            budget = Budgets(await connect({redis_url!r})).open({NAME!r}, 3, 0.001)
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
    budgets = Budgets(client, clock=clock, server_clock=clock)
    budget = budgets.open(NAME, 3, 0.001)
    clock.now += LIFE - 1
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
    company.clock.now += LIFE + 1
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
    assert 60 < await client.ttl(Keys.budget(NAME)) <= LIFE + 60


async def test_a_clock_that_jumps_is_not_believed(client: Redis) -> None:
    """Neither a server's clock that goes back nor one that leaps makes calls, or keeps anybody waiting."""
    server, own = Clock(1e6), Clock()
    budgets = Budgets(client, clock=own, server_clock=server)
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
    ask = client.register_script(script("budget"))

    def question(number: int, made: int, reserved: int, *waiting: int) -> list[str | int | float]:
        line = [word for reserve in waiting for word in (0, reserve)]
        return ["me", 5, 0.001, 0, number, made, 0, 5, reserved, -1, 0, 1_000_000, 40_000, 1000, "", 1, 1, *line]

    async def left() -> tuple[str, str]:
        calls, mine = await client.hmget(Keys.budget(NAME), "calls", "of:me")
        assert calls
        assert mine
        return str(calls), str(mine)

    first = question(1, 0, 0, 0, 1)
    assert (await ask([Keys.budget(NAME)], first))[:2] == [2, 1]
    once = await left()
    for _ in range(3):
        assert (await ask([Keys.budget(NAME)], first))[:2] == [2, 1]
    assert await left() == once
    await ask([Keys.budget(NAME)], question(2, 2, 1))
    newer = await left()
    assert (await ask([Keys.budget(NAME)], first))[:2] == [0, 0]
    assert await left() == newer


async def test_what_an_answer_granted_that_was_never_heard_comes_back(company: Company) -> None:
    """Redis was too slow, and did it all the same."""
    one, two = company.processes
    question = one.budget._question(company.clock.now, [])
    granted = await one.budgets.ask(Keys.budget(NAME), [*question, 0, 0, 0, 1, 0, 0])  # two calls, one reserved
    assert granted[0] == 3
    await one.budget.sync()
    assert await two.spare(5)


async def test_budgets_that_nobody_uses_are_dropped(client: Redis) -> None:
    """There may be thousands of channels; those in which something is under way stay."""
    clock = Clock()
    budgets = Budgets(client, clock=clock)
    busy = budgets.open("busy", 5, 1)
    await busy.reserve()
    idle = [budgets.open(f"idle {number}", 5, 1) for number in range(100)]
    assert budgets.open("idle 7", 5, 1) is idle[7]
    clock.now += UNUSED + 1
    assert budgets.open("idle 7", 5, 1) is not idle[7]
    assert budgets.open("busy", 5, 1) is busy
    assert len(budgets._open) == 2
    await budgets.aclose()


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis of our own."""
    with tempfile.TemporaryDirectory(prefix="parley-") as folder:
        server = RedisServer(Path(folder, "s"))
        server.start()
        yield server
        server.kill()


@pytest.fixture
async def own(server: RedisServer) -> AsyncIterator[Redis]:
    """A client of it."""
    client = await connect(server.url)
    yield client
    await client.aclose()


async def timed(budget: SharedBudget, calls: int) -> list[float]:
    """Take so many, all at once; seconds after which each was had."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def take() -> float:
        await budget.take()
        return loop.time() - began

    return await asyncio.gather(*(take() for _ in range(calls)))


async def test_when_redis_is_killed_calls_go_on_and_are_counted_again_afterwards(
    server: RedisServer, own: Redis
) -> None:
    """At the rate of the platform's limit, one log line for all budgets, and shared again when it is back."""
    budgets = Budgets(own)
    edits, posts = budgets.open(NAME, 4, 20), budgets.open("slack:T1:C1:chat.postMessage", 2, 1)
    await timed(edits, 2)
    await posts.reserve()
    server.kill()
    with capture_logs() as lines:
        waits = sorted(await timed(edits, 6))
        assert waits[-1] < 2
        assert all(later - earlier < 0.5 for earlier, later in pairwise(waits))
        assert waits[5] - waits[3] > 0.06, "no faster than the platform allows"
        posts.spend()
        assert await posts.spare(1) in {True, False}
        server.start()
        await wait_until(lambda: not budgets.away, description="Redis shared again")
    assert [line["log_level"] for line in lines] == ["warning", "info"]
    assert lines[0]["why"]
    other = Budgets(own)
    await wait_until(lambda: posts.idle, description="told what was made")
    assert not await other.open("slack:T1:C1:chat.postMessage", 2, 1).spare(2), "the call while it was away counts"
    await other.aclose()
    await budgets.aclose()


async def test_when_redis_hangs_calls_wait_a_moment_and_no_longer(own: Redis) -> None:
    """Each for the deadline at the most, the next ones not at all."""
    budgets = Budgets(own, deadline=0.5)
    budget = budgets.open(NAME, 5, 1000)
    await budget.reserve()
    await own.client_pause(60_000, all=False)  # whatever writes
    with capture_logs() as lines:
        assert max(await timed(budget, 3)) < 2
        assert max(await timed(budget, 3)) < 0.4
        budget.spend()
        await own.client_unpause()
        await wait_until(lambda: not budgets.away, description="Redis shared again")
    assert len(lines) == 2
    await wait_until(lambda: budget.idle, description="nothing left to tell")
    await budgets.aclose()


async def test_a_process_that_is_busy_itself_does_not_blame_redis(own: Redis) -> None:
    """Neither an event loop that hangs, nor a burst of other calls to Redis, costs the company of the others."""
    budgets = Budgets(own, deadline=0.5)
    budget = budgets.open(NAME, 50, 1000)
    await budget.take()
    burst = [asyncio.ensure_future(own.blpop([f"none:{number}"], timeout=0.8)) for number in range(20)]
    waiting = asyncio.create_task(budget.take())
    for _ in range(5):
        await asyncio.sleep(0)
    time.sleep(0.6)  # noqa: ASYNC251 - that is the point
    await waiting
    heard = not budgets.away
    await asyncio.gather(*burst)
    await budgets.aclose()
    assert heard
