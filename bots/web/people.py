"""The people at the page, and its channels.

A browser is identified by a random cookie that no script can read, or a person by the header of a reverse proxy.
Messages are stored under an id from which nobody can work out the cookie. Channels are shared by everybody at the page;
besides, each person has a private one that nobody else can address.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from bots.web.keys import CHANNELS, person_key
from bots.web.settings import PERSON
from core.policy import Venue
from core.settings import Settings
from core.store import redis_errors
from core.types import Author, ConversationKey

PLATFORM = "web"
WORKSPACE = "page"
GENERAL = "general"
PRIVATE = "@me"
"""The name by which each person addresses their own private channel."""
COOKIE = "parley_visitor"
ASKING = (
    "Ask me anything: write your question below the chat. The buttons there stop an answer, ask again, and clear the "
    "channel."
)
MAX_CHANNELS_LISTED = 50
_SPACES = re.compile(r"[\s/:#@]+")


@dataclass(frozen=True, slots=True)
class Visitor:
    """A person at the page; ``given`` says that the proxy named them, so that they can't choose another name."""

    id: str
    name: str = ""
    channel: str = GENERAL
    given: bool = False

    @property
    def author(self) -> Author:
        """The author of their messages; a guest if they chose no name."""
        return Author(self.id, self.name or f"Guest {self.id[-4:]}")

    def key(self, channel: str) -> ConversationKey:
        """The conversation of a channel; no name leads to another person's private one.

        "" is the channel where they were last, for a page that doesn't know that yet.
        """
        channel = channel or self.channel
        place = f"@{self.id}" if channel == PRIVATE else channel_name(channel)
        return ConversationKey(PLATFORM, WORKSPACE, place)

    def lane(self, key: ConversationKey, author: str) -> str:
        """The lane of an author's messages: in a shared channel, one for each author."""
        return str(key) if key.channel == f"@{self.id}" else f"{key}/{author}"


def contact_in(settings: Settings) -> str:
    """Whom people at the page can ask: CONTACT, or the name of an admin as the proxy knows it."""
    return settings.contact_among(PERSON).removeprefix("p-")


def venue_of(key: ConversationKey, contact: str) -> Venue:
    """The venue of a channel: whether it is shared, and whom to ask."""
    shared = not key.channel.startswith("@")
    return Venue(shared=shared, contact=contact, asking=ASKING)


def channel_name(text: str) -> str:
    """Make a channel's name of what somebody typed: lower case, without characters that have a meaning in keys."""
    return _SPACES.sub("-", text.strip().casefold()).strip("-")[:40].strip("-") or GENERAL


def person_name(text: str) -> str:
    """Make a person's name of what somebody typed: one line of at most 40 characters."""
    return " ".join(text.split())[:40]


def visitor_id(headers: Mapping[str, str], cookies: Mapping[str, str], header: str) -> str:
    """A visitor's id, from the proxy's header if there is one, else from the cookie; "" if it is missing."""
    if header:
        said = headers.get(header, "").strip()
        return f"p-{said}" if said else ""
    secret = cookies.get(COOKIE, "")
    return "v-" + hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()[:20] if secret else ""


class People:
    """Stores what people chose at the page. Every method raises StorageError when Redis is away."""

    def __init__(self, redis: Redis, *, retention: int) -> None:
        self._redis = redis
        self._retention = retention

    async def find(self, person: str, *, given: str = "") -> Visitor:
        """Read what is stored about a person; ``given`` is the proxy's name for them."""
        with redis_errors("read a person"):
            async with self._redis.pipeline() as pipe:
                pipe.hmget(person_key(person), "name", "channel")
                pipe.expire(person_key(person), self._retention)
                found: Any = await pipe.execute()
        name, channel = found[0]
        return Visitor(person, given or name or "", channel or GENERAL, bool(given))

    async def set_name(self, person: str, name: str) -> None:
        """Store the name that a person chose."""
        await self._keep(person, "name", name)

    async def forget(self, person: str) -> None:
        """Delete a person's name and channel."""
        with redis_errors("forget a person"):
            await self._redis.delete(person_key(person))

    async def set_channel(self, person: str, channel: str) -> None:
        """Store the channel that a person is in; a new channel is created."""
        await self._keep(person, "channel", channel)
        if channel != PRIVATE:
            with redis_errors("open a channel"):
                async with self._redis.pipeline() as pipe:
                    pipe.zadd(CHANNELS, {channel: time.time()})
                    pipe.zremrangebyscore(CHANNELS, "-inf", time.time() - self._retention)
                    pipe.expire(CHANNELS, self._retention)
                    await pipe.execute()

    async def channels(self) -> list[str]:
        """The shared channels: the general one, then the last opened first."""
        with redis_errors("list the channels"):
            names: Any = await self._redis.zrevrange(CHANNELS, 0, MAX_CHANNELS_LISTED - 1)
        return [GENERAL, *(name for name in names if name != GENERAL)]

    async def _keep(self, person: str, field: str, value: str) -> None:
        with redis_errors("store a person"):
            async with self._redis.pipeline() as pipe:
                pipe.hset(person_key(person), field, value)
                pipe.expire(person_key(person), self._retention)
                await pipe.execute()
