"""Each redis-server that is here, since what is promised holds on all of them; and a double of TGI."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
import redis.asyncio

from core.memory import Memory
from core.store.connection import connect
from core.turns import TurnQueue
from core.turns.intake import FollowUp
from tests.contracts.queueing import MINUTE, Open
from tests.doubles.tgi import TgiDouble
from tests.needs import BROUGHT_REDIS, REDIS_6_2, SYSTEM_REDIS
from tests.redis_server import RedisServer
from tests.waiting import wait_until

SERVERS = {"newest": BROUGHT_REDIS, "oldest": REDIS_6_2, "machine": SYSTEM_REDIS}
"""What we bring, the oldest that is supported, and the machine's own."""


@pytest.fixture(scope="session")
def urls() -> Iterator[Callable[[str], str]]:
    """Where the server of a name is; each is started once, when a test first asks for it."""
    with ExitStack() as stack:

        @cache
        def url(name: str) -> str:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-"))
            server = RedisServer(Path(folder, "s"), binary=SERVERS[name].path())
            stack.callback(server.kill)
            server.start()
            return server.url

        yield url


@pytest.fixture(params=list(SERVERS))
def url(request: pytest.FixtureRequest, urls: Callable[[str], str]) -> str:
    """One real server for each version."""
    return urls(request.param)


@pytest.fixture
async def redis_client(url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of an empty server."""
    client = await connect(url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def tgi() -> AsyncIterator[TgiDouble]:
    """A double; when the test is over, no connection to it and no task is left."""
    async with TgiDouble() as double:
        yield double
        await wait_until(lambda: not double.connections, description="connections to be closed")
        await wait_until(lambda: asyncio.all_tasks() == {asyncio.current_task()}, description="tasks to end")


@pytest.fixture
def memory(redis_client: redis.asyncio.Redis) -> Memory:
    """Where the queue puts what was said."""
    return Memory(redis_client, retention=3600)


@pytest.fixture
def open_queue(redis_client: redis.asyncio.Redis, memory: Memory) -> Open:
    """The queue, as one process sees it."""

    def open_one(lease: float = MINUTE, follow_up: FollowUp = "queue", platform: str = "slack") -> TurnQueue:
        return TurnQueue(redis_client, memory, platforms=[platform], lease=lease, follow_up=follow_up)

    return open_one


@pytest.fixture
def queue(open_queue: Open) -> TurnQueue:
    """One of them."""
    return open_queue()
