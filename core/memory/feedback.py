"""What people think of answers: thumbs up or down, one mark of each person for each answer."""

from __future__ import annotations

from typing import Literal

from redis.asyncio import Redis

from core.store import Keys, redis_errors

FEEDBACK_TTL = 90 * 24 * 3600
"""Seconds that marks are kept."""

Mark = Literal["up", "down"]


class Feedback:
    """The marks of all answers. Raises StorageError from every method when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def rate(self, turn: str, user: str, mark: Mark) -> None:
        """Keep a person's mark of an answer; their last one counts."""
        key = Keys.feedback(turn)
        with redis_errors("keep a mark"):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(key, user, mark)
                pipe.expire(key, FEEDBACK_TTL)
                await pipe.execute()

    async def marks(self, turn: str) -> dict[Mark, int]:
        """How many of each an answer has."""
        with redis_errors("count marks"):
            given = list((await self._redis.hgetall(Keys.feedback(turn))).values())
        return {"up": given.count("up"), "down": given.count("down")}

    async def forget(self, user: str) -> int:
        """Take away all marks that a person gave. Returns how many that were."""
        taken = 0
        with redis_errors("forget marks"):
            async for key in self._redis.scan_iter(match=Keys.feedback("*"), count=1000):
                taken += int(await self._redis.hdel(key, user))
        return taken
