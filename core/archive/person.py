"""Forgets a person: whatever Redis holds of what they said, wherever that is."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from redis.asyncio import Redis

from core.archive.archive import Archive
from core.memory import Feedback, Memory
from core.store import Keys, redis_errors
from core.turns import WITHDRAWN, Operator, TurnQueue

KEYS_NAMED_AFTER_PEOPLE = ("seen", "clock", "quota")
"""What is kept under a person's name, and is no part of a conversation."""


class PersonEraser:
    """Forgets one person, by the platform's id, with all that is kept of them.

    >>> await PersonEraser(redis, memory, queue, "U0123").forget()
    """

    def __init__(self, redis: Redis, memory: Memory, queue: TurnQueue, user: str) -> None:
        self._redis: Any = redis
        self._memory = memory
        self._queue = queue
        self._operator = Operator(redis)
        self._user = user
        spelled = {user, quote(user, safe="@.-_")}
        self._named = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, spelled))})(?![\w-])")

    async def forget(self) -> int:
        """Forget what they said, with the answers. Returns how many messages that were.

        Their questions that wait or are being answered are withdrawn first, so that nothing of them is stored
        afterwards. Channels come before their threads: one that branches off meanwhile copies nothing.
        """
        await self._withdraw_turns()
        forgotten = 0
        archive = Archive(self._redis, retention=1)
        for family in await archive.families():
            found: set[str] = set()
            for key in sorted(family, key=lambda key: (bool(key.thread), str(key))):
                if key.owner == self._user:
                    forgotten += await self._memory.erase(key)
                    await self._redis.unlink(Keys.state(key))  # nobody is answered there any more
                else:
                    found |= await self._memory.withdraw_author(key, self._user)
            forgotten += len(found)
        for letter in await self._operator.dead_letters():
            if letter.concerns(self._user):
                forgotten += await self._operator.drop(letter)
        await Feedback(self._redis).forget(self._user)
        await self._forget_names()
        return forgotten

    async def _withdraw_turns(self) -> None:
        """End what they asked and is not answered to its end, as if they had deleted it."""
        for lane in await self._operator.lanes():
            for job in lane.jobs:
                if self._user in (job.turn.author.id, *job.voices):
                    await self._queue.stop(job.turn.id, WITHDRAWN)

    async def _forget_names(self) -> None:
        """Take away what bears their id. A lane that was theirs has its name for ten minutes more."""
        with redis_errors("forget a person"):
            async for name in self._redis.scan_iter(match="{parley}:*", count=1000):
                rest = str(name).removeprefix("{parley}:")
                if rest.startswith(KEYS_NAMED_AFTER_PEOPLE) and self._named.search(rest):
                    await self._redis.unlink(name)
