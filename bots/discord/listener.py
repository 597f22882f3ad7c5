"""Messages and presses of Discord, taken into the queue.

The gateway delivers an event once and waits for no acknowledgement, so what cannot be stored now is tried again until
it can, or its author is told. Presses and commands have three seconds: they are stored within half of that and
then acknowledged, or answered with a plain line that only their author sees.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import discord
import structlog

from bots.discord.access import refusal
from bots.discord.buttons import Handle
from bots.discord.calls import Calls
from bots.discord.door import Door
from bots.discord.errors import ACKNOWLEDGED
from bots.discord.events import Place, changed_keys, read_question, text_of
from bots.discord.state import DiscordState
from bots.discord.typing import Typists
from core import metrics
from core.commands import days, is_stop
from core.errors import ParleyError, PlatformError, StorageError
from core.failpoints import reach
from core.feedback import Feedback
from core.memory import Memory
from core.queue import RedisTurnQueue, in_time
from core.reply import STOPPED, WITHDRAWN
from core.settings import Settings
from core.tags import tag, turn_fields
from core.types import MessageRef, Turn

log = structlog.get_logger()

INSIST = 60.0
"""Seconds for which a message is tried to be stored."""
RESPONSE, AGAIN = 3.0, 0.2
"""Seconds in which Discord wants a first response, and after which one that failed is sent again."""
UNREAD = "I can't read files yet, only what you write. I have not looked at {files}."
REFUSED = "I am not set up to answer {where}. Whoever runs me decides that."
GONE = "I no longer have that question. Please ask it again."
OVER = "The time in which Discord lets me change that message is over. Please ask again."
NOTHING = "There is no answer of mine under way here that you could stop."
NOT_YOURS = "Only who asked, or somebody who may manage messages, can do that."
THANKS = "Thank you, noted."
WELCOME = (
    "Hello! Mention me (<@{bot}>) with a question, or use `/ask`. I answer with the team's own model.\n"
    "I remember what is said to me in a channel for {kept} after the last time, and nothing of it leaves that "
    "channel. `/forget` makes me forget it; `/help` says more."
)


class DiscordListener:
    """Turns events into turns, for those who may ask. It is the ``desk`` of ``bots.discord.buttons``."""

    def __init__(
        self,
        settings: Settings,
        calls: Calls,
        *,
        queue: RedisTurnQueue,
        memory: Memory,
        state: DiscordState,
        feedback: Feedback,
        typists: Typists | None = None,
    ) -> None:
        self.settings = settings
        self.calls = calls
        self.queue = queue
        self.memory = memory
        self.state = state
        self._feedback = feedback
        self._typists = typists
        self._door = Door(settings, calls, state)
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting: dict[str, asyncio.Lock] = {}

    @property
    def me(self) -> discord.ClientUser:
        """The bot."""
        assert self.calls.client.user  # noqa: S101 - events come after the login
        return self.calls.client.user

    # Messages.

    async def hear(self, message: discord.Message) -> None:
        """A message: a question, or nothing to us."""
        turn = read_question(message, self.me, auto_thread=self.settings.discord_auto_thread)
        if not turn:
            return
        where = Place.of(message.guild.id if message.guild else None, message.channel)
        # In the order in which they came, where one person writes twice in a moment.
        lock = self._accepting.setdefault(turn.lane, asyncio.Lock())
        try:
            async with lock:
                await self._insist(message, turn, where)
        finally:
            if not lock.locked():
                self._accepting.pop(turn.lane, None)

    async def follow_edit(self, event: discord.RawMessageUpdateEvent) -> None:
        """Somebody edited a message: what is remembered of it, or is about to be, follows."""
        message = event.message
        if not event.data.get("content") or not event.data.get("edited_timestamp") or message.author.id == self.me.id:
            return
        text = text_of(message, self.me)
        name, keys = changed_keys(event.guild_id, self._channel(event), event.channel_id, event.message_id)
        await self.queue.amend(name, text=text)
        for key in keys:
            await self.memory.correct(key, name, text)
            await self.queue.correct_kept(key, name, text)

    async def follow_deletion(self, event: discord.RawMessageDeleteEvent) -> None:
        """Somebody deleted a message: so do we."""
        await self._withdraw(event, event.message_id)

    async def follow_deletions(self, event: discord.RawBulkMessageDeleteEvent) -> None:
        """Many at once."""
        for message in event.message_ids:
            await self._withdraw(event, message)

    async def greet(self, guild: discord.Guild) -> None:
        """We were added to a server: say what we do, what is remembered, and how to end that."""
        await self.state.join(str(guild.id))
        place = Place(str(guild.id), "")
        if refusal(self.settings, place.asker(self.me)) == "on this server":
            return
        channel = guild.system_channel or next(iter(guild.text_channels), None)
        if channel and await self.queue.first(f"discord:{guild.id}:joined:{guild.me.joined_at}"):
            kept = days(self.settings.retention_seconds)
            self.later(self.say(str(channel.id), WELCOME.format(bot=self.me.id, kept=kept)))

    async def part(self, guild: discord.Guild) -> None:
        """We were removed from a server."""
        await self.state.leave(str(guild.id), self.settings.discord_leave_days * 86_400)

    # Presses.

    async def stop(self, interaction: discord.Interaction, handle: Handle) -> None:
        """See ``bots.discord.buttons.Desk``."""

        async def end() -> str:
            if not self._may_manage(interaction, handle):
                return NOT_YOURS
            await self.queue.stop(handle.turn, STOPPED)  # if it is done, its last edit is about to show that
            return ""

        await self.press(interaction, end())

    async def again(self, interaction: discord.Interaction, handle: Handle) -> None:
        """See ``bots.discord.buttons.Desk``."""
        message = interaction.message
        assert message  # noqa: S101 - a button stands under one

        async def ask() -> str:
            if not self._may_manage(interaction, handle):
                return NOT_YOURS
            if why := self.refused(interaction):
                return REFUSED.format(where=why)
            age = time.time() - message.created_at.timestamp()
            if message.flags.ephemeral and age > self.settings.discord_token_seconds:
                return OVER
            if await self.queue.retry(handle.key, handle.turn, MessageRef(str(message.channel.id), str(message.id))):
                return ""
            # Perhaps somebody else pressed it, and it is being answered.
            return "" if await self.queue.is_open(handle.turn) else GONE

        await self.press(interaction, ask())

    async def rate(self, interaction: discord.Interaction, handle: Handle, mark: str) -> None:
        """See ``bots.discord.buttons.Desk``."""

        async def keep() -> str:
            await self._feedback.rate(handle.turn, str(interaction.user.id), "up" if mark == "up" else "down")
            metrics.FEEDBACK.add(platform="discord", mark=mark)
            log.info("feedback", turn=tag(handle.turn), mark=mark)
            return THANKS

        await self.press(interaction, keep())

    async def press(self, interaction: discord.Interaction, work: Awaitable[str]) -> None:
        """Do what a button is for, acknowledge it, and tell who pressed it what there is to say."""
        try:
            async with in_time():
                say = await work
        except StorageError as error:
            log.warning("a button came to nothing", error=str(error))
            say = StorageError.plain
        if say:
            await self.whisper(interaction, say)
        else:
            await self.respond(interaction.response.defer)

    # What commands need as well.

    def refused(self, interaction: discord.Interaction) -> str:
        """Why somebody may not use this here; "" if they may."""
        where = Place.of(interaction.guild_id, interaction.channel)
        return refusal(self.settings, where.asker(interaction.user))

    async def whisper(self, interaction: discord.Interaction, text: str) -> None:
        """One line for one person, as the first response."""
        none = discord.AllowedMentions.none()
        await self.respond(lambda: interaction.response.send_message(text, ephemeral=True, allowed_mentions=none))

    async def respond(self, response: Callable[[], Coroutine[Any, Any, Any]]) -> bool:
        """The first response to an interaction; whether there is one in time. It does not count for the bot's calls.

        One that was not heard of is sent again: Discord takes the first of them only, and says so of the second.
        """
        until = time.monotonic() + RESPONSE
        while True:
            try:
                await self.calls("respond", response, bound=False, deadline=until - time.monotonic())
            except PlatformError as error:
                if error.code == str(ACKNOWLEDGED):
                    log.info("an interaction was answered already", code=error.code)
                    return True
                if error.retryable and time.monotonic() + AGAIN < until:
                    await asyncio.sleep(AGAIN)
                    continue
                log.warning("an interaction was not answered in time", code=error.code, error=str(error))
                return False
            return True

    async def say(self, channel: str, text: str) -> None:
        """A message of our own."""
        place = self.calls.client.get_partial_messageable(int(channel))
        none = discord.AllowedMentions.none()
        await self.calls("post a message", lambda: place.send(text, suppress_embeds=True, allowed_mentions=none))

    async def stop_for(self, asked: Turn) -> bool:
        """End the answer that is being written for a person where they say so. False if there is none."""
        running = await self.queue.running(asked.lane)
        if not running and asked.root:
            running = await self.queue.find(asked.root)
        if not running or running.author.id != asked.author.id:
            return False
        return await self.queue.stop(running.id, STOPPED)

    def later(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something beside; a refusal is logged, not lost."""

        async def run() -> None:
            try:
                await work
            except ParleyError as error:
                log.warning("could not be said", error=str(error), remedy=error.remedy)

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Let what was begun here come to its end."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    # Inside.

    async def _take(self, message: discord.Message, turn: Turn, where: Place) -> None:
        """Take a message that is not known yet, or tell its author once why not."""
        if await self.state.knows(turn.id):
            return
        why = await self._door.refuses(message, turn, where)
        if why:
            log.info("refused", **turn_fields(turn), why=why)
            metrics.EVENTS.add(platform="discord", type="question", outcome="denied")
            if await self.queue.first(f"{turn.key}/{message.author.id}/refused"):
                self.later(self.say(where.id, REFUSED.format(where=why)))
        elif why == "":
            await self._accept(turn, where)

    async def _accept(self, turn: Turn, where: Place) -> None:
        """Store a question, so that it will be answered."""
        if is_stop(turn.text):
            if await self.queue.first(turn.id) and not await self.stop_for(turn):
                self.later(self.say(where.id, NOTHING))
            return
        files = turn.place.get("files")
        if files and await self.queue.first(f"{turn.id}:files"):
            self.later(self.say(where.id, UNREAD.format(files=files)))
        if files and not turn.text:
            return
        reach("submit")
        receipt = await self.queue.submit(turn)
        reach("stored")
        if receipt.accepted and self._typists and not turn.place.get("open_thread"):
            self._typists.begin(turn)  # in a thread that is not there yet, the answer's editor types
        # How many are before it is not worth a message to all; who is to come later is not answered as well, should
        # the message be found again.
        if receipt.note and receipt.status in ("busy", "quota") and await self.queue.first(turn.id):
            self.later(self.say(where.id, receipt.note))
        if receipt.accepted and (where.thread or not where.guild):
            await self.state.visit(where.id)

    async def _insist(self, message: discord.Message, turn: Turn, where: Place) -> None:
        """Take a message; while Redis is away, again and again for a minute. Then its author is told."""
        until, wait = time.monotonic() + INSIST, 0.5
        while True:
            try:
                await self._take(message, turn, where)
            except (StorageError, PlatformError) as error:
                log.warning("a message is not stored yet", **turn_fields(turn), error=str(error))
                if time.monotonic() > until:
                    if isinstance(error, StorageError):
                        self.later(self.say(where.id, StorageError.plain))
                    return
                await asyncio.sleep(wait)
                wait = min(8.0, 2 * wait)
            else:
                return

    async def _withdraw(
        self, event: discord.RawMessageDeleteEvent | discord.RawBulkMessageDeleteEvent, message: int
    ) -> None:
        name, keys = changed_keys(event.guild_id, self._channel(event), event.channel_id, message)
        await self.queue.stop(name, WITHDRAWN)
        for key in keys:
            await self.memory.withdraw(key, name)
            await self.queue.correct_kept(key, name, None)

    def _channel(self, event: Any) -> Any:
        """The channel of an event, if we know it: threads are told apart from channels by that."""
        guild = self.calls.client.get_guild(event.guild_id) if event.guild_id else None
        return guild.get_channel_or_thread(event.channel_id) if guild else None

    def _may_manage(self, interaction: discord.Interaction, handle: Handle) -> bool:
        """Who asked, somebody who may manage messages, or who runs us."""
        user = interaction.user.id
        return user == handle.author or interaction.permissions.manage_messages or str(user) in self.settings.admins
