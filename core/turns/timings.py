"""How the last answers went, on all platforms and by all workers: a short list in Redis, for operators.

It holds no person, no place and no text, and expires on its own.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from typing import Any, Self

import structlog
from redis.asyncio import Redis

from core.errors import StorageError
from core.store import Keys, redis_errors
from core.stored import count_in, read_record, readable, text_in, time_in

log = structlog.get_logger()

MOST_TIMINGS = 200
"""Answers whose timing is kept."""
TIMINGS_TTL = 86_400
"""Seconds after the last answer for which the list is kept."""
STORE_TIMEOUT = 1.0
"""Seconds that a worker's slot waits until a timing is stored; nothing depends on it."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How one answer went.

    Attributes:
        at: When it ended, in seconds since the epoch.
        platform: Where it was asked.
        first: Seconds until people saw its first words; None if they saw none.
        writing: Seconds that the model wrote.
        tokens: How long the answer was.
        edits: Posts and edits that the platform took.
        refused: Posts and edits that it refused.
    """

    at: float
    platform: str
    first: float | None
    writing: float
    tokens: int
    edits: int
    refused: int = 0

    @property
    def speed(self) -> float | None:
        """Tokens a second; None if there are too few to tell."""
        return self.tokens / self.writing if self.writing > 0 and self.tokens > 1 else None

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what was stored; fields of a newer version are passed over. Raises Unreadable."""
        record = read_record(text)
        return cls(
            time_in(record, "at"),
            text_in(record, "platform"),
            None if record.get("first") is None else time_in(record, "first"),
            time_in(record, "writing"),
            count_in(record, "tokens"),
            count_in(record, "edits"),
            count_in(record, "refused", 0),
        )


class Timings:
    """The timings of the last answers of a deployment."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def keep(self, timing: Timing) -> None:
        """Store how an answer went. Never raises: if Redis is unavailable, it is not stored."""
        try:
            async with asyncio.timeout(STORE_TIMEOUT):
                with redis_errors("keep how an answer went"):
                    async with self._redis.pipeline(transaction=False) as pipe:
                        pipe.rpush(Keys.TIMINGS, json.dumps(asdict(timing)))
                        pipe.ltrim(Keys.TIMINGS, -MOST_TIMINGS, -1)
                        pipe.expire(Keys.TIMINGS, TIMINGS_TTL)
                        await pipe.execute()
        except (StorageError, TimeoutError) as error:
            log.info("answer timing not stored", error=str(error))

    async def last(self) -> list[Timing]:
        """The timings that are kept, oldest first. Raises StorageError."""
        with redis_errors("read how answers went"):
            kept: Any = await self._redis.lrange(Keys.TIMINGS, 0, -1)
        return readable(Timing.from_json, kept)[0]
