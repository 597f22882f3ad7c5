"""A platform that freezes: Parley ends all the same when it is asked to, and the next one finishes what it began."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from tests.doubles.discord import DiscordDouble
from tests.doubles.frozen import Freezer
from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys import discord as in_discord
from tests.journeys.process import GENERAL, STREAM, Parley, in_slack, reply, run_parley
from tests.journeys.test_slack_faults import tokens
from tests.waiting import UNHURRIED, wait_until

GRACE = 1.0
END = 15.0
"""Seconds that a process may take beside its grace, of the 40 that a supervisor gives it in all."""


def port_of(address: str) -> int:
    """The port in an address."""
    return int(address.split(":")[2].split("/", maxsplit=1)[0])


async def stop(parley: Parley) -> None:
    """Ask it to end, and see that it does."""
    began = time.monotonic()
    parley.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(parley.process.wait(), UNHURRIED) == 0
    assert time.monotonic() - began < GRACE + END
    assert "Traceback" not in parley.log


async def test_slack_freezes(slack: SlackDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """In the middle of an answer."""
    tgi.answer, tgi.rate = STREAM, 50
    async with Freezer(port_of(slack.base)) as way:
        slack._web.methods.socket_url = f"ws://127.0.0.1:{way.port}/link/"
        led = {**tokens(slack), "SLACK_API_URL": slack.url.replace(str(port_of(slack.base)), str(way.port))}
        model = {"MODEL_API": "tgi", "MODEL_URL": tgi.url}
        async with run_parley(tmp_path, "run", **led, **model, GRACE=str(GRACE)) as parley:
            await wait_until(lambda: slack.sockets)
            posted = await reply(slack, GENERAL, await slack.mention(GENERAL, "go"), final=False)
            way.freeze()
            await stop(parley)
    slack._web.methods.socket_url = f"{slack.base.replace('http', 'ws', 1)}link/"
    async with in_slack(slack, tgi, tmp_path):
        await wait_until(lambda: posted.text == STREAM)


@pytest.mark.slow
async def test_discord_freezes(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """In the middle of an answer."""
    tgi.answer, tgi.rate = STREAM, 50
    async with Freezer(port_of(discord.base)) as way:
        here, there = str(port_of(discord.base)), str(way.port)
        led = {name: value.replace(here, there) for name, value in in_discord.tokens(discord, tgi).items()}
        async with run_parley(tmp_path, "run", **led, GRACE=str(GRACE)) as parley:
            await wait_until(lambda: discord.gateway.connected)
            posted = await in_discord.reply(discord, discord.mention("go"), final=False)
            way.freeze()
            await stop(parley)
    async with in_discord.in_discord(discord, tgi, tmp_path):
        await wait_until(lambda: posted.text == STREAM)
