"""What people think of answers: thumbs up or down, one rating by each person for each answer."""

from __future__ import annotations

from typing import Literal

from redis.asyncio import Redis

from core.store import Keys, redis_errors

FEEDBACK_TTL = 90 * 24 * 3600
"""Seconds that ratings are kept."""

Rating = Literal["up", "down"]


class Feedback:
    """What people think of answers. Raises StorageError from every method when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def rate(self, turn: str, user: str, rating: Rating) -> None:
        """Store a person's rating of an answer, in place of an earlier one."""
        key = Keys.feedback(turn)
        with redis_errors("store a rating"):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(key, user, rating)
                pipe.expire(key, FEEDBACK_TTL)
                await pipe.execute()

    async def ratings(self, turn: str) -> dict[Rating, int]:
        """How many ratings of each kind an answer has."""
        with redis_errors("count ratings"):
            given = list((await self._redis.hgetall(Keys.feedback(turn))).values())
        return {"up": given.count("up"), "down": given.count("down")}

    async def forget(self, user: str) -> int:
        """Delete all ratings by a person. Returns how many that were."""
        taken = 0
        with redis_errors("delete ratings"):
            async for key in self._redis.scan_iter(match=Keys.feedback("*"), count=1000):
                taken += int(await self._redis.hdel(key, user))
        return taken
