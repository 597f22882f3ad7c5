"""Batches call-budget requests to ``core/pacing/budget.lua`` over one dedicated Redis connection, each with a deadline.

Every platform call of a busy process waits for such a request, so a request takes as few steps of the event loop as
possible: with a hundred replies at once a step takes a tenth of a second, and the Redis client's connection pool takes
fifteen steps. So this module keeps one connection of its own, and writes to it and reads from it directly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, RedisError, ResponseError

from core.store import Script, lone_connection

FAULTS = (RedisError, OSError)  # TimeoutError is an OSError
"""What is raised when there is no answer."""
SLICES = 25
"""Parts of the deadline: a busy event loop makes each of them longer, and leaves enough of them to hear the answer."""
PATIENCE = 5
"""Seconds after which a round trip is given up, and its connection with it."""

Question = list[str | int | float]
_Command = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question under way."""

    key: str
    question: Question
    answer: asyncio.Future[list[Any]]


class BudgetConnection:
    """What a process asks Redis about its budgets; ``deadline`` in seconds."""

    def __init__(self, redis: Redis, deadline: float) -> None:
        self._deadline = deadline
        self._redis = redis
        self._script = Script(redis, "core/pacing/budget")
        self._connection: AbstractConnection | None = None
        self._asked: list[_Asked] = []
        self._under_way: list[_Asked] = []
        self._asking: asyncio.Task[None] | None = None
        self._slices = 0
        self._timer: asyncio.TimerHandle | None = None

    async def ask(self, key: str, question: Question) -> list[Any]:
        """One answer. What is asked meanwhile goes out together with the next round trip.

        A question that had no answer in time may have been heard all the same; nothing is asked before that is known.
        Seconds in which this process was busy with something else do not count.

        Raises:
            RedisError, OSError: there was none, or not in time.
        """
        asked = _Asked(key, question, asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        if not self._asking:
            self._asking = asyncio.create_task(self._ask_all())
        if not self._timer:
            self._slices = 0
            self._look_at_the_clock()
        return await asked.answer

    async def aclose(self) -> None:
        """Ask nothing more."""
        if self._asking:
            self._asking.cancel()
            await asyncio.wait({self._asking}, timeout=self._deadline)
        await self._hang_up()

    async def _ask_all(self) -> None:
        """Ask what there is to ask."""
        try:
            while self._asked:
                self._under_way, self._asked, self._slices = self._asked, [], 0
                try:
                    async with asyncio.timeout(PATIENCE):
                        answers = await self._round_trip(self._under_way)
                except FAULTS as fault:
                    await self._hang_up()
                    self._give_up(fault)
                    continue
                for asked, answer in zip(self._under_way, answers, strict=True):
                    if asked.answer.done():
                        continue  # given up
                    if isinstance(answer, Exception):
                        asked.answer.set_exception(answer)
                    else:
                        asked.answer.set_result(answer)
        finally:
            self._give_up(ConnectionError())
            self._asking, self._under_way = None, []

    def _look_at_the_clock(self) -> None:
        """Give up what is not answered in time."""
        self._timer = None
        if not self._asking:
            return
        if self._slices == SLICES:
            self._slices = 0
            self._give_up(TimeoutError())
        self._slices += 1
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._deadline / SLICES, self._look_at_the_clock)

    def _give_up(self, fault: Exception) -> None:
        """Nobody who waits now has an answer."""
        for asked in (*self._under_way, *self._asked):
            if not asked.answer.done():
                asked.answer.set_exception(fault)
        self._asked = []

    async def _round_trip(self, batch: Sequence[_Asked]) -> list[Any]:
        commands: list[_Command] = [("EVALSHA", self._script.sha, 1, asked.key, *asked.question) for asked in batch]
        kept = self._connection is not None
        try:
            answers = await self._send(commands)
        except FAULTS:
            if not kept:
                raise
            await self._hang_up()  # it may have been idle for too long; and what was heard may be repeated
            answers = await self._send(commands)
        if any(isinstance(answer, NoScriptError) for answer in answers):  # then Redis heard none of them
            await self._send([("SCRIPT LOAD", self._script.source)])
            answers = await self._send(commands)
        return answers

    async def _send(self, commands: Sequence[_Command]) -> list[Any]:
        """Send commands at once, and read what comes back: answers, or what Redis has against one."""
        if not self._connection:
            self._connection = lone_connection(self._redis)
            await self._connection.connect()  # type: ignore[no-untyped-call]
        connection = self._connection
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        answers: list[Any] = []
        for _ in commands:
            try:
                answers.append(await connection.read_response())
            except ResponseError as error:
                answers.append(error)
        return answers

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            with suppress(*FAULTS):
                await connection.disconnect(nowait=True)
