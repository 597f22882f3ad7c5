"""Which processes are connected to which platforms: each publishes it every few seconds, so that others can show it.

A process knows only its own connections (``bots.health``), and the page may run in another process than Slack's socket.
What a process published counts for ``TTL`` seconds, so one that died is forgotten.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

import structlog
from redis.asyncio import Redis

from core.errors import StorageError
from core.store import Keys, redis_errors

log = structlog.get_logger()

EVERY = 2.0
"""Seconds between two publications of a process."""
TTL = 10
"""Seconds that a publication counts."""
PUBLISH_TIMEOUT = 2.0
"""Seconds that a publication may take."""
UP, DOWN = "up", "down"


class Connected(Protocol):
    """A platform that brings messages while it is connected."""

    @property
    def connected(self) -> bool:
        """Whether it is, now."""
        ...


@asynccontextmanager
async def telling(redis: Redis, process: str, platforms: Mapping[str, Connected]) -> AsyncIterator[None]:
    """While inside, publish every few seconds which of ``platforms`` are connected here; at the end, take it back."""
    end = asyncio.Event()
    task = asyncio.create_task(_tell_on(redis, process, platforms, end))
    try:
        yield
    finally:
        end.set()  # not cancelled: Redis's client may lose that before Python 3.12
        await task


async def _tell_on(redis: Redis, process: str, platforms: Mapping[str, Connected], end: asyncio.Event) -> None:
    heard = True
    while platforms and not end.is_set():
        try:
            await _tell(redis, process, {name: platform.connected for name, platform in platforms.items()})
            heard = True
        except (StorageError, TimeoutError) as error:
            if heard:
                log.info("connection status not published", error=str(error))
            heard = False
        with suppress(TimeoutError):
            async with asyncio.timeout(EVERY):
                await end.wait()
    if platforms and heard:
        with suppress(StorageError, TimeoutError):
            await _tell(redis, process, dict.fromkeys(platforms))


async def _tell(redis: Redis, process: str, connected: Mapping[str, bool | None]) -> None:
    """Publish the status of all platforms of a process; None takes it back."""
    now = time.time()
    async with asyncio.timeout(PUBLISH_TIMEOUT):
        with redis_errors("publish the connection status"):
            async with redis.pipeline() as pipe:
                for name, there in connected.items():
                    pipe.zrem(Keys.CONNECTIONS, *(f"{name} {word} {process}" for word in (UP, DOWN)))
                    if there is not None:
                        pipe.zadd(Keys.CONNECTIONS, {f"{name} {UP if there else DOWN} {process}": now})
                pipe.zremrangebyscore(Keys.CONNECTIONS, "-inf", now - TTL)
                pipe.expire(Keys.CONNECTIONS, TTL)
                await pipe.execute()


async def connections(redis: Redis) -> dict[str, tuple[int, int]]:
    """By platform, how many processes are connected there, and how many would be. Raises StorageError."""
    with redis_errors("read the connection status"):
        told: Any = await redis.zrangebyscore(Keys.CONNECTIONS, time.time() - TTL, "+inf")
    found: dict[str, tuple[int, int]] = {}
    for entry in told:
        name, word, process = (*entry.split(" ", 2), "", "")[:3]
        if not process:
            continue  # nothing that any process says
        up, down = found.get(name, (0, 0))
        found[name] = (up + (word == UP), down + (word == DOWN))
    return found
