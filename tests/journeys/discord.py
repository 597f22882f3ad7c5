"""Parley in Discord: a real process between the doubles of Discord and of a model's server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.doubles.discord import DiscordDouble
from tests.doubles.discord_records import Interaction, Posted
from tests.doubles.tgi import TgiDouble
from tests.journeys.process import Parley, run_parley
from tests.waiting import wait_until

DONE = {"Regenerate", "Retry"}


def tokens(discord: DiscordDouble, tgi: TgiDouble) -> dict[str, str]:
    """The settings that lead to both doubles."""
    return {
        "DISCORD_TOKEN": discord.token,
        "DISCORD_API_URL": discord.url,
        "DISCORD_GATEWAY_URL": discord.gateway_url,
        "MODEL_API": "tgi",
        "MODEL_URL": tgi.url,
    }


@asynccontextmanager
async def in_discord(
    discord: DiscordDouble, tgi: TgiDouble, tmp: Path, *arguments: str, **settings: str
) -> AsyncIterator[Parley]:
    """``parley run``, connected to both doubles."""
    async with run_parley(tmp, "run", *arguments, **{**tokens(discord, tgi), **settings}) as parley:
        await wait_until(
            lambda: discord.gateway.connected or parley.process.returncode is not None,
            description="a socket",
        )
        await wait_until(
            lambda: "connected to Discord" in parley.log or parley.process.returncode is not None,
            description="READY is read",
        )
        assert discord.gateway.connected, parley.log
        yield parley


@pytest.fixture
async def parley(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> AsyncIterator[Parley]:
    """Parley, answering in Discord, with no privileged intent."""
    async with in_discord(discord, tgi, tmp_path) as process:
        yield process


def is_done(posted: Posted | None) -> bool:
    """Whether an answer has its final form: with its buttons."""
    return bool(posted) and not posted.deleted and bool(DONE & set(posted.labels))  # type: ignore[union-attr]


async def reply(discord: DiscordDouble, asked: Posted, *, final: bool = True) -> Posted:
    """The first reply to a message, once it is there, or once it is finished."""
    await wait_until(lambda: discord.replies(asked), description="a reply")
    posted = discord.replies(asked)[0]
    if final:
        await wait_until(lambda: is_done(posted), description="a finished reply")
    return posted


async def answered(interaction: Interaction, *, final: bool = True) -> Posted:
    """The answer to a command, once it is there, or once it is finished."""
    await wait_until(lambda: interaction.original and not interaction.original.thinking, description="a response")
    assert interaction.original
    if final:
        await wait_until(lambda: is_done(interaction.original), description="a finished answer")
    return interaction.original
