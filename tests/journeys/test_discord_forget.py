"""Commands in Discord: help that fits, mistyped commands, and forgetting what others said."""

from __future__ import annotations

from pathlib import Path

from bots.discord.buttons import ButtonTarget
from tests.doubles.discord import ADA, BOB, GENERAL, DiscordDouble
from tests.doubles.discord_records import Interaction, Posted
from tests.doubles.discord_world import CLEO, RANDOM
from tests.doubles.tgi import TgiDouble
from tests.journeys.discord import in_discord, parley, reply
from tests.journeys.process import Parley
from tests.waiting import wait_until

__all__ = ["parley"]  # a fixture


async def said(discord: DiscordDouble, asked: Posted) -> Posted:
    """The reply to a message that is a command."""
    to = asked if discord.channels[asked.channel].guild else None  # a direct message has no reference
    await wait_until(lambda: discord.replies(to, channel=asked.channel), description="a reply")
    return discord.replies(to, channel=asked.channel)[-1]


async def told(command: Interaction) -> str:
    """What a command was answered with, at once."""
    await wait_until(lambda: command.original, description="an answer")
    return command.text


async def talk(discord: DiscordDouble, *users: str) -> None:
    """Each of these people asks something and is answered, and it is remembered."""
    for user in users:
        await reply(discord, discord.mention("hello", user=user))

    async def remembered() -> bool:
        return f"{len(users)} message" in await told(discord.command("memory"))

    await wait_until(remembered, description="what was said")


async def test_help_says_how_to_talk_to_it_there(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """With slash commands; a mention is needed on a server, and whom to ask is named and not pinged."""
    async with in_discord(discord, tgi, tmp_path, ADMINS=CLEO):
        command = discord.command("help")
        server = await told(command)
        assert command.original
        assert command.original.ephemeral
        alone = (await said(discord, discord.dm("help"))).text
        for text in (server, alone):
            for word in ("`/help`", "`/memory`", "`/forget`", "`/settings`", "`/stop`", "`/ask`", "30 days"):
                assert word in text
            assert f"Ask <@{CLEO}>." in text
        assert "`@Parley settings temperature 0.2`" in server
        assert "@Parley" not in alone
    assert discord.pings == []
    assert tgi.requests == []


async def test_a_mistyped_command_is_not_sent_to_the_model(
    discord: DiscordDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """A question that looks like one is; `forget` as a reply to somebody is the command."""
    for typed, meant in (("settings temperatur 0.2", "@Parley settings temperature 0.2"), ("/hlep", "/help")):
        assert f"Did you mean `{meant}`?" in (await said(discord, discord.mention(typed))).text
    assert "Did you mean" in (await said(discord, discord.mention("settings temperature warm"))).text
    other = discord.say("What did we say about tea?", user=BOB)
    assert "nothing to forget" in (await said(discord, discord.mention("forget", reply_to=other.id))).text
    assert tgi.requests == []
    await reply(discord, discord.mention("settings are lost, why?"))
    assert len(tgi.requests) == 1


async def test_forgetting_what_others_said_asks_first(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """The button works after a restart, for who asked; whatever it carries was not changed on the way."""
    async with in_discord(discord, tgi, tmp_path):
        await talk(discord, ADA, BOB)
        question = await said(discord, discord.mention("forget"))
        assert "4 messages and answers, from 2 people" in question.text
        assert "`/forget now:True`" in question.text
        await wait_until(lambda: question.labels == ["Forget"], description="a button")
    async with in_discord(discord, tgi, tmp_path):
        refused = discord.press(question, "Forget", user=BOB)
        await wait_until(lambda: refused.response)
        assert "Only the person who asked, or an admin" in discord.messages()[-1].text
        target = ButtonTarget.decode(question.buttons[0].custom_id.rpartition(":")[2])
        own = ButtonTarget(target.guild, target.channel, target.thread, target.message, int(BOB), target.part)
        elsewhere = ButtonTarget(target.guild, int(RANDOM), target.thread, target.message, target.author, target.part)
        later = ButtonTarget(target.guild, target.channel, target.thread, target.message, target.author, 7)
        for user, forged in ((BOB, own), (ADA, elsewhere), (ADA, later)):
            refused = discord.press(question, "Forget", user=user, custom_id=f"p1:forget:{forged.encode()}")
            await wait_until(lambda: refused.response)  # noqa: B023
            assert "no longer works" in discord.messages()[-1].text
        assert "2 messages and 2 answers" in await told(discord.command("memory"))
        discord.press(question, "Forget")
        await wait_until(lambda: "I've forgotten this channel (4 messages)" in question.text)
        assert question.labels == []
        assert "nothing" in await told(discord.command("memory"))
    assert discord.refused == []


async def test_the_command_asks_in_private_and_says_what_was_done_in_public(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """Once; with `now` it does not ask, and where only the asker has spoken it does not either."""
    async with in_discord(discord, tgi, tmp_path, ADMINS=CLEO):
        await talk(discord, ADA, BOB)
        asked = discord.command("forget")
        assert "from 2 people" in await told(asked)
        assert asked.original
        assert asked.original.ephemeral
        pressed = discord.press(asked.original, "Forget")
        await wait_until(lambda: pressed.response == 4, description="a message")
        assert not discord.messages()[-1].ephemeral
        assert "I've forgotten this channel (4 messages)" in discord.messages()[-1].text
        again = discord.press(asked.original, "Forget")
        await wait_until(lambda: again.response, description="an answer")
        assert "already done" in discord.messages()[-1].text
        await talk(discord, ADA, BOB)
        assert "I've forgotten this channel" in await told(discord.command("forget", now=True))
        await talk(discord, ADA)
        assert "I've forgotten this channel" in await told(discord.command("forget"))


async def test_only_admins_forget_and_set_where_that_is_set(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """By words, commands and the form, also by one that was opened before; in a direct message everybody can."""
    only = {"FORGET_BY": "admins", "SETTINGS_BY": "admins", "ADMINS": CLEO}
    async with in_discord(discord, tgi, tmp_path):
        opened = discord.command("settings")
        await wait_until(lambda: opened.modal, description="a form")
    async with in_discord(discord, tgi, tmp_path, **only):
        for text in ("forget", "forget now", "settings temperature 0.2"):
            assert (await said(discord, discord.mention(text))).text.endswith(f"Ask <@{CLEO}>.")
        submitted = discord.submit(opened, temperature="0.1")
        for refused in (discord.command("forget"), discord.command("settings"), submitted):
            assert (await told(refused)).startswith("Only admins can")
            assert refused.original
            assert refused.original.ephemeral
        assert "Done." in (await said(discord, discord.mention("settings temperature 0.2", user=CLEO))).text
        assert "Done." in (await said(discord, discord.dm("settings temperature 0.3"))).text
    assert discord.messages(GENERAL)


async def test_forgetting_a_channel_leaves_what_others_asked_there_in_private(
    discord: DiscordDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """What the asker asked there in private goes with it: nothing else forgets that."""
    for user, colour in ((ADA, "blue"), (BOB, "green")):
        secret = discord.command("ask", prompt=f"my colour is {colour}", private=True, user=user)
        await wait_until(lambda: secret.original and secret.original.buttons)  # noqa: B023
    await reply(discord, discord.mention("hello"))

    async def told_of(user: str, colour: str) -> bool:
        again = discord.command("ask", prompt="what is it?", private=True, user=user)
        before = len(tgi.requests)
        await wait_until(lambda: len(tgi.requests) > before)
        await wait_until(lambda: again.original and again.original.buttons)
        return f"my colour is {colour}" in tgi.requests[-1].inputs

    await wait_until(lambda: told_of(BOB, "green"))
    assert "I've forgotten" in await told(discord.command("forget", now=True))
    assert await told_of(BOB, "green")
    assert not await told_of(ADA, "blue")
