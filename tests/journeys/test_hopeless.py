"""What stays wrong ends the process with exit code 2: a supervisor that heeds it does not start it again for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.doubles.discord import DiscordDouble
from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.discord import in_discord, reply
from tests.journeys.process import run_parley
from tests.journeys.test_slack_faults import tokens
from tests.waiting import UNHURRIED


@pytest.mark.parametrize(("wrong", "token"), [("SLACK_BOT_TOKEN", "xoxb-wrong"), ("SLACK_APP_TOKEN", "xapp-wrong")])
async def test_a_token_that_slack_refuses(slack: SlackDouble, tmp_path: Path, wrong: str, token: str) -> None:
    """With what to do about it."""
    async with run_parley(tmp_path, "run", **{**tokens(slack), wrong: token}) as parley:
        assert await asyncio.wait_for(parley.process.wait(), UNHURRIED) == 2
        assert wrong in parley.log
        assert "Traceback" not in parley.log


@pytest.mark.parametrize("code", [4004, 4014])
async def test_a_token_or_an_intent_that_discord_takes_back(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path, code: int
) -> None:
    """In the middle: running answers end, and nothing is connected anew."""
    async with in_discord(discord, tgi, tmp_path) as parley:
        await reply(discord, discord.mention("hello"))
        await discord.gateway.close_sockets(code)
        assert await asyncio.wait_for(parley.process.wait(), UNHURRIED) == 2
        assert "Traceback" not in parley.log
    assert len(discord.gateway.identified) == 1
