"""What the adapter keeps in Redis across restarts, each with a time to live."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis

from bots.discord.keys import discord_key
from core.memory import Departures
from core.quotes import Quote
from core.store import Keys, kind_of, redis_errors
from core.stored import Unreadable, read_record
from core.types import ConversationKey

WEEK = 7 * 86_400
FORM_SECONDS = 900
"""Seconds in which a form is filled in."""
MOST_PLACES = 200
"""Direct messages and threads that are searched for missed messages."""
THREAD_SECONDS = 60
"""Seconds for which the place of an archived thread is kept: many messages may be deleted there at once."""
BOT_ANSWERS, BOT_SECONDS = 10, 600
"""So many answers to other bots in a channel, in so many seconds; then a person has to speak first."""


class DiscordStore:
    """What one bot keeps in Redis. Every method raises StorageError when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.left = Departures(redis, "discord")
        """The servers that were left."""
        self._threads: dict[str, tuple[float, Sequence[ConversationKey]]] = {}

    async def registered_commands(self) -> str:
        """The hash of the commands that were registered last; "" if it is not known."""
        with redis_errors("read which commands are registered"):
            return str(await self._redis.get(discord_key("commands")) or "")

    async def note_registered(self, digest: str) -> None:
        """Note the hash of the commands that Discord has now."""
        with redis_errors("note which commands are registered"):
            await self._redis.set(discord_key("commands"), digest, ex=400 * 86_400)

    async def last_heard(self) -> float:
        """When the gateway last missed nothing; 0 if never."""
        with redis_errors("read when we last heard Discord"):
            return float(await self._redis.get(discord_key("alive")) or 0)

    async def note_heard(self) -> None:
        """Note that the gateway misses nothing, now."""
        with redis_errors("note that we hear Discord"):
            await self._redis.set(discord_key("alive"), f"{time.time():.3f}", ex=WEEK)

    async def knows_turn(self, turn: str) -> bool:
        """Whether a message was taken already, or its author was told why not."""
        with redis_errors("look for a message"):
            return bool(await self._redis.exists(Keys.turn(turn), Keys.seen(turn)))

    async def note_place(self, channel: str) -> None:
        """Note that we are asked in a direct message or a thread, which Discord does not list."""
        key = discord_key("places")
        with redis_errors("note where we are asked"):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.zadd(key, {channel: time.time()})
                pipe.zremrangebyrank(key, 0, -MOST_PLACES - 1)
                pipe.expire(key, WEEK)
                await pipe.execute()

    async def places(self) -> Sequence[str]:
        """Those places, the newest first."""
        with redis_errors("read where we are asked"):
            return [str(place) for place in await self._redis.zrevrange(discord_key("places"), 0, -1)]

    async def count_bot_answer(self, channel: str) -> bool:
        """Count an answer to another bot; False if there were too many."""
        key = discord_key(f"bots:{channel}")
        with redis_errors("count answers to bots"):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.incr(key)
                pipe.expire(key, BOT_SECONDS)
                count, _ = await pipe.execute()
        return int(count) <= BOT_ANSWERS

    async def reset_bot_answers(self, channel: str) -> None:
        """Let bots be answered again: a person wrote there."""
        with redis_errors("count answers to bots"):
            await self._redis.delete(discord_key(f"bots:{channel}"))

    async def keep_quote(self, about: int, quote: Quote) -> bool:
        """Keep a message that somebody is asking about, until they have written what they want to know."""
        kept = json.dumps(quote.record())
        with redis_errors("keep a message that is asked about"):
            return bool(await self._redis.set(discord_key(f"about:{about}"), kept, ex=FORM_SECONDS))

    async def find_quote(self, about: str) -> tuple[Quote, ...]:
        """That message; nothing after too long."""
        with redis_errors("read a message that is asked about"):
            kept = await self._redis.get(discord_key(f"about:{about}"))
        with suppress(Unreadable):
            return (Quote.from_record(read_record(kept or b"")),)
        return ()

    async def threads(self, guild: str, thread: str) -> Sequence[ConversationKey]:
        """The conversations of a thread of which nobody says in which channel it is."""
        known = self._threads.get(thread)
        if not known or known[0] < time.monotonic():
            found: set[ConversationKey] = set()
            with redis_errors("look for a thread"):
                pattern = f"{Keys.CONVERSATIONS}discord:{guild}:*:{thread}:*"
                async for name in self._redis.scan_iter(match=pattern, count=1000):
                    if kind_of(name):
                        found.add(Keys.part_of(name)[0])
            if len(self._threads) >= MOST_PLACES:
                self._threads.clear()
            known = self._threads[thread] = time.monotonic() + THREAD_SECONDS, tuple(found)
        return known[1]

    async def left_unheard(self, servers: Collection[str]) -> Sequence[str]:
        """The servers that we were in when this was asked last, and are in no more; ``servers`` are those now."""
        key = discord_key("servers")
        with redis_errors("look which servers were left"):
            before: Any = await self._redis.smembers(key)
            if servers:
                async with self._redis.pipeline(transaction=True) as pipe:
                    pipe.sadd(key, *servers)
                    pipe.expire(key, 400 * 86_400)
                    await pipe.execute()
        return sorted(set(before) - set(servers))

    async def part(self, server: str, grace: float) -> None:
        """We were removed from a server; it is forgotten after ``grace`` seconds."""
        await self.left.leave(server, grace=grace)
        with redis_errors("note that a server was left"):
            await self._redis.srem(discord_key("servers"), server)
