"""What every memory promises; run against each redis-server that is here."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import redis.asyncio

from core.memory.conversations import Memory
from core.memory.exchange import MAX_CONVERSATION_BYTES, MAX_CONVERSATION_MESSAGES, Exchange, Thread
from core.store.keys import Keys
from core.types import Author, Conversation, ConversationKey, Message, Role

CHANNEL = ConversationKey("slack", "T1", "C1")
THREAD = ConversationKey("slack", "T1", "C1", "5.0")
ADA, BOB = Author("U1", "Ada"), Author("U2", "Bob")
MONTH = 30 * 86_400


async def append(
    memory: Memory, conversation: Conversation, messages: Sequence[Message], *, question: str, cut: str
) -> bool:
    """Add to a conversation as it was loaded."""
    return await memory.append(Exchange(conversation.key, conversation.epoch, question, cut, tuple(messages)))


@pytest.fixture
def memory(redis_client: redis.asyncio.Redis) -> Memory:
    """The one under test."""
    return Memory(redis_client, retention=MONTH)


def pair(number: int, author: Author = ADA, text: str = "") -> tuple[Message, Message]:
    """A question at second ``number``, and its answer one second later."""
    question = Message(Role.USER, text or f"question {number}", id=f"q{number}", author=author, at=float(number))
    answer = Message(Role.ASSISTANT, f"answer {number}", id=f"a{number}", at=number + 1.0, reply_to=f"q{number}")
    return question, answer


async def tell(memory: Memory, key: ConversationKey, *numbers: int, cut: str = "") -> Conversation:
    """Have turns with these numbers, and return what is remembered then."""
    for number in numbers:
        await append(memory, await memory.load(key), pair(number), question=f"q{number}", cut=cut)
    return await memory.load(key)


def texts(conversation: Conversation) -> list[str]:
    """What was said, in order."""
    return [message.text for message in conversation.messages]


async def test_what_is_appended_is_loaded_in_order_with_roles_and_names(memory: Memory) -> None:
    """Nothing is lost or changed on the way through Redis."""
    question, answer = pair(1, BOB, 'Grüße 🌍\n\x00 漢字 \\ "quoted"')
    await append(memory, await memory.load(CHANNEL), [question, answer], question=question.id, cut="")
    first, second = (await memory.load(CHANNEL)).messages
    assert (first.text, first.author, first.at, first.role) == (question.text, BOB, 1.0, Role.USER)
    assert (second.text, second.reply_to, second.role) == ("answer 1", "q1", Role.ASSISTANT)
    assert first.tokens > 0
    assert second.tokens > 0


async def test_an_unknown_conversation_is_empty(memory: Memory) -> None:
    """And asking leaves nothing behind."""
    assert await memory.load(CHANNEL) == Conversation(CHANNEL)


async def test_what_was_said_in_one_channel_is_not_known_in_another(memory: Memory) -> None:
    """Nor in another workspace, platform, or a channel whose name tries to be a thread of it."""
    await tell(memory, CHANNEL, 1)
    others = [
        ConversationKey("slack", "T1", "C2"),
        ConversationKey("slack", "T2", "C1"),
        ConversationKey("discord", "T1", "C1"),
        ConversationKey("slack", "T1", "C1:5.0"),
        ConversationKey("slack", "T1:C1", ""),
    ]
    for other in others:
        assert texts(await memory.load(other)) == []


async def test_an_append_that_is_sent_twice_leaves_one_pair(memory: Memory) -> None:
    """The client repeats a call when a connection breaks."""
    loaded = await memory.load(CHANNEL)
    for _ in range(2):
        assert await append(memory, loaded, pair(1), question="q1", cut="")
    assert texts(await memory.load(CHANNEL)) == ["question 1", "answer 1"]


async def test_asking_again_replaces_the_pair(memory: Memory) -> None:
    """A retry is not remembered beside what it replaces."""
    loaded = await tell(memory, CHANNEL, 1, 2)
    question, answer = pair(1)
    better = Message(Role.ASSISTANT, "better", id="a9", at=9.0, reply_to=question.id)
    assert answer.text in texts(loaded)
    await append(memory, loaded, [question, better], question="q1", cut="")
    assert texts(await memory.load(CHANNEL)) == ["question 2", "answer 2", "question 1", "better"]


async def test_the_list_is_bounded_in_number(memory: Memory) -> None:
    """The oldest go first."""
    await tell(memory, CHANNEL, *range(MAX_CONVERSATION_MESSAGES // 2 + 3))
    kept = texts(await memory.load(CHANNEL))
    assert len(kept) == MAX_CONVERSATION_MESSAGES
    assert kept[0] == "question 3"


async def test_the_list_is_bounded_in_bytes_but_keeps_the_newest(memory: Memory) -> None:
    """A huge message pushes the old ones out, never itself."""
    await tell(memory, CHANNEL, 1, 2)
    huge = "x" * (MAX_CONVERSATION_BYTES + 1)
    await append(memory, await memory.load(CHANNEL), pair(3, text=huge), question="q3", cut="")
    assert texts(await memory.load(CHANNEL)) == [huge, "answer 3"]
    assert texts(await tell(memory, CHANNEL, 4)) == ["answer 3", "question 4", "answer 4"]


async def test_the_cut_of_the_window_is_kept(memory: Memory) -> None:
    """So that every worker renders the same beginning."""
    assert (await tell(memory, CHANNEL, 1, 2, cut="q2")).cut == "q2"


async def test_a_conversation_expires_after_its_retention(memory: Memory, redis_client: redis.asyncio.Redis) -> None:
    """Every key has a time to live, renewed by an append."""
    await tell(memory, CHANNEL, 1)
    await memory.load(THREAD, Thread("q1", 1.0))
    for name in await redis_client.keys("*"):
        assert 0 < await redis_client.ttl(name) <= MONTH


async def test_a_thread_starts_with_what_its_channel_knew_up_to_its_root(memory: Memory) -> None:
    """The root's question and answer are known, what came later is not."""
    await tell(memory, CHANNEL, 1, 5, 7)
    branched = await memory.load(THREAD, Thread("q5", 5.0))
    assert texts(branched) == ["question 1", "answer 1", "question 5", "answer 5"]
    assert not branched.stranger


async def test_a_thread_and_its_channel_go_their_own_ways(memory: Memory) -> None:
    """Neither learns what is said in the other afterwards."""
    await tell(memory, CHANNEL, 5)
    branched = await memory.load(THREAD, Thread("q5", 5.0))
    await append(memory, branched, pair(8), question="q8", cut="")
    await tell(memory, CHANNEL, 9)
    assert texts(await memory.load(THREAD, Thread("q5", 5.0)))[2:] == ["question 8", "answer 8"]
    assert texts(await memory.load(CHANNEL))[2:] == ["question 9", "answer 9"]


async def test_a_thread_that_people_began_is_a_stranger_until_something_is_stored(memory: Memory) -> None:
    """It knows what the channel knew before it began; its own past has to be read elsewhere, once."""
    await tell(memory, CHANNEL, 1, 7)
    for _ in range(2):  # a turn that fails leaves it to the next one
        loaded = await memory.load(THREAD, Thread("x", 5.0))
        assert loaded.stranger
        assert texts(loaded) == ["question 1", "answer 1"]
    await append(memory, loaded, pair(8), question="q8", cut="")
    assert not (await memory.load(THREAD, Thread("x", 5.0))).stranger


async def test_forgetting_reaches_the_threads(memory: Memory) -> None:
    """They hold copies."""
    await tell(memory, CHANNEL, 5)
    await memory.load(THREAD, Thread("q5", 5.0))
    assert await memory.forget(CHANNEL) == 4
    assert texts(await memory.load(CHANNEL)) == []
    assert texts(await memory.load(THREAD, Thread("q5", 5.0))) == []


async def test_an_answer_that_was_on_its_way_while_people_forgot_is_not_stored(memory: Memory) -> None:
    """Forgotten is forgotten."""
    loaded = await tell(memory, CHANNEL, 1)
    await memory.forget(CHANNEL)
    assert not await append(memory, loaded, pair(2), question="q2", cut="")
    assert texts(await memory.load(CHANNEL)) == []
    assert texts(await tell(memory, CHANNEL, 3)) == ["question 3", "answer 3"]


async def test_forgetting_nothing_is_no_error(memory: Memory) -> None:
    """It says that there was nothing."""
    assert await memory.forget(CHANNEL) == 0


async def test_a_corrected_message_is_corrected_in_the_threads_too(memory: Memory) -> None:
    """Its tokens are counted anew; who said it and when stays."""
    await tell(memory, CHANNEL, 5)
    await memory.load(THREAD, Thread("q5", 5.0))
    assert await memory.correct(CHANNEL, "q5", "a much longer question than before")
    for key in (CHANNEL, THREAD):
        first, second = (await memory.load(key, Thread("q5", 5.0) if key.thread else None)).messages
        assert (first.text, first.author, first.at) == ("a much longer question than before", ADA, 5.0)
        assert first.tokens > pair(5)[0].tokens
        assert second.text == "answer 5"
    assert not await memory.correct(CHANNEL, "unknown", "?")


async def test_a_channel_forgets_the_names_of_threads_that_are_no_more(
    memory: Memory, redis_client: redis.asyncio.Redis
) -> None:
    """Else whoever corrects a message would look through all that there ever were."""
    await tell(memory, CHANNEL, 5)
    await memory.load(THREAD, Thread("q5", 5.0))
    await memory.correct(CHANNEL, "q5", "better")
    assert await redis_client.smembers(Keys.forks(CHANNEL)) == {str(THREAD)}
    await redis_client.delete(Keys.messages(THREAD), Keys.state(THREAD))
    await memory.correct(CHANNEL, "q5", "better still")
    assert not await redis_client.exists(Keys.forks(CHANNEL))


async def test_a_withdrawn_question_takes_its_answer_with_it(memory: Memory) -> None:
    """In the channel and in its threads."""
    await tell(memory, CHANNEL, 1, 5)
    await memory.load(THREAD, Thread("q5", 5.0))
    assert await memory.withdraw(CHANNEL, "q5")
    assert texts(await memory.load(CHANNEL)) == ["question 1", "answer 1"]
    assert texts(await memory.load(THREAD, Thread("q5", 5.0))) == ["question 1", "answer 1"]
    assert not await memory.withdraw(CHANNEL, "q5")


async def test_copies_are_reached_after_the_channel_lost_the_original(memory: Memory) -> None:
    """It was pushed out of the list, or answered anew."""
    await tell(memory, CHANNEL, 5)
    await memory.load(THREAD, Thread("q5", 5.0))
    better = Message(Role.ASSISTANT, "better", id="a9", at=9.0, reply_to="q5")
    await append(memory, await memory.load(CHANNEL), [pair(5)[0], better], question="q5", cut="")
    await tell(memory, CHANNEL, *range(10, 10 + MAX_CONVERSATION_MESSAGES // 2))
    assert await memory.withdraw(CHANNEL, "q5")
    assert texts(await memory.load(THREAD, Thread("q5", 5.0))) == []


async def test_forgetting_a_second_time_reaches_what_was_said_in_threads_since(memory: Memory) -> None:
    """A thread stays a branch of its channel."""
    await tell(memory, CHANNEL, 5)
    await memory.load(THREAD, Thread("q5", 5.0))
    await memory.forget(CHANNEL)
    await append(memory, await memory.load(THREAD, Thread("q5", 5.0)), pair(8), question="q8", cut="")
    assert await memory.forget(CHANNEL) == 2
    assert texts(await memory.load(THREAD, Thread("q5", 5.0))) == []


async def test_what_was_read_of_a_thread_is_stored_once_however_often_the_call_is_sent(memory: Memory) -> None:
    """Not only the pair."""
    loaded = await memory.load(THREAD, Thread("r1", 0.5))
    heard = Message(Role.USER, "heard", id="r1", author=BOB, at=0.5)
    for _ in range(2):
        await append(memory, loaded, [heard, *pair(2)], question="q2", cut="")
    assert texts(await memory.load(THREAD)) == ["heard", "question 2", "answer 2"]


async def test_an_answer_given_later_goes_with_its_question_into_a_thread(memory: Memory) -> None:
    """And a pair from after the thread's root does not, wherever it stands in the list."""
    late = Message(Role.ASSISTANT, "answer 1", id="a1", at=9.0, reply_to="q1")
    await append(memory, await memory.load(CHANNEL), pair(7), question="q7", cut="")
    await append(memory, await memory.load(CHANNEL), [pair(1)[0], late], question="q1", cut="")
    assert texts(await memory.load(THREAD, Thread("x", 5.0))) == ["question 1", "answer 1"]


async def test_half_a_character_is_stored_as_one_that_is_unknown(memory: Memory) -> None:
    """JSON can bring it in, and nothing may be lost for it."""
    await append(memory, await memory.load(CHANNEL), pair(1, text="a\ud83d"), question="q1", cut="")
    assert texts(await memory.load(CHANNEL)) == ["a?", "answer 1"]


async def test_the_count_of_bytes_stays_true(memory: Memory, redis_client: redis.asyncio.Redis) -> None:
    """Through appending, replacing, correcting, withdrawing and branching."""
    await tell(memory, CHANNEL, *range(1, 8))
    await tell(memory, CHANNEL, 3)
    await memory.load(THREAD, Thread("q5", 5.0))
    await memory.correct(CHANNEL, "q2", "ä" * 500)
    await memory.withdraw(CHANNEL, "q1")
    for key in (CHANNEL, THREAD):
        entries = [str(entry) for entry in await redis_client.lrange(Keys.messages(key), 0, -1)]
        stored = await redis_client.hget(Keys.state(key), "bytes")
        assert int(stored or 0) == sum(len(entry.encode()) for entry in entries)


async def test_it_can_be_described_in_numbers(memory: Memory) -> None:
    """For people who ask what is remembered."""
    await tell(memory, CHANNEL, 1, 2)
    kept = await memory.describe(CHANNEL)
    assert (kept.questions, kept.answers) == (2, 2)
    assert kept.tokens > 0
    assert MONTH - 60 < kept.seconds_left <= MONTH


async def test_a_turn_costs_two_round_trips(redis_client: redis.asyncio.Redis) -> None:
    """One to load, one to append."""
    memory = Memory(redis_client, retention=MONTH)
    await tell(memory, CHANNEL, 1)  # scripts are known to the server from here on
    before = (await redis_client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    loaded = await memory.load(THREAD, Thread("q1", 1.0))
    await append(memory, loaded, pair(2), question="q2", cut="")
    after = (await redis_client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert after - before == 2
