"""Messages on their way into the queue.

The gateway tells of each once and waits for no acknowledgement, so what cannot be stored now is tried again until it
can, or its author is told. What is edited meanwhile is stored as it reads then; what is deleted is not stored at all.
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

from bots.discord.access_policy import AccessPolicy
from bots.discord.changes import Change, Changes, End
from bots.discord.events import Place, changed_keys, context_of, lacks_quote, read_question, text_of, with_context
from bots.discord.messenger import PROXIED, REFUSED, Messenger, tell
from bots.discord.settings import DiscordSettings
from bots.discord.store import DiscordStore
from bots.discord.typing import Typists
from bots.listening import NOTHING_TO_STOP, UNREAD_FILES, stop_answer
from core import metrics
from core.assistant import is_stop
from core.errors import ParleyError, PlatformError, StorageError
from core.memory import Memory
from core.metrics import turn_fields
from core.turns import NOT_ALLOWED_THERE, TOLD_AGAIN_SECONDS, TurnQueue, crash_point
from core.types import Turn

log = structlog.get_logger()

RETRY_SECONDS = 60.0
"""Seconds for which an event is tried again while Redis is away."""
PROXY_SECONDS = 10.0
"""Seconds after a person's message in which a webhook's copy of it comes, if another bot makes one."""


@dataclass(slots=True)
class PendingMessage:
    """A message that is being taken, and how far that is."""

    message: discord.Message
    asked: Turn
    where: Place
    until: float = field(default_factory=lambda: time.monotonic() + RETRY_SECONDS)
    change: Change | None = None
    """What became of it meanwhile."""
    new: bool = False
    allowed: bool = False
    stopped: bool = False

    @property
    def deleted(self) -> bool:
        """Whether there is nothing to be answered any more."""
        return self.change is not None and self.change.text is None

    @property
    def turn(self) -> Turn:
        """The question as it reads now."""
        text = self.change.text if self.change else None
        return self.asked if text is None else replace(self.asked, text=text)


class Intake:
    """Takes messages, and what becomes of them."""

    def __init__(
        self,
        settings: DiscordSettings,
        messenger: Messenger,
        *,
        queue: TurnQueue,
        memory: Memory,
        store: DiscordStore,
        typists: Typists | None = None,
    ) -> None:
        self.store = store
        self._settings = settings
        self._messenger = messenger
        self._queue = queue
        self._typists = typists
        self._access = AccessPolicy(settings, messenger.calls, store)
        self._changes = Changes(queue, memory, store)
        self._pending: dict[str, PendingMessage] = {}
        self._asked_at: dict[tuple[str, str], float] = {}
        self._accepting: dict[str, asyncio.Lock] = {}

    async def handle_message(self, message: discord.Message) -> None:
        """A message: a question, or nothing to us."""
        turn = read_question(message, self._messenger.me, auto_thread=self._settings.discord_auto_thread)
        if not turn or turn.id in self._pending:
            return
        where = Place.of(message.guild.id if message.guild else None, message.channel)
        self._note_asked(message, turn)
        pending = self._pending[turn.id] = PendingMessage(message, turn, where)
        try:
            # In the order in which they came, where one person writes twice in a moment.
            async with self._accepting.setdefault(turn.lane, asyncio.Lock()):
                if isinstance(await retry_until(lambda: self._take(pending), pending.until), StorageError):
                    await self._give_up(pending)
        finally:
            del self._pending[turn.id]
            if not any(other.asked.lane == turn.lane for other in self._pending.values()):
                self._accepting.pop(turn.lane, None)
            if pending.change:
                self._changes.add(pending.change)  # Redis may have taken it all the same, or as it read before

    def follow_edit(self, event: discord.RawMessageUpdateEvent) -> None:
        """Somebody edited a message: what is remembered of it, or is about to be, follows."""
        message, me = event.message, self._messenger.me
        if event.data.get("content") and event.data.get("edited_timestamp") and message.author.id != me.id:
            text, at = text_of(message, me), message.edited_at.timestamp() if message.edited_at else 0.0
            early, reads = me in message.mentions or not event.guild_id, with_context(text, context_of(message, me))
            self._follow(event, event.message_id, Change("", (), text, reads, at, early, lacks_quote(message)))

    def follow_deletion(self, event: discord.RawMessageDeleteEvent) -> None:
        """Somebody deleted a message: so do we."""
        self._follow(event, event.message_id, Change("", ()))

    def follow_deletions(self, event: discord.RawBulkMessageDeleteEvent) -> None:
        """Many at once."""
        for message in event.message_ids:
            self._follow(event, message, Change("", ()))

    def follow_end(self, guild: int, channel: int, thread: int | None = None) -> None:
        """A channel was deleted, or a thread of it: with all that was said there, also in private."""
        self._changes.add(End(Place(str(guild), str(channel), str(thread or ""))))

    async def drain(self) -> None:
        """Let what was begun here come to its end."""
        await self._changes.drain()

    # Inside.

    async def _take(self, pending: PendingMessage) -> None:
        """Take a message that is not known yet, or tell its author once why not; what was done is not done again."""
        turn, where = pending.turn, pending.where
        if pending.deleted or not (pending.new or not await self.store.knows_turn(turn.id)):
            return
        pending.new = True
        if not pending.allowed:
            why = await self._access.refusal(pending.message, turn, where)
            if why != "":
                await self._say_why_not(pending, why)
            if why != "" or not await self._access.count(pending.message, where):
                return
            pending.allowed = True
        if not pending.deleted:
            await self._accept(pending, pending.turn)

    async def _say_why_not(self, pending: PendingMessage, why: str | None) -> None:
        """Tell the author of a message why it is not answered, once: there, or apart if we may not write there."""
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
        """Remember for a moment what people asked, to know it again when another bot copies it."""
        now = time.monotonic()
        self._asked_at = {said: at for said, at in self._asked_at.items() if now - at < PROXY_SECONDS}
        if not (message.author.bot or message.webhook_id):
            self._asked_at[turn.place["channel"], turn.text] = now

    def _is_proxied(self, pending: PendingMessage) -> bool:
        """Whether a message is a webhook's copy of what a person asked a moment ago, as bots for personas make them."""
        return bool(pending.message.webhook_id) and (pending.where.id, pending.asked.text) in self._asked_at

    async def _accept(self, pending: PendingMessage, turn: Turn) -> None:
        """Store a question, so that it will be answered."""
        where, say = pending.where, self._messenger.say
        if is_stop(turn.text):
            await self._obey_stop(pending)
            return
        files = turn.place.get("files")
        if files and not turn.text:
            if await self._queue.first(f"{turn.id}:files") and await self._tells(turn, "files"):
                self._messenger.run_in_background(say(where.id, UNREAD_FILES.format(files=files)))
            return
        crash_point("submit")
        receipt = await self._queue.submit(turn)
        crash_point("stored")
        if receipt.accepted and self._typists and not turn.place.get("open_thread"):
            self._typists.begin(turn)  # in a thread that is not there yet, the answer's editor types
        # How many are before it is not worth a message to all; who is to come later is not answered as well, should
        # the message be found again.
        user = turn.author.id
        if receipt.refused and await self._queue.first(turn.id) and await self._queue.tells(receipt, user):
            self._messenger.run_in_background(say(where.id, receipt.note))
        if files and not receipt.refused and await self._queue.first(f"{turn.id}:files"):
            self._messenger.run_in_background(say(where.id, UNREAD_FILES.format(files=files)))
        if receipt.accepted and (where.thread or not where.guild):
            await self.store.note_place(where.id)

    async def _obey_stop(self, pending: PendingMessage) -> None:
        """End what is being answered, and only then note that it was asked for."""
        pending.stopped = pending.stopped or await stop_answer(self._queue, pending.turn)
        unstopped = await self._queue.first(pending.turn.id) and not pending.stopped
        if unstopped and await self._tells(pending.turn, "stop"):
            self._messenger.run_in_background(self._messenger.say(pending.where.id, NOTHING_TO_STOP))

    async def _tells(self, turn: Turn, about: str) -> bool:
        """Whether who wrote a message is told why nothing comes of it: once in a while, however often they write."""
        name = f"told:{turn.key}:{about}:{turn.author.id}"
        return await self._queue.first(name, seconds=TOLD_AGAIN_SECONDS)

    async def _give_up(self, pending: PendingMessage) -> None:
        """Tell the author of a message that it is not answered, if they would have been."""
        with suppress(PlatformError):
            bot = pending.message.author.bot or pending.message.webhook_id
            if (
                not (bot or pending.deleted)
                and await self._access.refusal(pending.message, pending.turn, pending.where) == ""
            ):
                self._messenger.run_in_background(self._messenger.say(pending.where.id, StorageError.plain))

    def _follow(self, event: Any, message: int, change: Change) -> None:
        """Make a change of that message: of one that is still being taken, there."""
        channel = self._channel(event)
        name, keys = changed_keys(event.guild_id, channel, event.channel_id, message)
        thread = (str(event.guild_id), str(event.channel_id)) if event.guild_id and not channel else None
        change = replace(change, message=name, keys=tuple(keys), thread=thread)
        pending = self._pending.get(name)
        if not pending:
            self._changes.add(change)
        elif not pending.deleted and not (pending.change and change.text is not None and change.at < pending.change.at):
            pending.change = change

    def _channel(self, event: Any) -> Any:
        """The channel of an event, if we know it: threads are told apart from channels by that."""
        guild = self._messenger.calls.client.get_guild(event.guild_id) if event.guild_id else None
        return guild.get_channel_or_thread(event.channel_id) if guild else None


async def retry_until(work: Callable[[], Awaitable[None]], until: float) -> ParleyError | None:
    """Do something, again and again while Redis or Discord is away. Returns what is wrong if it could not be done."""
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
