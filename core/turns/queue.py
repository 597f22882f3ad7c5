"""The queue of turns: accepted once, answered in order within a lane, by another worker if one dies.

A lane with waiting turns stands in exactly one place: ready, held under a lease, among the suspects, or waiting for the
turn that started its thread (``core/turns/lanes.lua``). Each step from one place to another is one Lua script, so a
worker that dies never leaves a lane without a place. Each lease has a number, its epoch, which only grows: Redis
refuses changes under an older one. All scripts are idempotent, because the client repeats a call when a connection
breaks.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

import structlog
from redis.asyncio import Redis

from core.memory import Memory
from core.metrics import tag
from core.quotas import Quotas
from core.store import Keys, kind_of, redis_errors
from core.stored import Unreadable, whole_number
from core.turns.intake import FollowUp, Intake
from core.turns.jobs import MAX_COUNTED_TOKENS, Job, Seal, StoredJob, read_refs, write_refs
from core.turns.scripts import QueueScripts
from core.types import FORMAT, MessageRef

log = structlog.get_logger()

LEASE_SECONDS = 15.0
"""How long a worker keeps a lane without renewing its lease."""
MAX_MERGED_TURNS = 10
"""Turns that are answered as one if FOLLOW_UP is ``merge``."""
KEYS_PER_SWEEP = 1000
"""Keys whose types one script checks."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a worker claimed. With ``quarantine``, it claims nothing more until it is idle, and then only suspects."""

    jobs: tuple[Job, ...]
    quarantine: bool = False


class TurnQueue(Intake):
    """The queue of turns that all processes of a deployment share.

    Listeners use what it inherits from ``Intake``; workers claim turns, keep their leases and commit them. Every method
    raises StorageError if Redis is away.

    Example:
        >>> queue = TurnQueue(redis, memory, platforms=["slack"])
        >>> await queue.submit(turn)
        Receipt(status='accepted', …)
        >>> [job] = (await queue.claim(1, idle=True)).jobs
        >>> await queue.commit(job, Seal(answer, Outcome(Ending.COMPLETE), exchange))
        'done'
    """

    def __init__(
        self,
        redis: Redis,
        memory: Memory,
        *,
        platforms: Sequence[str] = (),
        worker: str = "",
        lease: float = LEASE_SECONDS,
        follow_up: FollowUp = "queue",
        quotas: Quotas | None = None,
    ) -> None:
        """Connect a queue to Redis.

        Args:
            redis: the client.
            memory: where committed turns are remembered.
            platforms: those whose turns this process claims.
            worker: the name of this process; by default, a random one.
            lease: seconds that a claimed lane is kept without being renewed.
            follow_up: what happens to messages that arrive while an answer is being written.
            quotas: limits on what people can ask; None for no limits.
        """
        scripts = QueueScripts(redis)
        super().__init__(redis, scripts, memory.following, follow_up=follow_up, quotas=quotas)
        self.worker = worker or uuid.uuid4().hex[:12]
        self.lease = lease
        self._memory = memory
        self.platforms = list(platforms)
        """Those whose turns this process claims."""

    async def claim(self, most: int, *, idle: bool) -> Claimed:
        """Claim up to ``most`` lanes; ``idle`` says that the worker has nothing else to do."""
        together = MAX_MERGED_TURNS if self._follow_up == "merge" else 1
        while True:
            with redis_errors("take turns"):
                lanes, quarantine = await self._scripts.claim(
                    last_epoch=Keys.EPOCH,
                    worker=self.worker,
                    lease=self._lease_ms,
                    most=most,
                    idle=idle,
                    newest=FORMAT,
                    together=together,
                    platforms=self.platforms,
                )
            jobs = [job for lane in lanes if (job := await self._read(lane))]
            if jobs or not lanes:  # else unreadable jobs were moved out of the way: claim again
                return Claimed(tuple(jobs), quarantine == "1")

    async def _read(self, lane: Sequence[Any]) -> Job | None:
        """Read a lane as ``claim.lua`` returns it; None if its first job is unreadable.

        That job is moved to the dead letters, and the lane continues with the next one.
        """
        name, epoch, tries, hopeless, waited, jobs, refs, text, posting, seal, notes = lane
        stored = []
        for number, job in enumerate(jobs):
            try:
                stored.append(_readable_job(job, name))
            except Unreadable as error:
                log.warning("unreadable entry moved to the dead letters", conv=tag(name), why=str(error))
                await self._move_to_dead_letters(name, int(epoch), number, 1, str(error))
                return None
        return Job(
            lane=name,
            epoch=int(epoch),
            tries=int(tries),
            stored=tuple(stored),
            notes=tuple(notes),
            refs=_readable_refs(refs),
            text=text,
            posting=whole_number(posting) if posting else None,
            seal=_readable_seal(seal),
            hopeless=hopeless == "1",
            waited=int(waited) / 1000,
        )

    async def wait(self, seconds: float) -> None:
        """Wait until there may be something to claim, for ``seconds`` at most."""
        with redis_errors("wait for turns"):
            await self._redis.blpop([Keys.bell(platform) for platform in self.platforms], timeout=seconds)

    async def signals(self) -> AsyncIterator[str]:
        """Yield each lane with a stopped, edited or deleted turn. Raises StorageError if the connection breaks."""
        with redis_errors("listen for signals"):
            async with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                await pubsub.subscribe(Keys.SIGNALS)
                async with aclosing(pubsub.listen()) as messages:
                    async for message in messages:
                        yield str(message["data"])

    async def beat(self, texts: Mapping[Job, str]) -> Mapping[Job, tuple[str, ...] | None]:
        """Renew the leases of jobs, and save their texts so far. Without jobs, only register the worker as alive.

        Args:
            texts: for each job its text; "" if unchanged.

        Returns:
            For each job its notes; None if its lease is lost.
        """
        leases = [(job.lane, str(job.epoch), text.encode("utf-8", "replace").decode()) for job, text in texts.items()]
        with redis_errors("keep leases"):
            answers = await self._scripts.beat(
                workers=Keys.WORKERS, worker=self.worker, lease=self._lease_ms, leases=leases
            )
        return {job: None if notes is None else tuple(notes) for job, notes in zip(texts, answers, strict=True)}

    async def other_workers(self) -> int:
        """The number of other workers that are alive."""
        with redis_errors("count workers"):
            seconds, _ = await self._redis.time()
            oldest = int((seconds - 2 * self.lease) * 1000)
            alive = await self._redis.zrange(Keys.WORKERS, oldest, "+inf", byscore=True)
        return len(set(alive) - {self.worker})

    async def unregister(self) -> None:
        """Remove this worker from the list of workers: it ends."""
        with redis_errors("unregister a worker"):
            await self._redis.zrem(Keys.WORKERS, self.worker)

    async def mark(self, job: Job, *, posting: int | None, refs: Sequence[MessageRef], text: str) -> bool:
        """Save how far a reply is: its messages and text so far.

        Args:
            job: whose reply it is.
            posting: number of the message that is about to be posted; None if none is.
            refs: messages that were posted.
            text: the answer so far; "" if unchanged.

        Returns:
            False if the lease is lost.
        """
        fields = ["intent", "" if posting is None else str(posting), "refs", json.dumps(write_refs(refs))]
        if text:
            fields += ["text", text.encode("utf-8", "replace").decode()]
        return await self._write(job, None, fields)

    async def seal(self, job: Job, seal: Seal, refs: Sequence[MessageRef], retry: StoredJob | None) -> bool:
        """Save how an answer ends, and keep ``retry`` for its Retry button. False if the lease is lost."""
        return await self._write(job, retry, ["seal", seal.to_json(), "refs", json.dumps(write_refs(refs))])

    async def commit(self, job: Job, seal: Seal | None, *, dead: str = "") -> Literal["done", "lost"] | tuple[str, ...]:
        """End a job and remember what was said, in one atomic step. Can be repeated.

        Args:
            job: the job.
            seal: how its answer ended, with what to remember; None to remember nothing.
            dead: why the job becomes a dead letter; "" if it does not.

        Returns:
            ``lost`` if another worker has the lease; the job's notes, with nothing done, if they have changed.
        """
        exchange = seal.exchange if seal else None
        tokens = whole_number(seal.tokens, MAX_COUNTED_TOKENS) if seal else 0
        key = exchange.key if exchange else job.turn.key
        while True:
            with redis_errors("end a turn"):
                code, *notes = await self._scripts.commit(
                    **self._memory.keys(key),
                    retries=Keys.retries(key),
                    lane=job.lane,
                    epoch=job.epoch,
                    job=job.id,
                    count=len(job.stored),
                    tokens=min(tokens, MAX_COUNTED_TOKENS),
                    dead=dead,
                    known=job.notes,
                    exchange=self._memory.arguments(exchange) if exchange else {},
                )
            if int(code) != 4 or not exchange:
                return tuple(notes) if int(code) == 3 else "lost" if int(code) == 0 else "done"
            exchange = await self._memory.after_changes(exchange)

    async def move_to_dead_letters(self, job: Job, why: str) -> bool:
        """Move a job to the dead letters; its lane continues. False if the lease is lost."""
        return await self._move_to_dead_letters(job.lane, job.epoch, 0, len(job.stored), why)

    async def _move_to_dead_letters(self, lane: str, epoch: int, first: int, count: int, why: str) -> bool:
        with redis_errors("move a turn to the dead letters"):
            moved = await self._scripts.move_to_dead_letters(lane=lane, epoch=epoch, first=first, count=count, why=why)
            return bool(moved)

    async def release(self, job: Job, *, wait: float = 0, failed: bool = False) -> bool:
        """Release a job after ``wait`` seconds; ``failed`` counts as a try. False if the lease is lost."""
        with redis_errors("release a turn"):
            return bool(
                await self._scripts.release(lane=job.lane, epoch=job.epoch, wait=int(1000 * wait), failed=failed)
            )

    async def set_aside_damaged_keys(self) -> int:
        """Move keys of a wrong type to the dead letters (see ``core.store.kind_of``). Returns how many there were."""
        found, names = 0, list[str]()
        with redis_errors("look through all keys"):
            async for name in self._redis.scan_iter(match="{parley}:*", count=500):
                if kind_of(name):
                    names.append(name)
                if len(names) >= KEYS_PER_SWEEP:
                    found += await self._set_aside(names)
                    names = []
            return found + (await self._set_aside(names) if names else 0)

    async def _set_aside(self, names: list[str]) -> int:
        return int(await self._scripts.sweep(keys=names, kinds=[kind_of(name) for name in names]))

    async def requeue_orphans(self) -> int:
        """Make lanes ready that have turns but no place. Returns how many there were."""
        found = 0
        with redis_errors("look through the lanes"):
            async for name in self._redis.scan_iter(match=Keys.inbox("*"), count=500):
                found += int(await self._scripts.requeue_orphan(lane=Keys.lane_of(name)))
        return found

    async def _write(self, job: Job, retry: StoredJob | None, fields: Sequence[str]) -> bool:
        with redis_errors("save how far a reply is"):
            return bool(
                await self._scripts.mark(
                    retries=Keys.retries(job.turn.key),
                    lane=job.lane,
                    epoch=job.epoch,
                    lease=self._lease_ms,
                    kept=retry.to_json() if retry else "",
                    turn=retry.turn.id if retry else "",
                    fields=fields,
                )
            )

    @property
    def _lease_ms(self) -> int:
        return int(1000 * self.lease)


def _readable_job(text: str, lane: str) -> StoredJob:
    """Read a job of a lane. Raises Unreadable."""
    job = StoredJob.from_json(text)
    if job.turn.lane != lane:
        raise Unreadable("it belongs to another lane")
    return job


def _readable_refs(text: str) -> tuple[MessageRef, ...]:
    """The messages of a reply; () if they can't be read: then they are found by their metadata or posted again."""
    try:
        return read_refs(json.loads(text or "[]"))
    except (ValueError, TypeError, RecursionError):
        return ()


def _readable_seal(text: str) -> Seal | None:
    """How an answer ends; None if it can't be read: then the model is asked again."""
    try:
        return Seal.from_json(text) if text else None
    except Unreadable as error:
        log.warning("answer outcome not readable", why=str(error))
        return None
