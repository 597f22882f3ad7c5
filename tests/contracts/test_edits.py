"""Edits and deletions end as the platform has them, in whatever order they come; run against each redis-server."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace

import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.memory.conversations import Memory
from core.memory.exchange import Exchange, Thread
from core.store.keys import Keys
from core.turns.jobs import Job, Note, Seal, StoredJob
from core.turns.queue import TurnQueue
from core.turns.reply import WITHDRAWN
from core.types import Author, ConversationKey, Ending, Message, MessageRef, Outcome, Role, Turn
from tests.examples import examples

CHANNEL = ConversationKey("slack", "T1", "C1")
THREAD = ConversationKey("slack", "T1", "C1", "1.0")
TURN = Turn("q", CHANNEL, "slack:a", Author("U1", "Ann"), "first", 1.0)


@pytest.fixture
def memory(redis_client: redis.asyncio.Redis) -> Memory:
    """Where what was said is remembered."""
    return Memory(redis_client, retention=3600)


@pytest.fixture
def queue(redis_client: redis.asyncio.Redis, memory: Memory) -> TurnQueue:
    """The queue, as one process sees it."""
    return TurnQueue(redis_client, memory, platforms=["slack"], lease=60)


async def remember(memory: Memory, epoch: int = 0) -> None:
    """One question and its answer, and a thread that copied them."""
    said = (
        Message(Role.USER, "first", id="q", author=Author("U1", "Ann"), at=1.0),
        Message(Role.ASSISTANT, "so", id="a", at=2.0, reply_to="q"),
    )
    assert await memory.append(Exchange(CHANNEL, epoch, "q", "", said))
    await memory.load(THREAD, Thread("q", 1.0))


async def reads(memory: Memory, key: ConversationKey = CHANNEL) -> str:
    """What the question reads."""
    return (await memory.load(key)).messages[0].text


async def take(queue: TurnQueue) -> Job:
    """The one job that there is."""
    [job] = (await queue.claim(1, idle=True)).jobs
    return job


async def test_a_deletion_that_comes_before_its_message_is_remembered(queue: TurnQueue) -> None:
    """The message is delivered again after an outage, and nobody answers it."""
    assert not await queue.stop("q", WITHDRAWN)
    assert (await queue.submit(TURN)).status == "duplicate"
    assert not await queue.is_open("q")
    assert (await queue.claim(1, idle=True)).jobs == ()


async def test_a_stop_that_finds_nothing_forbids_nothing(queue: TurnQueue) -> None:
    """Only what was deleted is never answered."""
    assert not await queue.stop("q", Outcome(Ending.STOPPED))
    assert (await queue.submit(TURN)).accepted


@pytest.mark.parametrize("order", list(itertools.permutations([2.0, 3.0, 4.0])))
async def test_an_edit_that_comes_before_its_message_is_not_lost(queue: TurnQueue, order: tuple[float]) -> None:
    """The newest of them, by the platform's clock."""
    for at in order:
        assert not await queue.amend("q", text=f"as of {at}", at=at, early=True)
    assert (await queue.submit(TURN)).accepted
    job = await take(queue)
    assert Note.from_json(job.notes[0]) == Note(text="as of 4.0", edited=4.0)
    assert Note.from_json(job.notes[0]).applied(job.turn).text == "as of 4.0"


async def test_of_what_is_said_to_others_nothing_is_kept(queue: TurnQueue, redis_client: redis.asyncio.Redis) -> None:
    """An edit of a message that is not for us leaves nothing behind."""
    assert not await queue.amend("q", text="what they said", at=2.0)
    assert await redis_client.keys("*") == []


async def test_a_deletion_is_the_last_word_also_before_its_message(queue: TurnQueue) -> None:
    """In whatever order with edits."""
    await queue.amend("q", text="better", at=2.0, early=True)
    await queue.stop("q", WITHDRAWN)
    await queue.amend("q", text="better still", at=3.0, early=True)
    assert (await queue.submit(TURN)).status == "duplicate"


@pytest.mark.parametrize("order", list(itertools.permutations([2.0, 3.0, 4.0])))
async def test_the_newest_edit_stands_in_whatever_order_they_come(
    queue: TurnQueue, memory: Memory, order: tuple[float]
) -> None:
    """In the queue, in the memory, in threads that copied it, and behind a Retry button."""
    await remember(memory)
    await queue.submit(TURN)
    job = await take(queue)
    kept = StoredJob(replace(TURN, attempt=1), (MessageRef("C1", "1"),), alone=True)
    await queue.seal(job, Seal("so", Outcome(Ending.COMPLETE)), [], kept)
    for at in order:
        assert await queue.amend("q", text=f"as of {at}", at=at)
        await memory.correct(CHANNEL, "q", f"as of {at}", at=at)
        await queue.correct_kept(CHANNEL, "q", f"as of {at}", at=at)
    notes = (await queue.beat({job: ""}))[job]
    assert notes
    assert Note.from_json(notes[0]).text == "as of 4.0"
    assert await reads(memory) == await reads(memory, THREAD) == "as of 4.0"
    assert await queue.commit(replace(job, notes=notes), None) == "done"
    assert (await queue.retry(CHANNEL, "q", MessageRef("C1", "1"), "U1")).accepted
    assert (await take(queue)).turn.text == "as of 4.0"


async def test_an_edit_that_was_remembered_with_its_answer_is_ordered_too(queue: TurnQueue, memory: Memory) -> None:
    """What a late older edit says was overtaken before there was anything to correct."""
    question = Message(Role.USER, "as of 4.0", id="q", author=TURN.author, at=1.0, edited=4.0)
    said = (question, Message(Role.ASSISTANT, "so", id="a", at=5.0, reply_to="q"))
    assert await memory.append(Exchange(CHANNEL, 0, "q", "", said))
    assert not await memory.correct(CHANNEL, "q", "as of 3.0", at=3.0)
    assert await reads(memory) == "as of 4.0"
    assert await memory.correct(CHANNEL, "q", "as of 6.0", at=6.0)


@pytest.mark.parametrize("round_", range(5))
async def test_of_two_edits_at_one_moment_the_newer_stands(memory: Memory, round_: int) -> None:
    """Whichever process is quicker."""
    await remember(memory)
    edits = [memory.correct(CHANNEL, "q", f"as of {at}", at=at) for at in (2.0, 3.0, 4.0, 5.0)]
    await asyncio.gather(*(edits if round_ % 2 else reversed(edits)))
    assert await reads(memory) == await reads(memory, THREAD) == "as of 5.0"


@pytest.mark.parametrize("count", [300, pytest.param(2000, marks=pytest.mark.slow)])
async def test_many_edits_of_one_message_end_with_the_newest(memory: Memory, queue: TurnQueue, count: int) -> None:
    """As many at once as there are connections, in the memory and behind a button."""
    await remember(memory)
    await queue.submit(TURN)
    job = await take(queue)
    kept = StoredJob(replace(TURN, attempt=1), alone=True)
    await queue.seal(job, Seal("so", Outcome(Ending.COMPLETE)), [], kept)

    async def edit(number: int) -> None:
        text, at = f"as of {number}", 10.0 + number / 500
        await queue.amend("q", text=text, at=at)
        await memory.correct(CHANNEL, "q", text, at=at)
        await queue.correct_kept(CHANNEL, "q", text, at=at)

    for start in range(0, count, 100):
        await asyncio.gather(*(edit(number) for number in range(start, start + 100)))
    assert await reads(memory) == await reads(memory, THREAD) == f"as of {count - 1}"
    notes = (await queue.beat({job: ""}))[job]
    assert notes
    assert Note.from_json(notes[0]).text == f"as of {count - 1}"
    assert await queue.commit(replace(job, notes=notes), None) == "done"
    assert (await queue.retry(CHANNEL, "q", MessageRef("C1", "1"), "U1")).accepted
    assert (await take(queue)).turn.text == f"as of {count - 1}"


async def test_an_edit_and_a_withdrawal_at_one_moment_leave_nothing(memory: Memory) -> None:
    """What was deleted is gone, whatever it read."""
    for epoch in range(10):
        await remember(memory, epoch)
        await asyncio.gather(
            *(memory.correct(CHANNEL, "q", f"as of {at}", at=at) for at in (2.0, 3.0)),
            memory.withdraw(CHANNEL, "q"),
            *(memory.correct(CHANNEL, "q", f"as of {at}", at=at) for at in (4.0, 5.0)),
        )
        assert (await memory.load(CHANNEL)).messages == (await memory.load(THREAD)).messages == ()
        await memory.forget(CHANNEL)


@given(story=st.lists(st.tuples(st.sampled_from(["edit", "delete", "submit"]), st.integers(2, 9)), max_size=8))
@settings(examples(60), suppress_health_check=list(HealthCheck))
async def test_no_order_of_a_messages_story_answers_what_was_deleted_or_an_older_text(
    queue: TurnQueue, redis_client: redis.asyncio.Redis, story: list[tuple[str, int]]
) -> None:
    """Whatever is delivered when, and how often."""
    await redis_client.flushall()
    deleted, newest, accepted = False, 0, False
    for what, at in story:
        match what:
            case "edit":
                await queue.amend("q", text=f"as of {at}", at=float(at), early=True)
                newest = max(newest, 0 if deleted and not accepted else at)
            case "delete":
                await queue.stop("q", WITHDRAWN)
                deleted = True
            case _:
                receipt = await queue.submit(TURN)
                assert receipt.accepted == (not accepted and not deleted)
                accepted = accepted or receipt.accepted
    if accepted:
        note = Note.from_json((await take(queue)).notes[0])
        assert note.text == (f"as of {newest}" if newest else None)
        assert bool(note.stop) == deleted
    else:
        assert await redis_client.llen(Keys.inbox("slack:a")) == 0
