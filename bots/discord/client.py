"""discord.py's client, without caches: its events go to the listener, its calls to the addresses in the settings."""

from __future__ import annotations

import logging
from typing import Any

import discord
import structlog
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from bots.discord.commands import take_form
from bots.discord.gateway import Gateway
from bots.discord.listener import DiscordListener
from bots.discord.settings import DiscordSettings

log = structlog.get_logger()

MOST_WAIT_SECONDS = 30.0
"""The least that discord.py takes: the calls that it makes itself, such as reading missed messages, wait no longer."""


class _Events:
    """Events of discord.py; ``listener`` and ``gateway`` are set while we listen."""

    listener: DiscordListener | None = None
    gateway: Gateway | None = None

    async def on_message(self, message: discord.Message) -> None:
        if self.listener:
            await self.listener.intake.handle_message(message)

    async def on_raw_message_edit(self, event: discord.RawMessageUpdateEvent) -> None:
        if self.listener:
            await self.listener.intake.follow_edit(event)

    async def on_raw_message_delete(self, event: discord.RawMessageDeleteEvent) -> None:
        if self.listener:
            self.listener.intake.follow_deletion(event)

    async def on_raw_bulk_message_delete(self, event: discord.RawBulkMessageDeleteEvent) -> None:
        if self.listener:
            self.listener.intake.follow_deletions(event)

    async def on_raw_thread_delete(self, event: discord.RawThreadDeleteEvent) -> None:
        if self.listener:
            self.listener.intake.follow_end(event.guild_id, event.parent_id, event.thread_id)

    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        if self.listener:
            self.listener.intake.follow_end(channel.guild.id, channel.id)

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        if self.listener:
            await take_form(interaction)

    async def on_guild_join(self, guild: discord.Guild) -> None:
        if self.listener:
            await self.listener.greet(guild)

    async def on_guild_remove(self, guild: discord.Guild) -> None:
        if self.listener:
            await self.listener.part(guild)

    async def on_socket_event_type(self, event: str) -> None:
        if self.gateway:
            self.gateway.event_received(event)

    async def on_error(self, name: str, *_: Any, **__: Any) -> None:
        log.exception("event handler failed", what=name)  # noqa: LOG004 - discord.py is handling one


class _OneConnection(_Events):
    """Events of a connection."""

    async def on_connect(self) -> None:
        if self.gateway:
            self.gateway.identified()

    async def on_ready(self) -> None:
        if self.gateway:
            await self.gateway.ready()

    async def on_resumed(self) -> None:
        if self.gateway:
            self.gateway.resumed()

    async def on_disconnect(self) -> None:
        if self.gateway:
            self.gateway.lost()


class _SeveralConnections(_Events):
    """Events of connections, each of which breaks, resumes and begins anew on its own."""

    async def on_shard_connect(self, shard: int) -> None:
        if self.gateway:
            self.gateway.identified(shard)

    async def on_shard_ready(self, shard: int) -> None:
        if self.gateway:
            await self.gateway.ready(shard)

    async def on_shard_resumed(self, shard: int) -> None:
        if self.gateway:
            self.gateway.resumed(shard)

    async def on_shard_disconnect(self, shard: int) -> None:
        if self.gateway:
            self.gateway.lost(shard)


class Client(_OneConnection, discord.Client):
    """One connection."""


class ShardedClient(_SeveralConnections, discord.AutoShardedClient):
    """Several connections."""


def open_client(settings: DiscordSettings) -> Client | ShardedClient:
    """A client that is not logged in yet."""
    chosen = options(settings)
    if settings.discord_shard_count == 1:
        return Client(**chosen)
    if settings.discord_shard_ids:
        chosen["shard_ids"] = sorted(int(number) for number in settings.discord_shard_ids)
    return ShardedClient(shard_count=settings.discord_shard_count, **chosen)


def intents(settings: DiscordSettings) -> discord.Intents:
    """Messages that mention us, and direct messages; what others say only where the operator switched that on."""
    wanted = discord.Intents.none()
    wanted.guilds = wanted.guild_messages = wanted.dm_messages = True
    wanted.message_content = settings.discord_message_content
    return wanted


def options(settings: DiscordSettings) -> dict[str, Any]:
    """Arguments of ``discord.Client``: nothing is cached that Redis or the next event tells us."""
    _use_addresses(settings)
    # Its log repeats what ours says, and in debug the text of messages.
    logging.getLogger("discord").setLevel(logging.ERROR)
    return {
        "intents": intents(settings),
        "max_messages": None,
        "member_cache_flags": discord.MemberCacheFlags.none(),
        "chunk_guilds_at_startup": False,
        "allowed_mentions": discord.AllowedMentions.none(),
        "max_ratelimit_timeout": MOST_WAIT_SECONDS,
        "guild_ready_timeout": 1.0,
    }


def _use_addresses(settings: DiscordSettings) -> None:
    """Use another API or gateway: a REST proxy, or a test double."""
    if settings.discord_api_url:
        Route.BASE = settings.discord_api_url.rstrip("/")
    if settings.discord_gateway_url:
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(settings.discord_gateway_url)
