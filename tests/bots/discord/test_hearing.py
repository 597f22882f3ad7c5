"""What a listener overhears on a server, and when it says that it may have missed something."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import redis.asyncio

from bots.discord.buttons import identity
from core.memory.conversations import Memory
from core.memory.exchange import Exchange
from core.quotes import QuoteKind
from core.store.keys import Keys
from core.types import Author, ConversationKey, Message, Role
from tests.bots.hearing import Ear, listening
from tests.doubles.discord import ADA, APP, BOB, GENERAL, GUILD, DiscordDouble
from tests.doubles.discord_records import Posted
from tests.doubles.discord_world import CLEO, MODERATORS, OTHER_BOT, Channel
from tests.waiting import wait_until

CHANNEL = ConversationKey("discord", GUILD, GENERAL)
TOKEN = Keys.listening("discord")


@pytest.fixture
async def discord() -> AsyncIterator[DiscordDouble]:
    """Discord, with the Message Content intent."""
    async with DiscordDouble() as double:
        double.allow_message_content()
        yield double


def hearing(discord: DiscordDouble, client: redis.asyncio.Redis, **more: str) -> Any:
    """Somebody who hears what people say to each other."""
    return listening(discord, client, discord_message_content="true", **more)


async def joined(discord: DiscordDouble, client: redis.asyncio.Redis) -> tuple[Channel, ConversationKey]:
    """A thread in which Parley was asked."""
    thread = discord.thread(discord.say("the root"))
    key = replace(CHANNEL, thread=thread.id)
    memory = Memory(client, retention=1000)
    loaded = await memory.load(key)
    asked = Message(Role.USER, "hello", id="q", author=Author(ADA, "Ada"), at=2.0)
    assert await memory.append(Exchange(key, loaded.epoch, "q", "", (asked,)))
    return thread, key


async def overheard(ear: Ear, key: ConversationKey) -> list[str]:
    """What was overheard there, once all that was said is handled: a later question is in the queue."""
    last = ear.double.dm("ping")
    await wait_until(lambda: ear.turn(last))
    intake = ear.platform.calls.client.listener.intake  # type: ignore[attr-defined]
    await wait_until(lambda: not (intake._pending or intake._changes._waiting or intake._hearing._storing))
    loaded = await ear.memory.load(key)
    heard = [message for message in (*loaded.messages, *loaded.room) if message.overheard]
    return [message.text or message.quotes[0].text for message in heard]


async def test_people_and_apps_are_overheard_where_parley_was_asked(
    discord: DiscordDouble, client: redis.asyncio.Redis
) -> None:
    """In that thread, and neither in another nor in the channel; not what Parley says itself, and nothing twice."""
    thread, key = await joined(discord, client)
    other = discord.thread(discord.say("another"))
    async with hearing(discord, client) as ear:
        said = discord.say("at nine", channel=thread.id, user=BOB)
        discord.alert(channel=thread.id, title="Disk full")
        discord.post(thread, APP, "I said this.")
        discord.resend(said)
        discord.say("elsewhere", channel=other.id)
        discord.say("in the channel")
        assert await overheard(ear, key) == ["at nine", "Disk full"]
        assert await overheard(ear, CHANNEL) == []
        assert await overheard(ear, replace(CHANNEL, thread=other.id)) == []
        assert (await ear.memory.load(key)).messages[-1].author == Author(OTHER_BOT, "Other", app=True)


MODES: dict[str, tuple[dict[str, str], list[str], list[str]]] = {
    "mention": ({"hear": "mention"}, [], []),
    "thread": ({"hear": "thread"}, ["Bob's", "the app's", "Cleo's"], []),
    "room": ({"hear": "room"}, ["Bob's", "the app's", "Cleo's"], ["Bob's", "the app's", "Cleo's"]),
    "a denied person": ({"discord_deny_users": BOB}, ["the app's", "Cleo's"], []),
    "a denied role": ({"discord_deny_roles": MODERATORS}, ["Bob's", "the app's"], []),
    "an allowed role": ({"discord_allow_roles": MODERATORS, "discord_allow_users": ADA}, ["the app's", "Cleo's"], []),
    "a denied app": ({"discord_deny_users": OTHER_BOT}, ["Bob's", "Cleo's"], []),
    "a denied channel": ({"discord_deny_channels": GENERAL, "hear": "room"}, [], []),
    "another server": ({"discord_allow_guilds": "100000000000000009", "hear": "room"}, [], []),
}


@pytest.mark.parametrize("name", MODES)
async def test_who_is_heard_and_where(discord: DiscordDouble, client: redis.asyncio.Redis, name: str) -> None:
    """As HEAR says, where Parley may be asked, and of whom it would answer; apps unless they are denied."""
    settings, in_thread, in_channel = MODES[name]
    thread, key = await joined(discord, client)
    async with hearing(discord, client, **settings) as ear:
        for place in (thread.id, GENERAL):
            for user, text in ((BOB, "Bob's"), (OTHER_BOT, "the app's"), (CLEO, "Cleo's")):
                discord.say(text, channel=place, user=user)
        assert await overheard(ear, key) == in_thread
        assert await overheard(ear, CHANNEL) == in_channel


async def test_edits_and_deletions_are_followed(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """Of people and of apps, which change what they show; the preview of a link is no edit."""
    thread, key = await joined(discord, client)
    async with hearing(discord, client) as ear:
        day = discord.say("on Thursday", channel=thread.id, user=BOB)
        alert = discord.alert(channel=thread.id, title="Firing")
        secret = discord.say("secret", channel=thread.id, user=BOB)
        discord.delete(secret)
        discord.edit(day, "on Friday")
        discord.unfurl(discord.say("see https://a.example", channel=thread.id, user=BOB), url="https://a.example")
        discord.update(alert, embeds=[{"type": "rich", "title": "Resolved"}])
        assert await overheard(ear, key) == ["on Friday", "Resolved", "see https://a.example"]
        kinds = [quote.kind for message in (await ear.memory.load(key)).messages for quote in message.quotes]
        assert kinds == [QuoteKind.CARD]


async def test_what_an_app_writes_later_is_overheard(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """Its answer to a command is empty first, and its first text is no edit."""
    thread, key = await joined(discord, client)
    async with hearing(discord, client) as ear:
        thinking = discord.say("", channel=thread.id, user=OTHER_BOT, extra={"type": 20})
        discord.change(thinking, replace(thinking.now, content="42"), edited=False)
        assert await overheard(ear, key) == ["42"]


async def test_an_app_that_is_not_answered_is_overheard(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """It mentions Parley as it would anybody."""
    thread, key = await joined(discord, client)
    async with hearing(discord, client) as ear:
        discord.mention("build 7 is green", channel=thread.id, user=OTHER_BOT)
        assert await overheard(ear, key) == ["build 7 is green"]


@pytest.mark.slow  # discord.py waits for seconds before it identifies again
async def test_after_a_gap_there_is_another_token(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """A resumed connection has none; a new one has, before the next question is accepted."""
    thread, _ = await joined(discord, client)
    async with hearing(discord, client) as ear:
        first = await wait_until(lambda: client.get(TOKEN))
        asked = discord.mention("why?", channel=thread.id)
        turn: Any = await wait_until(lambda: ear.turn(asked))
        assert turn.place["heard"] == "1"
        await discord.gateway.drop()
        await wait_until(lambda: discord.gateway.resumed == 1 and ear.gateway.caught_up)
        asked = discord.mention("and now?", channel=thread.id, user=BOB)
        await wait_until(lambda: ear.turn(asked))
        assert await client.get(TOKEN) == first
        await discord.gateway.send_op(9, False)
        await wait_until(lambda: len(discord.gateway.identified) == 2 and discord.gateway.connected)
        asked = discord.mention("and now?", channel=thread.id, user=CLEO)
        await wait_until(lambda: ear.turn(asked))
        assert await client.get(TOKEN) != first


async def test_without_message_content_nothing_is_heard(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """There is no token, and questions do not say that they come with what was said before."""
    thread, key = await joined(discord, client)
    async with listening(discord, client, hear="room") as ear:
        discord.say("at nine", channel=thread.id, user=BOB)
        discord.say("at ten", user=BOB)
        asked = discord.mention("why?", channel=thread.id)
        turn: Any = await wait_until(lambda: ear.turn(asked))
        assert "heard" not in turn.place
        assert await overheard(ear, key) == []
        assert await overheard(ear, CHANNEL) == []
        assert not await client.exists(TOKEN)


async def test_what_was_missed_is_not_overheard_later(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """Missed questions are looked for; what was said beside them is read when one is answered."""
    thread, key = await joined(discord, client)
    async with hearing(discord, client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
    discord.say("at nine", channel=thread.id, user=BOB)
    missed: Posted = discord.mention("why?", channel=thread.id)
    async with hearing(discord, client) as ear:
        await wait_until(lambda: ear.turn(missed))
        assert await overheard(ear, key) == []
        assert identity(GUILD, thread.id, missed.id) == ear.name(missed)
