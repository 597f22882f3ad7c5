"""What we say by ourselves: lines in a channel, and first responses to what people press and command."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import discord
import structlog

from bots.discord.calls import Calls
from bots.discord.errors import ACKNOWLEDGED
from bots.errands import Errands
from core.errors import PlatformError

log = structlog.get_logger()

RESPONSE, AGAIN = 3.0, 0.2
"""Seconds in which Discord wants a first response, and after which one that failed is sent again."""
UNREAD = "I can't read files yet, only what you write. I have not looked at {files}."
REFUSED = "I am not set up to answer {where}. Whoever runs me decides that."
NOTHING = "There is no answer of mine under way here that you could stop."


class Voice(Errands):
    """Says something, where a refusal matters to nobody."""

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self.calls = calls

    @property
    def me(self) -> discord.ClientUser:
        """The bot."""
        assert self.calls.client.user  # noqa: S101 - events come after the login
        return self.calls.client.user

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
                    log.info("interaction already answered", code=error.code)
                    return True
                if error.retryable and time.monotonic() + AGAIN < until:
                    await asyncio.sleep(AGAIN)
                    continue
                log.warning("interaction not answered in time", code=error.code, error=str(error))
                return False
            return True

    async def say(self, channel: str, text: str) -> None:
        """A message of our own."""
        place = self.calls.client.get_partial_messageable(int(channel))
        none = discord.AllowedMentions.none()
        await self.calls("post a message", lambda: place.send(text, suppress_embeds=True, allowed_mentions=none))
