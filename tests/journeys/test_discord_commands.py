"""Commands and buttons of Discord, over the real client."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from core.store.keys import Keys
from tests.doubles.discord import ADA, BOB, GENERAL, DiscordDouble
from tests.doubles.discord_world import CLEO, RANDOM
from tests.doubles.tgi import TgiDouble
from tests.journeys.discord import answered, in_discord, is_done, parley, reply
from tests.journeys.process import STREAM, Parley
from tests.redis_server import running_redis
from tests.waiting import wait_until

__all__ = ["parley"]  # a fixture


async def test_ask_is_deferred_and_answered_where_it_was_asked(
    discord: DiscordDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """It says that it thinks at once, grows, and shares the channel's memory."""
    tgi.answer, tgi.rate = STREAM, 60
    asked = discord.command("ask", prompt="tell me a story")
    answer = await answered(asked)
    assert asked.response == 5
    assert asked.answered_at - asked.began < 3.0
    assert answer.text == STREAM
    assert not answer.ephemeral
    assert len(answer.shown) >= 4
    assert {version.via for version in answer.versions} == {"webhook"}
    assert answer.flags == 4, "link previews are suppressed"
    await reply(discord, discord.mention("go on"))
    assert "Ada: tell me a story\nAssistant: word0" in tgi.requests[-1].inputs
    assert discord.refused == []


async def test_a_private_answer_is_seen_by_one_and_remembered_apart(
    discord: DiscordDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """What was asked in private does not show up in the channel."""
    tgi.answer = "Between us."
    answer = await answered(discord.command("ask", prompt="a secret", private=True))
    assert answer.ephemeral
    assert answer.seen_by == ADA
    await answered(discord.command("ask", prompt="go on", private=True))
    assert "a secret" in tgi.requests[-1].inputs
    await reply(discord, discord.mention("what do you know?"))
    assert "secret" not in tgi.requests[-1].inputs
    assert discord.refused == []


async def test_a_long_private_answer_is_one_message_and_a_file(
    discord: DiscordDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """There is no second message to be had."""
    tgi.answer, tgi.rate = "\n\n".join(f"Paragraph {i}: " + "ratherlongword " * 27 for i in range(8)), 5000
    answer = await answered(discord.command("ask", prompt="at length", private=True))
    assert answer.files["answer.md"].strip() == tgi.answer.strip()
    assert len([call for call in discord.calls if call.route == "POST /webhooks/:id/:token"]) == 0


async def test_where_only_a_user_installed_it(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """The bot itself may not write there, so all goes through the interaction."""
    tgi.answer, tgi.rate = "\n\n".join(f"Paragraph {i}: " + "ratherlongword " * 27 for i in range(8)), 5000
    asked = discord.command("ask", prompt="at length", user_install=True)
    answer = await answered(asked)
    assert answer.files
    assert asked.followups == 0
    assert {version.via for version in answer.versions} == {"webhook"}
    assert discord.refused == []


async def test_help_memory_and_forget(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """At once, without the model; what is forgotten is gone."""
    await reply(discord, discord.mention("my colour is blue"))
    told = discord.command("help")
    await wait_until(lambda: told.original)
    assert "forget" in told.text
    assert told.original
    assert told.original.ephemeral

    async def remembers() -> bool:
        kept = discord.command("memory")
        await wait_until(lambda: kept.original)
        return "1 message and 1 answer" in kept.text

    await wait_until(remembers)  # what is shown whole is remembered a moment later
    forgot = discord.command("forget")
    await wait_until(lambda: forgot.original)
    assert "forgotten" in forgot.text
    assert forgot.original
    assert not forgot.original.ephemeral
    await reply(discord, discord.mention("what is my colour?"))
    assert "blue" not in tgi.requests[-1].inputs
    assert len(tgi.requests) == 2


async def test_who_may_not_ask_is_told_in_a_line_for_them_alone(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """For every command."""
    async with in_discord(discord, tgi, tmp_path, DISCORD_DENY_USERS=BOB):
        asked = discord.command("ask", user=BOB, prompt="may I?")
        for refused in (asked, discord.command("forget", user=BOB), discord.command("settings", user=BOB)):
            await wait_until(lambda: refused.original)  # noqa: B023
            assert refused.text.startswith("I'm not enabled for you here.")
            assert refused.original
            assert refused.original.ephemeral
    assert tgi.requests == []


async def test_the_stop_button_ends_an_answer(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """For who asked, and for who may manage messages; what is there stays."""
    tgi.answer, tgi.rate = STREAM, 20
    asked = discord.mention("a long one")
    posted = await reply(discord, asked, final=False)
    assert posted.labels == ["Stop"]
    other = discord.press(posted, "Stop", user=BOB)
    await wait_until(lambda: other.response)
    assert "Only the person who asked" in discord.messages()[-1].text
    assert posted.labels == ["Stop"]
    discord.press(posted, "Stop")
    await wait_until(lambda: is_done(posted))
    assert posted.text.endswith("-# Stopped.")
    second = discord.mention("another long one")
    posted = await reply(discord, second, final=False)
    discord.press(posted, "Stop", user=CLEO)
    await wait_until(lambda: is_done(posted))


async def test_stop_as_a_command(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """It ends one's own answer in that place."""
    tgi.answer, tgi.rate = STREAM, 20
    asked = discord.command("ask", prompt="a long one")
    answer = await answered(asked, final=False)
    nothing = discord.command("stop", user=BOB)
    await wait_until(lambda: nothing.original)
    assert "not writing an answer" in nothing.text
    discord.command("stop")
    await wait_until(lambda: is_done(answer))
    assert "Stopped." in answer.text


async def test_stop_ends_a_private_answer_as_well(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """Though it is a conversation of its own; nobody else's."""
    tgi.answer, tgi.rate = STREAM, 20
    answer = await answered(discord.command("ask", prompt="a long one", private=True), final=False)
    nothing = discord.command("stop", user=BOB)
    await wait_until(lambda: nothing.original)
    assert "not writing an answer" in nothing.text
    stop = discord.command("stop")
    await wait_until(lambda: is_done(answer))
    assert "Stopped." in answer.text
    await wait_until(lambda: stop.text == "Stopped.")


async def test_an_answer_can_be_had_again(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """In the same message, and remembered in place of the first one."""
    tgi.answer = "The first answer."
    asked = discord.mention("what is a lease?")
    posted = await reply(discord, asked)
    tgi.answer = "A better answer."
    refused = discord.press(posted, "Regenerate", user=BOB)
    await wait_until(lambda: refused.response)
    assert posted.text == "The first answer."
    discord.press(posted, "Regenerate")
    await wait_until(lambda: posted.text == "A better answer." and is_done(posted))
    assert discord.replies(asked) == [posted]
    await reply(discord, discord.mention("go on"))
    assert "first answer" not in tgi.requests[-1].inputs


async def test_marks_are_kept(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """One of each person, whoever it is; the last one counts."""
    import redis.asyncio

    socket = tmp_path / "redis.sock"
    async with running_redis(socket), in_discord(discord, tgi, tmp_path, REDIS_URL=f"unix://{socket}"):
        asked = discord.mention("hello")
        posted = await reply(discord, asked)
        for user, mark in ((ADA, "👎"), (ADA, "👍"), (BOB, "👍")):
            pressed = discord.press(posted, mark, user=user)
            await wait_until(lambda: pressed.response)  # noqa: B023
        client = redis.asyncio.Redis.from_url(f"unix://{socket}", decode_responses=True)
        turn = f"discord:{discord.channels[GENERAL].guild}:{GENERAL}:{asked.id}"
        assert await client.hgetall(Keys.feedback(turn)) == {ADA: "up", BOB: "up"}
        await client.aclose()


async def test_buttons_work_after_a_restart(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """All that they need stands in their ids, and in Redis."""
    async with in_discord(discord, tgi, tmp_path):
        posted = await reply(discord, discord.mention("hello"))
    tgi.answer = "Once more."
    async with in_discord(discord, tgi, tmp_path):
        discord.press(posted, "Regenerate")
        await wait_until(lambda: posted.text == "Once more." and is_done(posted))
    assert len(discord.replies()) == 1


async def test_killed_in_the_middle_of_an_answer(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """The next process goes on in the same message, and its button works."""
    tgi.answer, tgi.rate = STREAM, 30
    async with in_discord(discord, tgi, tmp_path, LEASE_SECONDS="3") as parley:
        asked = discord.mention("tell me a story")
        posted = await reply(discord, asked, final=False)
        await wait_until(lambda: len(posted.shown) >= 2)
        await parley.stop(signal.SIGKILL)
    tgi.rate = 200
    async with in_discord(discord, tgi, tmp_path, LEASE_SECONDS="3"):
        await wait_until(lambda: is_done(posted))
        assert posted.text == STREAM
        assert discord.replies() == [posted]


async def test_an_answer_that_outlives_its_token(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """It goes on with the bot's token before the interaction's dies; nothing is refused, and it ends whole."""
    discord.interaction_rules.life = 4.0
    tgi.answer, tgi.rate = STREAM, 20
    async with in_discord(discord, tgi, tmp_path, DISCORD_TOKEN_SECONDS="3"):
        answer = await answered(discord.command("ask", prompt="a long one"))
        assert answer.text == STREAM
        assert answer.versions[0].via == "webhook"
        assert answer.versions[-1].via == "bot"
        assert discord.refused == []


@pytest.mark.slow
async def test_a_token_that_dies_too_early(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """One refusal, and the answer goes on with the bot's token."""
    discord.interaction_rules.life = 4.0
    tgi.answer, tgi.rate = STREAM, 15
    answer = await answered(discord.command("ask", prompt="a long one"))
    assert answer.text == STREAM
    assert [call.code for call in discord.refused] == [50027]


async def test_a_private_answer_ends_before_its_token_does(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """With what there is, and says why."""
    discord.interaction_rules.life = 4.0
    tgi.answer, tgi.rate = STREAM, 15
    async with in_discord(discord, tgi, tmp_path, DISCORD_TOKEN_SECONDS="3"):
        answer = await answered(discord.command("ask", prompt="a long one", private=True), final=False)
        await wait_until(lambda: "15 minutes" in answer.text)
        assert answer.text.startswith("word0 word1")
        assert answer.buttons == []
        assert discord.refused == []


async def test_with_redis_away_who_asks_is_told_at_once(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """In a line that only they see, within the three seconds."""
    socket = tmp_path / "redis.sock"
    settings = {"REDIS_URL": f"unix://{socket}", "GRACE": "0"}
    async with running_redis(socket) as server, in_discord(discord, tgi, tmp_path, **settings) as parley:
        await reply(discord, discord.mention("hello"))
        server.kill()
        asked = discord.command("ask", prompt="are you there?")
        await wait_until(lambda: asked.response)
        assert asked.response == 4
        assert asked.original
        assert asked.original.ephemeral
        assert "can't reach my memory" in asked.text
        async with running_redis(socket):  # so that it ends at once
            await parley.stop()


async def test_commands_are_registered_on_change_only(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """Not at every start: Discord counts that."""
    for _ in range(2):
        async with in_discord(discord, tgi, tmp_path):
            pass
    assert discord.rest.syncs == 1
    names = {command["name"] for command in discord.rest.commands["global"]}
    assert names >= {"ask", "forget", "memory", "stop", "help", "Ask about this message"}
    ask = next(command for command in discord.rest.commands["global"] if command["name"] == "ask")
    assert ask["integration_types"] == [0, 1]
    assert ask["contexts"] == [0, 1, 2]


async def test_each_channel_has_its_own_memory_for_commands_too(
    discord: DiscordDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """As for mentions."""
    await answered(discord.command("ask", prompt="my colour is blue"))
    await answered(discord.command("ask", prompt="what is it?", channel=RANDOM))
    assert "blue" not in tgi.requests[-1].inputs


async def test_personas_are_suggested(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """While one types; and chosen without the form."""
    folder = tmp_path / "personas"
    folder.mkdir()
    (folder / "pirate.md").write_text("You are a pirate.")
    (folder / "poet.md").write_text("You are a poet.")
    async with in_discord(discord, tgi, tmp_path, PERSONAS=str(folder)):
        typed = discord.autocomplete("settings", "persona", "pi")
        await wait_until(lambda: typed.response)
        assert [choice["value"] for choice in typed.choices] == ["pirate"]
        chosen = discord.command("settings", persona="pirate")
        await wait_until(lambda: chosen.original)
        await reply(discord, discord.mention("hello"))
        assert "You are a pirate." in tgi.requests[-1].inputs
