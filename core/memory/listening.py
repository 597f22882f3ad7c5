"""Whether everything that is said on a platform has been heard without a gap, and since when.

A listener that is connected keeps a token alive in Redis. After a gap there is another one. A thread's memory notes the
token under which all of the thread was known: while that is still the token, events have brought everything since, and
nothing has to be read from the platform.
"""

from __future__ import annotations

import uuid

from redis.asyncio import Redis

from core.store import Keys, Script, redis_errors
from core.stored import finite
from core.types import Hear

HEARS_CHANNEL = "heard"
"""In ``Turn.place``: "1" if its listener gets all messages of the channel, and not only those that mention Parley."""
LISTENING_TTL = 30
"""Seconds after which nobody listens any more, if nobody says so."""


class Listening:
    """The listening token of one platform, as one process keeps it. Its methods raise StorageError if Redis is away.

    Args:
        redis: the client.
        platform: whose messages are heard.
        hear: what is heard of them: with ``mention`` there is no token.

    Example:
        >>> listening = Listening(redis, "slack", settings.hear)
        >>> await listening.keep()  # every ten seconds while connected
    """

    def __init__(self, redis: Redis, platform: str, hear: Hear) -> None:
        self._script = Script(
            redis,
            "core/memory/listening",
            keys=["listening"],
            args={"mode": str, "fresh": str, "restart": bool, "ttl": int},
        )
        self._key = Keys.listening(platform)
        self._mode = "" if hear == "mention" else hear
        self._gap = ""

    async def keep(self) -> None:
        """Say that this process is connected and hears everything; call it every ten seconds."""
        gap = self._gap
        with redis_errors("say that everything is heard"):
            await self._script(
                listening=self._key,
                mode=self._mode,
                fresh=gap or uuid.uuid4().hex,
                restart=bool(gap),
                ttl=LISTENING_TTL,
            )
        if self._gap == gap:
            self._gap = ""

    async def restart(self) -> None:
        """The same after a gap: something may have been said that nobody heard."""
        self.missed()
        await self.keep()

    async def settle(self) -> None:
        """Count a gap, if there was one, before a question is accepted: it is not to rely on what came before."""
        if self._gap:
            await self.keep()

    def missed(self) -> None:
        """Something was heard that could not be stored: the next ``keep`` counts as ``restart``."""
        self._gap = uuid.uuid4().hex


def heard_since(token: str, hear: Hear) -> float:
    """Since when everything has been heard that ``hear`` says, in seconds since the epoch; 0 if it is not heard."""
    since, _, by = token.partition(":")
    return finite(since) if by.startswith(f"{hear}:") else 0.0
