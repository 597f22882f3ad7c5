"""What it costs that budgets are shared: the wait for a call that is free, alone and through Redis."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from core.pacing.budget import CallBudget
from core.pacing.shared import CallBudgets
from core.store.connection import connect
from core.store.embedded import embedded_redis
from tests.bench.figures import Figure, at

PLENTY = 1_000_000


async def measure(quick: bool) -> list[Figure]:
    """Calls one after the other; and a hundred at once, each from the budget of another channel, then from one."""
    times = 100 if quick else 3000
    with tempfile.TemporaryDirectory(prefix="parley-") as folder:
        async with embedded_redis(Path(folder)) as url:
            redis = await connect(url)
            budgets = CallBudgets(redis)
            alone = await _waits([CallBudget(PLENTY, PLENTY)] * times)
            shared = await _waits([budgets.open("one", PLENTY, PLENTY)] * times)
            channels = [budgets.open(f"channel {number}", PLENTY, PLENTY) for number in range(100)]
            crowds = [await _crowd(channels), await _crowd([budgets.open("one", PLENTY, PLENTY)] * 100)]
            before = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
            await _waits([budgets.open("one", PLENTY, PLENTY)] * 10)
            calls = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] - before
            await budgets.aclose()
            await redis.aclose()
    return [
        Figure("take a call alone, p50", round(at(0.5, alone) * 1000, 3), "ms"),
        Figure("take a call shared, p50", round(at(0.5, shared) * 1000, 3), "ms"),
        Figure("take a call shared, p99", round(at(0.99, shared) * 1000, 3), "ms"),
        Figure("100 calls at once from budgets of 100 channels, all served after", round(crowds[0] * 1000, 1), "ms"),
        Figure("100 calls at once from one budget, all served after", round(crowds[1] * 1000, 1), "ms"),
        Figure("questions to Redis for 10 calls, one after the other", calls, ""),
    ]


async def _waits(budgets: Sequence[CallBudget]) -> list[float]:
    waits = []
    for budget in budgets:
        began = time.perf_counter()
        await budget.take()
        waits.append(time.perf_counter() - began)
    return waits


async def _crowd(budgets: Sequence[CallBudget]) -> float:
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for budget in budgets:
            group.create_task(budget.take())
    return time.perf_counter() - began
