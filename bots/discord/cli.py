"""``parley discord``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

import typer

from bots.console.usage import Command
from bots.discord.settings import DiscordSettings


def add_commands(group: typer.Typer, load: Callable[[], DiscordSettings]) -> None:
    """Register the commands; ``load`` reads the settings."""

    @group.command(cls=Command)
    def invite() -> None:
        """Print the link that adds the bot to a server, with only the permissions it needs."""
        from bots.discord.setup import invite_url

        typer.echo(asyncio.run(invite_url(load())))

    @group.command(cls=Command)
    def sync(
        force: Annotated[bool, typer.Option("--force", help="Register them even if they have not changed.")] = False,
    ) -> None:
        """Register the slash commands in Discord, if they have changed.

        `parley run` does the same when it starts. Discord shows new commands within seconds.
        """
        from bots.discord.setup import sync_commands

        typer.echo(asyncio.run(sync_commands(load(), force=force)))
