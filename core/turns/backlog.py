"""How much waits in the queue, for the gauges that all processes of a deployment share."""

from __future__ import annotations

from collections.abc import Sequence

from redis.asyncio import Redis

from core import metrics
from core.store import Keys, redis_errors
from core.turns.scripts import QueueScripts

MOST_LOOKED_INTO = 200
"""Messages that are read for the age of the oldest one; fair order keeps it among the first."""


async def measure_backlog(redis: Redis, platforms: Sequence[str]) -> None:
    """Set the gauges of what waits on these platforms. Raises StorageError, and then they are not known."""
    gauges = (metrics.QUEUE_DEPTH, metrics.QUEUE_OLDEST_AGE, metrics.DEAD_LETTERS)
    for gauge in gauges:
        gauge.clear()
    with redis_errors("count what waits"):
        found = await QueueScripts(redis).backlog(dead=Keys.DEAD, most=MOST_LOOKED_INTO, platforms=platforms)
    for gauge, value in zip(gauges, found, strict=True):
        gauge.set(float(value))
