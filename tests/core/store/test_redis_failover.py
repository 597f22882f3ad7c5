"""A failover: for a while Redis loads, or only reads; then a new connection finds one that does neither."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from core.memory.conversations import Memory
from core.pacing import CallBudgets
from core.store.connection import connect
from core.turns.queue import TurnQueue
from core.types import Author, ConversationKey, Turn
from tests.waiting import UNHURRIED, wait_until

LOADING = "-LOADING Redis is loading the dataset in memory"
READONLY = "-READONLY You can't write against a read only replica."
CHANNEL = ConversationKey("slack", "T1", "C1")


class Switch:
    """Stands before a real Redis, and answers in its place while it ``says`` something.

    A connection that heard READONLY leads to the old master: it hears that for good, whatever becomes of the others.
    """

    def __init__(self, target: Path) -> None:
        self.target, self.says, self.said = target, "", 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one command after the other, or refuse it."""
        there, back = await asyncio.open_unix_connection(str(self.target))
        passing = asyncio.create_task(self._pass(there, writer))
        demoted = False
        try:
            while head := await reader.readline():
                command, words = head, []
                for _ in range(int(head[1:])):
                    size = await reader.readline()
                    words.append(await reader.readexactly(int(size[1:]) + 2))
                    command += size + words[-1]
                setup = words[0].strip().upper() in (b"HELLO", b"CLIENT", b"SELECT")
                if (self.says or demoted) and not setup:
                    demoted = demoted or self.says == READONLY
                    self.said += 1
                    writer.write(f"{READONLY if demoted else self.says}\r\n".encode())
                else:
                    back.write(command)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            passing.cancel()
            back.close()
            writer.close()

    @staticmethod
    async def _pass(there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await there.read(2**16):
            writer.write(data)


@asynccontextmanager
async def switching(redis_url: str) -> AsyncIterator[tuple[Switch, Redis]]:
    """One, and a client behind it that has been used."""
    switch = Switch(Path(redis_url.removeprefix("unix://")))
    server = await asyncio.start_server(switch.connected, "127.0.0.1", 0)
    client = await connect(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await asyncio.gather(*(client.set(f"name {number}", "before") for number in range(5)))
    try:
        yield switch, client
    finally:
        await client.aclose()
        server.close()


async def submit(client: Redis) -> None:
    """Accept a message, as one that was not heard of yet."""
    queue = TurnQueue(client, Memory(client, retention=60))
    assert (await queue.submit(Turn("t1", CHANNEL, "slack:a", Author("U1", ""), "why?", 1.0))).accepted


async def pipeline(client: Redis, *, transaction: bool) -> None:
    """Two writes at once."""
    async with client.pipeline(transaction=transaction) as pipe:
        pipe.set("one", "1")
        pipe.incr("one")
        assert (await pipe.execute())[-1] == 2


async def write(client: Redis) -> None:
    """One write."""
    assert await client.set("name 0", "after")


CALLS: dict[str, Callable[[Redis], Awaitable[Any]]] = {
    "a write": write,
    "a script": submit,
    "a pipeline": lambda client: pipeline(client, transaction=False),
    "a transaction": lambda client: pipeline(client, transaction=True),
    "a wait": lambda client: client.blpop(["none"], timeout=0.01),
}


@pytest.mark.parametrize("says", [LOADING, READONLY])
@pytest.mark.parametrize("call", CALLS)
async def test_a_call_rides_out_a_failover(client: Redis, redis_url: str, says: str, call: str) -> None:
    """It is made again, on a new connection, until it is taken; nothing raises."""
    async with switching(redis_url) as (switch, through):
        switch.says = says
        calling = asyncio.ensure_future(CALLS[call](through))
        await wait_until(lambda: switch.said >= 3, description="it was refused, more than once")
        switch.says = ""
        async with asyncio.timeout(UNHURRIED):
            await calling
            assert await through.get("name 1") == "before"


@pytest.mark.parametrize("says", [LOADING, READONLY])
async def test_call_budgets_are_shared_again_after_a_failover(client: Redis, redis_url: str, says: str) -> None:
    """Calls go on meanwhile, counted by each process alone; the connection to the old master is let go of."""
    async with switching(redis_url) as (switch, through):
        budgets = CallBudgets(through)
        budget = budgets.open("slack:T1:chat.update", 5, 50.0)
        async with asyncio.timeout(UNHURRIED):
            await budget.take()
        with capture_logs() as logs:
            switch.says = says
            async with asyncio.timeout(UNHURRIED):
                await asyncio.gather(*(budget.take() for _ in range(10)))
            assert budgets.away
            switch.says = ""
            await wait_until(lambda: not budgets.away, description="Redis to be asked again")
            async with asyncio.timeout(UNHURRIED):
                await asyncio.gather(*(budget.take() for _ in range(10)))
        assert not budgets.away
        events = [entry["event"] for entry in logs]
        assert events == ["call budgets not shared; each process counts alone", "call budgets shared again"]
        await budgets.aclose()
