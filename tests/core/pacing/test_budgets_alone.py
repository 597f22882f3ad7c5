"""While Redis is away or hangs, each process keeps to a budget by itself, and shares it again afterwards."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from core.pacing.shared import CallBudgets, SharedCallBudget
from core.store.connection import connect
from tests.core.company import NAME, assert_never_more
from tests.redis_server import RedisServer
from tests.waiting import wait_until


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


async def timed(budget: SharedCallBudget, calls: int) -> list[float]:
    """Take so many, all at once; when each was had."""

    async def take() -> float:
        await budget.take()
        return time.monotonic()

    return await asyncio.gather(*(take() for _ in range(calls)))


async def test_when_redis_is_killed_calls_go_on_and_are_counted_again_afterwards(
    server: RedisServer, own: Redis
) -> None:
    """At the rate of the platform's limit, one log line for all budgets, and shared again when it is back."""
    budgets = CallBudgets(own)
    edits, posts = budgets.open(NAME, 4, 20), budgets.open("slack:T1:C1:chat.postMessage", 2, 1)
    await timed(edits, 2)
    await posts.reserve()
    server.kill()
    with capture_logs() as lines:
        began = time.monotonic()
        made = sorted(await timed(edits, 6))
        assert made[-1] - began < 2
        assert all(later - earlier < 0.5 for earlier, later in pairwise(made))
        assert made[5] - made[3] > 0.06, "no faster than the platform allows"
        posts.spend()
        assert await posts.spare(1) in {True, False}
        server.start()
        await wait_until(lambda: not budgets.away, description="Redis shared again")
    assert [line["log_level"] for line in lines] == ["warning", "info"]
    assert lines[0]["why"]
    other = CallBudgets(own)
    await wait_until(lambda: posts.idle, description="told what was made")
    assert not await other.open("slack:T1:C1:chat.postMessage", 2, 1).spare(2), "the call while it was away counts"
    await other.aclose()
    await budgets.aclose()


async def test_when_redis_hangs_calls_wait_a_moment_and_no_longer(own: Redis) -> None:
    """Each for the deadline at the most, the next ones not at all."""
    budgets = CallBudgets(own, deadline=0.5)
    budget = budgets.open(NAME, 5, 1000)
    await budget.reserve()
    await own.client_pause(60_000, all=False)  # whatever writes
    with capture_logs() as lines:
        began = time.monotonic()
        waited = max(await timed(budget, 3)) - began
        assert 0.4 < waited < 2
        assert max(await timed(budget, 3)) - began - waited < 0.4
        budget.spend()
        await own.client_unpause()
        await wait_until(lambda: not budgets.away, description="Redis shared again")
    assert len(lines) == 2
    await wait_until(lambda: budget.idle, description="nothing left to tell")
    await budgets.aclose()


async def test_a_process_that_is_busy_itself_does_not_blame_redis(own: Redis) -> None:
    """Neither an event loop that hangs, nor a burst of other calls to Redis, costs the company of the others."""
    budgets = CallBudgets(own, deadline=0.5)
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


async def test_while_redis_is_away_each_process_keeps_to_the_window_by_itself(server: RedisServer, own: Redis) -> None:
    """With what it made before, and what others had; and Redis is told afterwards."""
    budgets, others = CallBudgets(own), CallBudgets(own)
    window, elsewhere = budgets.open_window(NAME, 4, 1.5), others.open_window(NAME, 4, 1.5)
    begun = time.monotonic()
    await timed(elsewhere, 1)
    made = await timed(window, 1)
    await wait_until(lambda: window.idle, description="all is told")
    server.kill()
    made += await timed(window, 8)
    assert budgets.away
    assert_never_more(made, 4, 1.5)
    assert sum(at < begun + 1.5 for at in made) <= 3, "one was made elsewhere"
    server.start()
    await wait_until(lambda: not budgets.away, description="Redis shared again")
    made += await timed(window, 4)
    assert_never_more(made, 4, 1.5)
    await budgets.aclose()
    await others.aclose()
