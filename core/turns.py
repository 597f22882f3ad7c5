"""Which messages were accepted, and which replies may be tried again: in Redis, so that every process agrees."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import cast

from redis.asyncio import Redis

from core.redis import TURN_TTL, Keys, redis_errors
from core.types import FORMAT, ConversationKey, MessageRef, Turn


class Turns:
    """The register of turns. Raises StorageError from every method when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def claim(self, turn: str) -> bool:
        """Accept a message once: False for one that was accepted in the last 24 hours, by whatever process.

        The client may send the command twice when a connection breaks; the token tells our own claim from another's.
        """
        token = uuid.uuid4().hex
        with redis_errors("accept a message"):
            if await self._redis.set(Keys.turn(turn), token, nx=True, ex=TURN_TTL):
                return True
            return bool(await self._redis.get(Keys.turn(turn)) == token)

    async def keep(self, turn: Turn, refs: Sequence[MessageRef]) -> None:
        """Keep a turn whose reply can be tried again, for 24 hours; forgetting the conversation drops it."""
        record = {"v": FORMAT, "turn": turn.to_json(), "refs": [[ref.channel, ref.id] for ref in refs]}
        key = Keys.retries(turn.key)
        with redis_errors("keep a turn"):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(key, turn.id, json.dumps(record))
                pipe.expire(key, TURN_TTL)
                await pipe.execute()

    async def retry(self, key: ConversationKey, turn: str) -> tuple[Turn, tuple[MessageRef, ...]] | None:
        """Take a kept turn, and the messages of its reply; None if it is gone, or somebody else took it."""
        with redis_errors("take a turn again"):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hget(Keys.retries(key), turn)
                pipe.hdel(Keys.retries(key), turn)
                kept, taken = await pipe.execute()
        if not kept or not taken:
            return None
        record = json.loads(cast("str", kept))
        return Turn.from_json(record["turn"]), tuple(MessageRef(*ref) for ref in record["refs"])
