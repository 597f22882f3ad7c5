"""Edits and deletions of remembered messages, in a conversation and in the threads that copied from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

from redis.asyncio import Redis

from core.memory.forks import forks_of
from core.memory.scripts import MemoryScripts
from core.prompts import TokenCounter, message_tokens
from core.store import Keys, redis_errors
from core.stored import Unreadable
from core.types import ConversationKey, Message

Reword = Callable[[str], str]
"""Computes a message's new text from its old one."""


class Changes:
    """Changes stored messages: see ``Memory.correct`` and ``Memory.withdraw``."""

    def __init__(self, redis: Redis, scripts: MemoryScripts, count: TokenCounter) -> None:
        self._redis = redis
        self._scripts = scripts
        self._count = count

    async def correct(
        self, key: ConversationKey, message: str, text: str | Reword, *, at: float = 0.0, said: float = 0.0
    ) -> bool:
        """See ``Memory.correct``."""

        def correct(old: Message) -> Message | None:
            if old.id != message or 0 < at < old.edited:
                return old
            words = text if isinstance(text, str) else text(old.text)
            if old.text == words and at <= old.edited:
                return old
            new = replace(old, text=words, tokens=0, edited=max(at, old.edited))
            return replace(new, tokens=message_tokens(new, self._count))

        return bool(await self._change(key, as_stored(message), said, correct))

    async def withdraw(self, key: ConversationKey, message: str, *, said: float = 0.0) -> bool:
        """See ``Memory.withdraw``."""

        def withdraw(old: Message) -> Message | None:
            return None if message in (old.id, old.reply_to) else old

        return bool(await self._change(key, as_stored(message), said, withdraw))

    async def _change(
        self, key: ConversationKey, needle: str, said: float, change: Callable[[Message], Message | None]
    ) -> set[str]:
        """Replace each message that contains ``needle`` by ``change`` of it; None removes it. Returns their ids.

        If no message contains it, a summary that may contain what was ``said`` then is dropped: see ``find.lua``.

        The conversation is changed before its threads, so that a thread that branches off meanwhile copies the changed
        messages. Each is a script run of its own, because a channel can have hundreds of threads.
        """
        with redis_errors("change a conversation"):
            changed = await self._change_some([key], needle, said, change)
            async for forks in forks_of(self._redis, key):
                changed |= await self._change_some(forks, needle, said, change)
        return changed

    async def _change_some(
        self,
        conversations: Sequence[ConversationKey],
        needle: str,
        said: float,
        change: Callable[[Message], Message | None],
    ) -> set[str]:
        """Change some conversations; repeat those in which a message was changed by others meanwhile."""
        changed: set[str] = set()
        left = list(conversations)
        while left:
            pairs = await self._find_pairs(left, needle, said, change)
            calls = [
                {"messages": Keys.messages(one), "state": Keys.state(one), "swaps": swaps}
                for one, swaps in pairs.items()
            ]
            done = await self._scripts.swap.each(calls)
            changed |= {Message.from_json(old).id for swaps in pairs.values() for old, _ in swaps}
            left = [one for (one, swaps), count in zip(pairs.items(), done, strict=True) if int(count) < len(swaps)]
        return changed

    async def _find_pairs(
        self,
        conversations: Sequence[ConversationKey],
        needle: str,
        said: float,
        change: Callable[[Message], Message | None],
    ) -> dict[ConversationKey, list[tuple[str, str]]]:
        """For each conversation: its messages to replace, as stored, each with its replacement ("" to remove it)."""
        calls = [
            {
                "messages": Keys.messages(one),
                "state": Keys.state(one),
                "forks": Keys.forks(one.home),
                "text": needle,
                "name": str(one),
                "said": said,
            }
            for one in conversations
        ]
        found = await self._scripts.find.each(calls)
        pairs: dict[ConversationKey, list[tuple[str, str]]] = {}
        for one, entries in zip(conversations, found, strict=True):
            for entry in dict.fromkeys(entries):
                try:
                    old = Message.from_json(entry)
                except Unreadable:
                    continue
                if (new := change(old)) != old:
                    pairs.setdefault(one, []).append((entry, new.to_json() if new else ""))
        return pairs


def as_stored(name: str) -> str:
    """A name as it appears in stored messages: a JSON string."""
    return json.dumps(name, ensure_ascii=False)
