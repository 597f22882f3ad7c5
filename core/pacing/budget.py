"""Budgets of platform calls: fair among answers, with one call kept for the end of each.

A platform counts calls per method and workspace (or channel), so all answers there draw from one ``CallBudget``, which
serves them in the order of asking. An answer reserves its last edit before it shows its first words; previews spend
only what nobody reserved. So a finished answer never waits for answers that still grow, and an answer that cannot
reserve its last edit yet waits with its first words and may still be posted once, whole.
"""

from __future__ import annotations

import asyncio
import math
import time
from bisect import insort_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from core.pacing.rates import RateLimit, SlidingWindow, TokenBucket

POLL_SECONDS = 1.0
"""How long to wait before looking again whether a call is free, where nobody knows when one will be."""


@dataclass(frozen=True, slots=True)
class Waiter:
    """Somebody in line: for a call, or to ``reserve`` one; ``since`` is by the budget's clock."""

    served: asyncio.Future[None]
    reserve: bool
    since: float
    rank: int


class CallBudget:
    """How often one method of a platform may be called, counted in this process.

    A token bucket of ``capacity`` calls and ``per_second`` more each second; or, with ``seconds``, a sliding window of
    ``capacity`` calls in any ``seconds``. A bucket allows at most ``capacity + 60 * per_second`` calls in any minute.
    Waiters are served by rank, lowest first, then in the order of asking. One event loop, no threads.
    ``SharedCallBudget`` counts for several processes.

    Example::

        edits = CallBudget(20, per_second=0.5)
        await edits.reserve()   # the answer's last edit
        await edits.take()      # a preview: waits for a call that nobody reserved
        edits.spend()           # the last edit was made
    """

    def __init__(
        self,
        capacity: float,
        per_second: float = 0.0,
        *,
        seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.capacity = capacity
        self.per_second = per_second
        self.seconds = seconds
        self._clock = clock
        self._limit: RateLimit = SlidingWindow(int(capacity), seconds) if seconds else TokenBucket(capacity, per_second)
        self._reserved = 0
        self._blocked_until = 0.0
        self._line: deque[Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, rank: int = 0) -> None:
        """Wait for a call that nobody reserved, and spend it."""
        await self._wait_in_line(rank, reserve=False)

    async def reserve(self, rank: int = 0) -> None:
        """Wait for a call that nobody reserved, and keep it: for exactly one ``spend`` or ``release``."""
        await self._wait_in_line(rank, reserve=True)

    def spend(self) -> None:
        """Account for a reserved call that was made."""
        self._reserved -= 1
        self._pay(1)
        self._serve()

    async def spare(self, calls: int) -> bool:
        """Spend so many calls if they are free now and nobody waits; returns whether it did."""
        return self._spare(calls)

    def release(self) -> None:
        """Give back a reserved call that was not made."""
        self._reserved -= 1
        self._serve()

    def refused(self, retry_after: float) -> None:
        """The platform refused a call: nobody calls for ``retry_after`` seconds, and our count was too high."""
        now = self._clock()
        self._blocked_until = max(self._blocked_until, now + retry_after)
        self._limit.keep(self._reserved, now)

    async def unblocked(self) -> None:
        """Wait until the platform accepts calls again after a refusal."""
        await asyncio.sleep(max(0.0, self._blocked_until - self._clock()))

    async def _wait_in_line(self, rank: int, *, reserve: bool) -> None:
        """Wait for a free call."""
        waiter = Waiter(asyncio.get_running_loop().create_future(), reserve, self._clock(), rank)
        insort_right(self._line, waiter, key=_rank)
        self._serve()
        try:
            await waiter.served
        except asyncio.CancelledError:
            served = waiter.served
            if served.done() and not served.cancelled():  # served and cancelled in the same moment: give it back
                if reserve:
                    self._reserved -= 1
                else:
                    self._pay(-1)
            self._serve()
            raise

    def _serve(self) -> None:
        """Give free calls to the first in line, and come back when there will be another."""
        self._set_timer(None)
        while self._somebody_waits():
            if (wait := self._seconds_to_a_call()) > 0:
                self._set_timer(wait)
                return
            self._serve_one()

    def _somebody_waits(self) -> bool:
        """Whether there is a waiter who did not give up."""
        while self._line and self._line[0].served.done():
            self._line.popleft()
        return bool(self._line)

    def _serve_one(self) -> None:
        """Give a call to the first in line."""
        waiter = self._line.popleft()
        if waiter.reserve:
            self._reserved += 1
        else:
            self._pay(1)
        waiter.served.set_result(None)

    def _spare(self, calls: int) -> bool:
        now = self._clock()
        if self._somebody_waits() or self._blocked_until > now or self._limit.free(now) - self._reserved < calls:
            return False
        self._pay(calls)
        return True

    def _pay(self, calls: int) -> None:
        """Account for calls; a negative number gives them back."""
        self._limit.pay(calls, self._clock())

    def _set_timer(self, seconds: float | None) -> None:
        """Serve again after so many seconds; None: at the next request."""
        if self._timer:
            self._timer.cancel()
        self._timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self._serve)

    def _seconds_to_a_call(self) -> float:
        """Seconds until a call is free; 0 for now. Where all are reserved, the next ``spend`` or ``release`` serves."""
        now = self._clock()
        wait = self._limit.seconds_to(1 - (self._limit.free(now) - self._reserved), now)
        return max(self._blocked_until - now, POLL_SECONDS if wait == math.inf else wait)


def _rank(waiter: Waiter) -> int:
    return waiter.rank
