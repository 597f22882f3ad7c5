"""A channel is told something to remember, in Slack and in Discord, over real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.doubles.discord import APP, BOB, DiscordDouble
from tests.doubles.discord_world import RANDOM
from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.discord import answered, in_discord
from tests.journeys.discord import reply as answer_in_discord
from tests.journeys.process import GENERAL, in_slack, reply
from tests.journeys.test_slack_commands import said
from tests.waiting import wait_until


@pytest.mark.slow
async def test_a_slack_channel_is_told_corrected_and_edited(slack: SlackDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """By two people; the next answers know it, in a thread too, and a direct message does not."""
    async with in_slack(slack, tgi, tmp_path):
        ts = await slack.mention(GENERAL, "remember: standup is at 9:15, says <@U0BOB> <!here>")
        await wait_until(lambda: slack.replies(GENERAL, ts), description="a reply")
        noted = slack.replies(GENERAL, ts)[-1].text
        assert noted.startswith("Noted for this channel as 1: “standup is at 9:15, says @Bob")
        assert "<!here>" not in noted
        assert "`@parley forget 1` removes it" in noted
        await reply(slack, GENERAL, await slack.mention(GENERAL, "when is standup?"))
        assert "standup is at 9:15, says @Bob" in tgi.requests[-1].inputs
        corrected = (await said(slack, "that is wrong: standup is at 9:30", user="U0BOB")).text
        assert corrected.startswith("Corrected 1: “standup is at 9:30” replaces “standup is at 9:15, says @Bob")
        listed = (await said(slack, "memory")).text
        assert "**1**: standup is at 9:30 (corrected by Bob, " in listed
        root = await slack.mention(GENERAL, "a thread")
        await reply(slack, GENERAL, root)
        second = await slack.mention(GENERAL, "and here?", thread=root)
        await wait_until(lambda: len(slack.replies(GENERAL, root)) == 2, description="a reply in the thread")
        assert second
        assert "standup is at 9:30" in tgi.requests[-1].inputs
        await slack.dm("when is standup?")
        await wait_until(lambda: slack.replies("D0ADA"), description="an answer")
        assert "9:30" not in tgi.requests[-1].inputs
        told = await slack.mention(GENERAL, "remember: we use C")
        await wait_until(lambda: slack.replies(GENERAL, told), description="a reply")
        await slack.edit(GENERAL, told, f"<@{slack.bot_user}> remember: we use Go")
        await wait_until(lambda: _listed(slack, "**2**: we use Go (Ada, "), description="the edit is followed")
        await slack.delete(GENERAL, told)
        await wait_until(lambda: _listed(slack, "**2**:", listed=False), description="the deletion is followed")
        assert (await said(slack, "forget 1")).text == "Removed 1: “standup is at 9:30”."
        await reply(slack, GENERAL, await slack.mention(GENERAL, "when is standup?"))
        assert "9:30" not in tgi.requests[-1].inputs


async def _listed(slack: SlackDouble, text: str, *, listed: bool = True) -> bool:
    """Whether ``memory`` lists it now."""
    return (text in (await said(slack, "memory")).text) is listed


async def test_a_discord_channel_is_told_and_forgets_one(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """With slash commands and messages; hints say how commands are written there. Another channel knows nothing."""
    async with in_discord(discord, tgi, tmp_path):
        told = discord.command("remember", text="standup is at 9:15")
        await wait_until(lambda: told.original)
        assert told.text.startswith("Noted for this channel as 1: “standup is at 9:15”. `/memory` lists")
        assert "`/forget number:1` removes it" in told.text
        assert told.original
        assert not told.original.ephemeral
        go = discord.mention("remember that we use Go", user=BOB)
        await answer_in_discord(discord, go, final=False)
        await answered(discord.command("ask", prompt="what do we use?"))
        for fact in ("standup is at 9:15", "we use Go"):
            assert fact in tgi.requests[-1].inputs
        await answered(discord.command("ask", prompt="what do we use?", channel=RANDOM))
        assert "Go" not in tgi.requests[-1].inputs
        listed = discord.command("memory")
        await wait_until(lambda: listed.original)
        assert "**2**: we use Go (Bob, " in listed.text
        gone = discord.command("forget", number=1)
        await wait_until(lambda: gone.original)
        assert gone.text == "Removed 1: “standup is at 9:15”."
        usage = await answer_in_discord(discord, discord.mention("remember:"), final=False)
        assert "as in `/remember text:standup is at 9:15`" in usage.text
        await answered(discord.command("ask", prompt="what do we use?"))
        assert "9:15" not in tgi.requests[-1].inputs
        discord.edit(go, f"<@{APP}> remember that we use Rust")

        async def edited() -> bool:
            await answered(discord.command("ask", prompt="what do we use?"))
            return "we use Rust" in tgi.requests[-1].inputs

        await wait_until(edited, description="the edit is followed")
        assert discord.refused == []
