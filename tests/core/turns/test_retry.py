"""What the Retry button asks: the question as it reads when it is pressed, and nothing that was deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import redis.asyncio

from core.quotes import Quote, QuoteKind
from core.store.keys import Keys
from core.turns.reply import WITHDRAWN
from core.types import MessageRef, Turn
from tests.core.turns.office import CHANNEL, LONG, Office, Town, ask
from tests.doubles.tgi import TgiDouble
from tests.waiting import wait_until


@pytest.fixture
async def regenerating(office: Office, town: Town) -> AsyncIterator[Office]:
    """A platform on which every answer can be had once more."""
    town.regenerates = True
    yield office
    town.regenerates = False


def quoting(name: str, forward: str, table: str = "") -> Turn:
    """A turn with a forward, and perhaps a table."""
    tables = (Quote(QuoteKind.TABLE, table),) if table else ()
    return replace(ask(name), quotes=(Quote(QuoteKind.FORWARD, forward), *tables))


async def answered(office: Office, town: Town, turn: str) -> None:
    """Wait until a turn is answered and committed."""
    await wait_until(lambda: town.ending(turn))
    await wait_until(lambda: not office.workers[0].running)


async def press(office: Office, town: Town, turn: str) -> None:
    """Ask once more, and wait for the answer."""
    town.platforms[turn].outcome = None
    assert (await office.queue.retry(CHANNEL, turn, MessageRef("C1", "0"), "U1")).accepted
    await answered(office, town, turn)


async def test_a_question_that_was_edited_while_it_was_answered(
    regenerating: Office, town: Town, tgi: TgiDouble
) -> None:
    """It is asked as it reads now, and remembered so."""
    office = regenerating
    office.hire()
    tgi.answer, tgi.rate = LONG, 200
    await office.submit(ask("t1"))
    await wait_until(lambda: town.shown("t1"))
    await office.queue.amend("t1", text="what I meant")
    await office.memory.correct(CHANNEL, "t1", "what I meant")
    await office.queue.correct_kept(CHANNEL, "t1", "what I meant")
    await answered(office, town, "t1")
    tgi.rate = 0
    await press(office, town, "t1")
    assert "what I meant" in tgi.requests[-1].inputs
    assert (await office.said())[0] == "what I meant"


async def test_a_question_that_was_deleted_while_it_was_answered(
    regenerating: Office, town: Town, tgi: TgiDouble, client: redis.asyncio.Redis
) -> None:
    """Nothing is kept of it."""
    office = regenerating
    office.hire()
    tgi.answer, tgi.rate = LONG, 200
    await office.submit(ask("t1"))
    await wait_until(lambda: town.shown("t1"))
    await office.queue.stop("t1", WITHDRAWN)
    await office.queue.correct_kept(CHANNEL, "t1", None)
    await answered(office, town, "t1")
    assert not await client.exists(Keys.retries(CHANNEL))


async def test_questions_that_were_answered_together(regenerating: Office, town: Town, tgi: TgiDouble) -> None:
    """They are asked together again, each is remembered once, and one that was deleted is not asked."""
    office = regenerating
    office.queue = office.open_queue("merge")
    await office.submit(ask("t1"), ask("t2"), ask("t3"))
    await office.queue.stop("t3", WITHDRAWN)
    tgi.answer = "an answer"
    office.hire("merge")
    await answered(office, town, "t2")
    await press(office, town, "t2")
    assert await office.said() == ["question t1", "question t2", "an answer"]
    assert [tgi.requests[-1].inputs.count(f"question t{number}") for number in (1, 2, 3)] == [1, 1, 0]


async def test_questions_whose_answer_failed_are_all_asked_again(office: Office, town: Town, tgi: TgiDouble) -> None:
    """With what came with each; nothing of them is remembered yet."""
    office.queue = office.open_queue("merge")
    await office.submit(quoting("t1", "the first forward"), quoting("t2", "the second forward"))
    tgi.fault("500")
    office.hire("merge")
    await answered(office, town, "t2")
    await press(office, town, "t2")
    assert "question t1\n\nquestion t2" in tgi.requests[-1].inputs
    assert "> the first forward" in tgi.requests[-1].inputs
    assert "> the second forward" in tgi.requests[-1].inputs


@pytest.mark.parametrize("when", ["waits", "is answered"])
async def test_what_comes_with_a_question_can_change(office: Office, town: Town, tgi: TgiDouble, when: str) -> None:
    """Quotes of other kinds stay, and what is remembered is what stands there now."""
    await office.submit(quoting("t1", "a forward", "a wrong table"))
    table = Quote(QuoteKind.TABLE, "a right table")
    if when == "waits":
        await office.queue.amend("t1", quotes=(table,))
        office.hire()
    else:
        tgi.answer, tgi.rate = LONG, 200
        office.hire()
        await wait_until(lambda: town.shown("t1"))
        await office.queue.amend("t1", quotes=(table,))
    await answered(office, town, "t1")
    question = next(m for m in (await office.memory.load(CHANNEL)).messages if m.id == "t1")
    assert question.quotes == (Quote(QuoteKind.FORWARD, "a forward"), table)
    assert ("a right table" in tgi.requests[-1].inputs) == (when == "waits")
