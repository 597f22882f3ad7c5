"""Who is answered: the rules of ``bots.discord.access``, with the roles that an author has now."""

from __future__ import annotations

import discord
import structlog

from bots.discord.access import Asker, refusal
from bots.discord.calls import Calls
from bots.discord.events import Place
from bots.discord.settings import DiscordSettings
from bots.discord.store import DiscordStore
from core.errors import PlatformError
from core.metrics import turn_fields
from core.types import Turn

log = structlog.get_logger()


class AccessPolicy:
    """Decides which messages are answered."""

    def __init__(self, settings: DiscordSettings, calls: Calls, store: DiscordStore) -> None:
        self._settings = settings
        self._calls = calls
        self._store = store

    async def refusal(self, message: discord.Message, turn: Turn, where: Place) -> str | None:
        """Why an author is not answered there; "" if they are, None if they are not told.

        Raises:
            PlatformError: their roles are not known now, but may be later.
        """
        settings, author = self._settings, message.author
        if self._calls.is_forbidden(where.id):
            log.info("not answered: no permission to write", **turn_fields(turn))
            return None
        bot = author.bot or bool(message.webhook_id)
        if bot and not (str(author.id) in settings.discord_allow_bots and self._names_us(message)):
            return None
        asker = await self._asker(message, where)
        why = refusal(settings, asker, bot=bot) if asker else None
        return None if bot and why else why

    async def count(self, message: discord.Message, where: Place) -> bool:
        """Count an answer there; False for a bot that was answered too often since a person wrote.

        Raises:
            StorageError: Redis is away.
        """
        if message.author.bot or message.webhook_id:
            return await self._store.count_bot_answer(where.id)
        if self._settings.discord_allow_bots:
            await self._store.reset_bot_answers(where.id)
        return True

    def _names_us(self, message: discord.Message) -> bool:
        user = self._calls.client.user
        return user is not None and f"<@{user.id}>" in message.content

    async def _asker(self, message: discord.Message, where: Place) -> Asker | None:
        """The author. A message that was read from the history has no roles: Discord is asked for them."""
        author, settings = message.author, self._settings
        asker = where.asker(author)
        by_role = bool(settings.discord_allow_roles or settings.discord_deny_roles)
        if not by_role or not message.guild or message.webhook_id or isinstance(author, discord.Member):
            return asker
        try:
            answer = await self._calls("read a member", "GET", f"/guilds/{message.guild.id}/members/{author.id}")
        except PlatformError as error:
            if error.retryable:
                raise
            log.warning("not answered: roles unknown", code=error.code, remedy=error.remedy)
            return None
        return Asker(asker.user, asker.guild, asker.channels, [str(role) for role in answer.data.get("roles", ())])
