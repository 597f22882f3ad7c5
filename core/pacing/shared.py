"""Budgets that all processes share: one bucket or window in Redis for what a platform counts together.

A ``SharedCallBudget`` asks Redis before it serves its line. One task of each budget tells how many calls this process
has made and keeps reserved, and learns how many of its waiters are served (``core/pacing/budget.lua``); whatever comes
in meanwhile goes into the next request. Spending and releasing only change numbers here, so they never wait.

Redis may be slow or away, and a call that somebody waits for is worth more than an exact count: after
``REDIS_DEADLINE`` each process serves from its own count, which starts with what was left, until Redis answers again.
Should that be too much for the platform, it refuses, and every budget obeys refusals.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import structlog
from redis.asyncio import Redis

from core.pacing.budget import POLL_SECONDS, CallBudget, Waiter
from core.pacing.connection import REDIS_FAULTS, BudgetAnswer, BudgetConnection, BudgetRequest
from core.store import Keys
from core.tasks import end_tasks

log = structlog.get_logger()

REDIS_DEADLINE = 0.25
"""Seconds that Redis has for an answer."""
REDIS_RETRY_SECONDS = 0.5
"""Pause between two looks whether Redis is back."""
RESERVATION_LIFE = 12
"""Seconds after which the reservations of a silent process are free again.

Less than a lease lasts: the worker that takes over a dead one's replies needs these calls. For a short window it is the
time of four windows.
"""
RENEWALS_PER_LIFE = 4
"""How often in that time a process with reservations makes itself heard."""
RANK_ADVANTAGE = 10
"""Seconds that a waiter seems to have waited longer, to other processes, than those of the next rank."""
DROP_UNUSED_AFTER = 600
"""Seconds after which this process drops a budget that nobody opened; Redis keeps all there is to know."""


class SharedCallBudget(CallBudget):
    """One process's part in a shared budget. ``CallBudgets`` makes it."""

    def __init__(self, owner: CallBudgets, name: str, capacity: float, per_second: float, seconds: float) -> None:
        super().__init__(capacity, per_second, seconds=seconds, clock=owner.clock)
        self.opened_at = owner.clock()
        self._owner = owner
        self._key = Keys.budget(name)
        self._process = secrets.token_hex(8)
        self._requests = 0
        self._requested_at: float | None = None
        self._made = 0  # calls of this process, in all
        self._counted_alone = False
        # When those calls of a window were made that Redis does not count yet, as far as that matters.
        self._unreported: deque[float] = deque(maxlen=math.ceil(capacity) if seconds else 0)
        self._reported_made = self._reported_reserved = 0  # what Redis counts for this process
        self._refusal = 0.0  # when it ends; 0 if Redis knows
        self._granted_from: list[float] = []  # when calls may be made that were granted before they are free
        self._life = min(RESERVATION_LIFE, 4 * seconds) if seconds else RESERVATION_LIFE
        self._spares: list[tuple[asyncio.Future[bool], int]] = []
        self._next_request_in = 0.0
        self._syncing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Nobody waits, nothing is reserved, and Redis knows of all calls."""
        return self._task is None and self._settled and not (self._line or self._reserved or self._granted_from)

    async def spare(self, calls: int) -> bool:
        """See ``CallBudget.spare``."""
        if self._owner.away:
            return self._spare(calls)
        granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._spares.append((granted, calls))
        self._serve()
        return await granted

    def refused(self, retry_after: float) -> None:
        """See ``CallBudget.refused``; other processes learn of it with their next call."""
        super().refused(retry_after)
        self._refusal = self._blocked_until
        self._serve()

    async def sync(self) -> None:
        """Tell Redis what happened here, and serve those for whom it has a call.

        Raises:
            RedisError, OSError: there was no answer in time. Redis may have received the request all the same.
        """
        async with self._syncing:
            now = self._clock()
            if self._counted_alone:  # calls whose slots are free again need no telling
                taken = max(0, math.ceil(self.capacity - self._limit.free(now)))
                self._made = min(self._made, self._reported_made + taken)
            made, refusal, spares = self._made, self._refusal, self._open_spares()
            self._requests += 1
            answer = await self._owner.ask(self._key, self._process, self._request(now, spares))
            self._requested_at, self._counted_alone = now, False
            if self._refusal == refusal:
                self._refusal = 0.0
            self._learn(answer, made_meanwhile=self._made - made)
            self._grant(answer, spares)

    def _learn(self, answer: BudgetAnswer, *, made_meanwhile: int) -> None:
        """Take over Redis's count."""
        now = self._clock()
        self._reported_made, self._reported_reserved = answer["made"], answer["reserved"]
        while len(self._unreported) > max(0, self._made - self._reported_made):
            self._unreported.popleft()
        self._limit.replace(now + ms / 1000 for ms in answer["releases"])
        self._limit.pay(answer["elsewhere"] + made_meanwhile, now)
        self._blocked_until = max(self._blocked_until, now + answer["blocked"] / 1000 if answer["blocked"] else 0.0)
        self._next_request_in = max(0.0, answer["wait"] / 1000)

    def _grant(self, answer: BudgetAnswer, spares: list[tuple[asyncio.Future[bool], int]]) -> None:
        """Serve; what cannot be given to anybody goes back with the next request."""
        now = self._clock()
        for _ in range(answer["served"]):
            if self._blocked_until <= now and self._somebody_waits():
                self._serve_one()
        for place, (granted, calls) in enumerate(spares):
            if not granted.done():
                if place < answer["granted"]:
                    self._pay(calls)
                granted.set_result(place < answer["granted"])
        self._spares = self._open_spares()
        self._granted_from = sorted([*self._granted_from, *(now + ms / 1000 for ms in answer["soon"])])
        self._redeem()

    async def aclose(self, *, tell: bool) -> None:
        """End, and ``tell`` Redis that nothing is reserved any more. Calls that still wait are served from here."""
        if self._task:
            await end_tasks([self._task])
        if tell and (self._reported_reserved or not self._settled):
            with suppress(*REDIS_FAULTS):
                await self.sync()
        self._serve()

    def serve(self) -> None:
        """Serve the line again, because Redis went away or came back."""
        self._serve()

    def _serve(self) -> None:
        """Let the task ask Redis for the waiters, and tell it what changed; serve from here while Redis is away."""
        if self._owner.away:
            self._counted_alone = True
            super()._serve()
            for granted, calls in self._open_spares():
                granted.set_result(self._spare(calls))
            self._spares.clear()
            self._granted_from.clear()
            return
        self._redeem()
        if self._task:
            self._wake.set()
        else:
            self._task = asyncio.create_task(self._keep_in_touch())

    def _redeem(self) -> None:
        """Serve with calls that were granted early and are free now; what cannot be given to anybody goes back."""
        now = self._clock()
        while self._granted_from and self._granted_from[0] <= now:
            self._granted_from.pop(0)
            if self._blocked_until <= now and self._somebody_waits():
                self._serve_one()
        self._set_timer(self._granted_from[0] - now if self._granted_from else None)

    def _pay(self, calls: int) -> None:
        super()._pay(calls)
        self._made += calls
        self._unreported.extend([self._clock()] * calls)
        for _ in range(min(-calls, len(self._unreported))):
            self._unreported.pop()

    def _open_spares(self) -> list[tuple[asyncio.Future[bool], int]]:
        """Requests for spare calls that were not given up."""
        return [asked for asked in self._spares if not asked[0].done()]

    def _unserved(self) -> list[Waiter]:
        """Waiters for whom no call was granted early."""
        return [waiter for waiter in self._line if not waiter.served.done()][len(self._granted_from) :]

    @property
    def _held(self) -> int:
        """Calls that are reserved, or were granted and cannot be made yet."""
        return self._reserved + len(self._granted_from)

    @property
    def _settled(self) -> bool:
        """Whether Redis knows all that happened here."""
        reported = (self._reported_made, self._reported_reserved) == (self._made, self._held)
        return reported and not self._spares and not self._refusal

    async def _keep_in_touch(self) -> None:
        """Sync until nobody waits, and for as long as something is reserved."""
        try:
            while not self._owner.away:
                self._wake.clear()
                await self.sync()
                if self._wake.is_set() or not self._settled:
                    continue
                if self._unserved():
                    pause = self._next_request_in
                elif self._held:
                    pause = self._life / RENEWALS_PER_LIFE
                else:
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
            self._serve()
        except REDIS_FAULTS as fault:
            self._owner.lost(self, fault)
        finally:
            self._task = None

    def _request(self, now: float, spares: list[tuple[asyncio.Future[bool], int]]) -> BudgetRequest:
        """What ``core/pacing/budget.lua`` is told; times in milliseconds."""
        request: BudgetRequest = {
            "capacity": self.capacity,
            "per_second": self.per_second,
            "window": _ms(self.seconds),
            "number": self._requests,
            "made": self._made,
            "unreported": self._made - self._reported_made,
            "ages": [int((now - made_at) * 1000) for made_at in self._unreported],
            "free": self._limit.free(now),
            "reserved": 0 if self._owner.closed else self._held,
            "passed": -1 if self._requested_at is None else _ms(now - self._requested_at),
            "refused": math.ceil(max(0.0, self._refusal - now) * 1000),
            "life": _ms(self._life),
            "poll": _ms(POLL_SECONDS),
            "spares": [calls for _, calls in spares],
            "waiters": [
                (_ms(now - waiter.since - waiter.rank * RANK_ADVANTAGE), int(waiter.reserve))
                for waiter in self._unserved()[: math.ceil(self.capacity)]
            ],
        }
        if self._owner.server_clock:
            request["time"] = _ms(self._owner.server_clock())
        return request


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


class CallBudgets:
    """All shared budgets of a process.

    ``open`` is cheap, so nobody needs to keep what it returns for longer than a reply.

    Example::

        budgets = CallBudgets(redis)
        edits = budgets.open("slack:T1:chat.update", 20, per_second=0.5)
        await edits.take()
    """

    def __init__(
        self,
        redis: Redis,
        *,
        deadline: float = REDIS_DEADLINE,
        clock: Callable[[], float] = time.monotonic,
        server_clock: Callable[[], float] | None = None,
    ) -> None:
        """``deadline`` and clocks are in seconds; without a ``server_clock`` Redis looks at its own."""
        self.clock = clock
        self.server_clock = server_clock
        self.away = False
        self.closed = False
        self._open: dict[str, SharedCallBudget] = {}
        self._connection = BudgetConnection(redis, deadline)
        self.ask = self._connection.ask
        self._looking: asyncio.Task[None] | None = None

    def open(self, name: str, capacity: float, per_second: float) -> SharedCallBudget:
        """A token bucket, such as ``slack:T1:chat.update``; its numbers are those of the first time it was opened."""
        return self._find(name, capacity, per_second, 0.0)

    def open_window(self, name: str, calls: int, seconds: float) -> SharedCallBudget:
        """A sliding window, such as ``discord:9:C1:edits``: so many ``calls`` in any ``seconds``."""
        return self._find(name, calls, 0.0, seconds)

    async def aclose(self) -> None:
        """Give back all that is reserved. Afterwards budgets are of this process alone."""
        if self._looking:
            await end_tasks([self._looking])
        redis_answers, self.away, self.closed = not self.away, True, True
        await asyncio.gather(*(budget.aclose(tell=redis_answers) for budget in self._open.values()))
        self._open.clear()
        await self._connection.aclose()

    def lost(self, budget: SharedCallBudget, fault: Exception) -> None:
        """Redis did not answer a budget: serve all of them from here until it answers that one again."""
        if self.away:
            budget.serve()
            return
        self.away = True
        log.warning("call budgets not shared; each process counts alone", why=type(fault).__name__)
        self._looking = asyncio.create_task(self._look(budget))
        for one in {budget, *self._open.values()}:
            one.serve()

    async def _look(self, budget: SharedCallBudget) -> None:
        """Sync one budget until Redis answers, then share all of them again."""
        since = self.clock()
        while self.away:
            await asyncio.sleep(REDIS_RETRY_SECONDS)
            with suppress(*REDIS_FAULTS):
                await budget.sync()
                self.away = False
        log.info("call budgets shared again", seconds=round(self.clock() - since, 1))
        for one in {budget, *self._open.values()}:
            one.serve()

    def _find(self, name: str, capacity: float, per_second: float, seconds: float) -> SharedCallBudget:
        self._drop_unused()
        budget = self._open.pop(name, None) or SharedCallBudget(self, name, capacity, per_second, seconds)
        budget.opened_at = self.clock()
        self._open[name] = budget  # the newest is last
        return budget

    def _drop_unused(self) -> None:
        """Drop budgets that nobody opened in a while, but for those in which something is under way."""
        old = self.clock() - DROP_UNUSED_AFTER
        while self._open:
            name, budget = next(iter(self._open.items()))
            if budget.opened_at > old:
                return
            del self._open[name]
            if not budget.idle:
                budget.opened_at = self.clock()
                self._open[name] = budget
