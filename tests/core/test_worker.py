"""Turns are answered in order within a lane, side by side across lanes, and to their end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from core.assistant import Assistant, Manner
from core.backends.tgi import TgiBackend
from core.delivery import Pace
from core.errors import StorageError
from core.memory import RedisMemory
from core.models import one_model
from core.prompts.falcon import FalconTemplate
from core.turns import Turns
from core.types import Author, ConversationKey, Ending, Message, MessageRef, ModelLimits, Turn
from core.worker import WITHDRAWN, Worker
from tests.core.test_delivery import Platform, pace
from tests.doubles.tgi import TgiDouble
from tests.journeys.process import running_redis
from tests.waiting import wait_until

CHANNEL = ConversationKey("slack", "T1", "C1")
LONG = "word " * 400


class Town:
    """A platform with a message for each turn."""

    def __init__(self) -> None:
        self.platforms: dict[str, Platform] = {}

    async def understand(self, turn: Turn) -> Turn:
        return turn

    async def read_thread(self, turn: Turn) -> Sequence[Message]:
        return []

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


@pytest.fixture
async def worker(client: redis.asyncio.Redis, tgi: TgiDouble, town: Town) -> AsyncIterator[Worker]:
    """One worker, which has nothing left to do at the end."""
    manner = Manner("", 0.7, 500, ModelLimits(4000, 4096))
    memory = RedisMemory(client, retention=3600)
    assistant = Assistant(memory, one_model(TgiBackend(tgi.url), FalconTemplate()), manner)
    worker = Worker(assistant, Turns(client), {"slack": town})
    yield worker
    await worker.drain(0.0)


def ask(name: str, lane: str = "a", key: ConversationKey = CHANNEL, root: str = "") -> Turn:
    """A turn in a lane."""
    return Turn(name, key, lane, Author("U1", "Ada"), f"question {name}", 1.0, root=root)


async def test_one_lane_is_answered_in_order(worker: Worker, town: Town, tgi: TgiDouble) -> None:
    """One after the other, each knowing the one before."""
    for name in ("t1", "t2", "t3"):
        worker.submit(ask(name))
    await wait_until(lambda: town.ending("t3"))
    asked = [seen.inputs for seen in tgi.requests if seen.inputs]
    assert [text.count("question") for text in asked] == [1, 3, 5]  # the double's answer quotes the question


async def test_lanes_do_not_wait_for_each_other(worker: Worker, town: Town, tgi: TgiDouble) -> None:
    """A long answer to somebody else holds nobody up."""
    tgi.enqueue(LONG)
    tgi.rate = 50
    worker.submit(ask("slow", "a"))
    await wait_until(lambda: town.shown("slow"))
    tgi.rate = 0
    worker.submit(ask("fast", "b"))
    await wait_until(lambda: town.ending("fast") is Ending.COMPLETE)
    assert town.ending("slow") is None


async def test_a_thread_waits_for_the_answer_it_hangs_on(worker: Worker, town: Town, tgi: TgiDouble) -> None:
    """It starts from that answer."""
    tgi.enqueue("the root's answer")
    tgi.first_after = 0.1
    worker.submit(ask("root", "a"))
    thread = ConversationKey("slack", "T1", "C1", "1.0")
    worker.submit(ask("inside", "b", thread, root="root"))
    await wait_until(lambda: town.ending("inside"))
    assert "the root's answer" in tgi.requests[-1].inputs


async def test_what_does_not_end_in_time_is_marked_and_can_be_tried_again(
    worker: Worker, town: Town, tgi: TgiDouble, client: redis.asyncio.Redis
) -> None:
    """Draining leaves no reply without an end."""
    tgi.answer, tgi.rate = LONG, 50
    worker.submit(ask("t1"))
    worker.submit(ask("t2"))
    await wait_until(lambda: town.shown("t1"))
    await worker.drain(0.05)
    assert town.ending("t1") is Ending.INTERRUPTED
    assert town.ending("t2") in (Ending.INTERRUPTED, Ending.FAILED)
    turns = Turns(client)
    again = await turns.retry(CHANNEL, "t1")
    assert again == (ask("t1"), (MessageRef("C1", "0"),))
    assert await turns.retry(CHANNEL, "t1") is None


async def test_a_turn_that_was_withdrawn_while_it_waited_gets_no_reply(
    worker: Worker, town: Town, tgi: TgiDouble
) -> None:
    """Nobody asks any more."""
    tgi.first_after = 0.05
    worker.submit(ask("t1"))
    worker.submit(ask("t2"))
    assert worker.stop("t2", WITHDRAWN)
    assert not worker.stop("unknown", WITHDRAWN)
    worker.submit(ask("t3"))
    await wait_until(lambda: town.ending("t3"))
    assert "t2" not in town.platforms


async def test_a_claim_that_redis_executed_after_we_gave_up_is_still_ours(tmp_path: Path) -> None:
    """The platform delivers again, and the message is answered."""
    socket = tmp_path / "redis.sock"
    async with running_redis(socket) as server:
        once = Retry(NoBackoff(), 0)
        impatient = redis.asyncio.Redis(
            unix_socket_path=str(socket), socket_timeout=0.1, retry=once, decode_responses=True
        )
        turns = Turns(impatient)
        assert await turns.claim("warm")
        server.send_signal(signal.SIGSTOP)
        with pytest.raises(StorageError):
            await turns.claim("t1")
        server.send_signal(signal.SIGCONT)
        other = redis.asyncio.Redis(unix_socket_path=str(socket), decode_responses=True)
        await wait_until(lambda: other.exists("{parley}:turn:t1"), description="the claim in Redis")
        assert not await Turns(other).claim("t1")
        assert await turns.claim("t1")
        await impatient.aclose()
        await other.aclose()


async def test_a_message_is_claimed_once_by_whoever_comes_first(client: redis.asyncio.Redis) -> None:
    """Among any number of processes."""
    turns = [Turns(client) for _ in range(20)]
    assert sum(await asyncio.gather(*(each.claim("t1") for each in turns))) == 1
    assert not await turns[0].claim("t1")
    assert await turns[0].claim("t2")
