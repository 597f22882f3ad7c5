"""``parley doctor`` compares this machine's clock with that of each platform, as its answers tell it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path

import pytest

from bots.findings import Finding, clock_check
from core.clock import seconds_ahead
from tests.bots.discord import test_setup
from tests.bots.doctor.reports import listed
from tests.doubles.discord import DiscordDouble
from tests.doubles.slack import SlackDouble

BAD_DATES = ["", "yesterday", "Thu, 99 Foo 2026 99:99:99 GMT", "Fri, 01 Jan 99999 00:00:00 GMT", "\udc80", "0", "🕰"]
SENT = [date for date in BAD_DATES if date.isascii()]


@pytest.fixture
async def slack() -> AsyncIterator[SlackDouble]:
    """Slack."""
    async with SlackDouble() as double:
        yield double


@pytest.fixture
async def discord() -> AsyncIterator[DiscordDouble]:
    """Discord."""
    async with DiscordDouble() as double:
        yield double


async def in_slack(slack: SlackDouble, folder: Path, redis_url: str) -> dict[str, str] | None:
    """What doctor says of the clock, beside Slack's."""
    tokens = {
        "SLACK_API_URL": slack.url,
        "SLACK_BOT_TOKEN": slack.bot_token,
        "SLACK_APP_TOKEN": slack.app_token,
        "REDIS_URL": redis_url,
    }
    return (await listed(folder, tokens)).checks.get("slack.clock")


async def in_discord(discord: DiscordDouble, folder: Path) -> dict[str, str] | None:
    """The same beside Discord's."""
    return (await test_setup.doctor(folder, discord)).get("discord.clock")


def date(ahead: float) -> str:
    """What a platform says whose clock is behind ours."""
    return formatdate(time.time() - ahead, usegmt=True)


@pytest.mark.parametrize("ahead", [3600, -45])
async def test_a_clock_that_is_off_is_told_and_which_way(
    slack: SlackDouble, discord: DiscordDouble, tmp_path: Path, redis_url: str, ahead: float
) -> None:
    """A warning, and what to do."""
    slack.date, discord.rest.date = date(ahead), date(ahead)
    for platform, found in (
        ("Slack", await in_slack(slack, tmp_path, redis_url)),
        ("Discord", await in_discord(discord, tmp_path)),
    ):
        assert found
        assert found["level"] == "warning"
        assert f"s {'ahead of' if ahead > 0 else 'behind'} {platform}'s" in found["found"]
        assert "NTP" in found["remedy"]


@pytest.mark.parametrize("sent", [None, "now", *SENT])
async def test_nothing_is_said_of_a_clock_that_agrees_or_is_not_told(
    slack: SlackDouble, discord: DiscordDouble, tmp_path: Path, redis_url: str, sent: str | None
) -> None:
    """Whatever stands in the place of a date."""
    slack.date = discord.rest.date = date(0) if sent == "now" else sent
    assert await in_slack(slack, tmp_path, redis_url) is None
    assert await in_discord(discord, tmp_path) is None


@pytest.mark.parametrize("told", [None, *BAD_DATES])
def test_no_date_breaks_anything(told: str | None) -> None:
    """It says nothing."""
    assert seconds_ahead(told) is None


@pytest.mark.parametrize("ahead", [0.0, 29.0, -29.0, None])
def test_what_nobody_notices_is_no_warning(ahead: float | None) -> None:
    """Nor what is not known."""
    assert clock_check("x.clock", "X", ahead) == []


@pytest.mark.parametrize(("ahead", "said"), [(30.0, "30 s ahead of"), (-86_400.0, "86,400 s behind")])
def test_what_they_notice_is(ahead: float, said: str) -> None:
    """In seconds, and which way."""
    [check] = clock_check("x.clock", "X", ahead)
    assert isinstance(check, Finding)
    assert (check.level, said in check.found) == ("warning", True)
