"""Forgets conversations, places and what one person said; reports beforehand what would be forgotten."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from core.memory.changes import as_stored
from core.memory.facts import facts_in
from core.memory.forks import CONVERSATIONS_PER_ROUND_TRIP, forks_of
from core.memory.scripts import MemoryScripts
from core.store import Keys, redis_errors
from core.stored import Unreadable, choice_in, read_record, record_in
from core.types import ConversationKey, Message

_CONVERSATION_NAME = re.compile(r"(?=\b([a-z]+:[\w%@.~-]*:[\w%@.~-]+(?::[\w%@.~-]+)?))")
"""Matches whatever looks like the name of a conversation."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What forgetting a conversation would remove.

    Args:
        messages: number of messages in it and in its threads.
        people: ids of their authors; "" stands for those whose words only a summary contains.
        epoch: how often the conversation was forgotten before.
        facts: number of facts that people told to remember.
    """

    messages: int
    people: frozenset[str]
    epoch: int
    facts: int = 0


class Forgetting:
    """Forgets what ``Memory`` stored: see its methods of the same names."""

    def __init__(self, redis: Redis, scripts: MemoryScripts, *, retention: int) -> None:
        """``retention`` is in seconds: for so long it stays known that a conversation was forgotten."""
        self._redis = redis
        self._scripts = scripts
        self._retention = retention

    async def withdraw_author(self, key: ConversationKey, user: str) -> set[str]:
        """See ``Memory.withdraw_author``."""
        with redis_errors("forget a person"):
            withdrawn = await self._scripts.withdraw_author(
                messages=Keys.messages(key),
                state=Keys.state(key),
                retries=Keys.retries(key),
                board=Keys.board(key),
                facts=Keys.facts(key),
                room=Keys.room(key),
                changed=Keys.changed(key),
                following=Keys.following(key),
                user=user,
                quoted=as_stored(user),
                boards=Keys.BOARDS,
            )
        return set(withdrawn)

    async def forget(self, key: ConversationKey, *, asker: str = "") -> int:
        """See ``Memory.forget``."""
        with redis_errors("forget a conversation"):
            forgotten = await self._forget_some([key])  # first, so that a thread that branches off now copies nothing
            async for forks in forks_of(self._redis, key):
                forgotten += await self._forget_some(forks)
            if asker:
                forgotten += await self._forget_some([key.apart(asker)])
            await self._forget_letters(lambda where: key in (where, where.parent) or where == key.apart(asker))
        return forgotten

    async def erase(self, place: ConversationKey) -> int:
        """See ``Memory.erase``."""
        forgotten = 0
        with redis_errors("forget a place"):
            found: dict[ConversationKey, set[str]] = {}
            pattern = f"{Keys.CONVERSATIONS}{place.home if place.channel else str(place).rstrip(':')}:*"
            async for name in self._redis.scan_iter(match=pattern, count=1000):
                with suppress(ValueError):
                    key, _ = Keys.part_of(name)
                    if _within(key, place):
                        found.setdefault(key, set()).add(name)
            # Channels before their threads, as in ``forget``.
            keys = sorted(found, key=lambda key: (bool(key.thread), str(key)))
            for start in range(0, len(keys), CONVERSATIONS_PER_ROUND_TRIP):
                some = keys[start : start + CONVERSATIONS_PER_ROUND_TRIP]
                forgotten += await self._forget_some(some, whole=True)
            await self._forget_letters(lambda where: _within(where, place))
        return forgotten

    async def _forget_some(self, conversations: Sequence[ConversationKey], *, whole: bool = False) -> int:
        """Forget some conversations; with ``whole``, also their settings and their lists of threads."""
        calls = [
            {
                "messages": Keys.messages(one),
                "state": Keys.state(one),
                "retries": Keys.retries(one),
                "board": Keys.board(one),
                "facts": Keys.facts(one),
                "room": Keys.room(one),
                "changed": Keys.changed(one),
                "forks": Keys.forks(one.home),
                "following": Keys.following(one),
                "chosen": Keys.settings(one),
                "own_forks": Keys.forks(one),
                "ttl": self._retention,
                "boards": Keys.BOARDS,
                "thread": str(one) if one.thread else "",
                "whole": whole,
            }
            for one in conversations
        ]
        return sum(map(int, await self._scripts.forget.each(calls)))

    async def _forget_letters(self, concerned: Callable[[ConversationKey], bool]) -> None:
        """Drop the dead letters of some conversations, and unreadable ones that may belong to them."""
        if await self._redis.type(Keys.DEAD) != "list":
            return
        letters: Any = await self._redis.lrange(Keys.DEAD, 0, -1)
        for start in range(0, len(letters), CONVERSATIONS_PER_ROUND_TRIP):
            async with self._redis.pipeline(transaction=False) as pipe:
                for letter in letters[start : start + CONVERSATIONS_PER_ROUND_TRIP]:
                    if any(map(concerned, _conversations_in(letter))):
                        pipe.lrem(Keys.DEAD, 1, letter)
                await pipe.execute()

    async def extent(self, key: ConversationKey) -> Extent:
        """See ``Memory.extent``."""
        with redis_errors("look at what would be forgotten"):
            forks: Any = await self._redis.smembers(Keys.forks(key))
            conversations = [key, *map(ConversationKey.parse, sorted(forks))]
            count, people, facts = 0, set[str](), 0
            for start in range(0, len(conversations), CONVERSATIONS_PER_ROUND_TRIP):
                async with self._redis.pipeline(transaction=False) as pipe:
                    for one in conversations[start : start + CONVERSATIONS_PER_ROUND_TRIP]:
                        pipe.lrange(Keys.messages(one), 0, -1)
                        pipe.hexists(Keys.state(one), "summary")
                        pipe.hgetall(Keys.facts(one))
                    found = await pipe.execute()
                for entries, summed_up, told in zip(found[::3], found[1::3], found[2::3], strict=True):
                    messages = [Message.from_json(entry) for entry in entries]
                    count += len(messages)
                    people |= {message.author.id for message in messages if message.author} | (
                        {""} if summed_up else set()
                    )
                    facts += len(facts_in(told))
                    people |= {fact.author.id for fact in facts_in(told)}
            epoch: Any = await self._redis.hget(Keys.state(key), "epoch")
        return Extent(count, frozenset(people), int(epoch or 0), facts)


def _within(key: ConversationKey, place: ConversationKey) -> bool:
    """Whether a conversation is part of a place: a thread, a channel or a workspace."""
    if (key.platform, key.workspace) != (place.platform, place.workspace):
        return False
    return place.channel in ("", key.channel) and place.thread in ("", key.thread)


def _conversations_in(letter: str) -> Iterator[ConversationKey]:
    """The conversation of a dead letter; all that it may name if it can't be read."""
    try:
        yield choice_in(record_in(record_in(read_record(letter), "job"), "turn"), "key", ConversationKey.parse)
    except Unreadable:
        yield from map(ConversationKey.parse, _CONVERSATION_NAME.findall(letter))
