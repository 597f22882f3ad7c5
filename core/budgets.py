"""Budgets that all processes share: one bucket in Redis for what a platform counts together.

A ``SharedBudget`` is a ``Budget`` that asks Redis before it serves its line. One task of each budget tells how many
calls this process has made and keeps reserved, and hears how many of those who wait are served
(``core/lua/budget.lua``); whatever comes in while it asks goes into the next question. Spending and releasing only
change numbers here, so they never wait.

Redis may be slow or away, and a call that somebody waits for is worth more than an exact count: after ``DEADLINE``
each process serves from a bucket of its own, which starts with what was left, until Redis answers again. Should that
be too much for the platform, it refuses, and refusals are listened to.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from core.pacing import Budget
from core.redis import Keys, sibling
from core.scripts import script

log = structlog.get_logger()

DEADLINE = 0.25
"""Seconds that Redis has for an answer."""
SLICES = 5
"""Parts of that time: a busy event loop makes one of them longer, and leaves the others to hear the answer."""
RETRY = 0.5
"""Seconds between two looks whether Redis is back."""
LIFE = 12
"""Seconds after which the reservations of a process that is not heard of any more are free again.

Less than a lease lasts: whoever goes on with the replies of a worker that died needs them.
"""
RENEWAL = 3
"""Seconds after which a process with reservations makes itself heard."""
POLL = 1
"""Seconds between two questions at the most while somebody waits: another process may have given something back."""
UNUSED = 600
"""Seconds after which a budget that nobody asked for is dropped here; Redis knows what there is to know."""

_FAULTS = (RedisError, OSError)  # TimeoutError is an OSError


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question under way."""

    key: str
    question: list[str | int | float]
    answer: asyncio.Future[list[Any]]


class SharedBudget(Budget):
    """One process's part in a budget. Made by ``Budgets.open``."""

    def __init__(self, owner: Budgets, name: str, capacity: float, per_second: float) -> None:
        super().__init__(capacity, per_second, clock=owner.clock)
        self.opened_at = owner.clock()
        self._owner = owner
        self._key = Keys.budget(name)
        self._me = secrets.token_hex(8)
        self._asked = 0
        self._asked_at: float | None = None
        self._made = 0  # calls of this process, in all
        self._made_alone = False
        self._told_made = self._told_reserved = 0  # what Redis counts for us
        self._refusal = 0.0  # until when; 0 if Redis knows
        self._spares: list[tuple[asyncio.Future[bool], int]] = []
        self._wait = -1.0
        self._asking = asyncio.Lock()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Nobody waits, nothing is reserved, and Redis knows of all calls."""
        return self._settled and not self._line and not self._reserved and self._task is None

    async def spare(self, calls: int) -> bool:
        """See ``Budget.spare``."""
        if self._owner.away:
            return self._spare(calls)
        granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._spares.append((granted, calls))
        self._serve()
        return await granted

    def refused(self, retry_after: float) -> None:
        """See ``Budget.refused``; other processes learn of it with their next call."""
        super().refused(retry_after)
        self._refusal = self._blocked_until
        self._serve()

    async def sync(self) -> None:
        """Tell Redis what happened here, and serve those for whom it has a call.

        Raises:
            RedisError, OSError: it did not answer, or not in time. It may have heard us all the same.
        """
        async with self._asking:
            self._count()
            if self._made_alone:  # what has come in since then needs no telling
                missing = max(0, math.ceil(self.capacity - self._calls))
                self._made = min(self._made, self._told_made + missing)
            now, made, refusal, spares = self._clock(), self._made, self._refusal, self._asked_for()
            self._asked += 1
            answer = await self._owner.ask(self._key, self._question(now, spares))
            served, granted, wait, free, blocked, self._told_made, self._told_reserved = answer
            self._asked_at, self._made_alone, self._wait = now, False, wait / 1000
            if self._refusal == refusal:
                self._refusal = 0.0
            now = self._clock()
            self._calls, self._counted_at = float(free) - (self._made - made), now
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

    async def aclose(self, *, tell: bool) -> None:
        """End, and ``tell`` Redis that nothing is reserved any more. Who still waits is served from here."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if tell and (self._told_reserved or not self._settled):
            with suppress(*_FAULTS):
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
            return
        self._set_timer(None)
        if self._task:
            self._wake.set()
        else:
            self._task = asyncio.create_task(self._keep_in_touch())

    def _pay(self, calls: int) -> None:
        super()._pay(calls)
        self._made += calls

    def _asked_for(self) -> list[tuple[asyncio.Future[bool], int]]:
        """Who asks for spare calls and did not give up."""
        return [asked for asked in self._spares if not asked[0].done()]

    @property
    def _settled(self) -> bool:
        """Whether Redis knows all that happened here."""
        told = (self._told_made, self._told_reserved) == (self._made, self._reserved)
        return told and not self._spares and not self._refusal

    async def _keep_in_touch(self) -> None:
        """Ask until nobody waits, and for as long as something is reserved."""
        try:
            while not self._owner.away:
                self._wake.clear()
                await self.sync()
                if self._wake.is_set() or not self._settled:
                    continue
                if self._somebody_waits():
                    pause = self._wait
                elif self._reserved:
                    pause = RENEWAL
                else:
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
            self._serve()
        except _FAULTS as fault:
            self._owner.lost(self, fault)
        finally:
            self._task = None

    def _question(self, now: float, spares: list[tuple[asyncio.Future[bool], int]]) -> list[str | int | float]:
        """What ``core/lua/budget.lua`` is told."""
        since = -1 if self._asked_at is None else round((now - self._asked_at) * 1000)
        refused = math.ceil(max(0.0, self._refusal - now) * 1000)
        question: list[str | int | float] = [self._me, self.capacity, self.per_second, self._asked, self._made]
        reserved = 0 if self._owner.closed else self._reserved
        question += [self._made - self._told_made, self._calls, reserved, since, refused]
        question += [self._owner.server_time(), LIFE * 1000, POLL * 1000, len(spares), *(calls for _, calls in spares)]
        if self._somebody_waits():
            for waiter in [w for w in self._line if not w.served.done()][: math.ceil(self.capacity)]:
                question += [round((now - waiter.since) * 1000), int(waiter.reserve)]
        return question


class Budgets:
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
        self.deadline = deadline
        self.clock = clock
        self.away = False
        self.closed = False
        self._redis_time = server_clock
        self._redis = sibling(redis)
        self._script = redis.register_script(script("budget"))
        self._open: dict[str, SharedBudget] = {}
        self._asked: list[_Asked] = []
        self._asking: asyncio.Task[None] | None = None
        self._call: asyncio.Task[list[Any]] | None = None
        self._looking: asyncio.Task[None] | None = None

    def open(self, name: str, capacity: float, per_second: float) -> SharedBudget:
        """The budget of that name, for instance ``slack:T1:chat.update``; its numbers are those of the first time."""
        self._drop_unused()
        budget = self._open.pop(name, None) or SharedBudget(self, name, capacity, per_second)
        budget.opened_at = self.clock()
        self._open[name] = budget  # the newest is last
        return budget

    async def aclose(self) -> None:
        """Give back all that is reserved. Afterwards budgets are of this process alone."""
        if self._looking:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        heard, self.away, self.closed = not self.away, True, True
        await asyncio.gather(*(budget.aclose(tell=heard) for budget in self._open.values()))
        for task in (self._asking, self._call):
            if task:
                task.cancel()
                await asyncio.wait({task}, timeout=self.deadline)
        self._open.clear()
        await self._redis.aclose()

    async def ask(self, key: str, question: list[str | int | float]) -> list[Any]:
        """One answer of ``core/lua/budget.lua``. What is asked meanwhile goes out together with the next round trip.

        Raises:
            RedisError, OSError: there was none, or not in time.
        """
        asked = _Asked(key, question, asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        if not self._asking:
            self._asking = asyncio.create_task(self._ask_all())
        return await asked.answer

    def server_time(self) -> str | int:
        """What Redis shall take for the time, in milliseconds; "" for its own."""
        return round(self._redis_time() * 1000) if self._redis_time else ""

    def lost(self, budget: SharedBudget, fault: Exception) -> None:
        """Redis did not answer a budget: serve all of them from here until it answers that one again."""
        if self.away:
            budget.serve()
            return
        self.away = True
        log.warning("Redis does not share budgets; every process counts for itself", why=type(fault).__name__)
        self._looking = asyncio.create_task(self._look(budget))
        for one in {budget, *self._open.values()}:
            one.serve()

    async def _ask_all(self) -> None:
        """Ask what there is to ask, in one round trip after the other."""
        try:
            while self._asked:
                batch, self._asked = self._asked, []
                try:
                    answers = await self._in_time(batch)
                except _FAULTS as fault:
                    batch, self._asked = batch + self._asked, []
                    answers = [fault] * len(batch)
                for asked, answer in zip(batch, answers, strict=True):
                    if asked.answer.done():
                        continue  # given up
                    if isinstance(answer, Exception):
                        asked.answer.set_exception(answer)
                    else:
                        asked.answer.set_result(answer)
        finally:
            self._asking = None

    async def _ask_together(self, batch: Sequence[_Asked]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for asked in batch:
                pipe.evalsha(self._script.sha, 1, asked.key, *map(str, asked.question))
            answers: list[Any] = await pipe.execute(raise_on_error=False)
            if any(isinstance(answer, NoScriptError) for answer in answers):  # then Redis heard none of them
                await self._redis.script_load(self._script.script)
                for asked in batch:
                    pipe.evalsha(self._script.sha, 1, asked.key, *map(str, asked.question))
                answers = await pipe.execute(raise_on_error=False)
            return answers

    async def _in_time(self, batch: Sequence[_Asked]) -> list[Any]:
        """Give Redis its time; seconds in which this process was busy with something else do not count.

        A call that takes longer is left alone until it ends, and nothing is asked before: cancelled, it might never
        give its connection back to the pool.
        """
        if self._call and not await self._ended(self._call):
            raise TimeoutError
        self._call = asyncio.create_task(self._ask_together(batch))
        self._call.add_done_callback(_hear)
        if not await self._ended(self._call):
            raise TimeoutError
        return self._call.result()

    async def _ended(self, call: asyncio.Task[list[Any]]) -> bool:
        for _ in range(SLICES):
            if (await asyncio.wait({call}, timeout=self.deadline / SLICES))[0]:
                return True
        return False

    async def _look(self, budget: SharedBudget) -> None:
        """Ask until Redis answers."""
        since = self.clock()
        while self.away:
            await asyncio.sleep(RETRY)
            try:
                await budget.sync()
            except _FAULTS:
                continue
            self.away = False
        log.info("Redis shares budgets again", seconds=round(self.clock() - since, 1))
        for one in {budget, *self._open.values()}:
            one.serve()

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


def _hear(call: asyncio.Task[list[Any]]) -> None:
    """Of a call that came too late nobody else wants to know how it went."""
    if not call.cancelled():
        call.exception()
