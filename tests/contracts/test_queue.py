"""What every queue of turns promises; run against each redis-server that is here."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from core.errors import StorageError
from core.memory.conversations import Memory
from core.quotas import Quota, Quotas
from core.store.keys import Keys
from core.turns.intake import MAX_LANE_TURNS
from core.turns.jobs import Note, StoredJob
from core.turns.queue import TurnQueue
from core.types import MessageRef
from tests.contracts.queueing import CHANNEL, STOP, Open, answered, ask, expire, take, take_one
from tests.redis_server import running_redis
from tests.waiting import wait_until


async def test_a_message_is_accepted_once_by_whoever_comes_first(open_queue: Open) -> None:
    """Among any number of processes, and for 24 hours."""
    receipts = await asyncio.gather(*(open_queue().submit(ask("t1")) for _ in range(20)))
    assert sorted(receipt.status for receipt in receipts) == ["accepted"] + ["duplicate"] * 19
    job = await take_one(open_queue(), "t1")
    assert await open_queue().commit(job, answered(job)) == "done"
    assert (await open_queue().submit(ask("t1"))).status == "duplicate"


async def test_turns_of_a_lane_are_given_one_after_the_other(queue: TurnQueue) -> None:
    """The next one when the one before is committed."""
    for name in ("t1", "t2"):
        assert (await queue.submit(ask(name))).accepted
    job = await take_one(queue, "t1")
    assert await take(queue) == ()
    assert await queue.commit(job, answered(job)) == "done"
    await take_one(queue, "t2")


async def test_memory_and_completion_are_one_step_that_may_be_repeated(queue: TurnQueue, memory: Memory) -> None:
    """A call that is sent twice remembers once."""
    await queue.submit(ask("t1"))
    await queue.submit(ask("t2"))
    job = await take_one(queue, "t1")
    for _ in range(2):
        assert await queue.commit(job, answered(job)) == "done"
    assert [message.text for message in (await memory.load(CHANNEL)).messages] == ["question t1", "so be it"]
    await take_one(queue, "t2")


async def test_a_full_lane_says_so_and_takes_the_message_later(queue: TurnQueue) -> None:
    """Nothing is dropped silently."""
    for number in range(MAX_LANE_TURNS):
        receipt = await queue.submit(ask(f"t{number}"))
        assert (receipt.accepted, receipt.before) == (True, number)
    assert receipt.note == "You're in line: 19 questions are ahead of yours."
    busy = await queue.submit(ask("one too many"))
    assert busy.status == "busy"
    assert "20 questions are waiting here already" in busy.note
    job = await take_one(queue, "t0")
    await queue.commit(job, None)
    assert (await queue.submit(ask("one too many"))).accepted


@pytest.mark.parametrize(
    ("quotas", "said"),
    [
        (Quotas(user=Quota(turns=3)), "You've reached the limit of 3 questions a minute. Try again in"),
        (Quotas(user=Quota(queued=3)), "You already have 3 questions waiting, the most allowed."),
        (Quotas(channel=Quota(turns=3)), "This channel has reached the limit of 3 questions a minute."),
        (Quotas(workspace=Quota(queued=3)), "All of us together already have 3 questions waiting"),
    ],
)
async def test_who_reaches_a_quota_is_told_and_may_ask_later(
    redis_client: redis.asyncio.Redis, memory: Memory, quotas: Quotas, said: str
) -> None:
    """Counted for all processes together; nothing of what was refused is kept."""
    queues = [TurnQueue(redis_client, memory, platforms=["slack"], quotas=quotas) for _ in range(4)]
    for number, queue in enumerate(queues[:3]):
        assert (await queue.submit(ask(f"t{number}", f"slack:{number}"))).accepted
    refused = await queues[3].submit(ask("t3", "slack:3"))
    assert refused.status == "quota"
    assert said in refused.note
    assert (await queues[3].submit(ask("t0", "slack:0"))).status == "duplicate"
    for job in await take(queues[0]):
        await queues[0].commit(job, None)
    await redis_client.delete(*await redis_client.keys("{parley}:quota:*:turns") or ["none"])  # a minute later
    assert (await queues[3].submit(ask("t3", "slack:3"))).accepted


async def test_tokens_of_a_day_are_counted_when_they_are_used(
    redis_client: redis.asyncio.Redis, memory: Memory
) -> None:
    """Once, although a commit is sent twice; admins are exempt."""
    quotas = Quotas(user=Quota(tokens=100), admins=frozenset({"U9"}))
    queue = TurnQueue(redis_client, memory, platforms=["slack"], quotas=quotas)
    for number in range(2):
        await queue.submit(ask(f"t{number}"))
        job = await take_one(queue, f"t{number}")
        for _ in range(2):
            await queue.commit(job, replace(answered(job), tokens=50))
    refused = await queue.submit(ask("t2"))
    assert refused.status == "quota"
    assert "100 tokens" in refused.note
    assert (await queue.submit(ask("t3", "slack:admin", user="U9"))).accepted


async def test_people_are_served_in_turn(queue: TurnQueue) -> None:
    """Whoever asks twenty times at once stands behind whoever asks once."""
    for number in range(20):
        await queue.submit(ask(f"many{number}", f"slack:many{number}", user="U1"))
    for number in range(3):
        await queue.submit(ask(f"few{number}", f"slack:few{number}", user=f"U2{number}"))
    first = [job.turn.id for job in await take(queue, 4)]
    assert first[0] == "many0"
    assert sorted(first[1:]) == ["few0", "few1", "few2"]


async def test_a_thread_waits_for_its_root(queue: TurnQueue) -> None:
    """It starts from that answer; a root that nobody knows holds nobody up."""
    await queue.submit(ask("root"))
    await queue.submit(ask("inside", "slack:thread", root="root"))
    await queue.submit(ask("elsewhere", "slack:other", root="unknown", user="U2"))
    jobs = {job.turn.id: job for job in await take(queue)}
    assert sorted(jobs) == ["elsewhere", "root"]
    await queue.commit(jobs["root"], None)
    await take_one(queue, "inside")


async def test_a_note_reaches_who_answers_and_who_will(queue: TurnQueue) -> None:
    """Bound to its turn: a late Stop cannot end the next one."""
    await queue.submit(ask("t1"))
    await queue.submit(ask("t2"))
    assert await queue.amend("t2", text="better", files="a.pdf")
    job = await take_one(queue, "t1")
    assert await queue.stop("t1", STOP)
    [notes] = (await queue.beat({job: ""})).values()
    assert notes and Note.from_json(notes[0]).stop == STOP  # noqa: PT018
    newer = await queue.commit(job, answered(job))
    assert newer == notes, "what is committed knows all that is known"
    assert await queue.commit(replace(job, notes=notes), answered(job)) == "done"
    assert not await queue.stop("t1", STOP)
    job = await take_one(queue, "t2")
    note = Note.from_json(job.notes[0])
    assert (note.stop, note.text, note.place) == (None, "better", {"files": "a.pdf"})


async def test_a_signal_is_heard_in_every_process(open_queue: Open, redis_client: redis.asyncio.Redis) -> None:
    """While nothing happens, too, for longer than a socket's timeout would last."""
    heard: list[str] = []

    async def listen() -> None:
        async for lane in open_queue().signals():
            heard.append(lane)  # noqa: PERF401

    listening = asyncio.create_task(listen())
    await wait_until(lambda: redis_client.pubsub_numsub(Keys.SIGNALS), description="a subscriber")
    queue = open_queue()
    await queue.submit(ask("t1"))

    async def stopped() -> bool:
        return await queue.stop("t1", STOP) and bool(heard)

    await wait_until(stopped)
    assert set(heard) == {"slack:a"}
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_waiting_ends_when_there_is_something_to_do(open_queue: Open) -> None:
    """One is woken, and wakes the next if there is more than it takes."""
    waiting = [asyncio.create_task(open_queue().wait(10.0)) for _ in range(2)]
    queue = open_queue()
    await queue.submit(ask("t1"))
    await queue.submit(ask("t2", "slack:b"))
    await wait_until(lambda: any(task.done() for task in waiting))
    await take(queue, 1)
    await asyncio.wait_for(asyncio.gather(*waiting), 8)


async def test_waiting_messages_are_taken_together_where_that_is_set(
    open_queue: Open, redis_client: redis.asyncio.Redis
) -> None:
    """As many as there were at first, whoever goes on; commands stand alone."""
    queue = open_queue(follow_up="merge")
    for name in ("t1", "t2"):
        await queue.submit(ask(name))
    await queue.submit(ask("command", text="forget"))
    await queue.submit(ask("t4"))
    job = await take_one(queue, "t2")
    assert [stored.turn.id for stored in job.stored] == ["t1", "t2"]
    await expire(redis_client)
    job = await take_one(queue, "t2")
    assert len(job.stored) == 2
    assert await queue.commit(job, None) == "done"
    await queue.commit(await take_one(queue, "command"), None)
    await take_one(queue, "t4")


async def test_a_kept_turn_is_asked_again_once(queue: TurnQueue) -> None:
    """Over the messages of its reply, the one with the button included; a correction reaches it."""
    await queue.submit(ask("t1"))
    job = await take_one(queue, "t1")
    kept = StoredJob(replace(job.turn, attempt=1), (MessageRef("C1", "1.0"),), alone=True)
    await queue.seal(job, answered(job), [], kept)
    await queue.commit(job, None)
    await queue.correct_kept(CHANNEL, "t1", "better")
    pressed = MessageRef("C1", "2.0")
    assert (await queue.retry(CHANNEL, "t1", pressed, "U1")).accepted
    assert (await queue.retry(CHANNEL, "t1", pressed, "U1")).status == "duplicate"
    assert await queue.is_open("t1")
    [again] = await take(queue)
    assert (again.id, again.turn.text) == ("t1#1", "better")
    assert again.stored[0].refs == (MessageRef("C1", "1.0"), pressed)


async def test_a_kept_turn_is_dropped_after_a_day(queue: TurnQueue, redis_client: redis.asyncio.Redis) -> None:
    """Each by itself, although others are kept in the conversation every day."""
    day = 86_400
    for number, age in enumerate([2 * day, day + 1, day - 60, 0]):
        await queue.submit(ask(f"t{number}"))
        job = await take_one(queue, f"t{number}")
        kept = StoredJob(replace(job.turn, attempt=1), since=time.time() - age)
        await queue.seal(job, answered(job), [], kept)
        await queue.commit(job, None)
    assert set(await redis_client.hkeys(Keys.retries(CHANNEL))) == {"t2", "t3"}


async def test_a_turn_that_is_asked_again_before_its_end_is_committed_stays_open(queue: TurnQueue) -> None:
    """The button is there a moment before; who pressed it can stop, correct and find what they asked for."""
    await queue.submit(ask("t1"))
    job = await take_one(queue, "t1")
    assert await queue.stop("t1", STOP)
    kept = StoredJob(replace(job.turn, attempt=1), (MessageRef("C1", "1.0"),), alone=True)
    await queue.seal(job, answered(job), [], kept)
    assert (await queue.retry(CHANNEL, "t1", MessageRef("C1", "1.0"), "U1")).accepted
    assert await queue.amend("t1", text="better")
    notes = await queue.commit(job, None)
    assert isinstance(notes, tuple)
    assert await queue.commit(replace(job, notes=notes), None) == "done"
    assert await queue.is_open("t1")
    [again] = await take(queue)
    assert again.id == "t1#1"
    assert Note.from_json(again.notes[0]) == Note(text="better"), "the stop was for the one before"
    assert await queue.find("t1")
    assert await queue.stop("t1", STOP)
    stopped = (await queue.beat({again: ""}))[again]
    assert stopped
    await queue.commit(replace(again, notes=stopped), None)
    assert not await queue.is_open("t1")


async def test_jobs_of_a_newer_version_are_left_to_newer_workers(
    queue: TurnQueue, redis_client: redis.asyncio.Redis
) -> None:
    """Two versions run side by side while one takes over; what an older one stored is read."""
    await queue.submit(ask("t1"))
    await queue.submit(ask("t2", "slack:b"))
    [stored] = await redis_client.lrange(Keys.inbox("slack:a"), 0, -1)
    record = json.loads(str(stored))
    await redis_client.lset(Keys.inbox("slack:a"), 0, json.dumps(record | {"v": 2, "new": "field"}))
    assert [job.turn.id for job in await take(queue)] == ["t2"]
    old = record | {"v": 1}
    del old["turn"]["root"], old["turn"]["root_at"], old["turn"]["attempt"]
    old["turn"]["root"] = ""
    await redis_client.lset(Keys.inbox("slack:a"), 0, json.dumps(old))
    await take_one(queue, "t1")


async def test_turns_of_other_platforms_are_left_to_those_who_can_answer_them(open_queue: Open) -> None:
    """A worker without Discord's token takes nothing of Discord's."""
    await open_queue().submit(ask("t1", "discord:a"))
    assert await take(open_queue()) == ()
    assert len(await take(open_queue(platform="discord"))) == 1


async def test_lanes_that_stand_nowhere_are_found_again(queue: TurnQueue, redis_client: redis.asyncio.Redis) -> None:
    """Whatever an operator's hand did."""
    await queue.submit(ask("t1"))
    await redis_client.delete(Keys.lanes("ready", "slack"), Keys.bell("slack"))
    assert await take(queue) == ()
    assert await queue.requeue_orphans() == 1
    assert await queue.requeue_orphans() == 0
    await take_one(queue, "t1")


async def test_scripts_that_redis_forgot_are_sent_again(queue: TurnQueue, redis_client: redis.asyncio.Redis) -> None:
    """After SCRIPT FLUSH, or a restart."""
    await queue.submit(ask("t1"))
    await redis_client.script_flush()
    job = await take_one(queue, "t1")
    await redis_client.script_flush()
    assert await queue.commit(job, answered(job)) == "done"


async def test_nothing_lives_for_ever(queue: TurnQueue, redis_client: redis.asyncio.Redis) -> None:
    """Every key has a time to live, whatever happened."""
    for name in ("t1", "t2", "t3"):
        await queue.submit(ask(name))
    await queue.submit(ask("inside", "slack:thread", root="t1"))
    job = await take_one(queue, "t1")
    await queue.stop("t1", STOP)
    await queue.beat({job: "text"})
    await queue.mark(job, posting=0, refs=[], text="text")
    await queue.seal(job, answered(job), [], StoredJob(job.turn))
    for key in await redis_client.keys("*"):
        assert await redis_client.ttl(key) > 0, key
    newer = await queue.commit(job, None, dead="as an example")
    assert not isinstance(newer, str)
    await queue.commit(replace(job, notes=newer), None, dead="as an example")
    for each in await take(queue):
        await queue.release(each, wait=5)
    await queue.first("hello")
    for key in await redis_client.keys("*"):
        assert await redis_client.ttl(key) > 0, key


async def test_a_message_that_redis_took_after_we_gave_up_is_known_when_it_comes_again(tmp_path: Path) -> None:
    """The platform delivers again, and it counts as accepted."""
    socket = tmp_path / "redis.sock"
    async with running_redis(socket) as server:
        once = Retry(NoBackoff(), 0)
        impatient = redis.asyncio.Redis(
            unix_socket_path=str(socket), socket_timeout=0.2, retry=once, decode_responses=True
        )
        queue = TurnQueue(impatient, Memory(impatient, retention=60), platforms=["slack"])
        assert (await queue.submit(ask("warm", "slack:b"))).accepted
        server.signal(signal.SIGSTOP)
        with pytest.raises(StorageError):
            await queue.submit(ask("t1"))
        server.signal(signal.SIGCONT)
        patient = redis.asyncio.Redis(unix_socket_path=str(socket), decode_responses=True)
        other = TurnQueue(patient, Memory(patient, retention=60), platforms=["slack"])
        await wait_until(lambda: other.is_open("t1"), description="the turn in Redis")
        assert (await other.submit(ask("t1"))).status == "duplicate"
        assert (await queue.submit(ask("t1"))).accepted
        assert len(await take(other)) == 2
        await impatient.aclose()
        await patient.aclose()
