"""What the adapter of Discord keeps in mind, in a real Redis."""

from __future__ import annotations

import redis.asyncio

from bots.discord.store import BOT_ANSWERS, MOST_PLACES, DiscordStore
from core.memory.conversations import Memory
from core.memory.exchange import Exchange
from core.memory.feedback import Feedback
from core.types import Conversation, ConversationKey, Message, Role


async def test_bots_do_not_talk_to_each_other_for_ever(client: redis.asyncio.Redis) -> None:
    """After so many answers a person has to speak first."""
    store = DiscordStore(client)
    assert all([await store.count_bot_answer("1") for _ in range(BOT_ANSWERS)])
    assert not await store.count_bot_answer("1")
    assert await store.count_bot_answer("2")
    await store.reset_bot_answers("1")
    assert await store.count_bot_answer("1")


async def test_the_newest_places_are_kept(client: redis.asyncio.Redis) -> None:
    """Not every thread that there ever was."""
    store = DiscordStore(client)
    for number in range(MOST_PLACES + 5):
        await store.note_place(str(number))
    places = await store.places()
    assert len(places) == MOST_PLACES
    assert places[0] == str(MOST_PLACES + 4)


async def test_a_server_that_was_left_is_forgotten_in_time(client: redis.asyncio.Redis) -> None:
    """Its channels and threads, and nobody else's; not if the bot came back."""
    store, memory = DiscordStore(client), Memory(client, retention=1000)
    keys = [ConversationKey("discord", guild, "20") for guild in ("10", "11", "12")]
    for key in keys:
        said = Message(Role.USER, "hello", id="q")
        await memory.append(Exchange(key, Conversation(key).epoch, "q", "", (said,)))
    await store.part("10", 0)
    await store.part("11", 1000)
    await store.part("12", 0)
    await store.left.join("12")
    assert await store.left.forget(memory) == 1
    assert [len((await memory.load(key)).messages) for key in keys] == [0, 1, 1]
    assert await store.left.forget(memory) == 0


async def test_the_last_mark_of_a_person_counts(client: redis.asyncio.Redis) -> None:
    """One of each for each answer."""
    feedback = Feedback(client)
    await feedback.rate("turn", "ada", "down")
    await feedback.rate("turn", "ada", "up")
    await feedback.rate("turn", "bob", "down")
    assert await feedback.ratings("turn") == {"up": 1, "down": 1}
    assert await client.ttl("{parley}:feedback:turn") > 0
