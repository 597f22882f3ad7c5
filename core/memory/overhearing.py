"""Stores what is said in threads and channels, and not to Parley: when it is heard, or with the answer that read it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from core.memory.changes import Change, as_stored, changed_since
from core.memory.exchange import MAX_CONVERSATION_BYTES, MAX_CONVERSATION_MESSAGES, Exchange
from core.memory.scripts import MemoryScripts
from core.prompts import TokenCounter, message_tokens
from core.store import Keys, redis_errors
from core.stored import readable, whole_number
from core.types import ConversationKey, Message, Role

MAX_ROOM_MESSAGES = 50
"""Messages of a channel that are kept although nobody said them to Parley."""
ROOM_SECONDS = 2 * 3600
"""Seconds after which such a message has nothing to do with a question any more, and is kept no longer."""
ROOM_MESSAGES = 20
"""Such messages that a question knows: the newest."""


class Overhearing:
    """Stores what is overheard: see ``Memory.overhear`` and ``Memory.after_changes``."""

    def __init__(self, scripts: MemoryScripts, count: TokenCounter, *, retention: int) -> None:
        """``retention`` is in seconds: for so long a thread is kept."""
        self._scripts = scripts
        self._count = count
        self._retention = retention

    async def overhear(self, key: ConversationKey, message: Message) -> bool:
        """See ``Memory.overhear``."""
        message = replace(message, overheard=True)
        with redis_errors("store what was overheard"):
            while True:
                message = replace(message, tokens=message_tokens(message, self._count))
                if key.parent is None:
                    return bool(
                        await self._scripts.overhear_room(room=Keys.room(key), **self._heard(message, room=True))
                    )
                answer = await self._scripts.overhear(
                    messages=Keys.messages(key),
                    state=Keys.state(key),
                    forks=Keys.forks(key.home),
                    changed=Keys.changed(key),
                    **self._heard(message),
                    edited=message.edited,
                    most_bytes=MAX_CONVERSATION_BYTES,
                    thread=str(key),
                )
                if not isinstance(answer, str):
                    return bool(answer)
                changed, _ = readable(Change.from_json, [answer])
                if not (edited := changed and changed[0].applied(message)):
                    return False
                message = edited

    def _heard(self, message: Message, *, room: bool = False) -> dict[str, Any]:
        return {
            "said": message.to_json(),
            "id": message.id,
            "quoted": as_stored(message.id),
            "ttl": ROOM_SECONDS if room else self._retention,
            "most": MAX_ROOM_MESSAGES if room else MAX_CONVERSATION_MESSAGES,
        }

    async def after_changes(self, exchange: Exchange) -> Exchange:
        """See ``Memory.after_changes``."""
        with redis_errors("look for edits and deletions"):
            count, entries = await self._scripts.read_changes(
                state=Keys.state(exchange.key), changed=Keys.changed(exchange.key)
            )
        noted = whole_number(count)
        changes = changed_since(entries, max(0, noted - (exchange.noted or 0)))
        if changes is None:
            pair = tuple(one for one in exchange.messages if exchange.question in (one.id, one.reply_to))
            return replace(exchange, messages=pair, noted=noted, heard="", until="")
        messages: list[Message] = []
        for message in exchange.messages:
            now: Message | None = message
            for change in changes if message.role is Role.USER and message.id != exchange.question else ():
                now = now and change.applied(now)
            if now:
                messages.append(now)
        return replace(exchange, messages=tuple(messages), noted=noted)
