"""A Redis that is far away, and one that fails over to another: a message is stored in time, and all goes on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from core.errors import StorageError, StorageFault
from core.memory.conversations import Memory
from core.memory.exchange import Exchange
from core.store.connection import connect, redis_errors
from core.turns.intake import STORE_TIMEOUT_SECONDS
from core.turns.queue import TurnQueue
from core.types import Author, ConversationKey, Message, Role, Turn
from tests.redis_server import running_redis
from tests.relay import Relay, relaying
from tests.waiting import wait_until

CHANNEL = ConversationKey("slack", "T1", "C1")
ROUND_TRIP = 0.3


def turn(name: str) -> Turn:
    """A turn in a lane of its own."""
    return Turn(name, CHANNEL, f"slack:{name}", Author("U1", ""), "?", 1.0)


@asynccontextmanager
async def in_few_round_trips(relay: Relay) -> AsyncIterator[None]:
    """So few that what takes 300 ms each is done within the time in which a message has to be stored."""
    before = relay.round_trips
    yield
    assert (relay.round_trips - before) * ROUND_TRIP < STORE_TIMEOUT_SECONDS


@pytest.mark.parametrize("warm", [True, False])
async def test_a_message_is_acknowledged_in_time_although_redis_is_far_away(tmp_path: Path, warm: bool) -> None:
    """Also the first one after a restart, over a new connection to a Redis that does not know our scripts."""
    async with running_redis(tmp_path / "s") as server, relaying(server.socket) as relay:
        client = await connect(relay.url)
        queue = TurnQueue(client, Memory(client, retention=60), platforms=["slack"])
        if warm:
            await queue.submit(turn("t0"))
        async with in_few_round_trips(relay):
            assert (await queue.submit(turn("t1"))).accepted
        await client.aclose()


async def test_an_edit_and_a_deletion_are_acknowledged_in_time_although_redis_is_far_away(tmp_path: Path) -> None:
    """What was said is looked for where it may stand, and the answer to it as well."""
    async with running_redis(tmp_path / "s") as server, relaying(server.socket) as relay:
        client = await connect(relay.url)
        memory = Memory(client, retention=60)
        said = (Message(Role.USER, "why", id="q", at=1.0), Message(Role.ASSISTANT, "so", id="a", reply_to="q"))
        await memory.append(Exchange(CHANNEL, 0, "q", "", said))
        async with in_few_round_trips(relay):
            assert not await memory.correct(CHANNEL, "none", "?")
        async with in_few_round_trips(relay):
            assert await memory.correct(CHANNEL, "q", "better")
        async with in_few_round_trips(relay):
            assert await memory.withdraw(CHANNEL, "q")
        await client.aclose()


async def test_a_failover_heals_within_seconds(tmp_path: Path) -> None:
    """The old master says READONLY: connections to it are dropped, and the next ones lead to the new one."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    port = _free_port()
    async with (
        running_redis(tmp_path / "a" / "s") as old,
        running_redis(tmp_path / "b" / "s", "--port", str(port), "--protected-mode", "no") as new,
        relaying(old.socket) as relay,
    ):
        client: Any = await connect(relay.url)
        queue = TurnQueue(client, Memory(client, retention=60), platforms=["slack"])
        await asyncio.gather(*(queue.submit(turn(f"t{number}")) for number in range(12)))
        relay.target = new.socket
        await client.execute_command("REPLICAOF", "127.0.0.1", str(port))
        before = relay.connections
        receipts = await asyncio.gather(*(queue.submit(turn(f"u{number}")) for number in range(12)))
        assert all(receipt.accepted for receipt in receipts)
        async with client.pipeline(transaction=True) as pipe:
            pipe.set("a", "b", ex=60)
            await pipe.execute()
        assert relay.connections > before
        assert len((await queue.claim(16, idle=True)).jobs) == 12, "from the new one"
        await client.aclose()


async def test_a_redis_that_only_reads_is_away_and_a_script_that_fails_is_a_fault(tmp_path: Path) -> None:
    """So an operator is told to look at the right thing."""
    async with running_redis(tmp_path / "s") as server:
        client: Any = await connect(server.url)
        await client.set("text", "x", ex=60)
        for fails in (
            client.lpush("text", "y"),
            client.eval("return nil .. 1", 0),
            client.eval("return redis.call('LPUSH', KEYS[1], 'y')", 1, "text"),
            client.set("text", "\ud800"),
            client.set("text", {}),
        ):
            with pytest.raises(StorageFault), redis_errors("do that"):
                await fails
        async with client.pipeline(transaction=False) as pipe:
            pipe.lpush("text", "y")
            with pytest.raises(StorageFault), redis_errors("do that"):
                await pipe.execute()
        impatient: Any = client.__class__(unix_socket_path=str(server.socket), retry=None, decode_responses=True)
        await client.config_set("maxmemory", "1")
        for fails in (impatient.lpush("other", "y"), impatient.eval("return redis.call('SET', 'a', 'y')", 0)):
            with pytest.raises(StorageError) as away, redis_errors("do that"):
                await fails
            assert not isinstance(away.value, StorageFault)
        await client.config_set("maxmemory", "0")
        await impatient.execute_command("REPLICAOF", "127.0.0.1", "1")
        for fails in (impatient.lpush("other", "y"), impatient.eval("return redis.call('SET', 'a', 'y')", 0)):
            with pytest.raises(StorageError) as away, redis_errors("do that"):
                await fails
            assert not isinstance(away.value, StorageFault)
        await wait_until(impatient.ping)
        await impatient.aclose()
        await client.aclose()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
