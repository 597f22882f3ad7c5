"""What every memory promises about talk that is not said to Parley; run against each redis-server that is here."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from core.memory.conversations import Memory
from core.memory.exchange import MAX_CONVERSATION_MESSAGES, Exchange, Thread
from core.memory.listening import Listening
from core.memory.overhearing import MAX_ROOM_MESSAGES, ROOM_SECONDS
from core.quotes import Quote, QuoteKind
from core.store.keys import Keys
from core.turns.jobs import Job, Seal
from core.turns.queue import TurnQueue
from core.types import Author, Conversation, ConversationKey, Message, Role, Turn
from tests.contracts.queueing import DONE, Open, expire, take_one

CHANNEL = ConversationKey("slack", "T1", "C1")
THREAD = ConversationKey("slack", "T1", "C1", "5.0")
ROOT = Thread("r", 5.0)
MAX_CHANGED = 100
"""As in changes.lua."""
ADA, BOB = Author("U1", "Ada"), Author("U2", "Bob")
MONTH = 30 * 86_400


@pytest.fixture
def memory(redis_client: Any) -> Memory:
    """The one under test."""
    return Memory(redis_client, retention=MONTH)


def said(name: str, at: float, text: str = "", author: Author = BOB) -> Message:
    """What somebody said to others."""
    return Message(Role.USER, text or name, name, author, at, overheard=True)


def exchange(conversation: Conversation, number: int, *heard: Message, token: str = "") -> Exchange:
    """A question at second ``number`` with its answer, and what was read for it."""
    question = Message(Role.USER, f"question {number}", f"q{number}", ADA, float(number))
    answer = Message(Role.ASSISTANT, f"answer {number}", f"a{number}", at=number + 1.0, reply_to=question.id)
    noted = conversation.noted if heard else None
    said = (*heard, question, answer)
    return Exchange(conversation.key, conversation.epoch, question.id, "", said, token, question.id, noted)


async def talk(memory: Memory, key: ConversationKey = THREAD) -> list[str]:
    """All that is known of a thread."""
    return [message.text for message in (await memory.load(key, ROOT if key.thread else None)).messages]


async def test_a_thread_is_overheard_once_parley_was_asked_there(memory: Memory, redis_client: Any) -> None:
    """Each message once, in the order in which they were said, however often and late they arrive."""
    assert not await memory.overhear(THREAD, said("m1", 6.0))
    assert await redis_client.keys("*") == []
    loaded = await memory.load(THREAD, ROOT)
    assert await memory.overhear(THREAD, said("m11", 11.0))
    await memory.append(exchange(loaded, 10))
    for _ in range(2):
        for name, at in (("m13", 13.0), ("m9", 9.0), ("m12", 12.0)):
            assert await memory.overhear(THREAD, said(name, at))
    assert await talk(memory) == ["m9", "question 10", "answer 10", "m11", "m12", "m13"]
    kept = (await memory.load(THREAD, ROOT)).messages
    assert [message.overheard for message in kept] == [True, False, False, True, True, True]
    assert all(message.tokens for message in kept)
    assert not (await memory.load(CHANNEL)).messages
    for name in await redis_client.keys("*"):
        assert 0 < await redis_client.ttl(name) <= MONTH


async def test_the_list_stays_bounded(memory: Memory, redis_client: Any) -> None:
    """The oldest go first, and are counted as gone."""
    await memory.append(exchange(await memory.load(THREAD, ROOT), 6))
    for number in range(MAX_CONVERSATION_MESSAGES):
        await memory.overhear(THREAD, said(f"m{number}", 10.0 + number))
    kept = await talk(memory)
    assert (len(kept), kept[0]) == (MAX_CONVERSATION_MESSAGES, "m0")
    entries = await redis_client.lrange(Keys.messages(THREAD), 0, -1)
    assert float(await redis_client.hget(Keys.state(THREAD), "gone") or 0) == 7.0
    assert int(await redis_client.hget(Keys.state(THREAD), "bytes") or 0) == sum(len(text.encode()) for text in entries)


async def test_a_channel_is_overheard_apart_from_its_conversation(memory: Memory, redis_client: Any) -> None:
    """The newest, for two hours; threads that branch off do not know them."""
    for number in range(MAX_ROOM_MESSAGES + 5):
        assert await memory.overhear(CHANNEL, said(f"m{number}", float(number)))
        assert await memory.overhear(CHANNEL, said(f"m{number}", float(number)))
    loaded = await memory.load(CHANNEL)
    assert [message.id for message in loaded.room] == [f"m{number}" for number in range(5, MAX_ROOM_MESSAGES + 5)]
    assert not loaded.messages
    assert 0 < await redis_client.ttl(Keys.room(CHANNEL)) <= ROOM_SECONDS
    branched = await memory.load(THREAD, ROOT)
    assert (branched.room, branched.messages) == ((), ())
    assert not (await memory.load(CHANNEL.apart("U1"))).room
    assert not (await memory.load(replace(CHANNEL, channel="C2"))).room


async def test_what_is_older_than_two_hours_goes_when_something_is_said_in_the_channel(memory: Memory) -> None:
    """A channel in which somebody says a word each hour keeps no day of talk."""
    for hour in range(6):
        assert await memory.overhear(CHANNEL, said(f"m{hour}", 3600.0 * (hour + 1)))
    assert [message.id for message in (await memory.load(CHANNEL)).room] == ["m3", "m4", "m5"]


QUOTES = (Quote(QuoteKind.CARD, "Resolved", "an app"),)


@pytest.mark.parametrize("key", [CHANNEL, THREAD], ids=["channel", "thread"])
async def test_edits_and_deletions_are_followed(memory: Memory, key: ConversationKey) -> None:
    """With what comes with the text where that is new; an older edit that arrives later changes nothing."""
    await memory.load(THREAD, ROOT)

    async def heard() -> list[tuple[str, tuple[Quote, ...]]]:
        loaded = await memory.load(key, ROOT if key.thread else None)
        return [(message.text, message.quotes) for message in (loaded.messages or loaded.room)]

    for name in ("m1", "m2"):
        await memory.overhear(key, said(name, 6.0))
    assert await memory.correct(key, "m1", "better", at=8.0)
    assert not await memory.correct(key, "m1", "worse", at=7.0)
    assert await heard() == [("better", ()), ("m2", ())]
    assert await memory.correct(key, "m1", "best", quotes=QUOTES, at=9.0)
    assert await memory.correct(key, "m1", "best of all", at=10.0)
    assert await heard() == [("best of all", QUOTES), ("m2", ())]
    assert await memory.withdraw(key, "m1")
    assert await heard() == [("m2", ())]
    assert not await memory.withdraw(key, "m1")
    await memory.withdraw_author(key, BOB.id)
    assert await heard() == []


REPLY = Quote(QuoteKind.REPLY, "When?", "Ada")


@pytest.mark.parametrize(
    ("told", "left"),
    [
        (None, (REPLY, *QUOTES)),
        ((), (REPLY,)),
        (QUOTES, (REPLY, *QUOTES)),
        ((Quote(QuoteKind.TABLE, "1"),), (REPLY, Quote(QuoteKind.TABLE, "1"))),
        ((Quote(QuoteKind.REPLY, "What?"),), (Quote(QuoteKind.REPLY, "What?"),)),
    ],
)
async def test_what_comes_with_a_message_is_as_its_last_edit_tells(
    memory: Memory, told: tuple[Quote, ...] | None, left: tuple[Quote, ...]
) -> None:
    """But what it replies to, which an edit cannot change; also of a message that arrives after its edit."""
    await memory.load(THREAD, ROOT)
    for name in ("m1", "m2"):
        if name == "m1":
            await memory.overhear(THREAD, replace(said(name, 6.0), quotes=(REPLY, *QUOTES)))
        await memory.correct(THREAD, name, "better", quotes=told, at=8.0)
        await memory.overhear(THREAD, replace(said(name, 6.0), quotes=(REPLY, *QUOTES)))
    assert [message.quotes for message in (await memory.load(THREAD, ROOT)).messages] == [left, left]


async def test_a_change_that_overtakes_its_message_counts(memory: Memory) -> None:
    """Events come in another order than they happened, and are delivered again."""
    await memory.append(exchange(await memory.load(THREAD, ROOT), 6))
    await memory.withdraw(THREAD, "m1", said=7.0)
    await memory.correct(THREAD, "m2", "better", at=9.0)
    await memory.correct(THREAD, "m2", "worse", at=8.0)
    assert not await memory.overhear(THREAD, said("m1", 7.0))
    assert await memory.overhear(THREAD, said("m2", 7.0))
    assert await memory.overhear(THREAD, replace(said("m3", 7.5), edited=10.0))
    assert await talk(memory) == ["question 6", "answer 6", "better", "m3"]


HEARD = (said("m1", 7.0), said("m2", 8.0), said("m3", 9.0))


async def test_what_changes_while_it_is_read_is_stored_as_it_is_then(memory: Memory) -> None:
    """Deleted: not at all. Also if an event stored it meanwhile; and what nobody read stays as it is."""
    loaded = await memory.load(THREAD, ROOT)
    await memory.overhear(THREAD, said("m2", 8.0))
    await memory.withdraw(THREAD, "m1")
    await memory.correct(THREAD, "m2", "better", at=11.0)
    await memory.withdraw(THREAD, "somebody else's")
    assert await memory.append(exchange(loaded, 10, *HEARD, token="t"))
    assert await talk(memory) == ["better", "m3", "question 10", "answer 10"]
    assert (await memory.load(THREAD, ROOT)).until == "q10"


async def test_too_many_changes_are_reason_to_read_again(memory: Memory) -> None:
    """What was read is not stored if it is not known any more what changed; the question and its answer are."""
    first = await memory.load(THREAD, ROOT)
    await memory.append(exchange(first, 6, token="t"))
    loaded = await memory.load(THREAD, ROOT)
    await memory.withdraw(THREAD, "m1")
    for number in range(MAX_CHANGED):
        await memory.correct(THREAD, "x", f"version {number}", at=20.0 + number)
    assert await memory.append(exchange(loaded, 10, *HEARD, token="t"))
    assert await talk(memory) == ["question 6", "answer 6", "question 10", "answer 10"]
    assert (await memory.load(THREAD, ROOT)).until == "q6"


async def test_a_person_who_is_erased_is_not_stored_by_what_was_read(memory: Memory) -> None:
    """Nor by an edit of theirs; nothing tells who they were."""
    loaded = await memory.load(THREAD, ROOT)
    await memory.correct(THREAD, "m1", "theirs", at=8.5)
    await memory.withdraw_author(THREAD, BOB.id)
    assert await memory.append(exchange(loaded, 10, *HEARD))
    assert await talk(memory) == ["question 10", "answer 10"]


async def test_what_is_forgotten_while_it_is_read_is_not_stored(memory: Memory) -> None:
    """And when that was is known, so that it is not read again: in the channel's threads, too."""
    loaded = await memory.load(THREAD, ROOT)
    await memory.overhear(CHANNEL, said("m1", 1.0))
    await memory.forget(CHANNEL)
    assert not await memory.append(exchange(loaded, 10, *HEARD))
    assert await talk(memory) == []
    assert not (await memory.load(CHANNEL)).room
    assert (await memory.load(THREAD, ROOT)).forgotten > 0
    assert (await memory.load(replace(THREAD, thread="6.0"), Thread("r6", 6.0))).forgotten > 0
    assert not (await memory.load(replace(CHANNEL, channel="C2"))).forgotten


async def test_a_clock_that_is_behind_brings_nothing_back(memory: Memory) -> None:
    """What was known of a thread was said before it was forgotten, whatever Redis's clock says."""
    ahead = 4_000_000_000.0
    await memory.append(exchange(await memory.load(THREAD, ROOT), 6, said("m1", ahead)))
    await memory.forget(THREAD)
    assert (await memory.load(THREAD, ROOT)).forgotten == ahead


async def test_a_thread_is_caught_up_while_its_token_is_the_same(memory: Memory, redis_client: Any) -> None:
    """Not before all of it was known, not after a gap, not without anybody who listens."""
    listening = Listening(redis_client, "slack", "thread")
    loaded = await memory.load(THREAD, ROOT)
    assert (loaded.caught_up, loaded.token) == (False, "")
    await memory.append(exchange(loaded, 6))
    await listening.keep()
    loaded = await memory.load(THREAD, ROOT)
    assert loaded.token
    assert not loaded.caught_up
    await memory.append(exchange(loaded, 10, token=loaded.token))
    assert (await memory.load(THREAD, ROOT)).caught_up
    await listening.restart()
    assert not (await memory.load(THREAD, ROOT)).caught_up
    loaded = await memory.load(THREAD, ROOT)
    await memory.append(exchange(loaded, 12, token=loaded.token))
    await memory.append(exchange(loaded, 14))  # one that could not be read
    assert not (await memory.load(THREAD, ROOT)).caught_up
    await redis_client.delete(Keys.listening("slack"))
    assert not (await memory.load(THREAD, ROOT)).caught_up


async def test_notes_that_may_tell_what_was_overheard_go_with_it(memory: Memory) -> None:
    """Although it stands in the list behind the last message that they tell."""
    await memory.append(exchange(await memory.load(THREAD, ROOT), 6))
    await memory.append(exchange(await memory.load(THREAD, ROOT), 10))
    await memory.overhear(THREAD, said("m8", 8.0))
    loaded = await memory.load(THREAD, ROOT)
    assert [message.id for message in loaded.messages] == ["q6", "a6", "m8", "q10", "a10"]
    voices = frozenset(message.author.id for message in loaded.messages if message.author)
    assert await memory.fold(replace(loaded, voices=voices), "- m8 was said", "q10")
    await memory.withdraw(THREAD, "m8")
    assert not (await memory.load(THREAD, ROOT)).summary


async def test_what_is_overheard_counts_as_what_it_is(memory: Memory) -> None:
    """Not as a question; its author is one of those whose words are there."""
    await memory.append(exchange(await memory.load(THREAD, ROOT), 6))
    await memory.overhear(THREAD, said("m8", 8.0))
    kept = await memory.describe(THREAD)
    assert (kept.questions, kept.answers, kept.overheard) == (1, 1, 1)
    assert (await memory.extent(THREAD)).people == {ADA.id, BOB.id}


async def answering(memory: Memory, queue: TurnQueue, text: str = "") -> tuple[Job, Seal]:
    """A worker has a question in the thread, read three messages, and wrote down how its answer ends."""
    turn = Turn("q10", THREAD, str(THREAD), ADA, "question 10", 10.0, root=ROOT.root, root_at=ROOT.root_at)
    assert (await queue.submit(turn)).accepted
    job = await take_one(queue, "q10")
    seal = Seal(text or "answer 10", DONE, exchange(await memory.load(THREAD, ROOT), 10, *HEARD, token="t"))
    assert await queue.seal(job, seal, [], None)
    return job, seal


async def test_the_commit_stores_what_was_read_as_it_is_then(memory: Memory, queue: TurnQueue) -> None:
    """In one step with the end of the turn; sent again, it changes nothing."""
    job, seal = await answering(memory, queue)
    await memory.withdraw(THREAD, "m1")
    await memory.correct(THREAD, "m2", "better", at=11.0)
    for _ in range(2):
        assert await queue.commit(job, seal) == "done"
    assert await talk(memory) == ["better", "m3", "question 10", "answer 10"]
    await memory.withdraw(THREAD, "m3")
    assert await talk(memory) == ["better", "question 10", "answer 10"]


async def test_an_heir_stores_what_was_read_as_it_is_then(memory: Memory, open_queue: Open, redis_client: Any) -> None:
    """The worker that read it died; the heir shows its answer, and asks nobody again."""
    await answering(memory, open_queue())
    await memory.withdraw(THREAD, "m1")
    heir = open_queue()
    await expire(redis_client, str(THREAD))
    job = await take_one(heir, "q10")
    assert job.seal
    await memory.correct(THREAD, "m2", "better", at=11.0)
    assert await heir.commit(job, job.seal) == "done"
    assert await talk(memory) == ["better", "m3", "question 10", "answer 10"]
    assert (await memory.load(THREAD, ROOT)).until == "q10"


async def test_a_turn_ends_although_its_thread_was_forgotten_while_it_was_read(
    memory: Memory, queue: TurnQueue
) -> None:
    """Nothing of it is stored."""
    job, seal = await answering(memory, queue)
    await memory.withdraw(THREAD, "m1")
    await memory.forget(THREAD)
    assert await queue.commit(job, seal) == "done"
    assert await talk(memory) == []


PLACES = [
    ConversationKey(platform, workspace, channel, thread)
    for platform in ("slack", "discord")
    for workspace in ("T1", "T2")
    for channel in ("C1", "C2", "C1:5.0")
    for thread in ("", "5.0", "6.0", "@U1")
]


async def wander(memory: Memory, turns: int, seed: int) -> None:
    """People talk everywhere, in any order, and ask; each knows words of its own place alone."""
    choose = random.Random(seed)  # noqa: S311 - a test that can be repeated
    canaries: dict[ConversationKey, set[str]] = {key: set() for key in PLACES}
    for turn in range(turns):
        key = choose.choice(PLACES)
        thread = Thread(f"root-{key.thread}", float(key.thread)) if key.parent else None
        word = f"canary-{turn}"
        match choose.randrange(5):
            case 0 | 1:
                canaries[key].add(word)
                await memory.overhear(key, said(f"m{turn}", 10.0 + turn, word))
            case 2:
                loaded = await memory.load(key, thread)
                heard = said(f"m{turn}", 10.0 + turn, word)
                canaries[key].add(word)
                await memory.append(exchange(loaded, 10 + turn, heard))
            case 3 if turn:
                await memory.correct(key, f"m{choose.randrange(turn)}", word, at=20.0 + turn)
                canaries[key].add(word)
            case _:
                loaded = await memory.load(key, thread)
                known = {m.text for m in (*loaded.messages, *loaded.room) if m.text.startswith("canary")}
                assert known <= canaries[key] | (canaries[key.home] if key.parent else set())
                if key.parent:
                    assert not known & {message.text for message in (await memory.load(key.home)).room}
                assert all(message.overheard for message in loaded.room)


async def test_what_was_overheard_in_one_place_is_known_in_no_other(memory: Memory) -> None:
    """Canaries: no channel, thread, private conversation, workspace or platform tells another's."""
    await wander(memory, 400, 1)


@pytest.mark.slow
async def test_what_was_overheard_in_one_place_is_known_in_no_other_for_10_000_turns(memory: Memory) -> None:
    """The same, for longer."""
    await wander(memory, 10_000, 2)


@pytest.mark.parametrize("damaged", ["no JSON", "{}", '{"id":7}', '{"id":"m1","gone":"yes"}', "[" * 9_999])
async def test_damaged_notes_of_changes_cost_nothing_but_what_was_read(
    memory: Memory, redis_client: Any, damaged: str
) -> None:
    """The next question reads it again."""
    loaded = await memory.load(THREAD, ROOT)
    await memory.withdraw(THREAD, "m1")
    await redis_client.lset(Keys.changed(THREAD), 0, damaged)
    assert await memory.append(exchange(loaded, 10, *HEARD, token="t"))
    assert await talk(memory) == ["question 10", "answer 10"]
    await redis_client.delete(Keys.changed(THREAD))
    await redis_client.set(Keys.changed(THREAD), "x")
    assert await memory.overhear(THREAD, said("m4", 12.0))
    await memory.correct(THREAD, "m4", "better", at=13.0)
    assert (await talk(memory))[-1] == "better"


@pytest.mark.parametrize("damaged", ["x", "", "1.5", "-3", "1e300", "9007199254740991", "nan", "inf"])
async def test_a_damaged_count_of_changes_holds_up_nothing(memory: Memory, redis_client: Any, damaged: str) -> None:
    """The commit comes to its end, with the changes that are known."""
    await memory.load(THREAD, ROOT)
    await redis_client.hset(Keys.state(THREAD), "noted", damaged)
    loaded = await memory.load(THREAD, ROOT)
    assert await memory.append(exchange(loaded, 10, *HEARD, token="t"))
    await memory.withdraw(THREAD, "m1")
    assert "m1" not in await talk(memory)
    loaded = await memory.load(THREAD, ROOT)
    await memory.withdraw(THREAD, "m4")
    assert await memory.append(exchange(loaded, 20, said("m4", 15.0), said("m5", 16.0), token="t"))
    assert "m4" not in await talk(memory)
