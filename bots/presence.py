"""Which processes take what people say, and where: each says so again and again, for whoever looks from elsewhere.

A process knows of its own connections only (``bots.health``); the page may be another one than that which has Slack's
socket. One that dies says nothing more, and after ``TTL`` seconds it is not believed any longer.
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
from core.keys import Keys
from core.redis import redis_errors

log = structlog.get_logger()

EVERY = 2.0
"""Seconds between two words of a process."""
TTL = 10
"""Seconds that a word counts."""
PATIENCE = 2.0
"""Seconds that one may take."""
UP, DOWN = "up", "down"


class Connected(Protocol):
    """Something that takes what people say while it is connected."""

    @property
    def connected(self) -> bool:
        """Whether it is, now."""
        ...


@asynccontextmanager
async def telling(redis: Redis, process: str, platforms: Mapping[str, Connected]) -> AsyncIterator[None]:
    """While inside, say every few seconds which of ``platforms`` are connected here; at the end, that none is."""
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
    """One word, of all platforms of a process; None takes back what was said."""
    now = time.time()
    async with asyncio.timeout(PATIENCE):
        with redis_errors("say where we are connected"):
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
    with redis_errors("ask who is connected"):
        told: Any = await redis.zrangebyscore(Keys.CONNECTIONS, time.time() - TTL, "+inf")
    found: dict[str, tuple[int, int]] = {}
    for name, word, _ in (one.split(" ", 2) for one in told):
        up, down = found.get(name, (0, 0))
        found[name] = (up + (word == UP), down + (word == DOWN))
    return found
