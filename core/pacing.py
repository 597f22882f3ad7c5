"""Budgets of platform calls: fair among answers, with one call kept for the end of each.

A platform counts calls per method and workspace (or channel), so all answers there draw from one ``Budget``: a token
bucket that serves in the order of asking. An answer reserves its last edit before it shows its first words;
previews spend only what nobody reserved. So an answer that is done is never kept waiting by others that still grow,
and one whose last edit cannot be had yet waits with its first words and may still be posted once, whole.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_DUST = 1e-9
"""Less than this of a call is rounding."""


@dataclass(frozen=True, slots=True)
class Waiter:
    """Somebody in line: for a call, or to ``reserve`` one; ``since`` when, by the budget's clock."""

    served: asyncio.Future[None]
    reserve: bool
    since: float


class Budget:
    """``capacity`` calls at once, and ``per_second`` more each second.

    At most ``capacity + 60 * per_second`` calls are made in any minute. One event loop, no threads. This one is counted
    in the process; ``core.budgets.SharedBudget`` is the same for several.
    """

    def __init__(self, capacity: float, per_second: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.capacity = capacity
        self.per_second = per_second
        self._clock = clock
        self._calls = capacity
        self._counted_at = clock()
        self._reserved = 0
        self._blocked_until = 0.0
        self._line: deque[Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def take(self) -> None:
        """Wait for a call that nobody reserved, and spend it."""
        await self._turn(reserve=False)

    async def reserve(self) -> None:
        """Wait for a call that nobody reserved, and keep it: for ``spend`` or ``release``, exactly one of them."""
        await self._turn(reserve=True)

    def spend(self) -> None:
        """Account for a call that was made with what was reserved."""
        self._count()
        self._reserved -= 1
        self._pay(1)
        self._serve()

    async def spare(self, calls: int) -> bool:
        """Spend so many calls if they are free now and nobody waits; False, and nothing is spent, if not."""
        return self._spare(calls)

    def release(self) -> None:
        """Give back the call that was reserved."""
        self._reserved -= 1
        self._serve()

    def refused(self, retry_after: float) -> None:
        """The platform refused a call: nobody calls for ``retry_after`` seconds, and our count was too high."""
        self._count()
        self._blocked_until = max(self._blocked_until, self._clock() + retry_after)
        self._calls = min(self._calls, self._reserved)

    async def unblocked(self) -> None:
        """Wait until the platform lets us call again, after a refusal."""
        await asyncio.sleep(max(0.0, self._blocked_until - self._clock()))

    async def _turn(self, *, reserve: bool) -> None:
        """Wait in line for a free call."""
        waiter = Waiter(asyncio.get_running_loop().create_future(), reserve, self._clock())
        self._line.append(waiter)
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
        """Give free calls to those who wait longest, and come back when there will be another."""
        self._set_timer(None)
        self._count()
        while self._somebody_waits():
            if (wait := self._seconds_to_a_call()) > 0:
                self._set_timer(wait)
                return
            self._serve_one()

    def _somebody_waits(self) -> bool:
        """Whether there is somebody in line who did not give up."""
        while self._line and self._line[0].served.done():
            self._line.popleft()
        return bool(self._line)

    def _serve_one(self) -> None:
        """Give a call to who waits longest."""
        waiter = self._line.popleft()
        if waiter.reserve:
            self._reserved += 1
        else:
            self._pay(1)
        waiter.served.set_result(None)

    def _spare(self, calls: int) -> bool:
        self._count()
        if self._somebody_waits() or self._blocked_until > self._clock() or self._calls - self._reserved < calls:
            return False
        self._pay(calls)
        return True

    def _pay(self, calls: int) -> None:
        """Account for calls; fewer than none are given back."""
        self._calls -= calls

    def _set_timer(self, seconds: float | None) -> None:
        """Serve again after so many seconds; None: when somebody asks."""
        if self._timer:
            self._timer.cancel()
        self._timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self._serve)

    def _seconds_to_a_call(self) -> float:
        """Seconds until a call is free; 0 for now. Where all are reserved, whoever spends or releases one serves."""
        blocked = self._blocked_until - self._clock()
        missing = 1 - (self._calls - self._reserved)
        if missing > _DUST and self._reserved + 1 > self.capacity:
            return max(blocked, 1.0)
        return max(blocked, missing / self.per_second if missing > _DUST else 0.0)

    def _count(self) -> None:
        """Add what has come in since the last count."""
        now = self._clock()
        self._calls = min(self.capacity, self._calls + (now - self._counted_at) * self.per_second)
        self._counted_at = now
