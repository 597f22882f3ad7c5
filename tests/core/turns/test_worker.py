"""Turns are answered in order within a lane, side by side across lanes, and to their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

import pytest
import redis.asyncio
from structlog.testing import capture_logs

from bots.health.health import Health
from core.assistant.assistant import AnswerSettings, Assistant
from core.delivery.surface import Pace
from core.errors import PlatformError, PlatformUnavailable, StorageFault
from core.memory.conversations import Exchange, RedisMemory
from core.metrics.meters import isolated_values as metrics_apart
from core.models.backends.tgi import TgiBackend
from core.models.models import single_model
from core.policy import Venue
from core.prompts import open_template
from core.turns.jobs import Job
from core.turns.operator import Operator
from core.turns.queue import FollowUp, RedisTurnQueue
from core.turns.reply import STOPPED, WITHDRAWN
from core.turns.worker import Worker
from core.types import Author, ConversationKey, Ending, Message, MessageRef, ModelLimits, Role, Turn
from tests.core.delivery.test_delivery import Platform, pace
from tests.doubles.tgi import TgiDouble
from tests.waiting import wait_until

CHANNEL = ConversationKey("slack", "T1", "C1")
LONG = "word " * 400
LEASE = 1.0


class Town:
    """A platform with a message for each turn."""

    regenerates = False

    def __init__(self) -> None:
        self.platforms: dict[str, Platform] = {}

    async def understand(self, turn: Turn) -> Turn:
        return turn

    async def read_thread(self, turn: Turn) -> Sequence[Message]:
        return []

    async def venue(self, turn: Turn) -> Venue:
        return Venue()

    def open_editor(self, turn: Turn) -> Platform:
        return self.platforms.setdefault(turn.id, Platform())

    def pace(self, turn: Turn) -> Pace:
        return pace()

    def shown(self, turn: str) -> str:
        """What the reply to a turn shows."""
        platform = self.platforms.get(turn)
        return "".join(platform.shown) if platform else ""

    def ending(self, turn: str) -> Ending | None:
        """How the reply to a turn ended."""
        platform = self.platforms.get(turn)
        return platform.outcome.ending if platform and platform.outcome else None


@pytest.fixture
async def tgi() -> AsyncIterator[TgiDouble]:
    """A model's server."""
    async with TgiDouble() as double:
        yield double


@pytest.fixture
def town() -> Town:
    """What people see."""
    return Town()


class Office:
    """Any number of workers on one Redis, one model and one platform."""

    def __init__(self, client: redis.asyncio.Redis, tgi: TgiDouble, town: Town) -> None:
        self.client, self.town = client, town
        self.memory = RedisMemory(client, retention=3600)
        answer_settings = AnswerSettings("", 0.7, 500, ModelLimits(4000, 4096))
        self.assistant = Assistant(
            self.memory, single_model(TgiBackend(tgi.url), open_template("falcon")), answer_settings
        )
        self.workers: list[Worker] = []
        self.queue = self.open_queue()

    def open_queue(self, follow_up: FollowUp = "queue") -> RedisTurnQueue:
        """The queue, as one process sees it."""
        return RedisTurnQueue(self.client, self.memory, platforms=["slack"], lease=LEASE, follow_up=follow_up)

    def hire(self, follow_up: FollowUp = "queue", slots: int = 8) -> Worker:
        """One more worker."""
        queue = self.queue = self.open_queue(follow_up)
        worker = Worker(queue, self.assistant, {"slack": self.town}, slots=slots)
        worker.start()
        self.workers.append(worker)
        return worker

    async def submit(self, *turns: Turn) -> None:
        """Ask, one after the other."""
        for turn in turns:
            assert (await self.queue.submit(turn)).accepted

    async def said(self, key: ConversationKey = CHANNEL) -> list[str]:
        """What is remembered, questions and answers."""
        return [message.text for message in (await self.memory.load(key)).messages]


@pytest.fixture
async def office(client: redis.asyncio.Redis, tgi: TgiDouble, town: Town) -> AsyncIterator[Office]:
    """Nobody works there yet; whoever does goes home at the end."""
    office = Office(client, tgi, town)
    yield office
    await asyncio.gather(*(worker.drain(0.0) for worker in office.workers))


def ask(name: str, lane: str = "slack:a", key: ConversationKey = CHANNEL, root: str = "", user: str = "U1") -> Turn:
    """A turn in a lane."""
    return Turn(name, key, lane, Author(user, user), f"question {name}", 1.0, root=root)


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


async def test_a_turn_whose_platform_refuses_for_good_is_a_dead_letter(
    office: Office, town: Town, client: redis.asyncio.Redis
) -> None:
    """Somebody finds it; the lane goes on."""
    town.platforms["t1"] = Platform(errors=[PlatformError("no", code="no") for _ in range(9)])
    office.hire()
    await office.submit(ask("t1"), ask("t2"))
    await wait_until(lambda: town.ending("t2"))
    assert await client.llen("{parley}:dead") == 1


async def test_a_turn_whose_platform_is_away_is_tried_again_later(
    office: Office, town: Town, client: redis.asyncio.Redis
) -> None:
    """It is not lost, and not asked of the model twice: its end is written down."""
    town.platforms["t1"] = Platform(errors=[PlatformUnavailable("away", retry_after=0.01) for _ in range(30)])
    office.hire()
    turn = replace(ask("t1"), at=4e9)
    await office.submit(turn)
    await wait_until(lambda: client.hget("{parley}:lane:slack:a:state", "seal"))
    await wait_until(lambda: not office.workers[0].running, description="given up for now")
    assert await client.zscore("{parley}:held:slack", "slack:a")
    assert await client.llen("{parley}:dead") == 0


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


@pytest.mark.parametrize("loop", ["claim", "beat", "signals", "settle", "wait"])
@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, RecursionError, StorageFault])
async def test_a_loop_survives_whatever_it_meets(
    office: Office, town: Town, monkeypatch: pytest.MonkeyPatch, loop: str, error: type[BaseException]
) -> None:
    """It is counted, and the loop goes on: whoever asks afterwards is answered, and what was stopped is."""
    queue, failures = RedisTurnQueue, 0
    real = getattr(queue, loop)

    def fail(self: RedisTurnQueue, *args: object, **named: object) -> object:
        nonlocal failures
        failures += 1
        if failures <= 2:
            raise error("whatever it is")
        return real(self, *args, **named)

    monkeypatch.setattr("core.turns.worker.LOOP_RETRY", 0.01)
    monkeypatch.setattr("core.turns.worker.HOUSEKEEPING_INTERVAL", 0.01)
    monkeypatch.setattr(queue, loop, fail)
    with metrics_apart() as values:
        worker = office.hire()
        await wait_until(lambda: failures > 2, description="it went on")
        await office.submit(ask("t1"))
        await wait_until(lambda: town.ending("t1") is Ending.COMPLETE)
        kind = {"beat": "beats", "signals": "signals", "settle": "housekeeping"}.get(loop, "claims")
        assert values.numbers["parley_loop_faults_total"] == {(kind,): 2.0}
    assert all(last() > 0 for last in worker.progress().values())


async def test_a_loop_that_has_ended_is_seen(office: Office) -> None:
    """Whatever ended it, /livez knows at once."""
    worker = office.hire()
    health = Health()
    with ExitStack() as stack:
        for name, last in worker.progress().items():
            stack.enter_context(health.watch_loop(name, last))
        assert [finding.state for finding in health.live()] == ["ok"] * 5
        task = worker._loops["beats"]
        for _ in range(3):  # before Python 3.12 a cancellation can be lost
            task.cancel()
            await asyncio.wait({task}, timeout=1)
        [wrong] = [finding for finding in health.live() if finding.state != "ok"]
        assert (wrong.name, wrong.found) == ("beats", "it has ended")


async def test_a_turn_that_no_surface_can_answer_is_a_dead_letter(office: Office, town: Town) -> None:
    """What was claimed beside it is answered."""
    key = ConversationKey("teams", "T1", "C1")
    await office.submit(ask("t1", key=key), ask("t2"), ask("t3", "slack:b"))
    office.hire()
    await wait_until(lambda: town.ending("t2") and town.ending("t3"))
    [letter] = await Operator(office.client).dead_letters()
    assert (letter.name, letter.why) == ("t1", "it could not be started: KeyError")


@pytest.mark.parametrize("broken", ["commit.lua", "a value that cannot be sent", "an exchange of somebody's"])
async def test_what_cannot_be_committed_is_a_dead_letter(
    office: Office, town: Town, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Its reason says so, people see the answer, the lane goes on, and nobody says that Redis is away."""
    real = RedisMemory.arguments

    def arguments(self: RedisMemory, exchange: Exchange) -> tuple[list[str], list[object]]:
        keys, values = real(self, exchange)
        if exchange.question == "t1":
            match broken:
                case "commit.lua":
                    values[2] = "no number of seconds"
                case "a value that cannot be sent":
                    values[1] = {}
                case _:
                    raise TypeError(exchange)
        return keys, values

    monkeypatch.setattr("core.turns.reply.COMMIT_RETRY", 0.01)
    monkeypatch.setattr(RedisMemory, "arguments", arguments)
    await office.submit(ask("t1"), ask("t2"))
    with capture_logs() as logs:
        office.hire()
        await wait_until(lambda: town.ending("t2") is Ending.COMPLETE)
    assert town.ending("t1") is Ending.COMPLETE
    [letter] = await Operator(office.client).dead_letters()
    assert letter.name == "t1"
    assert letter.why.startswith("its answer could not be stored")
    assert not [line for line in logs if "away" in line["event"]]
    assert not await office.queue.is_open("t1")


@pytest.mark.parametrize("step", ["mark", "seal"])
async def test_a_step_that_always_fails_ends_its_turn_and_no_other(
    office: Office, town: Town, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Redis is there and cannot do what it is asked for one turn: the others are answered."""
    monkeypatch.setattr("core.turns.reply.FAULT_RETRY", 0.0)
    real, failed = getattr(RedisTurnQueue, step), 0

    async def fail(self: RedisTurnQueue, job: Job, *args: object, **named: object) -> object:
        nonlocal failed
        if job.turn.id == "t1":
            failed += 1
            raise StorageFault("Redis could not do that: ERR")
        return await real(self, job, *args, **named)

    monkeypatch.setattr(RedisTurnQueue, step, fail)
    await office.submit(ask("t1"), ask("t2"), ask("t3", "slack:b"))
    office.hire()
    await wait_until(lambda: town.ending("t2") is Ending.COMPLETE and town.ending("t3") is Ending.COMPLETE)
    assert failed
    await wait_until(lambda: not office.workers[0].running)
    assert not await office.queue.is_open("t1")
    if step == "mark":
        [letter] = await Operator(office.client).dead_letters()
        assert letter.why.startswith("it failed 4 times")
    else:
        assert town.ending("t1") is Ending.COMPLETE


async def test_a_turn_that_fails_again_and_again_is_a_dead_letter_and_its_lane_goes_on(
    office: Office, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where nobody can be told."""
    monkeypatch.setattr("core.turns.reply.FAULT_RETRY", 0.0)
    real = town.open_editor

    def open_editor(turn: Turn) -> Platform:
        if turn.id == "t1":
            raise KeyError("channel")
        return real(turn)

    monkeypatch.setattr(town, "open_editor", open_editor)
    await office.submit(ask("t1"), ask("t2"))
    office.hire()
    await wait_until(lambda: town.ending("t2") is Ending.COMPLETE)
    [letter] = await Operator(office.client).dead_letters()
    assert (letter.name, letter.why) == ("t1", "it failed 4 times, the last time with KeyError")


async def test_a_worker_is_counted_from_its_start(office: Office) -> None:
    """And not only when the first third of its lease is over."""
    queue = RedisTurnQueue(office.client, office.memory, platforms=["slack"], lease=300)
    worker = Worker(queue, office.assistant, {"slack": office.town})
    worker.start()
    others = RedisTurnQueue(office.client, office.memory, platforms=["slack"], lease=300).others
    await wait_until(others, description="a worker")
    await worker.drain(0)
    assert await others() == 0
