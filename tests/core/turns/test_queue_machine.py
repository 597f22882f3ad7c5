"""The queue under any order of events: nothing is lost, nothing is answered twice, and no lane stands nowhere."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from core.memory.conversations import Memory
from core.memory.exchange import Exchange
from core.store.connection import connect
from core.store.keys import Keys
from core.turns.jobs import Job, Seal, StoredJob
from core.turns.queue import TurnQueue
from core.types import Author, ConversationKey, Ending, Message, MessageRef, Outcome, Role, Turn
from tests.examples import examples

T = TypeVar("T")
NAMES = ["slack:a", "slack:b", "slack:c", "discord:a"]
LANES = st.sampled_from(NAMES)
WORKERS = st.integers(0, 2)
PLACES = ("ready", "held", "suspects")
STOP = Outcome(Ending.STOPPED)
UNREADABLE = ["", "no JSON", "[]", "{}", '{"v":1}', '{"v":NaN,"turn":{}}', '{"v":1,"id":7,"turn":{"lane":"LANE"}}']


class QueueMachine(RuleBasedStateMachine):
    """Askers, three workers and accidents, on a real Redis."""

    url = ""

    @initialize()
    def begin(self) -> None:
        """An empty Redis, and workers that hold nothing."""
        self.runner = asyncio.Runner()
        self.client = self.do(connect(self.url))
        self.redis: Any = redis.Redis.from_url(self.url, decode_responses=True)
        self.redis.flushall()
        self.memory = Memory(self.client, retention=3600)
        self.queues = [
            TurnQueue(self.client, self.memory, platforms=["slack", "discord"], lease=60, worker=f"w{number}")
            for number in range(3)
        ]
        self.asked: dict[str, list[str]] = defaultdict(list)
        self.ended: dict[str, list[str]] = defaultdict(list)
        self.held: dict[int, list[Job]] = defaultdict(list)
        self.quarantined: dict[int, bool] = defaultdict(bool)
        self.lost: list[Job] = []
        self.epochs: list[int] = []
        self.spoiled: set[str] = set()

    def teardown(self) -> None:
        """Whatever happened: when it is quiet again, all that was accepted comes to its end."""
        if not hasattr(self, "runner"):
            return
        self.crash_all()
        for _ in range(1000):
            claimed = self.do(self.queues[0].claim(16, idle=True))
            self.do(self.queues[0].requeue_orphans())
            for job in claimed.jobs:
                self.take(job)
                self.end(self.queues[0], job, dead="it kills" if job.hopeless else "")
            if not claimed.jobs and not any(self.redis.llen(Keys.inbox(lane)) for lane in self.asked):
                break
        self.all_in_order()
        letters = [json.loads(str(letter)) for letter in self.redis.lrange(Keys.DEAD, 0, -1)]
        dead = {letter["job"].get("turn", {}).get("id") for letter in letters if "job" in letter}
        assert all(letter["why"] for letter in letters)
        for lane, turns in self.asked.items():
            assert set(turns) == {*self.ended[lane], *(name for name in turns if name in dead | self.spoiled)}
        assert len(letters) >= len(self.spoiled), "what cannot be read is found by an operator"
        self.do(self.client.aclose())
        self.redis.close()
        self.runner.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it now."""
        return self.runner.run(work)

    def take(self, job: Job) -> None:
        """Note what a worker got."""
        assert not self.epochs or job.epoch > self.epochs[-1], "epochs only grow"
        self.epochs.append(job.epoch)

    def end(self, queue: TurnQueue, job: Job, *, dead: str = "") -> str:
        """Commit, with whatever became known meanwhile."""
        turn = job.turn
        question = Message(Role.USER, turn.text, id=turn.id, at=turn.at)
        answer = Message(Role.ASSISTANT, "an answer", id=f"{turn.id}/answer", reply_to=turn.id)
        epoch = int(self.redis.hget(Keys.state(turn.key), "epoch") or 0)
        seal = Seal("an answer", STOP, Exchange(turn.key, epoch, turn.id, "", (question, answer)))
        result = self.do(queue.commit(job, seal, dead=dead))
        if isinstance(result, tuple):
            result = self.do(queue.commit(replace(job, notes=result), seal, dead=dead))
        if result == "done" and turn.id not in self.ended[job.lane]:
            self.ended[job.lane].append(turn.id)
        return str(result)

    @rule(lane=LANES, user=st.sampled_from(["U1", "U2"]), threaded=st.booleans())
    def submit(self, lane: str, user: str, threaded: bool) -> None:
        """Somebody asks, perhaps in a thread of something that was asked in another lane."""
        name = f"{lane}/{len(self.asked[lane])}"
        roots = [turns[-1] for other, turns in self.asked.items() if turns and other == "slack:a" != lane]
        key = ConversationKey(lane.partition(":")[0], "T1", "C1")
        turn = Turn(name, key, lane, Author(user, ""), "?", 1.0, root=roots[0] if threaded and roots else "")
        receipt = self.do(self.queues[0].submit(turn))
        if receipt.accepted:
            self.asked[lane].append(name)
            assert self.do(self.queues[1].submit(turn)).status == "duplicate"
        else:
            assert receipt.status == "busy"

    @rule(worker=WORKERS, most=st.integers(1, 4))
    def claim(self, worker: int, most: int) -> None:
        """A worker takes something, unless it was asked to become idle first, or has a suspect."""
        if self.held[worker] and self.quarantined[worker]:
            return
        claimed = self.do(self.queues[worker].claim(most, idle=not self.held[worker]))
        self.quarantined[worker] = claimed.quarantine
        for job in claimed.jobs:
            self.take(job)
        self.held[worker] += claimed.jobs
        suspects = [job for job in self.held[worker] if job.tries > 2]
        assert not suspects or len(suspects) == len(self.held[worker]), "suspects are among themselves"
        if any(job.hopeless for job in suspects):
            assert len(suspects) == 1, "what kills for certain is alone"
        self.come_too_late()

    @rule(lane=LANES, index=st.integers(0, 2), text=st.sampled_from(UNREADABLE))
    def spoil(self, lane: str, index: int, text: str) -> None:
        """An entry is changed into something that cannot be read, unless a worker has it."""
        jobs = self.redis.lrange(Keys.inbox(lane), 0, -1)
        held = any(job.lane == lane and self.holds(job) for jobs_ in self.held.values() for job in jobs_)
        if index < len(jobs) and not (held and index == 0):
            name = next((name for name in self.asked[lane] if f'"id":"{name}#0"' in jobs[index]), "")
            if name:
                self.redis.lset(Keys.inbox(lane), index, text.replace("LANE", lane))
                self.spoiled.add(name)

    @rule(worker=WORKERS)
    def move_to_dead_letters(self, worker: int) -> None:
        """A worker cannot commit something, whatever it tries."""
        for job in self.held[worker][:1]:
            self.held[worker].remove(job)
            if self.do(self.queues[worker].move_to_dead_letters(job, "it cannot be committed")):
                assert not self.do(self.queues[worker].move_to_dead_letters(job, "it cannot be committed"))
                if job.turn.id not in self.ended[job.lane]:
                    self.ended[job.lane].append(job.turn.id)
            self.lost.append(job)

    @rule(worker=WORKERS)
    def beat(self, worker: int) -> None:
        """A worker says that it is there; what it lost meanwhile it hears."""
        answers = self.do(self.queues[worker].beat(dict.fromkeys(self.held[worker], "text")))
        self.held[worker] = [replace(job, notes=notes) for job, notes in answers.items() if notes is not None]
        self.lost += [job for job, notes in answers.items() if notes is None]

    @rule(worker=WORKERS, number=st.integers(0, 3))
    def commit(self, worker: int, number: int) -> None:
        """A worker ends something, and says so twice."""
        for job in self.held[worker][number : number + 1]:
            self.held[worker].remove(job)
            first = self.end(self.queues[worker], job)
            assert self.end(self.queues[worker], job) == first

    @rule(worker=WORKERS, wait=st.sampled_from([0.0, 60.0]), failed=st.booleans())
    def release(self, worker: int, wait: float, failed: bool) -> None:
        """A worker gives something back."""
        for job in self.held[worker][:1]:
            self.held[worker].remove(job)
            self.do(self.queues[worker].release(job, wait=wait, failed=failed))
            self.lost.append(job)

    @rule(hurry=st.booleans())
    def seal(self, hurry: bool) -> None:
        """Workers write down how answers end; Retry buttons may be pressed before the workers say so."""
        for worker, job in [(worker, jobs[0]) for worker, jobs in self.held.items() if jobs]:
            kept = StoredJob(replace(job.turn, attempt=job.turn.attempt + 1), alone=True)
            assert self.do(self.queues[worker].seal(job, Seal("an answer", STOP), [], kept)) == self.holds(job)
            if hurry:
                self.press(job.turn.key, job.turn.id)
                self.commit(worker, 0)

    @rule(lane=LANES)
    def ask_again(self, lane: str) -> None:
        """Somebody presses the Retry button of the first turn, if it has one."""
        for name in self.asked[lane][:1]:
            self.press(ConversationKey(lane.partition(":")[0], "T1", "C1"), name)

    def press(self, key: ConversationKey, name: str) -> None:
        """Press a button, once too often."""
        kept = self.redis.hexists(Keys.retries(key), name)
        assert self.do(self.queues[1].retry(key, name, MessageRef("C1", "1"), "U1")).accepted == kept
        assert not self.do(self.queues[2].retry(key, name, MessageRef("C1", "1"), "U1")).accepted

    def holds(self, job: Job) -> bool:
        """Whether nobody took a job away from who has it."""
        return bool(self.redis.hget(Keys.lane_state(job.lane), "epoch") == str(job.epoch))

    @rule(lane=LANES)
    def stop(self, lane: str) -> None:
        """Somebody stops the newest turn."""
        for name in self.asked[lane][-1:]:
            stopped = self.do(self.queues[2].stop(name, STOP))
            assert stopped == self.waits(lane, name) or name in self.spoiled

    def waits(self, lane: str, name: str) -> bool:
        """Whether a turn stands in its lane."""
        return any(f'"id":"{name}"' in job for job in self.redis.lrange(Keys.inbox(lane), 0, -1))

    @rule(worker=WORKERS)
    def crash(self, worker: int) -> None:
        """A worker is gone, and its leases run out."""
        for job in self.held.pop(worker, []):
            platform = job.lane.partition(":")[0]
            self.redis.zadd(Keys.lanes("held", platform), {job.lane: 1}, xx=True)
            self.lost.append(job)

    @rule()
    def expire(self) -> None:
        """All leases run out, although the workers are there."""
        for platform in ("slack", "discord"):
            for lane in self.redis.zrange(Keys.lanes("held", platform), 0, -1):
                self.redis.zadd(Keys.lanes("held", platform), {lane: 1})

    @rule()
    def forget_scripts(self) -> None:
        """Redis forgets what it was taught."""
        self.redis.script_flush()

    def come_too_late(self) -> None:
        """Those wake up whose jobs others have, or ended."""
        for job in list(self.lost):
            current = self.redis.hget(Keys.lane_state(job.lane), "epoch")
            if current != str(job.epoch):
                assert self.end(self.queues[0], job) == "lost"
                assert not self.do(self.queues[0].mark(job, posting=0, refs=[], text=""))
                self.lost.remove(job)

    def crash_all(self) -> None:
        """Everybody is gone."""
        for worker in range(3):
            self.crash(worker)
        self.expire()

    def ask(self, calls: list[tuple[object, ...]]) -> list[Any]:
        """Several questions to Redis in one round trip: they are put after every step."""
        pipe = self.redis.pipeline(transaction=False)
        for call in calls:
            pipe.execute_command(*call)
        return list(pipe.execute())

    @invariant()
    def a_lane_with_turns_stands_in_one_place(self) -> None:
        """Ready, held, suspected, or waiting for the turn on which it hangs; a lane without turns stands nowhere."""
        if not hasattr(self, "redis"):
            return
        waiting = list(self.redis.scan_iter("{parley}:turn:*/waiting", count=1000))
        roots = self.ask([("HGET", str(key).removesuffix("/waiting"), "status") for key in waiting])
        assert all(status == "open" for status in roots), "what ended keeps nobody waiting"
        hanging = [name for names in self.ask([("SMEMBERS", key) for key in waiting]) for name in names]
        for lane in NAMES:
            platform = lane.partition(":")[0]
            scores = [("ZSCORE", Keys.lanes(place, platform), lane) for place in PLACES]
            *places, turns = self.ask([*scores, ("LLEN", Keys.inbox(lane))])
            places = [place for place in places if place is not None]
            # The root of a turn that cannot be read any more is not known: its lane is ready, and may be told again.
            told = hanging.count(lane) if not (places and self.spoiled & set(self.asked[lane])) else 0
            assert len(places) + told == bool(turns), (lane, places, hanging)

    @invariant()
    def what_stands_in_a_lane_is_open(self) -> None:
        """And nothing else: so it can be stopped, corrected and deleted."""
        if hasattr(self, "redis"):
            names = [(lane, name) for lane, turns in self.asked.items() for name in turns]
            states = self.ask([("HGET", Keys.turn(name), "status") for _, name in names])
            for (lane, name), status in zip(names, states, strict=True):
                assert (status == "open") == self.waits(lane, name) or name in self.spoiled, name

    @invariant()
    def whoever_waits_is_woken(self) -> None:
        """Where something is ready, the bell can be heard."""
        for platform in ("slack", "discord") if hasattr(self, "redis") else ():
            ready, bell = self.ask([("ZCARD", Keys.lanes("ready", platform)), ("EXISTS", Keys.bell(platform))])
            assert bell or not ready

    @invariant()
    def all_in_order(self) -> None:
        """Turns of a lane end in the order in which they were asked, each once."""
        for lane, turns in self.ended.items() if hasattr(self, "ended") else ():
            ended = [name for name in turns if name not in self.spoiled]
            assert [name for name in self.asked[lane] if name in ended] == ended

    @invariant()
    def every_key_dies(self) -> None:
        """Nothing lives for ever."""
        if hasattr(self, "redis"):
            keys = list(self.redis.scan_iter("*", count=1000))
            left = dict(zip(keys, self.ask([("TTL", key) for key in keys]), strict=True))
            assert all(ttl > 0 for ttl in left.values()), left


@pytest.mark.timeout(300)
def test_no_order_of_events_loses_or_doubles_a_turn(redis_url: str) -> None:
    """Any of a great many."""
    QueueMachine.url = redis_url
    run_state_machine_as_test(
        QueueMachine,
        settings=settings(examples(60), stateful_step_count=50, suppress_health_check=list(HealthCheck)),
    )
