"""Takes Discord's messages into the queue.

The gateway sends each message once and waits for no acknowledgement. So a message that can't be stored is tried again
for ``RETRY_SECONDS``, and then its author is told. A message that is edited meanwhile is stored as edited; one that is
deleted is not stored.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import discord
import structlog

from bots.discord.access import refusal
from bots.discord.access_policy import AccessPolicy
from bots.discord.changes import Change, Changes, End
from bots.discord.events import (
    LATE_TYPES,
    Place,
    addressed,
    changed_keys,
    mentions_others,
    read_question,
    tells_quotes,
    wording,
)
from bots.discord.hearing import Hearing
from bots.discord.messenger import PROXIED, REFUSED, Messenger, tell
from bots.discord.settings import DiscordSettings
from bots.discord.store import DiscordStore
from bots.discord.typing import Typists
from bots.listening import NOTHING_TO_STOP, UNREAD_FILES, stop_answer
from core import metrics
from core.assistant import is_stop
from core.errors import ParleyError, PlatformError, StorageError
from core.memory import FOLLOWED, Listening, Memory, Remark
from core.metrics import turn_fields
from core.quotes import QuoteKind
from core.turns import MIN_REFUSAL_SECONDS, NOT_ALLOWED_THERE, TurnQueue, crash_point
from core.types import Turn

log = structlog.get_logger()

RETRY_SECONDS = 60.0
"""Seconds for which storing an event is retried while Redis is away."""
PROXY_SECONDS = 10.0
"""Seconds within which another bot's webhook copies a person's message, if one does."""


@dataclass(slots=True)
class PendingMessage:
    """A message that is being stored, and how far that has come."""

    message: discord.Message
    asked: Turn
    where: Place
    until: float = field(default_factory=lambda: time.monotonic() + RETRY_SECONDS)
    change: Change | None = None
    """An edit or deletion that came meanwhile."""
    aside: bool = False
    """It is not said to Parley."""
    new: bool = False
    allowed: bool = False
    stopped: bool = False

    @property
    def deleted(self) -> bool:
        """Whether the message was deleted."""
        return self.change is not None and self.change.text is None

    @property
    def turn(self) -> Turn:
        """The question as it reads now."""
        change, asked = self.change, self.asked
        if not change or change.text is None:
            return asked
        return replace(asked, text=change.text, quotes=asked.quotes if change.quotes is None else change.quotes)


class Intake:
    """Stores messages in the queue, and follows their edits and deletions."""

    def __init__(
        self,
        settings: DiscordSettings,
        messenger: Messenger,
        *,
        queue: TurnQueue,
        memory: Memory,
        store: DiscordStore,
        listening: Listening,
        typists: Typists | None = None,
    ) -> None:
        self.store = store
        self._settings = settings
        self._messenger = messenger
        self._queue = queue
        self._memory = memory
        self._typists = typists
        self._access = AccessPolicy(settings, messenger.calls, store)
        self._changes = Changes(queue, memory, store)
        self._hearing = Hearing(settings, messenger, memory, listening)
        self._pending: dict[str, PendingMessage] = {}
        self._asked_at: dict[tuple[str, str], float] = {}
        self._accepting: dict[str, asyncio.Lock] = {}

    async def handle_message(self, message: discord.Message, *, missed: bool = False) -> None:
        """Handle a new message: a question to Parley goes into the queue, what people say to each other is overheard.

        What was ``missed`` and is found later is not overheard: the next question there reads what was said before it.
        """
        settings = self._settings
        auto, heard = settings.discord_auto_thread, settings.discord_message_content
        if turn := read_question(message, self._messenger.me, auto_thread=auto, heard=heard):
            await self._ask(message, turn, missed=missed)
        elif not missed:
            await self._hearing.overhear(message)

    async def _ask(self, message: discord.Message, turn: Turn, *, missed: bool) -> None:
        """Store a question, or tell its author why not. If it is none after all, it is overheard."""
        if turn.id in self._pending:
            return
        where = Place.of(message.guild.id if message.guild else None, message.channel)
        self._note_asked(message, turn)
        pending = self._pending[turn.id] = PendingMessage(message, turn, where)
        try:
            # One at a time in each lane, so that a person's messages keep their order; all messages of a thread do.
            thread, lane = turn.key.parent, self._accepting.setdefault(turn.lane, asyncio.Lock())
            async with self._hearing.in_order(turn.key) if thread else lane:
                if isinstance(await retry_until(lambda: self._take(pending), pending.until), StorageError):
                    await self._give_up(pending)
                if pending.aside and not (pending.deleted or missed):
                    await self._hearing.store(message)
        finally:
            del self._pending[turn.id]
            if not any(other.asked.lane == turn.lane for other in self._pending.values()):
                self._accepting.pop(turn.lane, None)
            if pending.change:
                self._changes.add(pending.change)  # it may be stored all the same, or as it read before

    async def follow_edit(self, event: discord.RawMessageUpdateEvent) -> None:
        """Handle an edit: the memory and the queue follow it."""
        message, me = event.message, self._messenger.me
        if message.type in LATE_TYPES:
            await self._hearing.overhear(message)  # when it came, it may have been empty
        if not event.data.get("edited_timestamp") or message.author.id == me.id:
            return  # Discord has added the preview of a link
        text, quotes = wording(message, me)
        if message.content or any(quote.kind is not QuoteKind.REPLY for quote in quotes):
            at, early = message.edited_at.timestamp() if message.edited_at else 0.0, me in message.mentions
            beside = quotes if tells_quotes(message) else None
            change = Change("", (), text, beside, at, early or not event.guild_id)
            others = not addressed(message, me) and mentions_others(message, me)
            heard = self._hearing.read(message) if others else None
            self._follow(event, event.message_id, replace(change, others=others, heard=heard))

    def follow_deletion(self, event: discord.RawMessageDeleteEvent) -> None:
        """Handle a deletion: the message is forgotten."""
        self._follow(event, event.message_id, Change("", ()))

    def follow_deletions(self, event: discord.RawBulkMessageDeleteEvent) -> None:
        """Handle the deletion of many messages at once."""
        for message in event.message_ids:
            self._follow(event, message, Change("", ()))

    def follow_end(self, guild: int, channel: int, thread: int | None = None) -> None:
        """Handle the deletion of a channel or a thread: everything said there is forgotten, also in private."""
        self._changes.add(End(Place(str(guild), str(channel), str(thread or ""))))

    def missed(self) -> None:
        """The gateway may have missed something: the next questions read what was said before them."""
        self._hearing.listening.missed()

    async def drain(self) -> None:
        """Finish the changes that were begun here."""
        await self._changes.drain()

    # Inside.

    async def _take(self, pending: PendingMessage) -> None:
        """Store a message that isn't known yet, or tell its author why not. A retry skips the steps that are done."""
        turn, where = pending.turn, pending.where
        followed = FOLLOWED in turn.place
        if followed and not pending.new:
            pending.aside = not await self._is_followed(pending)
        if pending.aside or pending.deleted or not (pending.new or not await self.store.knows_turn(turn.id)):
            return
        pending.new = True
        if not pending.allowed:
            why = await self._access.refusal(pending.message, turn, where)
            if followed and why != "":
                pending.aside = True  # who didn't ask isn't told why they may not
                return
            if why != "":
                await self._say_why_not(pending, why)
            if why is None:
                pending.aside = True  # an app that we don't answer says it to the others
            if why != "" or not await self._access.count(pending.message, where):
                return
            pending.allowed = True
        if not pending.deleted:
            await self._accept(pending, pending.turn)

    async def _is_followed(self, pending: PendingMessage) -> bool:
        """Whether a message in a thread that isn't addressed to Parley is for it."""
        turn, me = pending.turn, self._messenger.me
        if refusal(self._settings, pending.where.asker(pending.message.author)) not in ("", "you"):
            return False  # in this place nobody is heard; elsewhere, who may not ask is a person all the same
        others = pending.change.others if pending.change else mentions_others(pending.message, me)
        remark = Remark(turn.key, turn.id, turn.author, turn.text, others)
        return await self._memory.following.is_for_parley(remark, own=me.display_name)

    async def _say_why_not(self, pending: PendingMessage, why: str | None) -> None:
        """Tell an author once why a message isn't answered: there, or in private if the bot can't write there."""
        turn, where, once = pending.turn, pending.where, f"{pending.turn.key}/{pending.turn.author.id}"
        if why:
            log.info("access denied", **turn_fields(turn), why=why)
            metrics.EVENTS.add(platform="discord", type="question", outcome="denied")
            if await self._queue.first(f"{once}/refused"):
                self._messenger.run_in_background(self._messenger.say(where.id, REFUSED[why]))
            return
        if self._is_proxied(pending) and await self._queue.first(f"{turn.key}/proxied"):
            log.warning("proxied message ignored", remedy="Add the webhook's id to DISCORD_ALLOW_BOTS.")
            self._messenger.run_in_background(self._messenger.say(where.id, PROXIED))
        closed = self._messenger.calls.is_forbidden(where.id) and not pending.message.author.bot
        if closed and await self._queue.first(f"{once}/no place"):
            self._messenger.run_in_background(tell(self._messenger.calls, turn, NOT_ALLOWED_THERE))

    def _note_asked(self, message: discord.Message, turn: Turn) -> None:
        """Remember for a moment what people asked, to recognize another bot's copy of it."""
        now = time.monotonic()
        self._asked_at = {said: at for said, at in self._asked_at.items() if now - at < PROXY_SECONDS}
        if not (message.author.bot or message.webhook_id):
            self._asked_at[turn.place["channel"], turn.text] = now

    def _is_proxied(self, pending: PendingMessage) -> bool:
        """Whether a message is a webhook's copy of a person's question, as PluralKit and similar bots make."""
        return bool(pending.message.webhook_id) and (pending.where.id, pending.asked.text) in self._asked_at

    async def _accept(self, pending: PendingMessage, turn: Turn) -> None:
        """Put a question into the queue, and show its notes to the author."""
        where, say = pending.where, self._messenger.say
        if is_stop(turn.text):
            await self._obey_stop(pending)
            return
        files = turn.place.get("files")
        if files and not turn.text and all(quote.kind is QuoteKind.UNREADABLE for quote in turn.quotes):
            if await self._queue.first(f"{turn.id}:files") and await self._tells(turn, "files"):
                self._messenger.run_in_background(say(where.id, UNREAD_FILES.format(files=files)))
            return
        await self._hearing.listening.settle()
        crash_point("submit")
        receipt = await self._queue.submit(turn)
        crash_point("stored")
        if receipt.accepted and self._typists and not turn.place.get("open_thread"):
            self._typists.begin(turn)  # in a thread that isn't open yet, the answer's editor starts typing
        # The place in line isn't worth a message to everybody. A refused message is marked, so that it isn't answered
        # after all if it is found again among missed ones.
        user = turn.author.id
        if receipt.refused and await self._queue.first(turn.id) and await self._queue.tells(receipt, user):
            self._messenger.run_in_background(say(where.id, receipt.note))
        if files and not receipt.refused and await self._queue.first(f"{turn.id}:files"):
            self._messenger.run_in_background(say(where.id, UNREAD_FILES.format(files=files)))
        if receipt.accepted and (where.thread or not where.guild):
            await self.store.note_place(where.id)

    async def _obey_stop(self, pending: PendingMessage) -> None:
        """Stop the answer that is being written, and only then mark the message as handled."""
        pending.stopped = pending.stopped or await stop_answer(self._queue, pending.turn)
        unstopped = await self._queue.first(pending.turn.id) and not pending.stopped
        if unstopped and await self._tells(pending.turn, "stop"):
            self._messenger.run_in_background(self._messenger.say(pending.where.id, NOTHING_TO_STOP))

    async def _tells(self, turn: Turn, about: str) -> bool:
        """Whether to tell an author why a message isn't answered: at most once in ``MIN_REFUSAL_SECONDS``."""
        name = f"told:{turn.key}:{about}:{turn.author.id}"
        return await self._queue.first(name, seconds=MIN_REFUSAL_SECONDS)

    async def _give_up(self, pending: PendingMessage) -> None:
        """Tell an author that a message couldn't be stored, unless it would have been refused anyway."""
        if FOLLOWED in pending.asked.place:
            pending.aside = True
            return
        with suppress(PlatformError):
            bot = pending.message.author.bot or pending.message.webhook_id
            if (
                not (bot or pending.deleted)
                and await self._access.refusal(pending.message, pending.turn, pending.where) == ""
            ):
                self._messenger.run_in_background(self._messenger.say(pending.where.id, StorageError.plain))

    def _follow(self, event: Any, message: int, change: Change) -> None:
        """Apply a change to a message: in ``_pending`` while it is being stored, else to what is stored."""
        channel = self._channel(event)
        name, keys = changed_keys(event.guild_id, channel, event.channel_id, message)
        thread = (str(event.guild_id), str(event.channel_id)) if event.guild_id and not channel else None
        change = replace(change, message=name, keys=tuple(keys), thread=thread)
        pending = self._pending.get(name)
        if not pending:
            self._hearing.after(name, lambda: self._changes.add(change))
        elif not pending.deleted and not (pending.change and change.text is not None and change.at < pending.change.at):
            pending.change = change

    def _channel(self, event: Any) -> Any:
        """The channel or thread of an event, if discord.py knows it; an archived thread is unknown."""
        guild = self._messenger.calls.client.get_guild(event.guild_id) if event.guild_id else None
        return guild.get_channel_or_thread(event.channel_id) if guild else None


async def retry_until(work: Callable[[], Awaitable[None]], until: float) -> ParleyError | None:
    """Run ``work``, with backoff while Redis or Discord is away, until the monotonic time ``until``.

    Returns:
        The last error if it never succeeded, else None.
    """
    wait = 0.5
    while True:
        try:
            await work()
        except (StorageError, PlatformError) as error:
            if time.monotonic() > until:
                log.error("event dropped", error=str(error))
                return error
            log.warning("event delayed; retrying", error=str(error))
            await asyncio.sleep(wait)
            wait = min(8.0, 2 * wait)
        else:
            return None
