"""Batches call-budget requests to ``core/pacing/budget.lua`` over one dedicated Redis connection, each with a deadline.

Every platform call of a busy process waits for such a request, so a request takes as few steps of the event loop as
possible: with a hundred replies at once a step takes a tenth of a second, and the Redis client's connection pool takes
fifteen steps. So this module keeps one connection of its own, and writes to it and reads from it directly.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from core.store import Script, lone_connection

REDIS_FAULTS = (RedisError, OSError)  # TimeoutError is an OSError
"""What is raised when there is no answer."""
DEADLINE_SLICES = 25
"""Parts of the deadline: a busy event loop makes each of them longer, and leaves enough of them to read the answer."""
ROUND_TRIP_SECONDS = 5
"""After this a round trip is given up, and its connection with it."""

BudgetRequest = dict[str, Any]
"""What ``core/pacing/budget.lua`` takes."""
BudgetAnswer = dict[str, Any]
"""What it returns."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """A request without an answer yet."""

    command: tuple[Any, ...]
    answer: asyncio.Future[BudgetAnswer]

    def finish(self, reply: Any) -> None:
        """Hand over what Redis sent: JSON, or an error. It may have been given up meanwhile."""
        if self.answer.done():
            return
        if isinstance(reply, Exception):
            self.answer.set_exception(reply)
        else:
            self.answer.set_result(json.loads(reply))


def budget_script(redis: Redis) -> Script:
    """The script of all call budgets."""
    return Script(redis, "core/pacing/budget", keys=["key"], args={"name": str, "request": dict})


class BudgetConnection:
    """One process's connection for call budgets; each request has ``deadline`` seconds."""

    def __init__(self, redis: Redis, deadline: float) -> None:
        self._deadline = deadline
        self._redis = redis
        self._script = budget_script(redis)
        self._connection: AbstractConnection | None = None
        self._waiting: list[_Pending] = []
        self._sent: list[_Pending] = []
        self._task: asyncio.Task[None] | None = None
        self._slices = 0
        self._timer: asyncio.TimerHandle | None = None

    async def ask(self, key: str, process: str, request: BudgetRequest) -> BudgetAnswer:
        """Send one request; what comes in during a round trip is sent together in the next one.

        Redis may have received a request that was not answered in time; no other is sent before its end is known.
        Seconds in which this process was busy with something else do not count.

        Raises:
            RedisError, OSError: there was no answer in time.
        """
        command = ("EVALSHA", self._script.sha, 1, key, process, json.dumps(request))
        pending = _Pending(command, asyncio.get_running_loop().create_future())
        self._waiting.append(pending)
        if not self._task:
            self._task = asyncio.create_task(self._send_waiting())
        if not self._timer:
            self._slices = 0
            self._tick()
        return await pending.answer

    async def aclose(self) -> None:
        """Send nothing more."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=self._deadline)
        await self._disconnect()

    async def _send_waiting(self) -> None:
        """Send waiting requests until there are none."""
        try:
            while self._waiting:
                self._sent, self._waiting, self._slices = self._waiting, [], 0
                try:
                    async with asyncio.timeout(ROUND_TRIP_SECONDS):
                        replies = await self._round_trip([pending.command for pending in self._sent])
                except REDIS_FAULTS as fault:
                    await self._disconnect()
                    self._give_up(fault)
                    continue
                for pending, reply in zip(self._sent, replies, strict=True):
                    pending.finish(reply)
        finally:
            self._give_up(ConnectionError())
            self._task, self._sent = None, []

    def _tick(self) -> None:
        """Give up at the end of the deadline's last slice."""
        self._timer = None
        if not self._task:
            return
        if self._slices == DEADLINE_SLICES:
            self._slices = 0
            self._give_up(TimeoutError())
        self._slices += 1
        self._timer = asyncio.get_running_loop().call_later(self._deadline / DEADLINE_SLICES, self._tick)

    def _give_up(self, fault: Exception) -> None:
        """Raise ``fault`` in all requests that have no answer yet."""
        for pending in (*self._sent, *self._waiting):
            pending.finish(fault)
        self._waiting = []

    async def _round_trip(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        kept = self._connection is not None
        try:
            replies = await self._send(commands)
        except REDIS_FAULTS:
            if not kept:
                raise
            await self._disconnect()  # it may have been idle for too long; and requests may be repeated
            replies = await self._send(commands)
        if any(isinstance(reply, NoScriptError) for reply in replies):  # then Redis ran none of them
            await self._send([("SCRIPT LOAD", self._script.source)])
            replies = await self._send(commands)
        return replies

    async def _send(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands at once, and read a reply to each: a value, or Redis's error."""
        if not self._connection:
            self._connection = lone_connection(self._redis)
            await self._connection.connect()  # type: ignore[no-untyped-call]
        connection = self._connection
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(await connection.read_response())
            except ResponseError as error:
                replies.append(error)
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            await self._disconnect()  # after a failover this one stays a replica, and a new connection finds the master
        return replies

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            with suppress(*REDIS_FAULTS):
                await connection.disconnect(nowait=True)
