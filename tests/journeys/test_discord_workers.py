"""Several processes answer with one bot in Discord, and keep to its limits together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.doubles.discord import GENERAL, DiscordDouble
from tests.doubles.discord_records import Posted
from tests.doubles.discord_world import User
from tests.doubles.tgi import TgiDouble
from tests.journeys.discord import is_done, tokens
from tests.journeys.process import STREAM, Parley, run_parley
from tests.redis_server import running_redis
from tests.waiting import wait_until

PER_SECOND = 20
"""Fewer than Discord allows, so that a few channels are a crowd."""


@pytest.fixture
async def discord() -> AsyncIterator[DiscordDouble]:
    """Discord, with its limits."""
    async with DiscordDouble() as double:
        double.rest.limits.per_second = PER_SECOND
        yield double


@pytest.fixture
async def workers(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> AsyncIterator[Sequence[Parley]]:
    """``parley run discord --no-worker``, and two ``parley run worker``."""
    tgi.answer, tgi.rate = STREAM, 60
    settings = {
        **tokens(discord, tgi),
        "REDIS_URL": f"unix://{tmp_path / 'redis.sock'}",
        "DISCORD_CALLS_PER_SECOND": str(PER_SECOND),
        "WORKER_SLOTS": "12",
    }
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running_redis(tmp_path / "redis.sock"))
        listener = await stack.enter_async_context(run_parley(tmp_path, "run", "discord", "--no-worker", **settings))
        pair = [await stack.enter_async_context(run_parley(tmp_path, "run", "worker", **settings)) for _ in "12"]
        await wait_until(lambda: "connected to Discord" in listener.log, description="a listener")
        await wait_until(lambda: all('"starting"' in one.log for one in pair), description="workers")
        yield pair


async def ask(discord: DiscordDouble, channels: Sequence[str]) -> list[Posted]:
    """A question in each of these, by somebody else each, all at once; wait for the answers."""
    asked = []
    for number, channel in enumerate(channels):
        user = str(310000000000000000 + number)
        discord.users.setdefault(user, User(user, f"person{number}", f"Person {number}"))
        asked.append(discord.mention(f"question {number}", channel=channel, user=user))
    await wait_until(
        lambda: all(any(map(is_done, discord.replies(one))) for one in asked), timeout=60, description="all answered"
    )
    return [discord.replies(one)[0] for one in asked]


@pytest.mark.slow
async def test_two_workers_in_one_channel_and_in_many_are_never_refused(
    discord: DiscordDouble, tgi: TgiDouble, workers: Sequence[Parley]
) -> None:
    """Five posts and five edits in five seconds of a channel, and all calls of the bot, are counted together."""
    crowd = await ask(discord, [GENERAL] * 6)
    assert [posted.text for posted in crowd] == [STREAM] * 6
    channels = [str(210000000000000000 + number) for number in range(24)]
    for channel in channels:
        discord.add_channel(channel, f"c{channel}")
    spread = await ask(discord, channels)
    assert [posted.text for posted in spread] == [STREAM] * 24
    assert discord.refused == []
    assert discord.rest.limits.busiest <= PER_SECOND
    assert all("rate limited" not in one.log for one in workers)
    assert all(one.log.count('"turn":') >= 3 for one in workers), "both took part"
