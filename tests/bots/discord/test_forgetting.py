"""What Discord deletes is forgotten: messages in archived threads, threads, channels, and servers that were left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import redis.asyncio

from bots.discord import cleanup, store
from bots.discord.buttons import identity
from bots.discord.events import Place
from bots.discord.keys import discord_key
from core.memory.conversations import Memory
from core.memory.exchange import Exchange, Thread
from core.store.keys import Keys
from core.types import Author, ConversationKey, Message, Role
from tests.bots.hearing import listening
from tests.doubles.discord import ADA, GENERAL, GUILD, DiscordDouble
from tests.doubles.discord_records import Posted
from tests.doubles.discord_world import RANDOM, Channel
from tests.waiting import wait_until

CHANNEL = ConversationKey("discord", GUILD, GENERAL)
OTHER = ConversationKey("discord", GUILD, RANDOM)
ELSEWHERE = ConversationKey("discord", "100000000000000009", "100000000000000010")
"""Somebody uses Parley there by themselves: the bot is no member."""


@pytest.fixture
async def discord() -> AsyncIterator[DiscordDouble]:
    """Discord, with its limits."""
    async with DiscordDouble() as double:
        yield double


@pytest.fixture
def memory(client: redis.asyncio.Redis) -> Memory:
    """What is remembered."""
    return Memory(client, retention=1000)


async def remember(memory: Memory, key: ConversationKey, name: str) -> None:
    """Somebody asked something and was answered."""
    loaded = await memory.load(key, Thread("root", 1.0) if key.parent else None)
    asked = Message(Role.USER, "my secret", id=name, author=Author(ADA, "Ada"), at=2.0)
    answer = Message(Role.ASSISTANT, "a secret", id=f"a-{name}", at=3.0, reply_to=name)
    assert await memory.append(Exchange(key, loaded.epoch, name, "", (asked, answer)))


async def everywhere(memory: Memory, discord: DiscordDouble) -> tuple[Channel, dict[str, ConversationKey]]:
    """A thread, and conversations there and in its channel, also private ones, and in another channel."""
    thread = discord.thread(discord.say("hello"))
    there = replace(CHANNEL, thread=thread.id)
    keys = {"channel": CHANNEL, "thread": there, "other": OTHER, "elsewhere": ELSEWHERE}
    keys |= {"asked in the channel": CHANNEL.apart(ADA), "asked in the thread": there.apart(ADA)}
    for name, key in keys.items():
        await remember(memory, key, f"discord:{name}")
        await memory.choose(key, "temperature", "0.3")
    return thread, keys


async def left(memory: Memory, keys: dict[str, ConversationKey]) -> set[str]:
    """What is remembered yet, or has settings of its own."""
    chosen = [await memory._redis.exists(Keys.settings(key), Keys.messages(key)) for key in keys.values()]
    return {name for name, there in zip(keys, chosen, strict=True) if there}


THREAD = {"thread", "asked in the thread"}
CHANNELS = THREAD | {"channel", "asked in the channel"}


@pytest.mark.parametrize(("which", "gone"), [("thread", THREAD), ("channel", CHANNELS)])
@pytest.mark.parametrize("heard", [True, False], ids=["heard", "missed"])
async def test_what_is_deleted_is_forgotten_whether_we_hear_of_it_or_not(
    discord: DiscordDouble, client: redis.asyncio.Redis, memory: Memory, which: str, gone: set[str], *, heard: bool
) -> None:
    """At once, or with the next clean-up; with what was chosen and asked in private there, and nothing else."""
    thread, keys = await everywhere(memory, discord)
    deleted = thread if which == "thread" else discord.channels[GENERAL]
    if not heard:
        discord.close(deleted)
    async with listening(discord, client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        if heard:
            discord.close(deleted)

        async def forgotten() -> bool:
            return not await left(memory, keys) & gone

        await wait_until(forgotten)
    assert await left(memory, keys) == keys.keys() - gone


async def test_an_archived_thread_is_not_forgotten(
    discord: DiscordDouble, client: redis.asyncio.Redis, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody tells us of it, so it is looked for; nor one that we may not look at, nor where nobody can tell."""
    thread, keys = await everywhere(memory, discord)
    discord.archive(thread)
    looked: list[str] = []
    look_at = cleanup.Cleanup._look_at

    async def noted(self: cleanup.Cleanup, place: Place, memory: Memory) -> None:
        discord.fail("GET /channels/:id", 403, 50001) if looked else None
        await look_at(self, place, memory)
        looked.append(place.id)

    monkeypatch.setattr(cleanup.Cleanup, "_look_at", noted)
    async with listening(discord, client):
        await wait_until(lambda: len(looked) == 2)
    assert set(looked) == {thread.id}
    assert await left(memory, keys) == keys.keys()


async def test_what_is_deleted_in_an_archived_thread_is_withdrawn(
    discord: DiscordDouble, client: redis.asyncio.Redis, memory: Memory
) -> None:
    """discord.py does not know such a thread, and so not of which channel it is; one by one, or many at once."""
    thread = discord.thread(discord.say("hello"))
    key = replace(CHANNEL, thread=thread.id)
    asked: list[Posted] = [discord.say("my secret", channel=thread.id) for _ in range(3)]
    for message in asked:
        await remember(memory, key, identity(GUILD, thread.id, message.id))
    async with listening(discord, client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        discord.archive(thread)
        known = ear.platform.calls.client.get_guild
        await wait_until(lambda: not known(int(GUILD)).get_thread(int(thread.id)))  # type: ignore[union-attr]

        async def only(count: int) -> bool:
            return len((await memory.load(key)).messages) == count

        discord.delete(asked[0])
        await wait_until(lambda: only(4))
        ids = [message.id for message in asked[1:]]
        discord.emit(
            "MESSAGE_DELETE_BULK", {"ids": ids, "channel_id": thread.id, "guild_id": GUILD}, discord.channels[thread.id]
        )
        await wait_until(lambda: only(0))


async def test_a_server_that_was_left_while_we_were_away_is_forgotten_in_time(
    discord: DiscordDouble, client: redis.asyncio.Redis, memory: Memory
) -> None:
    """Nobody tells of it afterwards; one where we never were is another matter."""
    _, keys = await everywhere(memory, discord)
    async with listening(discord, client, discord_leave_days="0") as ear:
        await wait_until(lambda: client.exists(discord_key("servers")))
        assert ear.gateway.caught_up
    discord.guilds[GUILD].installed = False
    async with listening(discord, client, discord_leave_days="0"):

        async def forgotten() -> bool:
            return await left(memory, keys) == {"elsewhere"}

        await wait_until(forgotten)


async def test_many_deletions_in_one_archived_thread_are_looked_for_once(client: redis.asyncio.Redis) -> None:
    """To look for a thread is to look through all keys."""
    memory, known = Memory(client, retention=1000), store.DiscordStore(client)
    key = replace(CHANNEL, thread="77")
    await remember(memory, key, "q")
    assert list(await known.threads(GUILD, "77")) == [key]
    await client.flushdb()
    assert list(await known.threads(GUILD, "77")) == [key]
    assert list(await known.threads(GUILD, "78")) == []
