"""Durable turns: what it costs that every message is stored before it is acknowledged, and how soon an heir goes on."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import structlog
from redis.asyncio import Redis

from core.delivery.surface import Pace
from core.memory.conversations import Memory
from core.metrics.tags import tag
from core.store.connection import connect
from core.store.embedded import embedded_redis
from core.store.keys import Keys
from core.turns.queue import TurnQueue
from core.turns.worker import Worker
from tests.bench.figures import Figure, at
from tests.bench.nowhere import NoEditor, NoModel, Nowhere, assistant, turn
from tests.chaos.fleet import sailing
from tests.chaos.people import USERS, People
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
LEASE = 3.0
"""Seconds, instead of the 15 of a deployment: recovery takes a lease, and up to a second more."""
WAITING = "so many words as a person writes in a message of the usual length, more or less, and no more than that"


async def measure(quick: bool) -> list[Figure]:
    """The hop through Redis, turns a second, bytes, a burst of events, and recovery after kills."""
    with tempfile.TemporaryDirectory(prefix="parley-") as folder:
        async with embedded_redis(Path(folder)) as url:
            redis = await connect(url)
            figures = await _hop(redis, 30 if quick else 500)
            figures += await _rates(redis, url, (1,) if quick else (1, 2, 4), 200 if quick else 4000)
            figures += await _bytes(redis, 200 if quick else 2000)
            await redis.aclose()
    figures += await _burst(200 if quick else 10_000)
    return figures + await _recovery(1 if quick else 10)


async def _hop(redis: Redis, turns: int) -> list[Figure]:
    """From a message to the moment in which the model is asked: called directly, and through queue and worker."""
    asked: asyncio.Queue[float] = asyncio.Queue()
    memory = Memory(redis, retention=3600)
    talker = assistant(memory, NoModel(asked.put_nowait))
    queue = TurnQueue(redis, memory, platforms=["nowhere"])
    nowhere = Nowhere()
    worker = Worker(queue, talker, {"nowhere": nowhere})
    direct, durable, accepted = [], [], []
    with _quiet():
        worker.start()
        for number in range(turns):
            pace: Pace = nowhere.pace(one := turn(2 * number, 50))
            begun = time.perf_counter()
            await talker.answer(one, NoEditor(one), pace)
            direct.append(await asked.get() - begun)
            begun = time.perf_counter()
            await queue.submit(turn(2 * number + 1, 50))
            accepted.append(time.perf_counter() - begun)
            durable.append(await asked.get() - begun)
            await wait_until(lambda: not worker.running)
        await worker.drain(1)
    await redis.flushall()
    return [
        *(
            Figure(
                f"from a message to the model being asked, {how}, p{share}",
                round(1000 * at(share / 100, seconds), 2),
                "ms",
            )
            for how, seconds in (("called directly", direct), ("stored, then claimed by a worker", durable))
            for share in (50, 99)
        ),
        Figure("to store a message, p99", round(1000 * at(0.99, accepted), 2), "ms"),
    ]


async def _rates(redis: Redis, url: str, workers: tuple[int, ...], turns: int) -> list[Figure]:
    """Turns a second of so many processes, with a platform and a model that cost nothing."""
    queue = TurnQueue(redis, Memory(redis, retention=3600))
    rates: list[float] = []
    for number in workers:
        async with AsyncExitStack() as stack:
            processes = [await stack.enter_async_context(_worker(url)) for _ in range(number)]
            await wait_until(lambda: _workers(redis, number), timeout=30, description="workers")  # noqa: B023
            # They hold still until all is stored: what is measured is answering.
            for process in processes:
                process.send_signal(signal.SIGSTOP)
            for first in range(0, turns, 100):
                await asyncio.gather(*(queue.submit(turn(one, turns // 10)) for one in range(first, first + 100)))
            begun = time.perf_counter()
            for process in processes:
                process.send_signal(signal.SIGCONT)
            await wait_until(lambda: _done(redis), timeout=120, pause=0.01)
            rates.append(turns / (time.perf_counter() - begun))
        await redis.flushall()
    ratios = list(zip(workers, rates, strict=True))[1:]
    return [
        Figure("turns a second of one worker, platform and model free of cost", round(rates[0]), ""),
        *(
            Figure(
                f"the same with {number} processes on {os.cpu_count()} cores, to one", round(rate / rates[0], 2), "to 1"
            )
            for number, rate in ratios
        ),
    ]


async def _workers(redis: Redis, number: int) -> bool:
    return int(await redis.zcard(Keys.WORKERS)) >= number


async def _done(redis: Redis) -> bool:
    places = [Keys.lanes(place, "nowhere") for place in ("ready", "held")]
    return not sum([await redis.zcard(place) for place in places])


@asynccontextmanager
async def _worker(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of ``tests.bench.nowhere``."""
    command = (sys.executable, "-m", "tests.bench.nowhere")
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env={**os.environ, "REDIS_URL": url})
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


async def _bytes(redis: Redis, turns: int) -> list[Figure]:
    """What a turn takes while it waits, what is left of it when it is done, and what a conversation takes."""
    memory = Memory(redis, retention=3600)
    queue = TurnQueue(redis, memory, platforms=["nowhere"])
    lanes = turns // 10
    empty = await _used(redis)
    for number in range(turns):
        await queue.submit(turn(number, lanes, WAITING))
    waiting = await _used(redis) - empty
    with _quiet():
        worker = Worker(queue, assistant(memory, NoModel()), {"nowhere": Nowhere()})
        worker.start()
        await wait_until(lambda: _done(redis), timeout=120, pause=0.01)
        await worker.drain(1)
    kept = 0
    for number in range(lanes):
        kept += await redis.memory_usage(f"{Keys.CONVERSATIONS}nowhere:T1:C{number}:messages", samples=0) or 0
    done = await _used(redis) - empty - kept
    await redis.flushall()
    return [
        Figure(f"bytes in Redis of a turn that waits, with a text of {len(WAITING)}", round(waiting / turns), ""),
        Figure("bytes in Redis of a turn that is done, for a day, beside what is remembered", round(done / turns), ""),
        Figure("bytes in Redis of a conversation of ten such questions and short answers", round(kept / lanes), ""),
    ]


async def _used(redis: Redis) -> int:
    return int((await redis.info("memory"))["used_memory"])


async def _burst(events: int) -> list[Figure]:
    """So many mentions through a real listener, sent as fast as it takes them with a hundred on the way."""
    with tempfile.TemporaryDirectory(prefix="parley-") as folder:
        async with sailing(Path(folder), LOG_LEVEL="warning") as fleet:
            fleet.slack.channel_messages = False  # one event for each mention
            people = People(fleet)
            channels = people.channels(max(20, events // 30))
            await fleet.listener()
            room = asyncio.Semaphore(100)

            async def tell(number: int) -> None:
                async with room:
                    ts = await fleet.slack.mention(
                        channels[number % len(channels)], f"q{number}w5", user=USERS[number // len(channels) % 3]
                    )
                    event = fleet.slack.events[ts][0]["event_id"]
                    acknowledged = False
                    while not acknowledged:  # at whichever delivery
                        sent = next(e for e in reversed(fleet.slack.envelopes) if e.payload["event_id"] == event)
                        with suppress(TimeoutError):
                            acknowledged = await asyncio.wait_for(sent.acked.wait(), fleet.slack.ack_deadline)

            begun = time.perf_counter()
            await asyncio.gather(*(tell(number) for number in range(events)))
            took = time.perf_counter() - begun
            stored = 0
            async for name in fleet.redis.scan_iter(match="{parley}:lane:*:inbox", count=1000):
                stored += await fleet.redis.llen(name)
            acks = [e.acked_at - e.sent_at for e in fleet.slack.envelopes if e.acked_at and e.sent_at]
            again = sum(bool(e.attempt) for e in fleet.slack.envelopes)
    return [
        Figure("burst: events through one listener", events, ""),
        Figure("burst: events a second", round(events / took), ""),
        Figure("burst: events lost", events - stored, ""),
        Figure("burst: delivered again", again, ""),
        Figure("burst: acknowledged after, p50", round(1000 * at(0.5, acks)), "ms"),
        Figure("burst: acknowledged after, p99", round(1000 * at(0.99, acks)), "ms"),
    ]


async def _recovery(rounds: int) -> list[Figure]:
    """From the SIGKILL of a worker in the middle of an answer to the next one that goes on with it."""
    seconds = []
    with tempfile.TemporaryDirectory(prefix="parley-") as folder:
        async with sailing(Path(folder), lease=LEASE) as fleet:
            fleet.tgi.rate = 20
            people = People(fleet)
            await fleet.listener()
            async with fleet.kept(2):
                for channel in people.channels(rounds):
                    question = await people.ask(channel, words=40)
                    await fleet.until(lambda: tag(question.turn) in fleet.holders())  # noqa: B023
                    holder = fleet.holders()[tag(question.turn)]
                    victim = next(member for member in fleet.workers if member.pid == holder.pid)
                    victim.kill()
                    await fleet.until(lambda: fleet.holders()[tag(question.turn)].epoch > holder.epoch)  # noqa: B023
                    seconds.append(fleet.holders()[tag(question.turn)].at - victim.killed_at)
    name = f"from a worker's death to its heir, with a lease of {LEASE:g} s"
    return [
        Figure(f"{name}, p50", round(at(0.5, seconds), 2), "s"),
        Figure(f"{name}, p95", round(at(0.95, seconds), 2), "s"),
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without a line for each answer."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.configure(**before)
