"""Budgets that all processes share: one bucket or window in Redis for what a platform counts together.

A ``SharedCallBudget`` asks Redis before it serves its line. One task of each budget tells how many
calls this process has made and keeps reserved, and hears how many of those who wait are served
(``core/pacing/budget.lua``); whatever comes in while it asks goes into the next question. Spending and releasing only
change numbers here, so they never wait.

Redis may be slow or away, and a call that somebody waits for is worth more than an exact count: after ``DEADLINE``
each process serves from a count of its own, which starts with what was left, until Redis answers again. Should that
be too much for the platform, it refuses, and refusals are listened to.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
from redis.asyncio import Redis

from core.pacing.budget import POLL, CallBudget, Waiter
from core.pacing.connection import FAULTS, BudgetConnection, Question
from core.store import Keys
from core.tasks import end_tasks

log = structlog.get_logger()

DEADLINE = 0.25
"""Seconds that Redis has for an answer."""
RETRY = 0.5
"""Seconds between two looks whether Redis is back."""
LIFE = 12
"""Seconds after which the reservations of a process that is not heard of any more are free again.

Less than a lease lasts: whoever goes on with the replies of a worker that died needs them. Of a short window, it is the
time of four.
"""
RENEWALS = 4
"""How often in that time a process with reservations makes itself heard."""
ADVANTAGE = 10
"""Seconds by which whoever waits seems to wait longer, to other processes, than those of the next rank."""
UNUSED = 600
"""Seconds after which a budget that nobody asked for is dropped here; Redis knows what there is to know."""


class SharedCallBudget(CallBudget):
    """One process's part in a budget. Made by ``CallBudgets.open`` and ``CallBudgets.open_window``."""

    def __init__(self, owner: CallBudgets, name: str, capacity: float, per_second: float, seconds: float) -> None:
        super().__init__(capacity, per_second, seconds=seconds, clock=owner.clock)
        self.opened_at = owner.clock()
        self._owner = owner
        self._key = Keys.budget(name)
        self._me = secrets.token_hex(8)
        self._asked = 0
        self._asked_at: float | None = None
        self._made = 0  # calls of this process, in all
        self._made_alone = False
        # When those calls of a window were made that Redis does not count yet, as far as that matters.
        self._untold: deque[float] = deque(maxlen=math.ceil(capacity) if seconds else 0)
        self._told_made = self._told_reserved = 0  # what Redis counts for us
        self._refusal = 0.0  # until when; 0 if Redis knows
        self._soon: list[float] = []  # when calls are ours that were granted before they are free
        self._life = min(LIFE, 4 * seconds) if seconds else LIFE
        self._spares: list[tuple[asyncio.Future[bool], int]] = []
        self._wait = -1.0
        self._asking = asyncio.Lock()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Nobody waits, nothing is reserved, and Redis knows of all calls."""
        return self._settled and not self._line and not self._reserved and not self._soon and self._task is None

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
            RedisError, OSError: it did not answer, or not in time. It may have heard us all the same.
        """
        async with self._asking:
            now = self._clock()
            if self._made_alone:  # what has come in since then needs no telling
                missing = max(0, math.ceil(self.capacity - self._supply.free(now)))
                self._made = min(self._made, self._told_made + missing)
            made, refusal, spares = self._made, self._refusal, self._asked_for()
            self._asked += 1
            answer = await self._owner.ask(self._key, self._question(now, spares))
            served, granted, wait, free, blocked, self._told_made, self._told_reserved, soon = answer
            self._asked_at, self._made_alone, self._wait = now, False, wait / 1000
            while len(self._untold) > max(0, self._made - self._told_made):
                self._untold.popleft()
            if self._refusal == refusal:
                self._refusal = 0.0
            now = self._clock()
            self._supply.told(float(free) - (self._made - made), now)
            self._blocked_until = max(self._blocked_until, now + blocked / 1000 if blocked else 0.0)
            # What cannot be given to anybody goes back with the next question.
            while served and self._blocked_until <= now and self._somebody_waits():
                self._serve_one()
                served -= 1
            for place, (spare, calls) in enumerate(spares):
                if not spare.done():
                    if place < granted:
                        self._pay(calls)
                    spare.set_result(place < granted)
            self._spares = self._asked_for()
            self._soon = sorted([*self._soon, *(now + ms / 1000 for ms in soon)])
            self._redeem()

    async def aclose(self, *, tell: bool) -> None:
        """End, and ``tell`` Redis that nothing is reserved any more. Who still waits is served from here."""
        if self._task:
            await end_tasks([self._task])
        if tell and (self._told_reserved or not self._settled):
            with suppress(*FAULTS):
                await self.sync()
        self._serve()

    def serve(self) -> None:
        """Redis went away or came back: serve those who wait accordingly."""
        self._serve()

    def _serve(self) -> None:
        """Ask Redis for those who wait, and tell it of what changed; serve from here while it is away."""
        if self._owner.away:
            self._made_alone = True
            super()._serve()
            for spare, calls in self._asked_for():
                spare.set_result(self._spare(calls))
            self._spares.clear()
            self._soon.clear()
            return
        self._redeem()
        if self._task:
            self._wake.set()
        else:
            self._task = asyncio.create_task(self._keep_in_touch())

    def _redeem(self) -> None:
        """Serve with calls that were granted before; what cannot be given to anybody goes back."""
        now = self._clock()
        while self._soon and self._soon[0] <= now:
            self._soon.pop(0)
            if self._blocked_until <= now and self._somebody_waits():
                self._serve_one()
        self._set_timer(self._soon[0] - now if self._soon else None)

    def _pay(self, calls: int) -> None:
        super()._pay(calls)
        self._made += calls
        self._untold.extend([self._clock()] * calls)
        for _ in range(min(-calls, len(self._untold))):
            self._untold.pop()

    def _asked_for(self) -> list[tuple[asyncio.Future[bool], int]]:
        """Who asks for spare calls and did not give up."""
        return [asked for asked in self._spares if not asked[0].done()]

    def _waiting(self) -> list[Waiter]:
        """Who waits and is not served in a moment."""
        return [waiter for waiter in self._line if not waiter.served.done()][len(self._soon) :]

    @property
    def _settled(self) -> bool:
        """Whether Redis knows all that happened here."""
        told = (self._told_made, self._told_reserved) == (self._made, self._reserved + len(self._soon))
        return told and not self._spares and not self._refusal

    async def _keep_in_touch(self) -> None:
        """Ask until nobody waits, and for as long as something is reserved."""
        try:
            while not self._owner.away:
                self._wake.clear()
                await self.sync()
                if self._wake.is_set() or not self._settled:
                    continue
                if self._waiting():
                    pause = max(0.0, self._wait)
                elif self._reserved or self._soon:
                    pause = self._life / RENEWALS
                else:
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
            self._serve()
        except FAULTS as fault:
            self._owner.lost(self, fault)
        finally:
            self._task = None

    def _question(self, now: float, spares: list[tuple[asyncio.Future[bool], int]]) -> Question:
        """What ``core/pacing/budget.lua`` is told."""
        since = -1 if self._asked_at is None else round((now - self._asked_at) * 1000)
        refused = math.ceil(max(0.0, self._refusal - now) * 1000)
        question: Question = [self._me, self.capacity, self.per_second, round(self.seconds * 1000), self._asked]
        reserved = 0 if self._owner.closed else self._reserved + len(self._soon)
        question += [self._made, self._made - self._told_made, self._supply.free(now), reserved, since, refused]
        question += [self._owner.server_time(), round(self._life * 1000), round(POLL * 1000)]
        question.append(" ".join(str(int(max(0.0, now - at) * 1000)) for at in self._untold))
        question += [len(spares), *(calls for _, calls in spares)]
        for waiter in self._waiting()[: math.ceil(self.capacity)]:
            waited = now - waiter.since - waiter.rank * ADVANTAGE
            question += [round(waited * 1000), int(waiter.reserve)]
        return question


class CallBudgets:
    """All budgets of a process; ``open`` is cheap, so nobody needs to keep what it returns for longer than a reply."""

    def __init__(
        self,
        redis: Redis,
        *,
        deadline: float = DEADLINE,
        clock: Callable[[], float] = time.monotonic,
        server_clock: Callable[[], float] | None = None,
    ) -> None:
        """Clocks are in seconds; without a ``server_clock`` Redis looks at its own."""
        self.clock = clock
        self.away = False
        self.closed = False
        self._redis_time = server_clock
        self._open: dict[str, SharedCallBudget] = {}
        self._questions = BudgetConnection(redis, deadline)
        self._looking: asyncio.Task[None] | None = None

    def open(self, name: str, capacity: float, per_second: float) -> SharedCallBudget:
        """A bucket, for instance ``slack:T1:chat.update``; its numbers are those of the first time it was opened."""
        return self._find(name, capacity, per_second, 0.0)

    def open_window(self, name: str, calls: int, seconds: float) -> SharedCallBudget:
        """A window, for instance ``discord:9:C1:edits``: so many ``calls`` in any ``seconds``."""
        return self._find(name, calls, 0.0, seconds)

    async def aclose(self) -> None:
        """Give back all that is reserved. Afterwards budgets are of this process alone."""
        if self._looking:
            await end_tasks([self._looking])
        heard, self.away, self.closed = not self.away, True, True
        await asyncio.gather(*(budget.aclose(tell=heard) for budget in self._open.values()))
        self._open.clear()
        await self._questions.aclose()

    async def ask(self, key: str, question: Question) -> list[Any]:
        """See ``BudgetConnection.ask``."""
        return await self._questions.ask(key, question)

    def server_time(self) -> str | int:
        """What Redis shall take for the time, in milliseconds; "" for its own."""
        return round(self._redis_time() * 1000) if self._redis_time else ""

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
        """Ask until Redis answers."""
        since = self.clock()
        while self.away:
            await asyncio.sleep(RETRY)
            try:
                await budget.sync()
            except FAULTS:
                continue
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
        """Forget budgets that nobody asked for in a while, oldest first."""
        old = self.clock() - UNUSED
        while self._open:
            name, budget = next(iter(self._open.items()))
            if budget.opened_at > old:
                return
            del self._open[name]
            if not budget.idle:
                budget.opened_at = self.clock()
                self._open[name] = budget
