"""What is done once: the invitation, and the commands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import discord

from bots.discord.calls import Calls
from bots.discord.client import open_client
from bots.discord.commands import PERMISSIONS, Tree, digest, register
from bots.discord.platform import log_in
from bots.discord.settings import DiscordSettings
from bots.discord.store import DiscordStore
from core.store import open_redis


async def invite_url(settings: DiscordSettings) -> str:
    """Where the bot is added to a server.

    Raises:
        PlatformError: Discord does not accept the token, or cannot be reached.
    """
    async with _logged_in(settings) as client:
        assert client.application_id  # noqa: S101 - known since the login
        return str(
            discord.utils.oauth_url(
                client.application_id, permissions=PERMISSIONS, scopes=("bot", "applications.commands")
            )
        )


async def sync_commands(settings: DiscordSettings, *, force: bool) -> str:
    """Register the commands if they changed, or anyway. Returns what was done, in a sentence.

    Raises:
        PlatformError: Discord does not accept them, or cannot be reached.
        StorageError: there is no Redis, in which it is noted what is registered.
    """
    url = settings.redis_url.get_secret_value() if settings.redis_url else None
    async with open_redis(url, settings.data_dir) as redis, _logged_in(settings) as client:
        tree, store = Tree(client), DiscordStore(redis)
        wanted = digest(tree)
        if await store.registered_commands() == wanted and not force:
            return "Nothing changed since the commands were registered last."
        async with Calls(client) as calls:
            count = await register(calls, tree)
        await store.note_registered(wanted)
        return f"Registered {count} commands."


@asynccontextmanager
async def _logged_in(settings: DiscordSettings) -> AsyncIterator[discord.Client]:
    async with open_client(settings) as client:
        await log_in(client, settings)
        yield client
