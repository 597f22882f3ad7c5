"""Messages and settings that cannot be read cost nothing beside them."""

from __future__ import annotations

import pytest
import redis.asyncio

from core.memory.conversations import Memory
from core.memory.exchange import Exchange, Thread
from core.store.keys import Keys
from core.types import Author, ConversationKey, ConversationSettings, Message, Role

CHANNEL = ConversationKey("slack", "T1", "C1")
THREAD = ConversationKey("slack", "T1", "C1", "1.0")


@pytest.fixture
def memory(client: redis.asyncio.Redis) -> Memory:
    """A memory in an empty Redis."""
    return Memory(client, retention=3600)


BAD_MESSAGES = [
    "",
    "no JSON",
    "[]",
    "{}",
    '{"role":"user"}',
    '{"role":"robot","text":"x"}',
    '{"role":"user","text":7}',
    '{"role":"user","text":"x","at":1e999}',
    '{"role":"user","text":"x","at":NaN}',
    '{"role":"user","text":"x","id":["q1"]}',
    '{"role":"user","text":"x","ending":"exploded"}',
    '{"role":"user","text":"x","tokens":-1}',
    '{"role":"user","text":"x","uid":7}',
    '{"v":1,"id":"q1","at":"now","reply_to":{"a":1},"role":"user","text":"x"}',
    "[" * 100_000,
]


async def test_messages_that_cannot_be_read_are_passed_over(memory: Memory, client: redis.asyncio.Redis) -> None:
    """What was said beside them is remembered, copied, corrected, withdrawn and forgotten as ever."""
    question = Message(Role.USER, "why", id="q1", author=Author("U1", "Ann"), at=1.0)
    answer = Message(Role.ASSISTANT, "so", id="a1", at=2.0, reply_to="q1")
    assert await memory.append(Exchange(CHANNEL, 0, "q1", "", (question, answer)))
    await client.lpush(Keys.messages(CHANNEL), *BAD_MESSAGES)
    await client.rpush(Keys.messages(CHANNEL), *BAD_MESSAGES, b"\xff\xfe")
    for key, thread in ((CHANNEL, None), (THREAD, Thread("q1", 1.0))):
        assert [m.text for m in (await memory.load(key, thread)).messages] == ["why", "so"]
    assert (await memory.describe(CHANNEL)).questions == 1
    assert await memory.correct(CHANNEL, "q1", "why not")
    assert [m.text for m in (await memory.load(THREAD)).messages] == ["why not", "so"]
    other = (Message(Role.USER, "?", id="q2", at=3.0), Message(Role.ASSISTANT, "!", id="a2", at=4.0, reply_to="q2"))
    assert await memory.append(Exchange(CHANNEL, 0, "q2", "", other))
    assert await memory.withdraw_author(CHANNEL, "U1") == {"q1", "a1"}
    assert [m.text for m in (await memory.load(CHANNEL)).messages] == ["?", "!"]
    assert await memory.forget(CHANNEL)


@pytest.mark.parametrize(
    "value", ["x", "[]", "{}", '{"temperature":"hot","top_p":9,"max_new_tokens":1e999}', "[" * 5000]
)
async def test_settings_can_hold_anything(memory: Memory, client: redis.asyncio.Redis, value: str) -> None:
    """What is no choice is none."""
    await client.set(Keys.settings(CHANNEL), value)
    assert (await memory.settings(CHANNEL))[0] == ConversationSettings()
    assert (await memory.load(CHANNEL)).messages == ()
