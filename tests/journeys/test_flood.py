"""Whoever asks far too much costs a few calls to a platform, and reads once why; Retry counts like a question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bots.slack.editor import RETRY
from tests.doubles.discord import DiscordDouble
from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys import discord as in_the_other
from tests.journeys.discord import in_discord
from tests.journeys.process import GENERAL, in_slack, reply
from tests.waiting import wait_until

MANY = 60
FULL = "You've reached the limit of 1 question a minute. Try again in "
CASES = {
    "too often": ({"QUOTA_USER": "turns=1/min"}, "why?", FULL),
    "with files": ({"QUOTA_USER": "turns=1/min"}, "why?", FULL),
    "only files": ({}, "", "I can't read files yet"),
    "not allowed": ({"SLACK_ALLOW_USERS": "U0CLEO", "DISCORD_ALLOW_USERS": "1"}, "why?", "I'm not enabled for you"),
    "nothing to stop": ({}, "stop", "I'm not writing an answer for you right now."),
}

SHOWN = [pytest.param(case, marks=() if case == "too often" else pytest.mark.slow) for case in CASES]


@pytest.mark.parametrize("case", SHOWN)
async def test_a_flood_in_slack_costs_a_handful_of_calls(
    slack: SlackDouble, tgi: TgiDouble, tmp_path: Path, case: str
) -> None:
    """The first refusal is whispered, and says when it works again."""
    settings, text, said = CASES[case]
    files: dict[str, Any] = {"files": [{"id": "F1", "name": "a.pdf"}]} if "files" in case else {}
    async with in_slack(slack, tgi, tmp_path, **settings):
        if "QUOTA_USER" in settings:
            await reply(slack, GENERAL, await slack.mention(GENERAL, "hello"))
        before = len(slack.calls)
        for number in range(MANY):
            await slack.mention(GENERAL, text, **files)
            if number % 20 == 19:  # a busy machine stores no more of them in time
                await wait_until(lambda: not slack.unacked(), description="all are acknowledged")
        await wait_until(lambda: slack.ephemerals, description="a refusal")
        assert slack.ephemerals[0].text.startswith(said)
        await slack.mention(GENERAL, "one more") if case == "not allowed" else await slack.mention(GENERAL, "help")
        await wait_until(lambda: not slack.unacked())
    assert len(slack.ephemerals) <= 3  # a slow machine takes more than ten seconds for all of them
    assert len(slack.calls) - before < 20


@pytest.mark.parametrize("case", SHOWN)
async def test_a_flood_in_discord_costs_a_handful_of_calls(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path, case: str
) -> None:
    """The same, in a line of the channel."""
    settings, text, said = CASES[case]
    files = {"attachments": [{"id": "1", "filename": "a.pdf", "size": 1, "url": "", "proxy_url": ""}]}
    more = files if "files" in case else {}
    async with in_discord(discord, tgi, tmp_path, **settings):
        if "QUOTA_USER" in settings:
            await in_the_other.reply(discord, discord.mention("hello"))
        before, posts = len(discord.calls), len(discord.replies())
        for _ in range(MANY):
            discord.mention(text, **more)
        last = discord.command("help")
        await in_the_other.answered(last, final=False)
        await wait_until(lambda: len(discord.replies()) > posts, description="a refusal")
    told = [posted.text for posted in discord.replies()[posts:] if said in posted.text]
    assert 1 <= len(told) <= 3
    assert len(discord.calls) - before < 20


async def test_a_retry_in_slack_that_is_too_much_is_refused_like_a_question(
    slack: SlackDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """Its button stays, and whoever goes on pressing is not told again."""
    async with in_slack(slack, tgi, tmp_path, QUOTA_USER="turns=1/min"):
        tgi.answer, tgi.rate = "word " * 50, 100
        tgi.fault("drop", after=5)
        posted = await reply(slack, GENERAL, await slack.mention(GENERAL, "go"))
        asked = len(tgi.requests)
        for _ in range(3):
            await (await slack.press(posted, RETRY)).acked.wait()
        await wait_until(lambda: slack.ephemerals, description="a refusal")
        assert slack.ephemerals[0].text.startswith(FULL)
        assert RETRY in [button.action_id for button in posted.buttons]
        assert len(tgi.requests) == asked
        await slack.press(posted, RETRY, user="U0BOB")
        await wait_until(lambda: len(tgi.requests) > asked, description="who has not asked yet")
    assert len(slack.ephemerals) == 1


@pytest.mark.parametrize("label", ["Retry", "Regenerate"])
async def test_a_retry_in_discord_that_is_too_much_is_refused_like_a_question(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path, label: str
) -> None:
    """Every press is answered, as Discord wants it; the answer and its button stay."""
    async with in_discord(discord, tgi, tmp_path, QUOTA_USER="turns=1/min"):
        if label == "Retry":
            tgi.answer, tgi.rate = "word " * 50, 100
            tgi.fault("drop", after=5)
        posted = await in_the_other.reply(discord, discord.mention("go"))
        asked, stood = len(tgi.requests), posted.text
        for _ in range(2):
            pressed = discord.press(posted, label)
            await wait_until(lambda: pressed.response == 4, description="a line")  # noqa: B023
            assert pressed.text.startswith(FULL)
        assert (posted.text, len(tgi.requests)) == (stood, asked)
        assert label in posted.labels
