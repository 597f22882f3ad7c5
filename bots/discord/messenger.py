"""Messages of our own: lines in a channel, and first responses to buttons and commands."""

from __future__ import annotations

import asyncio
import time

import discord
import structlog
from discord import InteractionResponseType as Response

from bots.background import BackgroundTasks
from bots.discord.buttons import DMS
from bots.discord.calls import EPHEMERAL, Calls, Json, quiet_message
from bots.discord.errors import ACKNOWLEDGED
from bots.discord.text import SIZE, shown, shown_units
from bots.discord.venue import SLASH_COMMANDS
from bots.listening import NOT_FOR_PERSON, NOT_IN_CHANNEL
from core.errors import PlatformError
from core.markdown import split
from core.policy import Venue
from core.types import MessageLimits, Turn

log = structlog.get_logger()

MOST_DIRECT_MESSAGES = 5
"""Direct messages that a long answer may take."""
RESPONSE_SECONDS, RESPONSE_RETRY_SECONDS = 3.0, 0.2
"""Seconds in which Discord wants a first response, and after which one that failed is sent again."""
REFUSED = {
    "in direct messages": "I'm not enabled in direct messages. Ask {contact} to change that.",
    "on this server": "I'm not enabled on this server. Ask {contact} to add it.",
    "in this channel": NOT_IN_CHANNEL,
    "you": NOT_FOR_PERSON,
}
"""What people read, by what ``bots.discord.access.refusal`` gives."""
PROXIED = (
    "Another bot replaced your message with its own copy, and I don't answer bots here. "
    "Ask {contact} to let me answer its copies, or ask me without that bot."
)


class Messenger(BackgroundTasks):
    """Sends messages whose refusal matters to nobody."""

    def __init__(self, calls: Calls, contact: str = "") -> None:
        """``contact`` is the person whom people can ask, as Discord shows it; every text gets it."""
        super().__init__()
        self.calls = calls
        self.contact = contact

    @property
    def me(self) -> discord.ClientUser:
        """The bot."""
        assert self.calls.client.user  # noqa: S101 - events come after the login
        return self.calls.client.user

    async def whisper(self, interaction: discord.Interaction, text: str) -> None:
        """One line for one person, as the first response."""
        await self.respond(interaction, Response.channel_message, quiet_message(self._filled(text), flags=EPHEMERAL))

    async def respond(self, interaction: discord.Interaction, kind: Response, data: Json | None = None) -> bool:
        """Give the first response to an interaction. Returns whether there is one in time.

        A lost one is sent again: Discord takes the first of them only, and says so of the second.
        """
        until = time.monotonic() + RESPONSE_SECONDS
        while True:
            try:
                await self.calls.respond(interaction, kind.value, data, until - time.monotonic())
            except PlatformError as error:
                if error.code == ACKNOWLEDGED:
                    log.info("interaction already answered", code=error.code)
                    return True
                if error.retryable and time.monotonic() + RESPONSE_RETRY_SECONDS < until:
                    await asyncio.sleep(RESPONSE_RETRY_SECONDS)
                    continue
                log.warning("interaction not answered in time", code=error.code, error=str(error))
                return False
            return True

    async def say(self, channel: str, text: str) -> None:
        """A message of our own."""
        await self.calls("post a message", "POST", f"/channels/{channel}/messages", quiet_message(self._filled(text)))

    def _filled(self, text: str) -> str:
        return Venue(spelled=SLASH_COMMANDS, contact=self.contact).tell(text)


async def tell(calls: Calls, turn: Turn, text: str) -> None:
    """Tell an asker something in a direct message.

    Raises:
        PlatformError: they take none.
    """
    opened = await calls("open a direct message", "POST", "/users/@me/channels", {"recipient_id": turn.author.id})
    path = f"/channels/{opened.name('id')}/messages"
    about = f"<#{turn.place['channel']}>: " if turn.key.workspace != DMS else ""
    for part in split(about + text, MessageLimits(SIZE, measure=shown_units))[:MOST_DIRECT_MESSAGES]:
        await calls("post a message", "POST", path, quiet_message(shown(part.text)))
