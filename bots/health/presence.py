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

PUBLISH_SECONDS = 2.0
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
async def publishing_status(redis: Redis, process: str, platforms: Mapping[str, Connected]) -> AsyncIterator[None]:
    """While inside, publish every few seconds which of ``platforms`` are connected here; at the end, delete that."""
    end = asyncio.Event()
    task = asyncio.create_task(_publish_until(redis, process, platforms, end))
    try:
        yield
    finally:
        end.set()  # not cancelled: Redis's client may lose that before Python 3.12
        await task


async def _publish_until(redis: Redis, process: str, platforms: Mapping[str, Connected], end: asyncio.Event) -> None:
    published = True
    while platforms and not end.is_set():
        try:
            await _publish(redis, process, {name: platform.connected for name, platform in platforms.items()})
            published = True
        except (StorageError, TimeoutError) as error:
            if published:
                log.info("connection status not published", error=str(error))
            published = False
        with suppress(TimeoutError):
            async with asyncio.timeout(PUBLISH_SECONDS):
                await end.wait()
    if platforms and published:
        with suppress(StorageError, TimeoutError):
            await _publish(redis, process, dict.fromkeys(platforms))


async def _publish(redis: Redis, process: str, connected: Mapping[str, bool | None]) -> None:
    """Publish the status of all platforms of a process; None deletes it."""
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
    """By platform, how many processes are connected, and how many are trying to. Raises StorageError."""
    with redis_errors("read the connection status"):
        entries: Any = await redis.zrangebyscore(Keys.CONNECTIONS, time.time() - TTL, "+inf")
    found: dict[str, tuple[int, int]] = {}
    for entry in entries:
        name, word, process = (*entry.split(" ", 2), "", "")[:3]
        if not process:
            continue  # not written by any version of Parley
        up, down = found.get(name, (0, 0))
        found[name] = (up + (word == UP), down + (word == DOWN))
    return found
