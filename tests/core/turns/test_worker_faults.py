"""What goes wrong ends one turn at the most, and no loop of a worker."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import replace

import pytest
import redis.asyncio
from structlog.testing import capture_logs

from bots.health.health import Health
from core.errors import PlatformError, PlatformUnavailable, StorageFault
from core.memory.conversations import Memory
from core.memory.exchange import Exchange
from core.metrics.meters import isolated_values as metrics_apart
from core.turns.jobs import Job
from core.turns.operator import Operator
from core.turns.queue import TurnQueue
from core.types import ConversationKey, Ending, Turn
from tests.core.delivery.platform import Platform
from tests.core.turns.office import Office, Town, ask
from tests.waiting import wait_until


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


@pytest.mark.parametrize("loop", ["claim", "beat", "signals", "requeue_orphans", "wait"])
@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, RecursionError, StorageFault])
async def test_a_loop_survives_whatever_it_meets(
    office: Office, town: Town, monkeypatch: pytest.MonkeyPatch, loop: str, error: type[BaseException]
) -> None:
    """It is counted, and the loop goes on: whoever asks afterwards is answered, and what was stopped is."""
    queue, failures = TurnQueue, 0
    real = getattr(queue, loop)

    def fail(self: TurnQueue, *args: object, **named: object) -> object:
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
        kind = {"beat": "beats", "signals": "signals", "requeue_orphans": "housekeeping"}.get(loop, "claims")
        assert values.numbers["parley_loop_faults_total"] == {(kind,): 2.0}
    assert all(last() > 0 for last in worker.progress().values())


async def test_a_loop_that_has_ended_is_seen(office: Office) -> None:
    """Whatever ended it, /livez knows at once."""
    worker = office.hire()
    health = Health()
    with ExitStack() as stack:
        for name, last in worker.progress().items():
            stack.enter_context(health.watch_loop(name, last))
        assert [finding.level for finding in health.live()] == ["ok"] * 5
        task = worker._loops["beats"]
        for _ in range(3):  # before Python 3.12 a cancellation can be lost
            task.cancel()
            await asyncio.wait({task}, timeout=1)
        [wrong] = [finding for finding in health.live() if finding.level != "ok"]
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
    real = Memory.arguments

    def arguments(self: Memory, exchange: Exchange) -> dict[str, object]:
        values = real(self, exchange)
        if exchange.question == "t1":
            match broken:
                case "commit.lua":
                    values["ttl"] = "no number of seconds"
                case "a value that cannot be sent":
                    values["cut"] = "\ud800"
                case _:
                    raise TypeError(exchange)
        return values

    monkeypatch.setattr("core.turns.reply.COMMIT_RETRY", 0.01)
    monkeypatch.setattr(Memory, "arguments", arguments)
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
    real, failed = getattr(TurnQueue, step), 0

    async def fail(self: TurnQueue, job: Job, *args: object, **named: object) -> object:
        nonlocal failed
        if job.turn.id == "t1":
            failed += 1
            raise StorageFault("Redis could not do that: ERR")
        return await real(self, job, *args, **named)

    monkeypatch.setattr(TurnQueue, step, fail)
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
