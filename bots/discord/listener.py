"""Takes what Discord sends into the queue: messages through ``bots.discord.intake``, button presses here.

Discord wants an answer to a press or a command within three seconds. Each is stored within half of that and then
acknowledged, or answered with a plain line that only its author sees.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable

import discord
import structlog
from discord import InteractionResponseType as Response

from bots.discord.access import refusal
from bots.discord.buttons import ButtonTarget
from bots.discord.calls import Calls, quiet_message
from bots.discord.events import Place
from bots.discord.intake import RETRY_SECONDS, Intake, retry_until
from bots.discord.messenger import REFUSED, Messenger
from bots.discord.settings import DiscordSettings
from bots.discord.store import DiscordStore
from bots.discord.typing import Typists
from bots.discord.venue import contact_in, open_venue
from bots.listening import QUESTION_GONE, press
from core import metrics
from core.assistant import NOT_ASKED, Confirmation, days
from core.errors import StorageError
from core.memory import Feedback, Listening, Memory
from core.metrics import tag
from core.policy import HEARS, Venue
from core.turns import STOPPED, TurnQueue, in_time
from core.types import MessageRef

log = structlog.get_logger()

TOO_OLD_TO_EDIT = "Discord no longer lets me change that message. Please ask again."
NOT_YOURS = "Only the person who asked, or somebody who can manage messages, can do that."
THANKS = "Thank you, noted."
WELCOME = (
    "Hello! Mention me (<@{bot}>) with a question, or use `/ask`. I answer with the team's own model.\n"
    "I remember what you say to me in a channel for {kept} after the last message, and use it nowhere else. {hears}\n"
    "`/forget` deletes what I remember; `/help` says more."
)


class DiscordListener(Messenger):
    """Turns Discord's events into turns in the queue. It is the ``PressHandler`` of ``bots.discord.buttons``."""

    def __init__(
        self,
        settings: DiscordSettings,
        calls: Calls,
        *,
        queue: TurnQueue,
        memory: Memory,
        store: DiscordStore,
        feedback: Feedback,
        listening: Listening,
        typists: Typists | None = None,
    ) -> None:
        super().__init__(calls, contact_in(settings))
        self.settings = settings
        self.queue = queue
        self.memory = memory
        self.store = store
        self.listening = listening
        self.intake = Intake(
            settings, self, queue=queue, memory=memory, store=store, listening=listening, typists=typists
        )
        self._feedback = feedback

    # Servers.

    async def greet(self, guild: discord.Guild) -> None:
        """Introduce Parley on a server that it was added to: what it does, what it remembers, how to make it forget."""
        await retry_until(lambda: self._greet(guild), time.monotonic() + RETRY_SECONDS)

    async def part(self, guild: discord.Guild) -> None:
        """Note that the bot was removed from a server: it is forgotten after ``DISCORD_LEAVE_DAYS``."""
        grace = self.settings.discord_leave_days * 86_400
        await retry_until(lambda: self.store.part(str(guild.id), grace), time.monotonic() + RETRY_SECONDS)

    # Presses.

    async def stop(self, interaction: discord.Interaction, target: ButtonTarget) -> None:
        """See ``bots.discord.buttons.PressHandler``."""

        async def end() -> str:
            if not self._may_manage(interaction, target):
                return NOT_YOURS
            await self.queue.stop(target.turn, STOPPED)  # if it is done, its last edit is about to show that
            return ""

        await self._press(interaction, end())

    async def forget(self, interaction: discord.Interaction, target: ButtonTarget) -> None:
        """See ``bots.discord.buttons.PressHandler``."""
        message = interaction.message
        assert message  # noqa: S101 - a button stands under one
        asked = Confirmation(target.key, target.turn, str(target.author), str(target.part))

        async def confirm() -> tuple[bool, str]:
            if why := self.refused(interaction):
                return False, REFUSED[why]
            if Place.of(interaction.guild_id, interaction.channel).key != target.key:
                return False, NOT_ASKED
            user, policy = str(interaction.user.id), self.settings.policy
            return await asked.give(user, self.queue, self.memory, self.venue(interaction), policy)

        try:
            async with in_time():
                done, say = await confirm()
        except StorageError as error:
            log.warning("button press failed", error=str(error))
            done, say = False, StorageError.plain
        if not done:
            await self.whisper(interaction, say)
            return
        # If only one person saw the dialog, the others learn of it from a new message.
        kind = Response.channel_message if message.flags.ephemeral else Response.message_update
        await self.respond(interaction, kind, quiet_message(say))

    async def regenerate(self, interaction: discord.Interaction, target: ButtonTarget) -> None:
        """See ``bots.discord.buttons.PressHandler``."""
        message = interaction.message
        assert message  # noqa: S101 - a button stands under one

        async def ask() -> str:
            if not self._may_manage(interaction, target):
                return NOT_YOURS
            if why := self.refused(interaction):
                return REFUSED[why]
            age = interaction.created_at - message.created_at
            if message.flags.ephemeral and age.total_seconds() > self.settings.discord_token_seconds:
                return TOO_OLD_TO_EDIT
            pressed = MessageRef(str(message.channel.id), str(message.id))
            receipt = await self.queue.retry(target.key, target.turn, pressed, str(interaction.user.id))
            return QUESTION_GONE if receipt.status == "gone" else receipt.note if receipt.refused else ""

        await self._press(interaction, ask())

    async def rate(self, interaction: discord.Interaction, target: ButtonTarget, mark: str) -> None:
        """See ``bots.discord.buttons.PressHandler``."""

        async def keep() -> str:
            await self._feedback.rate(target.turn, str(interaction.user.id), "up" if mark == "up" else "down")
            metrics.FEEDBACK.add(platform="discord", mark=mark)
            log.info("feedback received", turn=tag(target.turn), mark=mark)
            return THANKS

        await self._press(interaction, keep())

    async def _press(self, interaction: discord.Interaction, work: Awaitable[str]) -> None:
        """Run a button's ``work``; show its result to the person if it is a text, else acknowledge the press."""
        say = await press(work)
        if say:
            await self.whisper(interaction, say)
        else:
            await self.respond(interaction, Response.deferred_message_update)

    # Used by commands too.

    def refused(self, interaction: discord.Interaction) -> str:
        """Why a person is not allowed to use Parley here; "" if they are."""
        where = Place.of(interaction.guild_id, interaction.channel)
        return refusal(self.settings, where.asker(interaction.user))

    def venue(self, interaction: discord.Interaction) -> Venue:
        """The place where a button was pressed or a command used."""
        server = interaction.guild_id is not None
        shared = server or interaction.context.private_channel is True
        heard = self.settings.discord_message_content
        return open_venue(self.me.display_name, self.contact, server=server, shared=shared, heard=heard)

    def refuses_settings(self, interaction: discord.Interaction) -> str:
        """Why somebody cannot change settings here; "" if they can."""
        if why := self.refused(interaction):
            return REFUSED[why]
        shared = self.venue(interaction).shared
        return self.settings.policy.refusal("settings", str(interaction.user.id), shared=shared)

    async def drain(self) -> None:
        """Finish the changes and background tasks that were begun here."""
        await self.intake.drain()
        await super().drain()

    # Inside.

    async def _greet(self, guild: discord.Guild) -> None:
        await self.store.left.join(str(guild.id))
        place = Place(str(guild.id), "")
        if refusal(self.settings, place.asker(self.me)) == "on this server":
            return
        channel = guild.system_channel or next(iter(guild.text_channels), None)
        if channel and await self.queue.first(f"discord:{guild.id}:joined:{guild.me.joined_at}"):
            hears = HEARS[self.settings.hear if self.settings.discord_message_content else "mention"]
            kept = days(self.settings.retention_seconds)
            self.run_in_background(self.say(str(channel.id), WELCOME.format(bot=self.me.id, kept=kept, hears=hears)))

    def _may_manage(self, interaction: discord.Interaction, target: ButtonTarget) -> bool:
        """Whether a person is the asker, can manage messages, or is an admin."""
        user = interaction.user.id
        return user == target.author or interaction.permissions.manage_messages or str(user) in self.settings.admins
