"""Following a thread in Discord: when no mention is needed, when one is, and mute; with real processes."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.doubles.discord import ADA, BOB, DiscordDouble
from tests.doubles.discord_records import Posted
from tests.doubles.tgi import TgiDouble
from tests.journeys.discord import answered, in_discord, is_done, reply, tokens
from tests.journeys.process import STREAM, Parley, run_parley
from tests.redis_server import running_redis
from tests.waiting import wait_until

HEARS = {"DISCORD_MESSAGE_CONTENT": "true", "DISCORD_AUTO_THREAD": "true"}


@pytest.fixture(autouse=True)
def content(discord: DiscordDouble, tgi: TgiDouble) -> None:
    """The Message Content intent is switched on."""
    discord.allow_message_content()
    tgi.answer = "Noted."


@asynccontextmanager
async def apart(discord: DiscordDouble, tgi: TgiDouble, tmp: Path) -> AsyncIterator[dict[str, str]]:
    """A process that listens, and the settings for workers."""
    redis = f"unix://{tmp / 'redis.sock'}"
    settings = {**tokens(discord, tgi), **HEARS, "REDIS_URL": redis, "LEASE_SECONDS": "3"}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running_redis(tmp / "redis.sock"))
        listener = await stack.enter_async_context(run_parley(tmp, "run", "discord", "--no-worker", **settings))
        await wait_until(lambda: "connected to Discord" in listener.log, description="a listener")
        yield settings


@asynccontextmanager
async def a_worker(tmp: Path, settings: dict[str, str]) -> AsyncIterator[Parley]:
    """One that is ready to answer."""
    async with run_parley(tmp, "run", "worker", **settings) as worker:
        await wait_until(lambda: '"starting"' in worker.log, description="a worker")
        yield worker


async def asked_in_channel(discord: DiscordDouble, text: str = "hello") -> str:
    """Ada mentions Parley in the channel, and is answered in a thread: its id."""
    asked = discord.mention(text)
    await wait_until(lambda: asked.id in discord.channels, description="a thread")
    await answers(discord, asked.id, 1)
    return asked.id


async def answers(discord: DiscordDouble, thread: str, number: int) -> Posted:
    """Parley's last answer in a thread, once there are so many."""
    await wait_until(lambda: len(discord.replies(channel=thread)) >= number, description=f"{number} answers")
    posted = discord.replies(channel=thread)[number - 1]
    await wait_until(lambda: is_done(posted), description="a finished answer")
    assert len(discord.replies(channel=thread)) == number
    return posted


async def silent(discord: DiscordDouble, thread: str, number: int) -> None:
    """Everything that was said is taken, and something later is answered; in the thread there is nothing more."""
    asked = discord.dm("ping")
    before = len(discord.replies(channel=asked.channel))
    await wait_until(lambda: len(discord.replies(channel=asked.channel)) > before, description="a pong")
    assert len(discord.replies(channel=thread)) == number


async def test_one_person_goes_on_without_a_mention_until_a_second_one_speaks(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """Then everybody mentions Parley, or replies to it with a ping; it has heard what was said meanwhile."""
    async with in_discord(discord, tgi, tmp_path, **HEARS):
        thread = await asked_in_channel(discord, "when do we meet?")
        where = await reply(discord, discord.say("and where?", channel=thread))
        assert discord.channels[thread].name == "when do we meet?"
        assert "when do we meet?\nAssistant: Noted.\nUser: Ada: and where?" in tgi.requests[-1].inputs
        discord.say("no, on Thursday at nine", channel=thread, user=BOB)
        discord.say("oh, right", channel=thread)
        await silent(discord, thread, 2)
        await reply(discord, discord.mention("so when?", channel=thread))
        prompt = tgi.requests[-1].inputs
        assert prompt.index("no, on Thursday at nine") < prompt.index("oh, right") < prompt.index("so when?")
        await reply(discord, discord.say("are you sure?", channel=thread, reply_to=where.id))
        await answers(discord, thread, 4)
    assert discord.pings == []
    assert discord.refused == []


async def test_what_is_meant_for_somebody_else_is_not_answered(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """A mention of a person or everybody, or a name after an @; an app doesn't count as a person."""
    async with in_discord(discord, tgi, tmp_path, **HEARS):
        thread = await asked_in_channel(discord)
        discord.say(f"<@{BOB}> look at this", channel=thread)
        discord.say("@everyone look at this", channel=thread, extra={"mention_everyone": True})
        discord.say("@bob look at this", channel=thread)
        discord.alert(channel=thread, title="Disk full")
        await silent(discord, thread, 1)
        await reply(discord, discord.say("and what do you think?", channel=thread))


@pytest.mark.slow
async def test_a_reply_to_what_somebody_else_said_is_theirs(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """Even where everybody is answered."""
    async with in_discord(discord, tgi, tmp_path, **HEARS, FOLLOW="always"):
        thread = await asked_in_channel(discord)
        said = discord.say("Thursday at nine", channel=thread, user=BOB)
        await reply(discord, said)
        discord.say("fine with me", channel=thread, reply_to=said.id)
        await silent(discord, thread, 2)
        await reply(discord, discord.say("and where?", channel=thread))


async def test_a_muted_thread_needs_mentions_until_it_is_unmuted(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """By words, or by slash commands that everybody sees; it wins over FOLLOW=always."""
    async with in_discord(discord, tgi, tmp_path, **HEARS, FOLLOW="always"):
        thread = await asked_in_channel(discord)
        said = discord.say("Parley, be quiet here", channel=thread)
        await wait_until(lambda: len(discord.replies(channel=thread)) == 2)
        muted = "I'll be quiet in this thread, and answer only when mentioned. `/unmute` takes that back."
        await wait_until(lambda: discord.replies(said)[0].text == muted)
        discord.say("what was that?", channel=thread)
        await silent(discord, thread, 2)
        await reply(discord, discord.mention("are you there?", channel=thread))
        taken = await answered(discord.command("unmute", channel=thread), final=False)
        assert taken.text.startswith("I'm no longer muted in this thread.")
        assert not taken.ephemeral
        await reply(discord, discord.say("and now?", channel=thread))
        elsewhere = await answered(discord.command("mute"), final=False)
        assert elsewhere.text.startswith("That's for threads: write `/mute` or `/unmute` in the thread")


@pytest.mark.slow
async def test_people_choose_how_a_channel_is_followed(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """Whatever the operator set; the threads of a channel have its choice."""
    async with in_discord(discord, tgi, tmp_path, **HEARS, FOLLOW="mention"):
        thread = await asked_in_channel(discord)
        discord.say("and now?", channel=thread)
        await silent(discord, thread, 1)
        chosen = discord.mention("settings follow always")
        await wait_until(lambda: chosen.id in discord.channels and discord.replies(channel=chosen.id))
        for user in (ADA, BOB, ADA):
            await reply(discord, discord.say("and now?", channel=thread, user=user))


@pytest.mark.slow
async def test_an_answer_that_is_there_before_its_thread_waits_for_it(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """However slowly Discord opens the thread, nothing is posted into the channel."""
    discord.slow("POST /channels/:id/messages/:id/threads", 0.5)
    async with in_discord(discord, tgi, tmp_path, **HEARS):
        asked = {text: discord.mention(text).id for text in ("help", "hello")}
        for thread in asked.values():
            await wait_until(partial(discord.channels.__contains__, thread), description="a thread")
            await wait_until(partial(discord.replies, channel=thread), description="an answer in it")
    assert discord.replies() == []


@pytest.mark.slow
async def test_people_who_may_not_ask_are_not_answered_and_not_told(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """They did not ask; and they are people in the thread all the same."""
    async with in_discord(discord, tgi, tmp_path, **HEARS, DISCORD_DENY_USERS=BOB):
        thread = await asked_in_channel(discord)
        discord.say("and now?", channel=thread, user=BOB)
        discord.say("and now?", channel=thread)
        await silent(discord, thread, 1)


@pytest.mark.slow
async def test_a_follow_up_that_comes_again_or_is_edited_is_one_turn(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """Although somebody else spoke meanwhile, and the worker was killed."""
    async with apart(discord, tgi, tmp_path) as settings:
        async with a_worker(tmp_path, settings):
            thread = await asked_in_channel(discord)
        again = discord.say("and nwo?", channel=thread)
        discord.say("I'm here as well", channel=thread, user=BOB)
        discord.resend(again)
        discord.edit(again, "and now?")
        tgi.answer, tgi.rate = STREAM, 60
        async with a_worker(tmp_path, settings) as worker:
            await wait_until(lambda: len(discord.replies(channel=thread)) == 2, description="the second answer begins")
            await worker.stop(signal.SIGKILL)
        async with a_worker(tmp_path, settings):
            await answers(discord, thread, 2)
            discord.resend(again)
            tgi.rate = 0
            await silent(discord, thread, 2)
    assert not [seen for seen in tgi.requests if "nwo" in seen.inputs]


@pytest.mark.slow
@pytest.mark.parametrize("begun", [False, True])
async def test_a_follow_up_that_is_edited_for_somebody_else_is_taken_back(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path, *, begun: bool
) -> None:
    """While it waits, nobody sees anything of it; while it is answered, the answer stops and says why."""
    async with apart(discord, tgi, tmp_path) as settings, a_worker(tmp_path, settings):
        thread = await asked_in_channel(discord)
        tgi.answer, tgi.rate = STREAM, 30
        if not begun:
            discord.say("tell me more", channel=thread)
            await wait_until(lambda: len(discord.replies(channel=thread)) == 2)
        asked = discord.say("can you look?", channel=thread)
        if begun:
            await wait_until(lambda: len(discord.replies(channel=thread)) == 2)
        discord.edit(asked, f"<@{BOB}> can you look?")
        if begun:
            why = "Stopped, because the question is meant for somebody else now."
            await wait_until(lambda: why in discord.replies(channel=thread)[1].text, description="why it stopped")
        else:
            assert "Stopped" not in (await answers(discord, thread, 2)).text
        tgi.rate, tgi.answer = 0, "Well."
        await reply(discord, discord.mention("who was asked?", channel=thread))
        assert len(discord.replies(channel=thread)) == 3
    assert "@Bob can you look?" in tgi.requests[-1].inputs


@pytest.mark.slow
async def test_without_message_content_a_thread_is_not_followed(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """Discord doesn't say what people write; help says nothing of it, and mute that it is needless."""
    async with in_discord(discord, tgi, tmp_path, DISCORD_AUTO_THREAD="true", FOLLOW="always"):
        thread = await asked_in_channel(discord)
        discord.say("and now?", channel=thread)
        await silent(discord, thread, 1)
        for word, says in (("help", "Ask me anything"), ("mute", "That's only for threads in which I hear what isn't")):
            said = (await answered(discord.command(word, channel=thread), final=False)).text
            assert said.startswith(says)
            assert "nobody needs to mention me" not in said
