"""Which form the store in Redis has, and how an older one is brought into today's.

A single number stands in Redis. It grows when something that lives there changes so that older code could not read it,
or newer code not the old. Records carry a version of their own (``core.types.FORMAT``) for what only gains fields. Each
step may be repeated, and done by several processes at once: whoever starts first after an update does it.

1. until 2026-11-23: a turn was a string, the token of who accepted it; a kept turn held its turn as text
2. durable turns: a turn is a hash, and a kept turn a ``StoredJob``
"""

from __future__ import annotations

from typing import Any

import structlog
from redis.asyncio import Redis

from core.errors import StorageError
from core.store import Keys, Script, redis_errors
from core.stored import Unreadable, list_in, read_record
from core.turns import StoredJob, read_refs
from core.types import Turn

log = structlog.get_logger()

SCHEMA = 2
"""The form that this Parley reads and writes."""
TTL = 3650 * 86400
"""Seconds that the number stays: as long as the longest retention, from the last start."""


async def prepare(redis: Redis) -> int:
    """Bring the store into today's form, and say so there. Returns the number of things that had to be changed.

    Raises:
        StorageError: Redis is away, or a newer Parley wrote this store.
    """
    changed = 0
    with redis_errors("look at the form of the store"):
        sweep = Script(redis, "core/store/sweep", keys=None, args={"kinds": list})
        await sweep(keys=[Keys.SCHEMA], kinds=["string"])
        found = await redis.get(Keys.SCHEMA)
        there = int(found) if isinstance(found, str) and found.isdecimal() else 1
        if there > SCHEMA:
            raise too_new(there)
        if there < SCHEMA:
            changed = await _from_1(redis)
        await redis.set(Keys.SCHEMA, SCHEMA, ex=TTL)
    if changed:
        log.info("store migrated", schema=SCHEMA, before=there, changed=changed)
    return changed


def too_new(there: int) -> StorageError:
    """The error about a store, or a backup of one, of a newer Parley."""
    return StorageError(
        f"This memory was written by a newer Parley: it has form {there}, and this one knows those up to {SCHEMA}.",
        remedy="Run that version of Parley, or a newer one.",
    )


def recast_kept(text: str) -> str:
    """A kept turn in today's form: what stands there already, or cannot be read, is given back as it is."""
    try:
        record = read_record(text)
        if not isinstance(record.get("turn"), str):
            return text
        turn = Turn.from_record(read_record(record["turn"]))
        return StoredJob(turn, read_refs(list_in(record, "refs"))).to_json()
    except Unreadable:
        return text


async def _from_1(redis: Redis) -> int:
    """Turns and kept turns, from form 1 to 2."""
    recast = Script(redis, "core/turns/recast")
    changed = 0
    async for name in redis.scan_iter(match=Keys.turn("*"), count=1000):
        changed += int(await recast(keys=[name]))
    async for name in redis.scan_iter(match=f"{Keys.CONVERSATIONS}*:retries", count=1000):
        kept: Any = await redis.hgetall(name)
        for turn, old in kept.items():
            if (new := recast_kept(old)) != old:
                changed += int(await recast(keys=[name], args=[turn, old, new]))
    return changed
