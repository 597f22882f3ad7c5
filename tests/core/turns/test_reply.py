"""One job, from claim to commit: what people see of it, what is counted, and where the job stands afterwards."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
import redis.asyncio

from core.assistant.assistant import AnswerSettings, Assistant
from core.errors import NotAllowed, PlatformError, PlatformUnavailable
from core.memory.conversations import Memory
from core.model_types import ModelLimits
from core.models.backends.tgi import TgiBackend
from core.models.models import single_model
from core.prompts import open_template
from core.quotas import Quota, Quotas
from core.store.keys import Keys
from core.turns.jobs import Job, Seal
from core.turns.lease import Lease
from core.turns.queue import TurnQueue
from core.turns.reply import NOT_ALLOWED_THERE, REPLY_REFUSED, STOPPED, WITHDRAWN, WOULD_HAVE_POSTED, Reply
from core.types import Author, ConversationKey, Ending, Outcome, Turn
from tests.core.turns.office import Town
from tests.doubles.tgi import TgiDouble
from tests.waiting import wait_until

CHANNEL = ConversationKey("slack", "T1", "C1")
ANSWER = "a word " * 30


class PrivateTown(Town):
    """A platform that can reach a person apart from where they asked."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    async def tell(self, turn: Turn, text: str) -> None:
        del turn
        self.told.append(text)


class Bench:
    """A queue with quotas, and a worker's way through one job at a time."""

    def __init__(self, client: redis.asyncio.Redis, tgi: TgiDouble, town: Town, quotas: Quotas | None = None) -> None:
        self.client, self.town = client, town
        self.memory = Memory(client, retention=3600)
        answer_settings = AnswerSettings("", 0.7, 500, ModelLimits(4000, 4096))
        self.assistant = Assistant(
            self.memory, single_model(TgiBackend(tgi.url), open_template("falcon")), answer_settings
        )
        self.queue = TurnQueue(client, self.memory, platforms=["slack"], lease=5.0, quotas=quotas)

    async def ask(self, name: str, text: str = "why?") -> Turn:
        """Somebody asks."""
        turn = Turn(name, CHANNEL, f"slack:{name}", Author("U1", "Ada"), text, 1.0)
        assert (await self.queue.submit(turn)).accepted
        return turn

    async def take(self) -> Job:
        """The next job."""
        [job] = (await self.queue.claim(1, idle=True)).jobs
        return job

    def reply(self, job: Job) -> Reply:
        """The reply to it."""
        return Reply(Lease(job, 5.0, time.monotonic()), self.queue, self.assistant, self.town)

    async def answer(self) -> None:
        """Answer the next job, to its end."""
        await self.reply(await self.take()).run()

    def outcome(self, turn: str) -> Outcome:
        """How a reply ended, as people see it."""
        outcome = self.town.platforms[turn].outcome
        assert outcome
        return outcome

    async def tokens(self) -> int:
        """What is counted today."""
        counted = [await self.client.get(name) for name in await self.client.keys("{parley}:quota:*:tokens:*")]
        return sum(int(count or 0) for count in counted)

    async def letters(self) -> list[str]:
        """Why there are dead letters."""
        return [json.loads(letter)["why"] for letter in await self.client.lrange(Keys.DEAD, 0, -1)]

    async def is_done(self, turn: str) -> bool:
        """Whether nobody is to answer it any more."""
        return not await self.queue.is_open(turn)


@pytest.fixture
def bench(client: redis.asyncio.Redis, tgi: TgiDouble, town: Town) -> Bench:
    """Where tokens are counted, and a person may ask once a minute."""
    return Bench(client, tgi, town, Quotas(Quota(turns=1, tokens=1_000_000)))


async def test_an_answer_is_shown_remembered_and_counted(bench: Bench, tgi: TgiDouble, town: Town) -> None:
    """And its turn is done with."""
    tgi.answer = ANSWER
    await bench.ask("t1")
    await bench.answer()
    assert town.shown("t1").strip() == ANSWER.strip()
    assert [message.text.strip() for message in (await bench.memory.load(CHANNEL)).messages] == ["why?", ANSWER.strip()]
    assert await bench.tokens() > 60
    assert await bench.is_done("t1")


@pytest.mark.parametrize("outcome", [STOPPED, WITHDRAWN])
async def test_what_is_stopped_counts_as_far_as_it_came(bench: Bench, tgi: TgiDouble, outcome: Outcome) -> None:
    """Its server never says how much that was; whoever always stops just before the end would ask for nothing."""
    tgi.answer, tgi.rate = ANSWER * 20, 200
    await bench.ask("t1")
    reply = bench.reply(await bench.take())

    async def stop_it() -> None:
        await wait_until(lambda: reply.lease.draft and len(reply.lease.draft) > 100, description="some words")
        reply.lease.stop.set_result(outcome)

    await asyncio.gather(reply.run(), stop_it())
    assert bench.outcome("t1").ending is Ending.STOPPED
    assert await bench.tokens() > 20


async def test_a_model_that_never_answered_costs_nothing(bench: Bench, tgi: TgiDouble) -> None:
    """The person can ask again, and is told so."""
    tgi.fault("500", times=10)
    await bench.ask("t1")
    await bench.answer()
    assert bench.outcome("t1").ending is Ending.FAILED
    assert bench.outcome("t1").retry
    assert await bench.tokens() == 0


async def test_a_command_that_is_edited_into_a_question_is_asked_for(bench: Bench, tgi: TgiDouble, town: Town) -> None:
    """It was let in for nothing. It counts once, and the next one is refused in the words that a question gets."""
    for name in ("t1", "t2", "t3"):
        await bench.ask(name, "help")
    for name in ("t1", "t2"):
        await bench.queue.amend(name, text="why?")
        await bench.answer()
    assert town.ending("t1") is Ending.COMPLETE
    assert "reached the limit of 1 question a minute" in bench.outcome("t2").note
    assert len(tgi.requests) == 1
    await bench.answer()
    assert "forget" in town.shown("t3"), "help is help"
    assert await bench.is_done("t2")


async def test_how_an_answer_ends_is_shown_again_and_no_model_is_asked(
    bench: Bench, tgi: TgiDouble, town: Town
) -> None:
    """A worker died after it was written down, and before people saw it."""
    await bench.ask("t1")
    job = await bench.take()
    assert await bench.queue.seal(job, Seal("What it was.", Outcome(Ending.LENGTH, "So far.")), [], None)
    await bench.queue.release(job)
    await bench.answer()
    assert (town.shown("t1"), bench.outcome("t1").note) == ("What it was.", "So far.")
    assert tgi.requests == []
    assert await bench.is_done("t1")


async def test_a_job_that_kills_its_workers_is_given_up_and_its_id_told(
    bench: Bench, tgi: TgiDouble, town: Town
) -> None:
    """So that somebody can look for it among the dead letters."""
    await bench.ask("t1")
    for _ in range(3):
        await bench.queue.release(await bench.take(), failed=True)
    await bench.answer()
    note = bench.outcome("t1").note
    assert note.startswith("I crashed on this question 3 times and won't try it again.")
    assert "t1" in note
    assert await bench.letters() == ["3 workers died of it, or failed"]
    assert tgi.requests == []


@pytest.mark.parametrize(
    ("error", "told", "letters"),
    [
        (NotAllowed("not here"), NOT_ALLOWED_THERE, []),
        (PlatformError("never", code="odd"), REPLY_REFUSED.partition("{")[0], ["never"]),
    ],
)
async def test_what_cannot_be_shown_is_told_apart(
    client: redis.asyncio.Redis, tgi: TgiDouble, error: PlatformError, told: str, letters: list[str]
) -> None:
    """With what the answer says, where it was whole; and the turn is done with."""
    town = PrivateTown()
    bench = Bench(client, tgi, town)
    turn = await bench.ask("t1")
    town.open_editor(turn).errors = [error] * 50
    await bench.answer()
    assert len(town.told) == 1
    assert town.told[0].startswith(told)
    assert WOULD_HAVE_POSTED in town.told[0] or not tgi.requests
    assert await bench.letters() == letters
    assert await bench.is_done("t1")


async def test_a_platform_that_is_away_leaves_the_job_to_be_taken_later(
    client: redis.asyncio.Redis, tgi: TgiDouble
) -> None:
    """Nobody is told anything, and nothing is given up."""
    town = PrivateTown()
    bench = Bench(client, tgi, town)
    town.open_editor(await bench.ask("t1")).errors = [PlatformUnavailable("away")] * 1000
    await bench.answer()
    assert town.told == []
    assert await bench.letters() == []
    assert not await bench.is_done("t1")


async def test_a_lost_lease_changes_nothing(bench: Bench, tgi: TgiDouble) -> None:
    """Another worker has the turn: what comes late is neither remembered nor counted."""
    await bench.ask("t1")
    job = await bench.take()
    await bench.queue.release(job)
    newer = await bench.take()
    await bench.reply(job).run()
    assert (await bench.memory.load(CHANNEL)).messages == ()
    assert await bench.tokens() == 0
    await bench.reply(newer).run()
    assert await bench.is_done("t1")
    assert len((await bench.memory.load(CHANNEL)).messages) == 2
