"""What people told to remember about a channel: who sees it, how much, and what reaches it."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import replace
from typing import Any

import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.archive import Archive, Record
from core.archive.record import Part
from core.memory.conversations import Memory
from core.memory.exchange import Thread
from core.memory.facts import (
    LAST_NUMBER,
    MAX_FACT_CHARACTERS,
    MAX_FACTS,
    FactRefused,
    facts_in,
    merge_facts,
)
from core.store import Keys
from core.stored import Unreadable
from core.types import Author, ConversationKey, Fact, Turn

ANN, BOB = Author("U1", "Ann"), Author("U2", "Bob")
CHANNEL = ConversationKey("slack", "T1", "C1")
THREAD = replace(CHANNEL, thread="17.1")
PRIVATE = CHANNEL.apart(ANN.id)
ELSEWHERE = (
    replace(CHANNEL, channel="C2"),
    replace(CHANNEL, workspace="T2"),
    ConversationKey("discord", "T1", "C1"),
    replace(CHANNEL, channel="D1"),
    PRIVATE,
    THREAD.apart(ANN.id),
)


@pytest.fixture
def memory(client: redis.asyncio.Redis) -> Memory:
    """An empty memory."""
    return Memory(client, retention=3600)


def turn(name: str, author: Author = ANN, key: ConversationKey = CHANNEL) -> Turn:
    """A message that tells something."""
    return Turn(name, key, str(key), author, "", 5.0)


async def told(memory: Memory, key: ConversationKey = CHANNEL) -> list[tuple[int, str]]:
    """Number and text of what a conversation sees, as it is loaded."""
    thread = Thread("17.1", 17.1) if key.parent else None
    loaded = await memory.load(key, thread)
    assert loaded.facts == await memory.facts.all(key)
    return [(fact.number, fact.text) for fact in loaded.facts]


async def test_a_channel_and_its_threads_see_what_was_told_in_any_of_them_and_nobody_else_does(memory: Memory) -> None:
    """Not another channel, workspace or platform, no direct message, and nobody in private."""
    assert (await memory.facts.tell(turn("a"), "one")).number == 1
    assert (await memory.facts.tell(turn("b", key=THREAD), "two")).number == 2
    for key in (CHANNEL, THREAD, replace(CHANNEL, thread="18.2")):
        assert await told(memory, key) == [(1, "one"), (2, "two")]
    for key in ELSEWHERE:
        assert await told(memory, key) == []
        await memory.facts.tell(turn(f"c{key}", key=key), "mine")
        assert await told(memory, key) == [(1, "mine")]
    assert await told(memory) == [(1, "one"), (2, "two")]


async def test_a_number_is_given_once(memory: Memory) -> None:
    """Also after the newest was removed."""
    for name in ("a", "b", "c"):
        await memory.facts.tell(turn(name), name)
    assert await memory.facts.remove(CHANNEL, 3) == Fact(3, "c", ANN, 5.0)
    assert await memory.facts.remove(CHANNEL, 3) is None
    assert await memory.facts.last_number(CHANNEL) == 3
    assert (await memory.facts.tell(turn("d"), "d")).number == 4
    assert await told(memory) == [(1, "a"), (2, "b"), (4, "d")]


async def test_a_turn_that_is_carried_out_again_changes_nothing_more(memory: Memory) -> None:
    """As by the heir of a worker that died."""
    for _ in range(2):
        assert (await memory.facts.tell(turn("a"), "one")).number == 1
        replaced = await memory.facts.replace(turn("b", BOB), 1, "two")
        assert replaced
        assert replaced[1] == Fact(1, "two", BOB, 5.0, corrected=True)
        await memory.facts.tell(turn("b", BOB), "two")
    assert [fact.text for fact in await memory.facts.all(CHANNEL)][:1] == ["two"]


async def test_nothing_too_long_too_much_or_empty_is_remembered(memory: Memory) -> None:
    """The refusal says what to do."""
    for text, advice in (("x" * (MAX_FACT_CHARACTERS + 1), "Shorten it"), (" \n ", "what to remember")):
        with pytest.raises(FactRefused, match=advice):
            await memory.facts.tell(turn("a"), text)
        with pytest.raises(FactRefused, match=advice):
            await memory.facts.replace(turn("a"), 1, text)
    assert (await memory.facts.tell(turn("long"), "x" * MAX_FACT_CHARACTERS)).number == 1
    for number in range(1, MAX_FACTS):
        await memory.facts.tell(turn(f"n{number}"), f"{number}")
    with pytest.raises(FactRefused, match="removes one"):
        await memory.facts.tell(turn("more"), "more")
    await memory.facts.remove(CHANNEL, 7)
    assert (await memory.facts.tell(turn("more"), "more")).number == MAX_FACTS + 1


async def test_facts_live_as_long_as_their_channel_is_used(memory: Memory, client: redis.asyncio.Redis) -> None:
    """In one of its threads, too."""
    await memory.facts.tell(turn("a"), "one")
    for key in (CHANNEL, THREAD):
        await client.expire(Keys.facts(CHANNEL), 60)
        await told(memory, key)
        assert await client.ttl(Keys.facts(CHANNEL)) > 3500


async def test_two_who_tell_at_once_both_are_remembered(memory: Memory) -> None:
    """Each under a number of their own."""
    facts = await asyncio.gather(*(memory.facts.tell(turn(f"t{n}"), f"{n}") for n in range(10)))
    assert sorted(fact.number for fact in facts) == [*range(1, 11)]
    assert len(await told(memory)) == 10


async def test_edits_and_deletions_of_the_message_that_told_a_fact_reach_it(memory: Memory) -> None:
    """From a thread as well; an edit into something else leaves it."""
    await memory.facts.tell(turn("a"), "standup is at 9:15")
    await memory.facts.tell(turn("b", key=THREAD), "we use Go")
    assert await memory.correct(CHANNEL, "a", "remember: standup is at 9:30")
    assert not await memory.correct(CHANNEL, "a", "remember: standup is at 9:30")
    assert not await memory.correct(CHANNEL, "a", "what a day")
    assert not await memory.correct(CHANNEL, "other", "remember: nothing")
    assert await told(memory) == [(1, "standup is at 9:30"), (2, "we use Go")]
    assert not await memory.withdraw(CHANNEL, "other")
    assert await memory.withdraw(THREAD, "b")
    assert await told(memory) == [(1, "standup is at 9:30")]


async def test_forgetting_a_channel_forgets_its_facts_and_forgetting_a_thread_does_not(memory: Memory) -> None:
    """The extent names them and who told them."""
    await memory.facts.tell(turn("a"), "one")
    await told(memory, THREAD)
    await memory.forget(THREAD)
    assert await told(memory, THREAD) == [(1, "one")]
    extent = await memory.extent(CHANNEL)
    assert (extent.messages, extent.facts, extent.people) == (0, 1, frozenset({ANN.id}))
    await memory.forget(CHANNEL)
    assert await told(memory) == []
    assert (await memory.extent(CHANNEL)).facts == 0


async def test_forgetting_a_person_forgets_what_they_told_or_corrected_last(memory: Memory) -> None:
    """What others told stays."""
    await memory.facts.tell(turn("a"), "Ann's")
    await memory.facts.tell(turn("b", BOB), "Bob's")
    await memory.facts.tell(turn("c"), "Ann's, at first")
    await memory.facts.replace(turn("d", BOB), 3, "now Bob's")
    await memory.withdraw_author(CHANNEL, ANN.id)
    assert await told(memory) == [(2, "Bob's"), (3, "now Bob's")]


DAMAGED: dict[Any, Any] = {
    "1": "no JSON", "2": "[]", "3": '{"text": 7, "uid": "U1"}', "4": '{"text": "no author"}', "x": '{"v":1}',
    "05": '{"v":1,"text":"a","uid":"U1"}', "-1": '{"v":1,"text":"a","uid":"U1"}', "7": "[" * 10_000,
    "8": json.dumps({"v": 1, "text": "x" * 501, "uid": "U1"}),
    "9": json.dumps({"v": 1, "text": "a", "uid": "U1", "at": -1}),
    "11": json.dumps({"v": 1, "text": "good\nand whole", "uid": "U1"}), LAST_NUMBER: "many",
}  # fmt: skip


async def test_damaged_facts_are_lost_alone(memory: Memory, client: redis.asyncio.Redis) -> None:
    """What can be read is seen, and the next gets a number of its own."""
    await client.hset(Keys.facts(CHANNEL), mapping=DAMAGED)
    assert await told(memory) == [(11, "good and whole")]
    assert (await memory.facts.tell(turn("a"), "next")).number == 12
    await client.delete(Keys.facts(CHANNEL))
    await client.rpush(Keys.facts(CHANNEL), "a list")
    assert (await memory.load(CHANNEL)).facts == ()
    assert (await memory.facts.tell(turn("a"), "next")).number == 1


@given(st.dictionaries(st.text(max_size=3) | st.just(LAST_NUMBER), st.text() | st.builds(json.dumps, st.recursive(
    st.none() | st.text() | st.integers() | st.floats(),
    lambda inner: st.dictionaries(st.sampled_from(["text", "uid", "at", "corrected", "name"]), inner),
))))  # fmt: skip
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_whatever_stands_in_the_hash_is_read_or_left(fields: dict[str, str]) -> None:
    """And merged with anything else."""
    facts = facts_in(fields)
    assert all(0 < len(fact.text) <= MAX_FACT_CHARACTERS for fact in facts)
    assert set(facts_in(merge_facts(fields, fields))) == set(facts)
    assert len(facts_in(merge_facts({}, fields))) == len(facts)


async def test_a_backup_brings_back_facts_but_none_that_was_removed_since(
    memory: Memory, client: redis.asyncio.Redis
) -> None:
    """A number that tells something else by now is left to it."""
    archive = Archive(client, retention=3600)
    for name in ("a", "b", "c"):
        await memory.facts.tell(turn(name), name)
    [family] = await archive.families()
    [saved] = await archive.read(family)
    saved = Record.from_json(json.loads(json.dumps(saved.to_json())))
    saved.check()
    assert [fact.text for fact in saved.facts] == ["a", "b", "c"]
    assert [fact.text for fact in saved.only(ANN.id).facts] == ["a", "b", "c"]
    assert not saved.only(BOB.id).parts
    assert not await archive.is_empty()

    await memory.facts.remove(CHANNEL, 2)
    await memory.facts.replace(turn("e", BOB), 1, "better")
    await archive.put(saved, "merge")
    assert await told(memory) == [(1, "better"), (3, "c")]

    await client.delete(Keys.facts(CHANNEL))
    await memory.facts.tell(turn("d", BOB), "another 1")
    await archive.put(saved, "merge")
    assert (1, "another 1") in await told(memory)

    await archive.put(saved, "replace")
    assert await told(memory) == [(1, "a"), (2, "b"), (3, "c")]


BAD = {"no JSON": {"1": "no JSON"}, "no number": {"one": '{"text":"a","uid":"U1"}'}, "a count": {LAST_NUMBER: "-1"}}


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD)
def test_a_backup_with_facts_that_nobody_can_have_told_is_refused(fields: dict[str, str]) -> None:
    """And one that is made leaves them out."""
    good = {"7": '{"v":1,"text":"a","uid":"U1"}', LAST_NUMBER: "7"}
    record = Record(CHANNEL, {"facts": Part("hash", {**good, **fields}, 2e9)})
    with pytest.raises(Unreadable):
        record.check()
    assert set(record.readable().parts["facts"].value) <= good.keys()
    Record(CHANNEL, {"facts": Part("hash", good, 2e9)}).check()


async def test_whatever_is_told_corrected_and_removed_each_place_has_its_own(memory: Memory) -> None:
    """Many times, in places with similar names, compared with what a dictionary holds."""
    chance = random.Random(7)  # noqa: S311 - a dice
    places = [CHANNEL, *ELSEWHERE]
    expected: dict[ConversationKey, dict[int, str]] = {key: {} for key in places}
    given = dict.fromkeys(places, 0)
    for step in range(400):
        key, text = chance.choice(places), f"fact {step}"
        asked = replace(CHANNEL, thread=f"{step}.5") if key == CHANNEL and chance.random() < 0.5 else key
        number = chance.choice([*expected[key], given[key] + 1])
        match chance.choice(["tell", "tell", "replace", "remove"]):
            case "tell":
                given[key] += 1
                assert (await memory.facts.tell(turn(f"m{step}", key=asked), text)).number == given[key]
                expected[key][given[key]] = text
            case "replace":
                replaced = await memory.facts.replace(turn(f"m{step}", key=asked), number, text)
                assert bool(replaced) is (number in expected[key])
                expected[key].update({number: text} if replaced else {})
            case _:
                removed = await memory.facts.remove(asked, number)
                assert (removed.text if removed else None) == expected[key].pop(number, None)
    for key in places:
        assert await told(memory, key) == sorted(expected[key].items())
