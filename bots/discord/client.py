"""discord.py's client, with its caches off, led to where the settings say."""

from __future__ import annotations

import logging
from typing import Any

import discord
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from bots.discord.calls import trace
from core.settings import Settings

RETRY_LIMIT = 30.0
"""Seconds; the least that discord.py takes for ``max_ratelimit_timeout``. We never wait in there, see ``calls``."""


def intents(settings: Settings) -> discord.Intents:
    """Messages that mention us, and direct messages; what others say only where the operator switched that on."""
    wanted = discord.Intents.none()
    wanted.guilds = wanted.guild_messages = wanted.dm_messages = True
    wanted.message_content = settings.discord_message_content
    return wanted


def options(settings: Settings) -> dict[str, Any]:
    """For ``discord.Client``: nothing is cached that Redis or the next event tells us."""
    lead(settings)
    # Its log repeats what ours says, and in debug the text of messages.
    logging.getLogger("discord").setLevel(logging.ERROR)
    return {
        "intents": intents(settings),
        "max_messages": None,
        "member_cache_flags": discord.MemberCacheFlags.none(),
        "chunk_guilds_at_startup": False,
        "allowed_mentions": discord.AllowedMentions.none(),
        "max_ratelimit_timeout": RETRY_LIMIT,
        "http_trace": trace(),
        "guild_ready_timeout": 1.0,
    }


def lead(settings: Settings) -> None:
    """Lead the library to another API or gateway: a REST proxy, or a double."""
    if settings.discord_api_url:
        Route.BASE = settings.discord_api_url.rstrip("/")
    if settings.discord_gateway_url:
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(settings.discord_gateway_url)
