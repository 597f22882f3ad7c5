"""Overhears what people and apps say to each other on a server, where Parley may be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from weakref import WeakValueDictionary

import discord

from bots.discord.access import is_heard
from bots.discord.events import Place, read_overheard
from bots.discord.messenger import Messenger
from bots.discord.settings import DiscordSettings
from bots.listening import overhear
from core.memory import Listening, Memory
from core.types import ConversationKey, Message

MOST_STORING = 500
"""Messages that wait to be stored while Redis is slow or away; what comes then is read at the next question."""


class Hearing:
    """Stores what is overheard: in threads, and with ``HEAR=room`` in channels."""

    def __init__(self, settings: DiscordSettings, messenger: Messenger, memory: Memory, listening: Listening) -> None:
        self.listening = listening
        self._settings = settings
        self._messenger = messenger
        self._memory = memory
        self._storing: dict[str, list[Callable[[], None]]] = {}
        """Messages that are being stored, and what is to be done afterwards."""
        self._places: WeakValueDictionary[ConversationKey, asyncio.Lock] = WeakValueDictionary()

    async def overhear(self, message: discord.Message) -> None:
        """Store a message, if it says something to others in a place where Parley hears it. Never raises."""
        if not (read := self.read(message)):
            return
        if len(self._storing) >= MOST_STORING:
            self.listening.missed()
            return
        key, said = read
        waiting = self._storing.setdefault(said.id, [])
        try:
            async with self.in_order(key):
                await overhear(self._memory, self.listening, key, said)
        finally:
            if self._storing.pop(said.id, None) is not None:
                for work in waiting:
                    work()

    def in_order(self, key: ConversationKey) -> asyncio.Lock:
        """What is held while a message of a conversation is stored: one after the other, they keep their order."""
        return self._places.setdefault(key, asyncio.Lock())

    async def store(self, message: discord.Message) -> None:
        """The same as ``overhear`` for a caller who holds ``in_order``, and follows the message's edits."""
        if read := self.read(message):
            await overhear(self._memory, self.listening, *read)

    def read(self, message: discord.Message) -> tuple[ConversationKey, Message] | None:
        """What a message says to others, and its conversation; None if that is nothing, or Parley doesn't hear it."""
        heard = message.guild and self._is_heard(message)
        return read_overheard(message, self._messenger.me) if heard else None

    def after(self, name: str, work: Callable[[], None]) -> None:
        """Do something about a message, once it is stored if that is under way."""
        if (waiting := self._storing.get(name)) is None:
            work()
        else:
            waiting.append(work)

    def _is_heard(self, message: discord.Message) -> bool:
        assert message.guild  # noqa: S101 - the caller looked
        where = Place.of(message.guild.id, message.channel)
        if self._settings.hear == "mention" or not (where.thread or self._settings.hear == "room"):
            return False
        app = message.author.bot or bool(message.webhook_id)
        return is_heard(self._settings, where.asker(message.author), app=app)
