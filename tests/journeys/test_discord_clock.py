"""Clocks that do not agree: Discord's is an hour behind ours."""

from __future__ import annotations

from pathlib import Path

from tests.doubles.discord import DiscordDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.discord import answered, in_discord, reply
from tests.journeys.process import STREAM
from tests.waiting import wait_until


async def test_answers_grow_and_end_in_their_message(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """Mentions and commands; nobody is told that time is over, and nothing is posted twice."""
    discord.clock.behind = 3600
    tgi.answer, tgi.rate = STREAM, 60
    async with in_discord(discord, tgi, tmp_path):
        posted = await reply(discord, discord.mention("go"))
        assert posted.text == STREAM
        assert len(posted.versions) > 2
        await wait_until(lambda: discord.rest.commands.get("global"))
        for private in (False, True):
            answer = await answered(discord.command("ask", prompt="go", private=private))
            assert answer.text == STREAM
    assert len(discord.replies()) == 3
