"""What ``parley doctor`` looks at in Discord: the token, the intents, the commands, and the rights in each channel."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any, cast

import discord
from yarl import URL

from bots.discord.calls import Calls
from bots.discord.client import open_client
from bots.discord.commands import PERMISSIONS, Tree, payload, shape
from bots.discord.errors import ADVICE
from bots.discord.gateway import INTENT
from bots.discord.platform import log_in
from bots.discord.settings import DiscordSettings
from bots.findings import CHECK_TIMEOUT, Finding, Say, clock_check, ms
from core.errors import PlatformError, PlatformUnauthorized

GET_KEY = (
    "Create an application at discord.com/developers > New Application. On its page Bot, press Reset Token, and copy "
    "the token into DISCORD_TOKEN."
)
CONTENT_INTENT = (
    "Switch the Message Content Intent on at discord.com/developers > your application > Bot, "
    "and set DISCORD_MESSAGE_CONTENT=true."
)
CONTENT_FLAGS = 1 << 18 | 1 << 19
"""Message Content is switched on: as reviewed, or for a bot that reaches few people."""
MOST_GUILDS = 20
"""Servers whose channels are looked at."""


async def examine_discord(settings: DiscordSettings, wrong: Collection[str], say: Say) -> None:
    """Log in as the bot does, without a gateway, and look at what it may do."""
    name, tried, began = "discord.bot", "Discord, bot token", time.perf_counter()
    if spoilt := {"discord_api_url", "discord_token"} & set(wrong):
        say(Finding(name, "warning", tried, f"not checked, because {min(spoilt).upper()} is wrong"))
        return
    if not settings.discord_token:
        say(Finding(name, "error", tried, "DISCORD_TOKEN is not set", GET_KEY))
        return
    async with open_client(settings) as client, Calls(client, deadline=CHECK_TIMEOUT) as calls:
        try:
            await log_in(client, settings)
        except PlatformUnauthorized as error:
            say(Finding(name, "error", tried, str(error), ADVICE, ms(began)))
            return
        except PlatformError as error:
            where = URL(settings.discord_api_url or "https://discord.com").host
            remedy = "Check this machine's network access to it; set HTTPS_PROXY if it needs a proxy."
            say(Finding(name, "error", tried, f"Discord cannot be reached at {where} ({error})", remedy, ms(began)))
            return
        say(Finding(name, "ok", tried, f"@{client.user}, application {client.application_id}", ms=ms(began)))
        say(_intents(settings, client))
        say(await _commands(calls))
        for check in clock_check("discord.clock", "Discord", calls.clock.ahead):
            say(check)
        await _servers(settings, calls, say)


def _intents(settings: DiscordSettings, client: discord.Client) -> Finding:
    name, tried = "discord.intents", "Discord, intents"
    on = bool(client.application_flags.value & CONTENT_FLAGS)
    if not settings.discord_message_content:
        if settings.hear == "room":
            return Finding(
                name, "warning", tried, "HEAR=room needs Message Content, and hears nothing without", CONTENT_INTENT
            )
        found = "enough for mentions, replies, direct messages and commands; what people say to each other isn't heard"
        return Finding(name, "ok", tried, found)
    if on:
        return Finding(name, "ok", tried, "Message Content is on, so Parley can read what people say in its threads")
    return Finding(name, "error", tried, "the Message Content Intent is off", INTENT)


async def _commands(calls: Calls) -> Finding:
    """Whether what is registered is what this version has."""
    name, tried = "discord.commands", "Discord, commands"
    application = calls.client.application_id
    assert application  # noqa: S101 - known since the login
    try:
        answer = await calls("read commands", "GET", f"/applications/{application}/commands")
        there = answer.objects
    except PlatformError as error:
        return Finding(name, "warning", tried, f"could not be read ({error})", "Run `parley discord sync`.")
    wanted: Any = payload(Tree(calls.client))
    if shape(wanted) == shape(there):
        return Finding(name, "ok", tried, f"all {len(wanted)} are registered")
    missing = sorted({one["name"] for one in wanted} - {one.get("name") for one in there})
    found = (
        f"not registered: {', '.join(missing)}" if missing else "out of date: another version of Parley registered them"
    )
    return Finding(name, "warning", tried, found, "`parley run` registers them; so does `parley discord sync --force`.")


async def _servers(settings: DiscordSettings, calls: Calls, say: Say) -> None:
    """Where the bot is, and what it lacks in the channels that are named in the settings; else in any."""
    tried = "Discord, servers"
    try:
        answer = await calls("read servers", "GET", "/users/@me/guilds?limit=200")
        guilds = [guild["id"] for guild in answer.objects]
        if not guilds:
            remedy = "Open the link that `parley discord invite` prints, and choose a server."
            say(Finding("discord.servers", "warning", tried, "the bot is in none yet", remedy))
            return
        say(Finding("discord.servers", "ok", tried, f"the bot is in {len(guilds)}"))
        lacking: list[str] = []
        for guild in guilds[:MOST_GUILDS]:
            lacking += await _lacking(settings, calls, int(guild))
    except PlatformError as error:
        say(Finding("discord.servers", "warning", tried, f"could not be read ({error})", error.remedy))
        return
    tried = "Discord, permissions"
    if not lacking:
        say(Finding("discord.permissions", "ok", tried, "all that Parley needs, in every channel it can see"))
        return
    remedy = "Give Parley's role these permissions in the channel's settings > Permissions."
    say(Finding("discord.permissions", "warning", tried, "\n".join(["some are missing:", *lacking]), remedy))


async def _lacking(settings: DiscordSettings, calls: Calls, guild: int) -> list[str]:
    """One line for each channel in which the bot lacks something."""
    me = calls.client.user
    assert me  # noqa: S101 - known since the login
    whole = (await calls("read a server", "GET", f"/guilds/{guild}")).data
    channels = await calls("read channels", "GET", f"/guilds/{guild}/channels")
    member = (await calls("read a member", "GET", f"/guilds/{guild}/members/{me.id}")).data
    guild_data: Any = {**whole, "channels": channels.json, "members": [member]}
    state: Any = calls.client._connection  # what discord.py makes its objects with; it has no public name
    known = discord.Guild(data=guild_data, state=state)
    ours = known.get_member(me.id) or discord.Member(data=cast("Any", member), guild=known, state=state)
    lines = []
    for channel in known.text_channels:
        named = str(channel.id) in settings.discord_allow_channels
        if settings.discord_allow_channels and not named:
            continue
        may = channel.permissions_for(ours)
        if not may.view_channel and not named:
            continue  # it was never meant to be there
        missing = [right for right, needed in PERMISSIONS if needed and not getattr(may, right)]
        if missing:
            lines.append(f"  #{channel.name} ({known.name}): {', '.join(right.replace('_', ' ') for right in missing)}")
    return lines
