"""Slack, Discord, a model's server, and Parley between Slack and that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bots.slack.manifest import SCOPES
from tests.doubles.discord import DiscordDouble
from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.process import Parley, in_slack


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
