"""Which form the store in Redis has: a store or a backup of a newer Parley is refused, and not misread.

A single number stands in Redis. It grows when something that lives there changes so that older code could not read it,
or newer code not the old; then a step that brings the older form into the newer one belongs here. Records carry a
version of their own (``core.types.FORMAT``) for what only gains fields.
"""

from __future__ import annotations

from redis.asyncio import Redis

from core.errors import StorageError
from core.store import Keys, Script, redis_errors

SCHEMA = 2
"""The form that this Parley reads and writes. No release wrote form 1."""
TTL = 3650 * 86400
"""Seconds that the number stays: as long as the longest retention, from the last start."""


async def prepare(redis: Redis) -> None:
    """Look at the store's form, and write down ours.

    Raises:
        StorageError: Redis is away, or a newer Parley wrote this store.
    """
    with redis_errors("look at the form of the store"):
        sweep = Script(redis, "core/store/sweep", keys=None, args={"kinds": list})
        await sweep(keys=[Keys.SCHEMA], kinds=["string"])
        found = await redis.get(Keys.SCHEMA)
        if isinstance(found, str) and found.isdecimal() and int(found) > SCHEMA:
            raise too_new(int(found))
        await redis.set(Keys.SCHEMA, SCHEMA, ex=TTL)


def too_new(there: int) -> StorageError:
    """The error about a store, or a backup of one, of a newer Parley."""
    return StorageError(
        f"This memory was written by a newer Parley: it has form {there}, and this one knows those up to {SCHEMA}.",
        remedy="Run that version of Parley, or a newer one.",
    )
