"""Slack, Discord, a model's server, and Parley between Slack and that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bots.slack.manifest import SCOPES
from tests.doubles.discord import DiscordDouble
from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.process import Parley, in_slack, run_parley
from tests.redis_server import running_redis
from tests.waiting import wait_until


@pytest.fixture
async def slack() -> AsyncIterator[SlackDouble]:
    """Slack, with its rate tiers, and the app installed as its manifest says."""
    async with SlackDouble() as double:
        double.scopes = list(SCOPES)
        yield double


@pytest.fixture
async def discord() -> AsyncIterator[DiscordDouble]:
    """Discord, with its limits."""
    async with DiscordDouble() as double:
        yield double


@pytest.fixture
async def tgi() -> AsyncIterator[TgiDouble]:
    """A model's server."""
    async with TgiDouble() as double:
        yield double


@pytest.fixture
async def parley(slack: SlackDouble, tgi: TgiDouble, tmp_path: Path) -> AsyncIterator[Parley]:
    """Parley, answering in Slack."""
    async with in_slack(slack, tgi, tmp_path) as process:
        yield process


class Deployment:
    """A Redis, a process that listens, and workers."""

    def __init__(self, tmp: Path, settings: dict[str, str]) -> None:
        self._tmp, self._settings = tmp, settings

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Parley]:
        """One more worker, ready to answer."""
        async with run_parley(self._tmp, "run", "worker", **self._settings) as worker:
            await wait_until(lambda: '"starting"' in worker.log, description="a worker")
            yield worker


@pytest.fixture
async def deployment(slack: SlackDouble, tgi: TgiDouble, tmp_path: Path) -> AsyncIterator[Deployment]:
    """``parley run slack --no-worker``, and as many ``parley run worker`` as a test asks for."""
    settings = {
        "REDIS_URL": f"unix://{tmp_path / 'redis.sock'}",
        "SLACK_API_URL": slack.url,
        "SLACK_BOT_TOKEN": slack.bot_token,
        "MODEL_URL": tgi.url,
        "LEASE_SECONDS": "3",
    }
    listening = {**settings, "SLACK_APP_TOKEN": slack.app_token}
    async with (
        running_redis(tmp_path / "redis.sock"),
        run_parley(tmp_path, "run", "slack", "--no-worker", **listening),
    ):
        await wait_until(lambda: slack.sockets, description="a socket")
        yield Deployment(tmp_path, settings)
