"""Edits and deletions of remembered messages, in a conversation and in the threads that copied from it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from redis.asyncio import Redis

from core.memory.facts import facts_key
from core.memory.forks import forks_of
from core.memory.scripts import MemoryScripts
from core.prompts import TokenCounter, message_tokens
from core.quotes import Quote, QuoteKind, quotes_in
from core.store import Keys, redis_errors
from core.stored import Unreadable, flag_in, read_record, readable, text_in, time_in
from core.types import ConversationKey, Message


@dataclass(frozen=True, slots=True)
class Change:
    """An edit or a deletion, noted for a message that is stored later.

    Args:
        id: of the message.
        text: what it says now.
        quotes: what comes with it now; None if that is as it was.
        edited: when it was edited.
        gone: whether it was deleted.
    """

    id: str
    text: str = ""
    quotes: tuple[Quote, ...] | None = None
    edited: float = 0.0
    gone: bool = False

    def to_json(self) -> str:
        """As stored."""
        record: dict[str, Any] = {"id": self.id, "edited": self.edited}
        if self.gone:
            record["gone"] = True
        else:
            record["text"] = self.text
            if self.quotes is not None:
                record["quotes"] = [quote.record() for quote in self.quotes]
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace").decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote. Raises Unreadable."""
        record = read_record(text)
        quotes = quotes_in(record) if "quotes" in record else None
        edited, gone = time_in(record, "edited", 0.0), flag_in(record, "gone", False)
        return cls(text_in(record, "id"), text_in(record, "text", ""), quotes, edited, gone)

    def applied(self, message: Message) -> Message | None:
        """The message as it is after this; None if it was deleted. An edit older than the last one changes nothing."""
        if self.id != message.id:
            return message
        if self.gone:
            return None
        if self.edited <= message.edited:
            return message
        return replace(message, text=self.text, quotes=_beside(message, self.quotes), edited=self.edited, tokens=0)


def _beside(message: Message, quotes: Sequence[Quote] | None) -> tuple[Quote, ...]:
    """What comes with a message after an edit: ``quotes``, and what it replies to, which not every edit tells again."""
    if quotes is None:
        return message.quotes
    told = {quote.kind for quote in quotes}
    hangs_on = {QuoteKind.REPLY, QuoteKind.ROOT} - told
    return (*(quote for quote in message.quotes if quote.kind in hangs_on), *quotes)


def changed_since(entries: Sequence[str], new: int) -> list[Change] | None:
    """The last ``new`` of the noted changes; None if some of them are not known any more."""
    changes, unreadable = readable(Change.from_json, entries[-new:] if new else ())
    return None if unreadable or len(changes) < new else changes


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of a message: whether it was ``changed`` anywhere, and whether it may have ``told`` a fact."""

    changed: bool
    told: bool


class Changes:
    """Changes stored messages: see ``Memory.correct`` and ``Memory.withdraw``."""

    def __init__(self, redis: Redis, scripts: MemoryScripts, count: TokenCounter) -> None:
        self._redis = redis
        self._scripts = scripts
        self._count = count

    async def correct(
        self,
        key: ConversationKey,
        message: str,
        text: str,
        *,
        quotes: Sequence[Quote] | None = None,
        at: float = 0.0,
        said: float = 0.0,
    ) -> Found:
        """See ``Memory.correct``."""

        def correct(old: Message) -> Message | None:
            if old.id != message or 0 < at < old.edited:
                return old
            beside = _beside(old, quotes)
            if (old.text, old.quotes) == (text, beside) and at <= old.edited:
                return old
            new = replace(old, text=text, quotes=beside, tokens=0, edited=max(at, old.edited))
            return replace(new, tokens=message_tokens(new, self._count))

        beside = None if quotes is None else tuple(quotes)
        note = Change(message, text, beside, at or time.time()).to_json()
        return await self._change(key, as_stored(message), said, correct, note)

    async def withdraw(self, key: ConversationKey, message: str, *, said: float = 0.0) -> Found:
        """See ``Memory.withdraw``."""

        def withdraw(old: Message) -> Message | None:
            return None if message in (old.id, old.reply_to) else old

        note = Change(message, gone=True).to_json()
        return await self._change(key, as_stored(message), said, withdraw, note)

    async def _change(
        self,
        key: ConversationKey,
        needle: str,
        said: float,
        change: Callable[[Message], Message | None],
        note: str,
    ) -> Found:
        """Replace each message that contains ``needle`` by ``change`` of it; None removes it.

        In a thread, ``note`` is written down for a message that is stored later.

        If no message contains it, a summary that may contain what was ``said`` then is dropped: see ``find.lua``.

        The conversation is changed before its threads, so that a thread that branches off meanwhile copies the changed
        messages. Each is a script run of its own, because a channel can have hundreds of threads.
        """
        with redis_errors("change a conversation"):
            found = await self._change_some([key], needle, said, change, note if key.parent else "")
            async for forks in forks_of(self._redis, key):
                changed = (await self._change_some(forks, needle, said, change)).changed
                found = replace(found, changed=found.changed or changed)
        return found

    async def _change_some(
        self,
        conversations: Sequence[ConversationKey],
        needle: str,
        said: float,
        change: Callable[[Message], Message | None],
        note: str = "",
    ) -> Found:
        """Change some conversations; repeat those in which a message was changed by others meanwhile."""
        changed = told = False
        left = list(conversations)
        while left:
            pairs, fact = await self._find_pairs(left, needle, said, change, note)
            note, told = "", told or fact
            calls = [
                {"messages": Keys.messages(one), "state": Keys.state(one), "room": Keys.room(one), "swaps": swaps}
                for one, swaps in pairs.items()
            ]
            done = await self._scripts.swap.each(calls)
            changed = changed or bool(pairs)
            left = [one for (one, swaps), count in zip(pairs.items(), done, strict=True) if int(count) < len(swaps)]
        return Found(changed, told)

    async def _find_pairs(
        self,
        conversations: Sequence[ConversationKey],
        needle: str,
        said: float,
        change: Callable[[Message], Message | None],
        note: str,
    ) -> tuple[dict[ConversationKey, list[tuple[str, str]]], bool]:
        """For each conversation: its messages to replace, as stored, each with its replacement ("" to remove it).

        And whether a fact may have been told in such a message.
        """
        calls = [
            {
                "messages": Keys.messages(one),
                "state": Keys.state(one),
                "room": Keys.room(one),
                "changed": Keys.changed(one),
                "facts": facts_key(one),
                "forks": Keys.forks(one.home),
                "text": needle,
                "name": str(one),
                "said": said,
                "change": note,
            }
            for one in conversations
        ]
        found = await self._scripts.find.each(calls)
        pairs: dict[ConversationKey, list[tuple[str, str]]] = {}
        for one, (_, entries) in zip(conversations, found, strict=True):
            for entry in dict.fromkeys(entries):
                try:
                    old = Message.from_json(entry)
                except Unreadable:
                    continue
                if (new := change(old)) != old:
                    pairs.setdefault(one, []).append((entry, new.to_json() if new else ""))
        return pairs, any(told for told, _ in found)


def as_stored(name: str) -> str:
    """A name as it appears in stored messages: a JSON string."""
    return json.dumps(name, ensure_ascii=False)
