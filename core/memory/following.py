"""Decides whether a message in a thread that doesn't mention Parley is for it: one rule for all platforms.

Parley follows a thread in which it answers. With ``auto`` it answers without being mentioned while one person talks
with it: from a second person's first word on, everybody has to mention it. With ``always`` nobody has to.
It never answers in a muted thread, nor what is meant for somebody else.

What is stored of a thread (see ``core.store.catalog``) names nobody: one person is told from several by a digest.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from redis.asyncio import Redis

from core.store import Keys, Script, redis_errors
from core.types import Author, ConversationKey, ConversationSettings, Follow, Turn

OPENED_THREAD = "opens"
"""In ``Turn.place``: the thread, by the platform's id, that is opened for the answer to a message in a channel."""
FOLLOWED = "followed"
"""In ``Turn.place``: the message is a question although it doesn't mention Parley."""
_CALLED = re.compile(r"\s*(@?)([^\W\d_][^\n:,@]{0,60}?)\s*[:,](?!\S*//)")
_AT = re.compile(r"\s*@([^\W\d_][\w.-]*)")


@dataclass(frozen=True, slots=True)
class Remark:
    """A person's message in a thread that doesn't mention Parley.

    Args:
        key: of the thread.
        id: of the turn that it would be.
        author: who wrote it; no app.
        text: what it says, as people read it.
        others: whether it mentions other people, a group or everybody, or replies to somebody else's message.
    """

    key: ConversationKey
    id: str
    author: Author
    text: str
    others: bool = False


@dataclass(frozen=True, slots=True)
class ThreadState:
    """What is known of a thread.

    Args:
        joined: Parley answers there.
        known: it is known who spoke in it.
        several: more than one person did.
        muted: somebody asked Parley to be quiet there.
    """

    joined: bool = False
    known: bool = False
    several: bool = False
    muted: bool = False

    def follows(self, mode: Follow) -> bool:
        """Whether messages there need no mention, unless they are meant for somebody else."""
        if not self.joined or self.muted:
            return False
        return mode == "always" or (mode == "auto" and self.known and not self.several)


class Following:
    """The threads that Parley follows, shared by all processes of a deployment.

    >>> await memory.following.is_for_parley(Remark(thread, turn_id, author, "and on Friday?"), own="Parley")
    True
    """

    def __init__(self, redis: Redis, *, retention: int, default: Follow) -> None:
        """``retention`` is in seconds, ``default`` the operator's choice of ``FOLLOW``."""
        self._redis: Any = redis
        self._retention = retention
        self._default = default
        self._follow = Script(
            redis,
            "core/memory/follow",
            "core/memory/following",
            keys=["following", "messages", "settings", "parent_settings", "turn", "parent_messages", "room"],
            args={"person": str, "names_wanted": bool, "ttl": int},
        )

    async def is_for_parley(self, said: Remark, *, own: str) -> bool:
        """Whether a message is for Parley, which is called ``own`` there; its author is one who spoke in the thread.

        One round trip. A message that was accepted as a question stays one, however often it is delivered.

        Raises:
            StorageError: Redis is away.
        """
        called = name_called(said.text)
        with redis_errors("look whether a thread is followed"):
            accepted, joined, known, several, muted, chosen, names = await self._follow(
                following=Keys.following(said.key),
                messages=Keys.messages(said.key),
                settings=Keys.settings(said.key),
                parent_settings=Keys.settings(said.key.home),
                turn=Keys.turn(said.id),
                parent_messages=Keys.messages(said.key.home),
                room=Keys.room(said.key.home),
                person=said.author.id,
                names_wanted=bool(called) and not said.others,
                ttl=self._retention,
            )
        if accepted:
            return True
        mode = ConversationSettings.from_json(chosen).follow or self._default
        thread = ThreadState(joined == "1", known == "1", several == "1", muted == "1")
        return thread.follows(mode) and not said.others and not calls_somebody(said.text, names, own)

    async def joined(self, key: ConversationKey) -> bool:
        """Whether Parley answers in a thread. Raises StorageError if Redis is away."""
        with redis_errors("look whether a thread is followed"):
            return bool(await self._redis.hexists(Keys.following(key), "joined"))

    async def mute(self, key: ConversationKey, *, muted: bool) -> None:
        """Be quiet in a thread unless mentioned, or no longer. Raises StorageError if Redis is away."""
        with redis_errors("mute a thread"):
            async with self._redis.pipeline(transaction=True) as pipe:
                if muted:
                    pipe.hset(Keys.following(key), "muted", "1")
                else:
                    pipe.hdel(Keys.following(key), "muted")
                pipe.expire(Keys.following(key), self._retention)
                await pipe.execute()

    def arguments(self, turn: Turn) -> dict[str, Any]:
        """What ``note_question`` of following.lua takes for a turn, with the key of its thread."""
        opened = turn.place.get(OPENED_THREAD, "")
        key = turn.key if turn.key.thread or not opened else replace(turn.key, thread=opened)
        person = "" if turn.author.app else turn.author.id
        asked = {"person": person, "opens": bool(opened), "ttl": self._retention} if key.parent else {}
        return {"following": Keys.following(key), "asked": asked}


def name_called(text: str) -> str:
    """The name with which a message may begin, as in ``Bob: look`` and ``Bob, look``; "" for none."""
    found = _CALLED.match(text)
    return _name(found[2]) if found else ""


def calls_somebody(text: str, names: Collection[str], own: str) -> bool:
    """Whether a message begins with somebody else's name.

    Args:
        text: what it says.
        names: of the other people in the thread and its channel.
        own: Parley's name there.
    """
    at = _AT.match(text)
    if at:
        return _name(at[1]) not in _spellings(own)
    called = name_called(text)
    return bool(called) and called not in _spellings(own) and any(called in _spellings(name) for name in names)


def _name(text: str) -> str:
    """A name as it is compared."""
    return unicodedata.normalize("NFKC", text).casefold().strip().rstrip(".")


def _spellings(name: str) -> set[str]:
    """A name, and its first word, by which people call each other."""
    whole = _name(name)
    return {whole, *whole.split()[:1]} - {""}
