"""Several processes that share one budget, on a clock that a test turns by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from redis.asyncio import Redis

from core.pacing.shared import CallBudgets, SharedCallBudget
from tests.waiting import UNHURRIED

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

    budgets: CallBudgets
    budget: SharedCallBudget
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
        self.capacity, self.per_second, self.window = capacity, per_second, seconds
        self.full_after = seconds or capacity / per_second
        self.step = seconds / 4 if seconds else 5.0  # nobody is silent for so long that they are taken for dead
        for _ in range(size):
            budgets = CallBudgets(redis, clock=self.clock, server_clock=self.clock, deadline=UNHURRIED)
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

    def assert_limit_holds(self) -> None:
        """Together they made no more calls than the platform allows."""
        if self.window:
            assert_never_more(self.made, self.capacity, self.window)
        else:
            assert_within(self.made, self.capacity, self.per_second)

    async def close(self) -> None:
        """Everybody goes home."""
        for process in self.processes:
            for task in process.waiting:
                task.cancel()
            await asyncio.gather(*process.waiting, return_exceptions=True)
            await process.budgets.aclose()


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


def assert_within(made: list[float], capacity: float, per_second: float) -> None:
    """In any window of t seconds there are at most capacity + per_second * t calls."""
    made = sorted(made)
    for first, start in enumerate(made):
        for last in range(first, len(made)):
            assert last - first + 1 <= capacity + per_second * (made[last] - start) + 1e-6


MEASURED_LATE = 0.05
"""Seconds by which a busy machine may notice a call later than it was granted."""


def assert_never_more(made: list[float], calls: int, seconds: float) -> None:
    """In no window of so many ``seconds`` there are more than so many ``calls``."""
    made = sorted(made)
    for first, over in zip(made, made[calls:], strict=False):
        assert over - first >= seconds - MEASURED_LATE
