"""Forms of Discord, over the real client: of a message, and of a conversation's settings."""

from __future__ import annotations

from pathlib import Path

from redis.asyncio import Redis

from bots.discord.keys import discord_key
from tests.doubles.discord import BOB, DiscordDouble
from tests.doubles.discord_records import Interaction
from tests.doubles.discord_world import RANDOM
from tests.doubles.tgi import TgiDouble
from tests.journeys.discord import answered, in_discord, parley, reply
from tests.journeys.process import Parley
from tests.waiting import wait_until

__all__ = ["parley"]  # a fixture


async def shown(opened: Interaction) -> Interaction:
    """What was opened, once a form is shown."""
    await wait_until(lambda: opened.modal, description="a form")
    return opened


async def said(sent: Interaction) -> str:
    """What a form was answered with, at once."""
    await wait_until(lambda: sent.original, description="an answer")
    return sent.text


async def test_a_message_can_be_asked_about(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """Through its menu, without any intent: who asks says what they want to know."""
    friday = discord.say("Wir sehen uns am Freitag.", user=BOB)
    asked = discord.submit(await shown(discord.ask_about(friday)), question="what does this mean?")
    await answered(asked)
    assert '"Bob"]\n> Wir sehen uns am Freitag.\n' in tgi.requests[-1].inputs


async def test_settings_are_a_form(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """It shows what holds, takes what is changed, says what cannot be, and the next answer follows it."""
    opened = await shown(discord.command("settings"))
    told = await said(discord.submit(opened, system="You are a pirate.", temperature="0.1", max="a lot"))
    assert "`max` is a whole number" in told
    assert "You are a pirate." in told
    await reply(discord, discord.mention("hello"))
    assert "You are a pirate." in tgi.requests[-1].inputs
    assert tgi.requests[-1].parameters["temperature"] == 0.1
    again = await shown(discord.command("settings"))
    assert "You are a pirate." in str(again.modal)
    await reply(discord, discord.mention("hello", channel=RANDOM))
    assert "pirate" not in tgi.requests[-1].inputs


async def test_forms_can_be_sent_after_a_restart(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """While somebody wrote, Parley was started anew; and what they did not touch is as others left it."""
    asked_about = discord.say("Wir sehen uns am Freitag.", user=BOB)
    async with in_discord(discord, tgi, tmp_path):
        about, settings = await shown(discord.ask_about(asked_about)), await shown(discord.command("settings"))
        other = await shown(discord.command("settings", user=BOB))
        await said(discord.submit(other, temperature="0.1"))
    async with in_discord(discord, tgi, tmp_path):
        await answered(discord.submit(about, question="what does this mean?"))
        assert '"Bob"]\n> Wir sehen uns am Freitag.\n' in tgi.requests[-1].inputs
        await said(discord.submit(settings, system="You are a pirate."))
        await reply(discord, discord.mention("hello"))
        assert "You are a pirate." in tgi.requests[-1].inputs
        assert tgi.requests[-1].parameters["temperature"] == 0.1


async def test_a_question_about_a_message_that_is_gone_says_so(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path, client: Redis, redis_url: str
) -> None:
    """Whoever takes longer than a quarter of an hour chooses it again, since it is kept for no longer."""
    async with in_discord(discord, tgi, tmp_path, REDIS_URL=redis_url):
        about = await shown(discord.ask_about(discord.say("Wir sehen uns am Freitag.", user=BOB)))
        [kept] = await client.keys(discord_key("about:*"))
        assert 0 < await client.ttl(kept) <= 900
        await client.delete(kept)
        late = discord.submit(about, question="what does this mean?")
        assert "choose it again" in await said(late)
        assert late.original
        assert late.original.ephemeral
    assert tgi.requests == []
