"""Calls of Discord's REST API: each with a deadline, each back as soon as Discord has answered.

discord.py waits within a call: one that spends the last of a bucket sleeps until the bucket is full again, although it
was answered long ago, and one that is refused is sent again later, with a text that is old by then. Here the answer
is taken from the wire as it comes (aiohttp tells it to the task that asks), so a call returns or raises at once, and
``core.delivery.delivery`` decides what is sent next. What the library has to do for its own accounts it does by itself.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import time
from collections.abc import Callable, Coroutine, Mapping
from email.utils import parsedate_to_datetime
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import aiohttp
import discord
import structlog

from bots.discord.errors import is_global, translate
from core.errors import PlatformUnavailable, RateLimited
from core.pacing import CallBudget

log = structlog.get_logger()

DEADLINE = 15.0
"""Seconds that a call may take; Discord answers in well under one, and aiohttp itself would wait for five minutes."""
FORBIDDEN = 60.0
"""Seconds for which a channel that we may not write to is left alone: somebody may give us the right meanwhile."""
PER_SECOND = 50
"""Calls of one bot, whatever they are (docs.discord.com, topics/rate-limits, "Global Rate Limit")."""
COARSE = 2.0
"""Seconds by which a ``Date``, which counts whole ones, may differ although the clocks agree."""
SECOND = 1.02
"""Seconds for which a call counts after its answer: a little more than one, for clocks that do not agree."""


class Rank(IntEnum):
    """Who goes first where calls have to wait.

    The end of an answer; then the first sign that somebody was heard; then first words where there was a sign already;
    and what lies between gets what is left.
    """

    END = 0
    SIGN = 1
    BEGINNING = 2
    PREVIEW = 3


class Answered:
    """What came back over the wire."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.body = b""

    @property
    def ok(self) -> bool:
        """Whether Discord did it."""
        return 200 <= self.status < 300

    @property
    def json(self) -> Any:
        """The JSON of the answer; None if there is none."""
        return json.loads(self.body) if self.body else None

    @property
    def data(self) -> dict[str, Any]:
        """The same, where it is an object; empty where it is not."""
        read = self.json
        return read if isinstance(read, dict) else {}


_asking: contextvars.ContextVar[Answered | None] = contextvars.ContextVar("asking", default=None)


def trace() -> aiohttp.TraceConfig:
    """Tells the call that a task makes what came back; for every session that calls Discord."""
    config = aiohttp.TraceConfig()

    async def begun(session: aiohttp.ClientSession, _: SimpleNamespace, what: aiohttp.TraceRequestEndParams) -> None:
        del session
        if answered := _asking.get():
            answered.status, answered.headers = what.response.status, what.response.headers

    async def read(session: aiohttp.ClientSession, _: SimpleNamespace, what: Any) -> None:
        del session
        if (answered := _asking.get()) and not answered.arrived.is_set():
            answered.body = bytes(what.chunk)
            answered.arrived.set()

    config.on_request_end.append(begun)
    config.on_response_chunk_received.append(read)
    return config


class Clock:
    """Discord's clock: ages of messages are told by the clock that named them, whatever ours says."""

    def __init__(self) -> None:
        self.ahead = 0.0
        """Seconds that ours is ahead of it, as the ``Date`` of its answers tells; 0 while they agree."""

    def learn(self, headers: Mapping[str, str]) -> None:
        """Discord answered, just now."""
        try:
            ahead = time.time() - parsedate_to_datetime(headers.get("Date", "")).timestamp()
        except (ValueError, TypeError, OverflowError):
            return
        self.ahead = ahead if abs(ahead) > COARSE else 0.0

    def now(self) -> float:
        """The time, as Discord has it."""
        return time.time() - self.ahead

    def age(self, snowflake: str | int) -> float:
        """Seconds since something was named."""
        return self.now() - discord.utils.snowflake_time(int(snowflake)).timestamp()


class Calls:
    """Makes calls, and turns what goes wrong into PlatformErrors.

    ``budget`` is a window of the bot's calls, for all processes that make some; without one, this process counts for
    itself. A call is reserved from before it is sent until it was answered, and counts for a ``SECOND`` from then on:
    so however long it was on its way, Discord never sees more of them in any second.
    """

    def __init__(self, client: discord.Client, *, deadline: float = DEADLINE, budget: CallBudget | None = None) -> None:
        self.client = client
        self.clock = Clock()
        self.budget = budget or CallBudget(PER_SECOND, seconds=SECOND)
        self._deadline = deadline
        self._left: set[asyncio.Task[Any]] = set()
        self._forbidden: dict[str, float] = {}

    def forbid(self, channel: str) -> None:
        """We may not write there; that is not tried again for a while."""
        now = time.monotonic()
        self._forbidden = {known: until for known, until in self._forbidden.items() if until > now}
        self._forbidden[channel] = now + FORBIDDEN

    def is_forbidden(self, channel: str) -> bool:
        """Whether we were told lately that we may not write there."""
        return self._forbidden.get(channel, 0.0) > time.monotonic()

    async def __call__(
        self,
        what: str,
        work: Callable[[], Coroutine[Any, Any, Any]],
        rank: Rank = Rank.BEGINNING,
        *,
        bound: bool = True,
        deadline: float | None = None,
        paid: bool = False,
        to_its_end: bool = False,
    ) -> Answered:
        """Call, and return what Discord answered.

        ``bound``: it counts for the bot's calls a second, and waits for one, unless it is ``paid``: waited for before.
        ``to_its_end``: once it is on its way nobody takes it back, not even whoever cancels the caller. For what may
        come late and is often cancelled: when a request that was given up reaches Discord, nobody knows.

        Raises:
            PlatformError: as ``bots.discord.errors`` and ``core.errors`` say.
        """
        if not bound:
            return await self._call(what, work, deadline or self._deadline)
        if not paid:
            await self.budget.reserve(rank)
        call = self._counted(what, work, deadline or self._deadline)
        if not to_its_end:
            return await call
        task = asyncio.get_running_loop().create_task(call)
        self._leave(task, cancel=False)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Nothing waits for its bucket any more."""
        for task in self._left:
            task.cancel()
        if self._left:
            await asyncio.wait(self._left, timeout=2.0)

    async def _counted(self, what: str, work: Callable[[], Coroutine[Any, Any, Any]], deadline: float) -> Answered:
        """A call that was waited for before."""
        try:
            return await self._call(what, work, deadline)
        finally:
            self.budget.spend()

    async def _call(self, what: str, work: Callable[[], Coroutine[Any, Any, Any]], deadline: float) -> Answered:
        answered = Answered()
        context = contextvars.copy_context()
        context.run(_asking.set, answered)
        task = asyncio.get_running_loop().create_task(work(), context=context)
        arrival = asyncio.ensure_future(answered.arrived.wait())
        try:
            await asyncio.wait({task, arrival}, timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            arrival.cancel()
        if answered.arrived.is_set():
            self.clock.learn(answered.headers)
            self._leave(task, cancel=not answered.ok)
            if answered.ok:
                return answered
            raise self._refused(what, answered)
        if not task.done():
            self._leave(task, cancel=True)
            raise PlatformUnavailable(f"{what}: no answer within {deadline:g} s", code="timeout")
        error = task.exception()
        if isinstance(error, discord.RateLimited):
            raise RateLimited(f"{what}: rate limited", code="429", retry_after=error.retry_after)
        if isinstance(error, (aiohttp.ClientError, OSError, TimeoutError, discord.DiscordException)):
            raise PlatformUnavailable(f"{what}: {type(error).__name__}", code="unreachable")
        if error:
            raise error
        return answered

    def _refused(self, what: str, answered: Answered) -> Exception:
        error = translate(what, answered.status, answered.headers, answered.body)
        if isinstance(error, RateLimited) and is_global(answered.headers):
            self.budget.refused(error.retry_after or 1.0)
            # The library's own wait for this was ended with its task; it must not wait for ever for that to be over.
            over = getattr(self.client.http, "_global_over", None)
            if isinstance(over, asyncio.Event):
                asyncio.get_running_loop().call_later(error.retry_after or 1.0, over.set)
        return error

    def _leave(self, task: asyncio.Task[Any], *, cancel: bool) -> None:
        """Let the library keep its accounts, or keep it from sending again what was refused."""
        if cancel:
            task.cancel()
        self._left.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._left.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.debug("abandoned call failed", error=type(error).__name__)
