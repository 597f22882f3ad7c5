"""Turns are answered in order within a lane, side by side across lanes, and to their end."""

from __future__ import annotations

from dataclasses import replace

from core.turns.queue import TurnQueue
from core.turns.reply import STOPPED, WITHDRAWN
from core.turns.worker import Worker
from core.types import ConversationKey, Ending, MessageRef, Role
from tests.core.turns.office import CHANNEL, LONG, Office, Town, ask
from tests.doubles.tgi import TgiDouble
from tests.waiting import wait_until


async def test_one_lane_is_answered_in_order(office: Office, town: Town, tgi: TgiDouble) -> None:
    """One after the other, each knowing the one before."""
    office.hire()
    await office.submit(ask("t1"), ask("t2"), ask("t3"))
    await wait_until(lambda: town.ending("t3"))
    asked = [seen.inputs for seen in tgi.requests if seen.inputs]
    assert [text.count("question") for text in asked] == [1, 3, 5]  # the double's answer quotes the question


async def test_lanes_do_not_wait_for_each_other(office: Office, town: Town, tgi: TgiDouble) -> None:
    """A long answer to somebody else holds nobody up."""
    office.hire()
    tgi.enqueue(LONG)
    tgi.rate = 50
    await office.submit(ask("slow", "slack:a"))
    await wait_until(lambda: town.shown("slow"))
    tgi.rate = 0
    await office.submit(ask("fast", "slack:b"))
    await wait_until(lambda: town.ending("fast") is Ending.COMPLETE)
    assert town.ending("slow") is None


async def test_a_thread_waits_for_the_answer_it_hangs_on(office: Office, town: Town, tgi: TgiDouble) -> None:
    """It starts from that answer."""
    office.hire()
    tgi.enqueue("the root's answer")
    tgi.first_after = 0.1
    thread = ConversationKey("slack", "T1", "C1", "1.0")
    await office.submit(ask("root", "slack:a"), ask("inside", "slack:b", thread, root="root"))
    await wait_until(lambda: town.ending("inside"))
    assert "the root's answer" in tgi.requests[-1].inputs


async def test_a_person_with_many_questions_stands_behind_one_with_one(
    office: Office, town: Town, tgi: TgiDouble
) -> None:
    """Turns are taken in the order of fair queuing."""
    await office.submit(*(ask(f"many{i}", f"slack:many{i}", user="U1") for i in range(6)))
    await office.submit(ask("one", "slack:one", user="U2"))
    office.hire(slots=1)
    await wait_until(lambda: town.ending("many5"))
    order = list(town.platforms)
    assert order.index("one") <= 1


async def test_what_does_not_end_in_time_is_handed_over_and_another_goes_on(
    office: Office, town: Town, tgi: TgiDouble
) -> None:
    """In the same message, without waiting for a lease to run out, and not as a failed try."""
    tgi.answer, tgi.rate = LONG, 50
    first = office.hire()
    await office.submit(ask("t1"), ask("t2"))
    await wait_until(lambda: town.shown("t1"))
    office.hire()
    tgi.rate = 0
    await first.drain(0.0)
    await wait_until(lambda: town.ending("t2"))
    assert town.ending("t1") is Ending.COMPLETE
    assert town.shown("t1") == LONG, "every part once"

    async def remembered() -> bool:
        return await office.said() == ["question t1", LONG, "question t2", LONG]

    await wait_until(remembered, description="both, in order, once")  # an answer is seen before it is committed


async def test_the_last_worker_says_that_it_will_go_on(office: Office, town: Town, tgi: TgiDouble) -> None:
    """Nobody is there who could; the message does not look as if something was still coming."""
    tgi.answer, tgi.rate = LONG, 50
    worker = office.hire()
    await office.submit(ask("t1"))
    begun = await wait_until(lambda: town.shown("t1"))
    await wait_until(lambda: town.shown("t1") != begun, description="an edit: the worker knows what it posted")
    await worker.drain(0.0)
    assert town.ending("t1") is Ending.INTERRUPTED
    tgi.rate = 0
    office.hire()
    await wait_until(lambda: town.ending("t1") is Ending.COMPLETE)
    await wait_until(lambda: not office.workers[1].running)
    assert await office.said() == ["question t1", LONG]


async def test_a_turn_that_was_withdrawn_while_it_waited_gets_no_reply(
    office: Office, town: Town, tgi: TgiDouble
) -> None:
    """Nobody asks any more."""
    tgi.first_after = 0.05
    await office.submit(ask("t1"), ask("t2"))
    assert await office.queue.stop("t2", WITHDRAWN)
    assert not await office.queue.stop("unknown", WITHDRAWN)
    office.hire()
    await office.submit(ask("t3"))
    await wait_until(lambda: town.ending("t3"))
    assert "t2" not in town.platforms


async def test_stop_comes_from_any_process_and_closes_the_models_stream(
    office: Office, town: Town, tgi: TgiDouble
) -> None:
    """The text so far stays, and is remembered as stopped; a second Stop finds nothing."""
    office.hire()
    tgi.answer, tgi.rate = LONG, 50
    await office.submit(ask("t1"))
    await wait_until(lambda: town.shown("t1"))
    assert await office.open_queue().stop("t1", STOPPED)
    await wait_until(lambda: town.ending("t1") is Ending.STOPPED)
    await wait_until(lambda: tgi.requests[-1].closed_early, description="the model is let go")
    text = town.shown("t1")
    assert LONG.startswith(text)
    await wait_until(lambda: not office.workers[0].running)
    assert await office.said() == ["question t1", text]
    assert not await office.open_queue().stop("t1", STOPPED)


async def test_a_question_that_is_edited_while_it_is_answered_is_remembered_as_it_reads(
    office: Office, town: Town, tgi: TgiDouble
) -> None:
    """Even if the edit comes with the very last token."""
    office.hire()
    tgi.answer, tgi.rate = LONG, 50
    await office.submit(ask("t1"))
    await wait_until(lambda: town.shown("t1"))
    assert await office.queue.amend("t1", text="what I meant")
    await office.queue.stop("t1", STOPPED)
    await wait_until(lambda: not office.workers[0].running)
    assert (await office.said())[0] == "what I meant"


async def test_messages_that_wait_are_answered_together_where_that_is_set(
    office: Office, town: Town, tgi: TgiDouble
) -> None:
    """One reply, under the last of them; each is remembered as a message of its own."""
    office.queue = office.open_queue("merge")
    await office.submit(ask("t1"), ask("t2"), ask("t3"), replace(ask("t4"), text="memory"))
    office.hire("merge")
    await wait_until(lambda: town.ending("t4"))
    assert list(town.platforms) == ["t3", "t4"]
    assert (await office.said())[:3] == ["question t1", "question t2", "question t3"]
    assert len([seen for seen in tgi.requests if seen.inputs]) == 1


async def test_one_of_several_merged_messages_can_be_deleted(office: Office, town: Town, tgi: TgiDouble) -> None:
    """The others are answered."""
    office.queue = office.open_queue("merge")
    await office.submit(ask("t1"), ask("t2"), ask("t3"))
    await office.queue.stop("t3", WITHDRAWN)
    office.hire("merge")
    await wait_until(lambda: town.ending("t2"))
    await wait_until(lambda: not office.workers[0].running)
    assert (await office.said())[:2] == ["question t1", "question t2"]
    assert not [text for text in await office.said() if text == "question t3"]


async def test_a_newer_message_interrupts_the_older_answer_where_that_is_set(
    office: Office, town: Town, tgi: TgiDouble
) -> None:
    """Only one's own."""
    office.hire("interrupt")
    tgi.answer, tgi.rate = LONG, 50
    await office.submit(ask("t1"), ask("other", "slack:a2", user="U2"))
    await wait_until(lambda: town.shown("t1") and town.shown("other"))
    await office.submit(ask("t2"))
    await wait_until(lambda: town.shown("t2"))
    assert town.ending("t1") is Ending.STOPPED
    assert town.ending("other") is None


async def test_a_question_that_is_interrupted_is_handed_on(office: Office, town: Town, tgi: TgiDouble) -> None:
    """Whoever adds to a question before there was a word of an answer is answered with both in mind."""
    tgi.first_after = 30.0
    office.hire("interrupt")
    await office.submit(ask("t1"))
    await wait_until(lambda: [seen for seen in tgi.requests if seen.inputs])
    tgi.first_after = 0.0
    await office.submit(ask("t2"))
    await wait_until(lambda: town.ending("t2") is Ending.COMPLETE)
    await wait_until(lambda: not office.workers[0].running)
    asked = [seen.inputs for seen in tgi.requests if seen.inputs][-1]
    assert asked.index("question t1") < asked.index("question t2")
    assert [text for text in await office.said() if text.startswith("question")] == ["question t1", "question t2"]


async def test_questions_that_wait_are_handed_on_too(office: Office, town: Town, tgi: TgiDouble) -> None:
    """They are interrupted before anybody began to answer them; one that was deleted meanwhile is not."""
    office.queue = office.open_queue("interrupt")
    await office.submit(ask("t1"), ask("t2"), ask("t3"), ask("t4"))
    await office.queue.stop("t2", WITHDRAWN)
    office.hire("interrupt")
    await wait_until(lambda: town.ending("t4") is Ending.COMPLETE)
    await wait_until(lambda: not office.workers[0].running)
    asked = [seen.inputs for seen in tgi.requests if seen.inputs]
    assert len(asked) == 1, "only the last is asked"
    assert [name for name in ("t1", "t2", "t3", "t4") if f"question {name}" in asked[0]] == ["t1", "t3", "t4"]


async def test_a_retry_writes_over_the_reply_and_replaces_the_pair(office: Office, town: Town, tgi: TgiDouble) -> None:
    """Once, whoever presses the button how often."""
    office.hire()
    tgi.fault("drop", after=3)
    await office.submit(ask("t1"))
    await wait_until(lambda: town.ending("t1") is Ending.INTERRUPTED)
    await wait_until(lambda: not office.workers[0].running)
    pressed = MessageRef("C1", "0")
    assert (await office.queue.retry(CHANNEL, "t1", pressed, "U1")).accepted
    assert (await office.queue.retry(CHANNEL, "t1", pressed, "U1")).status == "duplicate"
    await wait_until(lambda: town.ending("t1") is Ending.COMPLETE)
    await wait_until(lambda: not office.workers[0].running)
    kept = (await office.memory.load(CHANNEL)).messages
    assert [message.role for message in kept] == [Role.USER, Role.ASSISTANT]
    assert len(town.platforms["t1"].history) == 1


async def test_a_worker_is_counted_from_its_start(office: Office) -> None:
    """And not only when the first third of its lease is over."""
    queue = TurnQueue(office.client, office.memory, platforms=["slack"], lease=300)
    worker = Worker(queue, office.assistant, {"slack": office.town})
    worker.start()
    others = TurnQueue(office.client, office.memory, platforms=["slack"], lease=300).other_workers
    await wait_until(others, description="a worker")
    await worker.drain(0)
    assert await others() == 0
