"""Who is at the page, which channels there are, and what is whose.

A browser is known by a random cookie that no other browser and no script sees, or a person by the header of a reverse
proxy. What others may learn of it, the id under which messages are kept, does not lead back to the cookie.
Channels are for everybody at the page; besides, each person has one that nobody else can name.
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
"""How a person names the channel that is theirs alone."""
COOKIE = "parley_visitor"
ASKING = (
    "Ask me anything: write your question below the chat. The buttons there stop an answer, ask again, and clear the "
    "channel."
)
MAX_CHANNELS_LISTED = 50
_SPACES = re.compile(r"[\s/:#@]+")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody at the page; ``given`` says that a proxy named them, so that they cannot choose another name."""

    id: str
    name: str = ""
    channel: str = GENERAL
    given: bool = False

    @property
    def author(self) -> Author:
        """How they are remembered; who gave no name is a guest."""
        return Author(self.id, self.name or f"Guest {self.id[-4:]}")

    def key(self, channel: str) -> ConversationKey:
        """The conversation of a channel as this person names it: a name leads to nobody else's private one.

        "" is where they were last, for a page that does not know that yet.
        """
        channel = channel or self.channel
        place = f"@{self.id}" if channel == PRIVATE else channel_name(channel)
        return ConversationKey(PLATFORM, WORKSPACE, place)

    def lane(self, key: ConversationKey, author: str) -> str:
        """Where an author's messages wait for each other: in a channel, nobody waits for the others."""
        return str(key) if key.channel == f"@{self.id}" else f"{key}/{author}"


def contact_in(settings: Settings) -> str:
    """Whom people at the page can ask: any text, or the name of an admin whom the proxy knows."""
    return settings.contact_among(PERSON).removeprefix("p-")


def venue_of(key: ConversationKey, contact: str) -> Venue:
    """A channel of the page, as a place where people give commands."""
    shared = not key.channel.startswith("@")
    return Venue(shared=shared, contact=contact, asking=ASKING)


def channel_name(text: str) -> str:
    """What a channel is called, for what somebody typed: lower case, no signs that mean something else."""
    return _SPACES.sub("-", text.strip().casefold()).strip("-")[:40].strip("-") or GENERAL


def person_name(text: str) -> str:
    """A name for what somebody typed: one line, not long."""
    return " ".join(text.split())[:40]


def visitor_id(headers: Mapping[str, str], cookies: Mapping[str, str], header: str) -> str:
    """The id of who asks: the proxy's word for them, else made of the cookie; "" if there is neither."""
    if header:
        said = headers.get(header, "").strip()
        return f"p-{said}" if said else ""
    secret = cookies.get(COOKIE, "")
    return "v-" + hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()[:20] if secret else ""


class People:
    """What is known of those who come to the page. Every method raises StorageError when Redis is away."""

    def __init__(self, redis: Redis, *, retention: int) -> None:
        self._redis = redis
        self._retention = retention

    async def find(self, person: str, *, given: str = "") -> Visitor:
        """Somebody with that id; ``given`` is the name that a proxy knows."""
        with redis_errors("look for a person"):
            async with self._redis.pipeline() as pipe:
                pipe.hmget(person_key(person), "name", "channel")
                pipe.expire(person_key(person), self._retention)
                found: Any = await pipe.execute()
        name, channel = found[0]
        return Visitor(person, given or name or "", channel or GENERAL, bool(given))

    async def set_name(self, person: str, name: str) -> None:
        """Remember how somebody wants to be called."""
        await self._keep(person, "name", name)

    async def forget(self, person: str) -> None:
        """Forget how somebody wants to be called, and where they are."""
        with redis_errors("forget a person"):
            await self._redis.delete(person_key(person))

    async def set_channel(self, person: str, channel: str) -> None:
        """Remember where somebody is; a channel that was not there is there from now on."""
        await self._keep(person, "channel", channel)
        if channel != PRIVATE:
            with redis_errors("open a channel"):
                async with self._redis.pipeline() as pipe:
                    pipe.zadd(CHANNELS, {channel: time.time()})
                    pipe.zremrangebyscore(CHANNELS, "-inf", time.time() - self._retention)
                    pipe.expire(CHANNELS, self._retention)
                    await pipe.execute()

    async def channels(self) -> list[str]:
        """The shared channels, those that were opened last first, after the general one."""
        with redis_errors("list the channels"):
            names: Any = await self._redis.zrevrange(CHANNELS, 0, MAX_CHANNELS_LISTED - 1)
        return [GENERAL, *(name for name in names if name != GENERAL)]

    async def _keep(self, person: str, field: str, value: str) -> None:
        with redis_errors("keep what is known of a person"):
            async with self._redis.pipeline() as pipe:
                pipe.hset(person_key(person), field, value)
                pipe.expire(person_key(person), self._retention)
                await pipe.execute()
