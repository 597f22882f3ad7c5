"""The archive: what is remembered, as it stands, and put back; on a real Redis."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from core.archive.archive import Archive, merge_messages
from core.archive.record import Part, Record
from core.memory.conversations import Memory
from core.memory.exchange import MAX_CONVERSATION_BYTES, MAX_CONVERSATION_MESSAGES, Exchange, Thread
from core.memory.listening import Listening
from core.store.keys import Keys
from core.types import Author, ConversationKey, Message, Role

CHANNEL = ConversationKey("slack", "T1", "C1")
THREAD = replace(CHANNEL, thread="1.0")
OTHER = ConversationKey("discord", "G1", "C2")
ADA, GRACE = Author("U1", "Ada"), Author("U2", "Grace")
MONTH = 30 * 86400


def pair(number: int, author: Author = ADA) -> tuple[Message, Message]:
    """A question and its answer."""
    asked = Message(Role.USER, f"question {number}", id=f"q{number}", author=author, at=10.0 * number)
    return asked, Message(Role.ASSISTANT, f"answer {number}", id=f"a{number}", at=10.0 * number + 5, reply_to=asked.id)


class Talk:
    """A memory in which people talk."""

    def __init__(self, client: Redis) -> None:
        self.memory = Memory(client, retention=MONTH)

    async def say(self, key: ConversationKey, number: int, author: Author = ADA) -> bool:
        """Ask something, and be answered."""
        loaded = await self.memory.load(key, Thread("q1", 10.0) if key.thread else None)
        messages = pair(number, author)
        return await self.memory.append(Exchange(key, loaded.epoch, messages[0].id, "", messages))

    async def texts(self, key: ConversationKey) -> list[str]:
        """What is remembered."""
        return [message.text for message in (await self.memory.load(key)).messages]


@pytest.fixture
def talk(client: Redis) -> Talk:
    """An empty memory."""
    return Talk(client)


@pytest.fixture
def archive(client: Redis) -> Archive:
    """Its archive."""
    return Archive(client, retention=MONTH)


async def taken(archive: Archive) -> list[Record]:
    """All that there is."""
    return [record for family in await archive.families() for record in await archive.read(family)]


async def test_what_is_put_back_is_what_was_taken(talk: Talk, archive: Archive, client: Redis) -> None:
    """To the byte: every part, and when each is forgotten."""
    for number in (1, 2):
        await talk.say(CHANNEL, number)
    await talk.say(THREAD, 3)
    await talk.say(OTHER, 4)
    await talk.memory.forget(OTHER)
    await client.set(Keys.part(CHANNEL, "settings"), "{}", ex=100)
    await client.zadd(Keys.part(OTHER, "scores"), {"one": 1.5})
    records = await taken(archive)
    assert [record.key for record in records] == [OTHER, CHANNEL, THREAD]
    again = [Record.from_json(record.to_json()) for record in records]
    await client.flushall()
    assert {await archive.put(record) for record in again} == {"written"}
    for was, now in zip(records, await taken(archive), strict=True):
        for name, part in was.parts.items():
            assert (part.kind, part.value) == (now.parts[name].kind, now.parts[name].value)
            if part.value != {"one": "1.5"}:  # this one had no end, and has one now
                assert abs(part.until - now.parts[name].until) < 2


async def test_what_is_put_back_may_have_a_gap(talk: Talk, archive: Archive, client: Redis) -> None:
    """Something may have been said since it was taken: the next question in a thread reads it."""
    await Listening(client, "slack", "thread").keep()
    loaded = await talk.memory.load(THREAD, Thread("r1", 10.0))
    for _ in range(2):
        said = Exchange(THREAD, loaded.epoch, "q1", "", pair(1), heard=loaded.token, until="q1")
        assert await talk.memory.append(said)
        assert (await talk.memory.load(THREAD)).caught_up
    [record] = [one for one in await taken(archive) if one.key == THREAD]
    assert await archive.put(record, "merge") == "unchanged"
    assert (await talk.memory.load(THREAD)).caught_up
    await talk.memory.overhear(THREAD, Message(Role.USER, "no", "m1", GRACE, 20.0))
    await archive.put(record)
    loaded = await talk.memory.load(THREAD)
    assert (loaded.caught_up, loaded.until) == (False, "q1")


async def test_talk_of_a_channel_is_neither_kept_nor_put_back(talk: Talk, archive: Archive, client: Redis) -> None:
    """It is of the last two hours; nor are edits of what was not stored yet."""
    await talk.say(CHANNEL, 1)
    await talk.say(THREAD, 2)
    await talk.memory.overhear(CHANNEL, Message(Role.USER, "secret", "m1", GRACE, 20.0))
    await talk.memory.correct(THREAD, "m2", "secret", at=21.0)
    assert await client.exists(Keys.room(CHANNEL), Keys.changed(THREAD)) == 2
    for record in await taken(archive):
        assert "secret" not in str(record.to_json())
        assert await archive.put(record, "merge") == "unchanged"
    assert [message.text for message in (await talk.memory.load(CHANNEL)).room] == ["secret"]


async def test_a_channel_still_forgets_its_threads(talk: Talk, archive: Archive, client: Redis) -> None:
    """Also a thread that came back alone."""
    await talk.say(CHANNEL, 1)
    await talk.say(THREAD, 2)
    thread = await archive.one(THREAD)
    await client.flushall()
    await archive.put(thread)
    assert await talk.memory.forget(CHANNEL) == len(thread.messages) > 2


async def test_nothing_outlives_its_time(talk: Talk, archive: Archive, client: Redis) -> None:
    """What would be forgotten by now does not come back, and a shorter retention counts for what does."""
    await talk.say(CHANNEL, 1)
    record = await archive.one(CHANNEL)
    await client.flushall()
    gone = Record(CHANNEL, {name: replace(part, until=1.0) for name, part in record.parts.items()})
    assert await archive.put(gone) == "expired"
    assert await archive.is_empty()
    assert await Archive(client, retention=60).put(record) == "written"
    for name in record.parts:
        assert 0 < await client.ttl(Keys.part(CHANNEL, name)) <= 60


async def test_merging_adds_what_is_missing(talk: Talk, archive: Archive, client: Redis) -> None:
    """In the order in which it was said; what was said since stays, and no question is there twice."""
    for number in (1, 2, 4):
        await talk.say(CHANNEL, number)
    old = await archive.one(CHANNEL)
    await client.flushall()
    await talk.say(CHANNEL, 2, GRACE)
    await talk.say(CHANNEL, 5)
    assert await archive.put(old, "merge") == "merged"
    assert await talk.texts(CHANNEL) == [f"{word} {n}" for n in (1, 2, 4, 5) for word in ("question", "answer")]
    merged = await archive.one(CHANNEL)
    assert merged.messages[2].author == GRACE
    assert int(merged.state["bytes"]) == sum(len(text.encode()) for text in merged.stored)
    assert await archive.put(old, "merge") == "unchanged"
    assert (await archive.one(CHANNEL)).stored == merged.stored
    for name in old.parts:
        await client.expire(Keys.part(CHANNEL, name), 60)
    assert await archive.put(old, "merge") == "merged"  # it is kept for longer now
    assert await archive.put(old, "merge") == "unchanged"


async def test_merging_brings_back_nothing_that_was_forgotten_since(talk: Talk, archive: Archive) -> None:
    """Replacing does: that is how a slip is undone."""
    await talk.say(CHANNEL, 1)
    old = await archive.one(CHANNEL)
    await talk.memory.forget(CHANNEL)
    assert await archive.put(old, "merge") == "forgotten"
    assert await talk.texts(CHANNEL) == []
    assert await archive.put(old) == "written"
    assert await talk.texts(CHANNEL) == ["question 1", "answer 1"]


async def test_an_answer_to_what_was_replaced_is_not_remembered(talk: Talk, archive: Archive) -> None:
    """It was written by someone who saw another conversation."""
    await talk.say(CHANNEL, 1)
    old = await archive.one(CHANNEL)
    under_way = await talk.memory.load(CHANNEL)
    await archive.put(old)
    late = pair(2)
    assert not await talk.memory.append(Exchange(CHANNEL, under_way.epoch, late[0].id, "", late))
    assert await talk.say(CHANNEL, 3)


async def test_who_speaks_while_it_is_put_back_is_heard(talk: Talk, archive: Archive, client: Redis) -> None:
    """Nothing that is said during a merge is lost."""
    await talk.say(CHANNEL, 1)
    old = await archive.one(CHANNEL)
    await client.flushall()
    numbers = range(2, 12)
    await asyncio.gather(*(talk.say(CHANNEL, n) for n in numbers), *(archive.put(old, "merge") for _ in range(5)))
    assert {f"question {n}" for n in (1, *numbers)} <= set(await talk.texts(CHANNEL))


async def test_one_persons_words_can_be_taken_out(talk: Talk, client: Redis, archive: Archive) -> None:
    """With the answers, in the channel and its threads, and what can be asked again; nobody else loses anything."""
    await talk.say(CHANNEL, 1)
    await talk.say(CHANNEL, 2, GRACE)
    await talk.say(THREAD, 3)
    for turn, author in (("q8", ADA), ("q9", GRACE)):
        await client.hset(Keys.retries(CHANNEL), turn, f'{{"turn":{{"uid":"{author.id}"}}}}')
    await client.hset(Keys.state(CHANNEL), mapping={"summary": "Ada asked.", "folded": "a0"})
    record = await archive.one(CHANNEL)
    assert [message.text for message in record.only(ADA.id).messages] == ["question 1", "answer 1"]
    for key in (CHANNEL, THREAD):
        await talk.memory.withdraw_author(key, ADA.id)
    assert await talk.texts(CHANNEL) == ["question 2", "answer 2"]
    assert await talk.texts(THREAD) == []
    assert await client.hkeys(Keys.retries(CHANNEL)) == ["q9"]
    left = await archive.one(CHANNEL)
    assert "summary" not in left.state


numbers = st.lists(st.integers(0, 300), unique=True, max_size=260)


@given(numbers, numbers)
def test_any_two_memories_become_one(here: list[int], other: list[int]) -> None:
    """Each pair once, whole, in time; what stands here stays, and the bounds hold."""

    def stored(chosen: list[int]) -> list[str]:
        return [message.to_json() for number in sorted(chosen) for message in pair(number)]

    merged = merge_messages(stored(here), stored(other))
    expected = stored(list({*here, *other}))[-MAX_CONVERSATION_MESSAGES:]
    assert merged == expected
    assert merge_messages(merged, stored(other))[-2:] == merged[-2:]


def test_a_merged_memory_stays_within_its_bytes() -> None:
    """The newest stay; the last pair does, however large it is."""
    large = [replace(message, text="x" * 60_000).to_json() for number in range(9) for message in pair(number)]
    merged = merge_messages(large[:8], large[8:])
    assert sum(len(text.encode()) for text in merged) <= MAX_CONVERSATION_BYTES
    assert merged == large[-len(merged) :]
    huge = [replace(message, text="x" * MAX_CONVERSATION_BYTES).to_json() for message in pair(1)]
    assert merge_messages([], huge) == huge


@pytest.mark.parametrize(
    "parts",
    [
        {"messages": {"kind": "list", "value": {"a": "b"}, "until": 1}},
        {"messages": {"kind": "list", "value": [], "until": 1}},
        {"messages": {"kind": "list", "value": ["no JSON"], "until": 1}},
        {"messages": {"kind": "stream", "value": ["x"], "until": 1}},
        {"state": {"kind": "hash", "value": {"a": "b"}}},
    ],
)
def test_what_is_no_record_is_refused(parts: dict[str, Any]) -> None:
    """Before anything is done with it."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        Record.from_json({"conversation": "slack:T1:C1", "parts": parts})
    assert Record.from_json(Record(CHANNEL, {"x": Part("string", "", 1.0)}).to_json()).parts["x"].value == ""
