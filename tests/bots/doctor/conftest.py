"""Slack and a model server for the tests of ``parley doctor``."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bots.slack.manifest import SCOPES
from tests.bots.doctor.reports import APP, BOT, KEY, Settings
from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble


@pytest.fixture
async def slack() -> AsyncIterator[SlackDouble]:
    """Slack, with an app that was made from the manifest."""
    async with SlackDouble() as double:
        double.bot_token, double.app_token = BOT, APP
        double.scopes = list(SCOPES)
        yield double


@pytest.fixture
async def tgi() -> AsyncIterator[TgiDouble]:
    """A model's server that wants a key."""
    async with TgiDouble(api_key=KEY) as double:
        yield double


@pytest.fixture
def in_slack(slack: SlackDouble, redis_url: str) -> Settings:
    """Settings for Slack and the demo."""
    return {
        "SLACK_BOT_TOKEN": BOT,
        "SLACK_APP_TOKEN": APP,
        "SLACK_API_URL": slack.url,
        "REDIS_URL": redis_url,
    }
