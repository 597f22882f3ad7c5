"""What cannot be read costs itself and nothing beside it, whatever stands in Redis."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st

from bots.web.board import Boards, Entry
from core.memory.conversations import Memory
from core.memory.exchange import Exchange, Thread
from core.memory.feedback import Feedback
from core.quotas import Quota, Quotas
from core.store.catalog import kind_of
from core.store.keys import Keys
from core.stored import Unreadable
from core.turns.jobs import Job, Note, Seal, StoredJob
from core.turns.operator import Operator
from core.turns.queue import TurnQueue
from core.turns.timings import Timing, Timings
from core.types import Author, ConversationKey, ConversationSettings, Ending, Message, MessageRef, Outcome, Role, Turn
from tests.examples import examples

CHANNEL = ConversationKey("slack", "T1", "C1")
THREAD = ConversationKey("slack", "T1", "C1", "1.0")
LANE = "slack:a"
DONE = Outcome(Ending.COMPLETE)


def turn(name: str, lane: str = LANE, user: str = "U1") -> Turn:
    """A turn in a lane."""
    return Turn(name, CHANNEL, lane, Author(user, "Ann"), f"question {name}", 1.0)


def answered(job: Job) -> Seal:
    """An answer to a job, with what is remembered of it."""
    question = Message(Role.USER, job.turn.text, id=job.turn.id, author=job.turn.author, at=1.0)
    answer = Message(Role.ASSISTANT, "so be it", id=f"{job.turn.id}/answer", at=2.0, reply_to=job.turn.id)
    return Seal("so be it", DONE, Exchange(job.turn.key, 0, job.turn.id, "", (question, answer)), tokens=5)


GOOD = json.loads(StoredJob(turn("t1"), (MessageRef("C1", "1"),), scopes=("user:slack:U1",)).to_json())
NUMBERS = [float("nan"), float("inf"), 1e300, 10**30, -1, 1.5, "7", [7], None, True]
BAD_JOBS = [
    "",
    "no JSON",
    "[]",
    "7",
    "null",
    '"text"',
    "{}",
    "[" * 100_000,
    '{"v":1}',
    json.dumps(GOOD)[:-5],
    json.dumps(GOOD | {"v": "one"}),
    json.dumps(GOOD | {"v": float("nan")}),
    json.dumps(GOOD | {"v": -3}),
    json.dumps(GOOD | {"turn": []}),
    json.dumps(GOOD | {"turn": "t1"}),
    json.dumps(GOOD | {"refs": [["C1"]]}),
    json.dumps(GOOD | {"refs": {"a": 1}}),
    json.dumps(GOOD | {"scopes": 7}),
    json.dumps(GOOD | {"alone": "yes"}),
    json.dumps(GOOD | {"id": None}),
    *(
        json.dumps({name: value for name, value in GOOD.items() if name != missing})
        for missing in ("turn", "refs", "v")
    ),
    *(
        json.dumps(GOOD | {"turn": {name: value for name, value in GOOD["turn"].items() if name != missing}})
        for missing in ("id", "key", "lane", "uid", "text", "at")
    ),
    *(json.dumps(GOOD | {"turn": GOOD["turn"] | {"at": number}}) for number in NUMBERS if number != 1.5),
    *(json.dumps(GOOD | {"turn": GOOD["turn"] | {"attempt": number}}) for number in NUMBERS),
    json.dumps(GOOD | {"turn": GOOD["turn"] | {"place": {"channel": 7}}}),
    json.dumps(GOOD | {"turn": GOOD["turn"] | {"key": "nowhere"}}),
    json.dumps(GOOD | {"turn": GOOD["turn"] | {"lane": "slack:somewhere else"}}),
]


@pytest.fixture
def memory(client: redis.asyncio.Redis) -> Memory:
    """Where the queue puts what was said."""
    return Memory(client, retention=3600)


@pytest.fixture
def queue(client: redis.asyncio.Redis, memory: Memory) -> TurnQueue:
    """The queue, as one process sees it."""
    quotas = Quotas(user=Quota(turns=100, tokens=1000, queued=50))
    return TurnQueue(client, memory, platforms=["slack"], lease=60, quotas=quotas, follow_up="merge")


async def take(queue: TurnQueue) -> Sequence[Job]:
    """All that there is to be taken, for a worker that looks until there is nothing more."""
    jobs: list[Job] = []
    for _ in range(9):
        jobs += (await queue.claim(16, idle=not jobs)).jobs
    return jobs


@pytest.mark.parametrize("number", range(len(BAD_JOBS)))
async def test_an_unreadable_job_is_a_dead_letter_and_its_lane_goes_on(
    queue: TurnQueue, client: redis.asyncio.Redis, number: int
) -> None:
    """Whether it stands before, between or behind others; and neighbours never notice."""
    await queue.submit(turn("before"))
    await queue.submit(turn("t1"))
    await queue.submit(turn("after"))
    await queue.submit(turn("beside", "slack:b", "U2"))
    await client.lset(Keys.inbox(LANE), 1, BAD_JOBS[number])
    await client.lpush(Keys.inbox(LANE), BAD_JOBS[number])
    seen = []
    for _ in range(4):
        for job in await take(queue):
            seen += [stored.turn.id for stored in job.stored]
            assert await queue.commit(job, answered(job)) == "done"
    assert sorted(seen) == ["after", "before", "beside"]
    letters = await Operator(client).dead_letters()
    assert len(letters) == 2
    assert all(letter.why for letter in letters)
    assert await client.llen(Keys.inbox(LANE)) == 0
    assert await queue.requeue_orphans() == 0


@pytest.mark.parametrize("number", range(len(BAD_JOBS)))
async def test_a_letter_that_cannot_be_read_hides_no_other(
    queue: TurnQueue, client: redis.asyncio.Redis, number: int
) -> None:
    """All are listed, can be dropped, and are answered again if they can be."""
    operator = Operator(client)
    await queue.submit(turn("t2"))
    [job] = await take(queue)
    await queue.commit(job, None, dead="as an example")
    bad = BAD_JOBS[number]
    await client.rpush(Keys.DEAD, bad, '{"v":1,"at":1.0,"tries":1,"why":"so","job":' + bad + "}")
    letters = await operator.dead_letters()
    assert len({letter.name for letter in letters}) == 3
    replayed = [await operator.replay(letter) for letter in letters]
    assert replayed[0]
    assert "t2" not in [letter.name for letter in await operator.dead_letters()]
    for letter in await operator.dead_letters():
        assert await operator.drop(letter)
    assert await operator.dead_letters() == []
    again = await take(queue)
    assert "t2" in [job.turn.id for job in again]


KINDS: dict[str, Callable[[redis.asyncio.Redis, str], Any]] = {
    "string": lambda client, key: client.set(key, "x", ex=1000),
    "list": lambda client, key: client.rpush(key, "x"),
    "hash": lambda client, key: client.hset(key, "x", "y"),
    "set": lambda client, key: client.sadd(key, "x"),
    "zset": lambda client, key: client.zadd(key, {"x": 1}),
    "stream": lambda client, key: client.xadd(key, {"x": "y"}),
}
KEYS = [
    Keys.inbox(LANE),
    Keys.lane_state(LANE),
    Keys.turn("t1"),
    Keys.turn("t1") + "/waiting",
    Keys.lanes("ready", "slack"),
    Keys.lanes("held", "slack"),
    Keys.lanes("suspects", "slack"),
    Keys.bell("slack"),
    "{parley}:clock:slack",
    "{parley}:clock:slack:U1",
    "{parley}:quarantine",
    "{parley}:quota:user:slack:U1:turns",
    "{parley}:quota:user:slack:U1:open",
    Keys.EPOCH,
    Keys.WORKERS,
    Keys.DEAD,
    Keys.messages(CHANNEL),
    Keys.state(CHANNEL),
    Keys.forks(CHANNEL),
    Keys.settings(CHANNEL),
    Keys.retries(CHANNEL),
    Keys.board(CHANNEL),
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("moment", ["before", "waiting", "held"])
async def test_a_key_of_the_wrong_kind_stops_nobody(
    queue: TurnQueue, memory: Memory, client: redis.asyncio.Redis, key: str, moment: str
) -> None:
    """At whatever moment it appears: other lanes are answered, and so is what is asked from then on."""
    boards = Boards(client, retention=3600)

    async def break_it(kind: str) -> None:
        await client.delete(key)
        await KINDS[kind](client, key)

    for number, kind in enumerate(KINDS):
        if kind == kind_of(key):
            continue
        lost, later = f"lost{number}", f"later{number}"
        if moment == "before":
            await break_it(kind)
        assert (await queue.submit(turn(lost))).accepted
        if moment == "waiting":
            await break_it(kind)
        jobs = list(await take(queue))
        if moment == "held":
            await break_it(kind)
        await queue.beat(dict.fromkeys(jobs, "so far"))
        for job in jobs:
            kept = StoredJob(job.turn)
            await queue.mark(job, posting=0, refs=[], text="text")
            await queue.seal(job, answered(job), [MessageRef("C1", "1")], kept)
            await queue.commit(job, answered(job))
        await memory.load(CHANNEL)
        await memory.load(THREAD, Thread("t1", 1.0))
        await boards.show(CHANNEL, Entry.of(turn(lost)))
        await queue.set_aside_damaged_keys()
        assert all(letter.why for letter in await Operator(client).dead_letters())
        await queue.requeue_orphans()
        await client.zadd(Keys.lanes("held", "slack"), {LANE: 1}, xx=True)
        for name in (LANE, "slack:b"):
            assert (await queue.submit(turn(f"{later}/{name}", name))).accepted
        jobs = [*await take(queue)]
        for _ in range(2):
            for job in jobs:
                notes = await queue.beat({job: ""})
                assert notes[job] is not None
                assert await queue.commit(job, answered(job)) == "done"
            jobs = [*await take(queue)]
        for name in (LANE, "slack:b"):
            assert not await queue.is_open(f"{later}/{name}")
        await memory.forget(CHANNEL)


FIELDS = ["tries", "count", "refs", "text", "intent", "seal", "width", "limit", "tells", "owner", "note:t1", "last"]
VALUES = ["", "x", "nan", "inf", "-5", "1e999", "99999999999999999999", "[]", "{}", "[[1]]", '{"stop":7}', "[" * 5000]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", VALUES)
async def test_a_lanes_state_can_hold_anything(
    queue: TurnQueue, memory: Memory, client: redis.asyncio.Redis, field: str, value: str
) -> None:
    """What an earlier worker left of a turn is of use only if it can be read."""
    await queue.submit(turn("t1"))
    assert await take(queue)
    await client.hset(Keys.lane_state(LANE), field, value)
    await client.zadd(Keys.lanes("held", "slack"), {LANE: 1})
    [again] = await take(queue)
    assert again.turn.id == "t1"
    assert await queue.stop("t1", DONE)
    notes = (await queue.beat({again: "more"}))[again]
    assert notes is not None
    assert Note.from_json(notes[0]).stop == DONE
    result = await queue.commit(again, answered(again))
    if isinstance(result, tuple):
        result = await queue.commit(replace(again, notes=result), answered(again))
    assert result == "done"
    assert [message.text for message in (await memory.load(CHANNEL)).messages] == ["question t1", "so be it"]


COUNTS = {
    Keys.EPOCH: None,
    "{parley}:clock:slack": None,
    "{parley}:clock:slack:U1": None,
    "{parley}:quarantine": None,
    Keys.state(CHANNEL): ["bytes", "epoch", "changes", "cut", "folded", "summary", "stranger"],
}


@pytest.mark.parametrize("key", COUNTS)
@pytest.mark.parametrize("value", VALUES)
async def test_counters_can_hold_anything(
    queue: TurnQueue, memory: Memory, client: redis.asyncio.Redis, key: str, value: str
) -> None:
    """They are counted on with, or begin anew."""
    for field in COUNTS[key] or [""]:
        await (client.hset(key, field, value) if field else client.set(key, value))
        name = f"t/{field}"
        assert (await queue.submit(turn(name))).accepted
        [job] = await take(queue)
        epoch = (await memory.load(CHANNEL)).epoch
        seal = answered(job)
        assert seal.exchange
        await queue.commit(job, Seal("so be it", DONE, Exchange(CHANNEL, epoch, name, "", seal.exchange.messages)))
        assert not await queue.is_open(name)
        assert "so be it" in [message.text for message in (await memory.load(CHANNEL)).messages]
        assert await memory.correct(CHANNEL, name, "better")
        assert await memory.withdraw(CHANNEL, name)
        await memory.forget(CHANNEL)


@pytest.mark.parametrize("tokens", [10**30, 2**63, -5, 1.5, float("nan"), float("inf"), "7", [7], None])
@pytest.mark.parametrize("kept", ["0", "x", "9223372036854775807", "nan"])
async def test_whatever_a_server_counts_can_be_committed(
    queue: TurnQueue, client: redis.asyncio.Redis, tokens: Any, kept: str
) -> None:
    """And whatever stood in the quota before: its next question finds a number there."""
    day = (await client.time())[0] // 86400
    quota = f"{{parley}}:quota:user:slack:U1:tokens:{day}"
    await queue.submit(turn("t1"))
    [job] = await take(queue)
    await client.set(quota, kept, ex=1000)
    seal = answered(job)
    assert await queue.commit(job, Seal(seal.text, DONE, seal.exchange, tokens)) == "done"
    assert (await queue.submit(turn("t2"))).status in ("accepted", "quota")


async def test_a_kept_turn_that_cannot_be_read_is_gone(queue: TurnQueue, client: redis.asyncio.Redis) -> None:
    """Whoever presses its button is told, and the next one is not in its way."""
    bad: Any
    for number, bad in enumerate([*BAD_JOBS, b"\xff"]):
        await client.hset(Keys.retries(CHANNEL), f"t{number}", bad)
        await queue.correct_kept(CHANNEL, f"t{number}", "better")
        await queue.retry(CHANNEL, f"t{number}", MessageRef("C1", "1"), "U1")
        while jobs := await take(queue):
            for job in jobs:
                await queue.commit(job, None)
    assert await client.hlen(Keys.retries(CHANNEL)) == 0
    assert await client.llen(Keys.inbox(LANE)) == 0


async def test_boards_timings_and_marks_pass_over_what_cannot_be_read(client: redis.asyncio.Redis) -> None:
    """The rest is shown."""
    boards, timings = Boards(client, retention=3600), Timings(client)
    await boards.show(CHANNEL, Entry.of(turn("t1")))
    for number, bad in enumerate(BAD_JOBS):
        await client.hset(Keys.board(CHANNEL), f"b{number}", bad)
        await client.rpush(Keys.TIMINGS, bad)
    for number in range(130):
        await boards.show(CHANNEL, Entry.of(turn(f"u{number}")))
    assert len(await boards.entries(CHANNEL)) >= 90
    await timings.keep(Timing(1.0, "slack", None, 1.0, 5, 1))
    assert len(await timings.last()) == 1
    await client.hset(Keys.feedback("t1"), "U1", "sideways")
    assert await Feedback(client).ratings("t1") == {"up": 0, "down": 0}


NAMES = st.sampled_from([*GOOD, *GOOD["turn"], "role", "stop", "outcome", "exchange", "tokens", "author", "stage"])
SCALARS = st.none() | st.booleans() | st.floats() | st.integers() | st.text()


@given(st.recursive(SCALARS, lambda one: st.lists(one, max_size=3) | st.dictionaries(NAMES, one, max_size=6)))
@examples(300)
def test_readers_raise_nothing_but_that_it_cannot_be_read(value: Any) -> None:
    """For any JSON."""
    text = json.dumps(value)
    for read in (StoredJob.from_json, Message.from_json, Seal.from_json, Timing.from_json, Entry.from_json):
        with suppress(Unreadable):
            read(text)
    Note.from_json(text)
    ConversationSettings.from_json(text)
