"""Which messages were accepted, and which replies may be tried again: in Redis, so that every process agrees."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import replace

from redis.asyncio import Redis

from core.memory import script
from core.redis import TURN_TTL, Keys, redis_errors
from core.types import FORMAT, ConversationKey, MessageRef, Turn

MOST_UNSURE = 1000
"""Claims of which Redis did not say whether it has them; the oldest are forgotten first."""
RETRY_TTL = 60
"""Seconds in which taking a turn again may be repeated; a connection that breaks is back long before."""


class Turns:
    """The register of turns. Raises StorageError from every method when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._take = redis.register_script(script("take"))
        self._unsure: dict[str, str] = {}

    async def claim(self, turn: str) -> bool:
        """Accept a message once: False for one that was accepted in the last 24 hours, by whatever process.

        Redis may have heard a claim although we did not hear of it: the client sends it again when a connection breaks,
        and where it gave up, the platform delivers again. The token tells our own claim from another's.
        """
        token = self._unsure.pop(turn, None) or uuid.uuid4().hex
        try:
            with redis_errors("accept a message"):
                if await self._redis.set(Keys.turn(turn), token, nx=True, ex=TURN_TTL):
                    return True
                return bool(await self._redis.get(Keys.turn(turn)) == token)
        except BaseException:
            while len(self._unsure) >= MOST_UNSURE:
                del self._unsure[next(iter(self._unsure))]
            self._unsure[turn] = token
            raise

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
        token = uuid.uuid4().hex
        keys = [Keys.retries(key), Keys.turn(f"{turn}/retry")]
        with redis_errors("take a turn again"):
            kept = await self._take(keys=keys, args=[turn, token, RETRY_TTL])
        if not kept:
            return None
        record = json.loads(kept)
        return Turn.from_json(record["turn"]), tuple(MessageRef(*ref) for ref in record["refs"])

    async def correct(self, key: ConversationKey, turn: str, text: str | None) -> None:
        """The question of a kept turn was edited and reads ``text`` now; None if it was deleted, and is dropped."""
        with redis_errors("change a kept turn"):
            if text is None:
                await self._redis.hdel(Keys.retries(key), turn)
            elif kept := await self._redis.hget(Keys.retries(key), turn):
                record = json.loads(kept)
                record["turn"] = replace(Turn.from_json(record["turn"]), text=text).to_json()
                await self._redis.hset(Keys.retries(key), turn, json.dumps(record))
