"""Discord, as the rest of Parley knows it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from bots.discord.settings import ID, DiscordSettings
from bots.platform import WORD_START, OpenPlatform, Platform, Start, Token

if TYPE_CHECKING:
    import typer

    from bots.findings import Say
    from core.store import StoredKey

LISTS = ("allow_guilds", "allow_channels", "allow_roles", "allow_users", "allow_bots")
LISTS_OF_DENIED = ("deny_guilds", "deny_channels", "deny_roles", "deny_users")


def _open(start: Start[DiscordSettings]) -> AbstractAsyncContextManager[OpenPlatform | None]:
    from bots.discord.platform import open_discord

    return open_discord(start.settings, start.stopping, start.budgets)


async def _examine(settings: DiscordSettings, wrong: Collection[str], say: Say, _alone: bool) -> None:
    from bots.discord.checks import examine_discord

    await examine_discord(settings, wrong, say)


def _add_commands(group: typer.Typer, load: Callable[[], DiscordSettings]) -> None:
    from bots.discord.cli import add_commands

    add_commands(group, load)


def _stored_keys() -> tuple[StoredKey, ...]:
    from bots.discord.keys import STORED

    return STORED


PLATFORM = Platform(
    name="discord",
    called="Discord",
    settings=DiscordSettings,
    open=_open,
    examine=_examine,
    person=ID,
    tokens=(Token("discord_token"),),
    ids={f"discord_{name}": ID for name in (*LISTS, *LISTS_OF_DENIED)},
    secrets=(
        # Interaction tokens and webhooks.
        re.compile(r"(/(?:interactions|webhooks)/\d+/)[\w.%=+-]+"),
        # A bot's token: three parts with dots between.
        re.compile(WORD_START + r"([MNO][\w-]{3})[\w-]{15,300}\.[\w-]{5,2000}\.[\w-]{20,}"),
        re.compile(r"(aW50ZXJhY3Rpb246)[\w=+/-]+"),
    ),
    section="Discord, step by step",
    hint="To set it up, create an application at discord.com/developers; README.md explains each step.",
    add_commands=_add_commands,
    stored_keys=_stored_keys,
)
