"""The queue of turns: accepted once, answered in order within a lane, and by another worker if one dies.

A lane with waiting turns stands in exactly one place: ready, held under a lease, among the suspects, or waiting for the
turn on which it hangs (``core/turns/lanes.lua``). Every step from one place to another is one Lua script, so there is
no moment in which a worker could die and leave a lane nowhere. Each lease has a number, the epoch, that only ever
grows: whoever comes with an older one may change nothing. Scripts may be sent twice, since the client sends a call
again when a connection breaks, and give the same answer then.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import structlog
from redis.asyncio import Redis

from core import metrics
from core.assistant import commands
from core.errors import StorageError
from core.memory import Memory
from core.metrics import tag
from core.store import TURN_TTL, Keys, kind_of, redis_errors
from core.stored import Unreadable, readable, whole_number
from core.turns.jobs import MOST_TOKENS, Job, Note, Receipt, Seal, StoredJob, read_refs, write_refs
from core.turns.scripts import QueueScripts
from core.types import FORMAT, ConversationKey, Ending, MessageRef, Outcome, Turn

log = structlog.get_logger()

LEASE = 15.0
"""Seconds that a worker has a lane without saying that it is still there."""
MOST_WAITING = 20
"""Turns that may wait in one lane."""
MOST_TOGETHER = 10
"""Turns that are answered as one, where messages are merged."""
TELLS_PLACE = 2
"""Who has so many turns before theirs is told so."""
SWEPT_AT_ONCE = 1000
"""Keys of which one script looks at the kind."""
MOST_UNSURE = 1000
"""Calls of which Redis did not say whether it took them; the oldest are forgotten first."""
TOLD_AGAIN_SECONDS, LONGEST_UNTOLD_SECONDS = 10, 600
"""Seconds for which somebody who was told of a refusal is not told again, at the least and at the most."""

STORED_WITHIN = 1.5
"""Seconds to store what a platform wants acknowledged within three."""

FollowUp = Literal["queue", "merge", "interrupt"]
"""What becomes of messages that come while an answer is under way: see ``Settings.follow_up``."""
SUPERSEDED = Outcome(Ending.STOPPED, "Stopped, because you sent a newer message.", hand_on=True)


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a worker got; ``quarantine`` asks it to take nothing more until it is idle, and then a suspect alone."""

    jobs: tuple[Job, ...]
    quarantine: bool = False


class Quotas(Protocol):
    """How much may be asked for, by whom: see ``core.quotas``."""

    def scopes(self, key: ConversationKey, person: str) -> Sequence[tuple[str, int | None, int | None, int | None]]:
        """Names of what a question counts for, each with turns a minute, tokens a day and turns that wait at most."""
        ...

    def explain(self, number: int, measure: str, seconds: int, person: str) -> str:
        """One line for a person who reached the limit ``measure`` of the scope of that number."""
        ...


class TurnQueue:
    """The queue that all processes of a deployment share. See ``TurnQueue``."""

    def __init__(
        self,
        redis: Redis,
        memory: Memory,
        *,
        platforms: Sequence[str] = (),
        worker: str = "",
        lease: float = LEASE,
        follow_up: FollowUp = "queue",
        quotas: Quotas | None = None,
    ) -> None:
        """``platforms`` are those whose turns this process can answer, ``worker`` its name, ``lease`` in seconds."""
        self.worker = worker or uuid.uuid4().hex[:12]
        self.lease = lease
        self._redis = redis
        self._memory = memory
        self.platforms = list(platforms)
        """Whose turns are claimed here."""
        self._follow_up = follow_up
        self._quotas = quotas
        self._unsure: dict[str, str] = {}
        self._scripts = QueueScripts(redis)

    # Those who ask.

    async def submit(self, turn: Turn) -> Receipt:
        """Accept a message, once in 24 hours. When this returns, an accepted message will be answered."""
        receipt = await self._take(turn)
        kind = "command" if commands.find(turn.text) else "question"
        metrics.EVENTS.add(platform=turn.key.platform, type=kind, outcome=receipt.status)
        return receipt

    async def _take(self, turn: Turn) -> Receipt:
        scopes, limits = self._limits(turn.key, turn.author.id)
        command = commands.find(turn.text) is not None
        job = StoredJob(turn, alone=command, scopes=scopes)
        async with self._once(turn.id) as token:
            with redis_errors("accept a message"):
                # A command costs no model; should it be edited into a question, the reply counts it: core.turns.reply.
                answer = await self._scripts.submit(
                    key=Keys.turn(turn.id),
                    token=token,
                    turn=turn.id,
                    lane=turn.lane,
                    job=job.to_json(),
                    most=MOST_WAITING,
                    follow_up=self._follow_up,
                    superseded=json.dumps(SUPERSEDED.record()),
                    limits=[] if command else limits,
                )
        return self._receipt(answer, turn.key, turn.author.id)

    def _limits(self, key: ConversationKey, person: str) -> tuple[tuple[str, ...], list[dict[str, str | int]]]:
        """What a question counts for, and the limits as scripts take them."""
        scopes = self._quotas.scopes(key, person) if self._quotas else ()
        names = ("scope", "turns", "tokens", "queued")
        limits = [{name: limit for name, limit in zip(names, one, strict=True) if limit is not None} for one in scopes]
        return tuple(scope[0] for scope in scopes), limits

    def _receipt(self, answer: Sequence[Any], key: ConversationKey, person: str) -> Receipt:
        """What a script answered."""
        match [int(answer[0]), *answer[1:]]:
            case [1]:
                return Receipt("accepted")
            case [1, before]:
                note = f"You're in line: {before} questions are ahead of yours." if int(before) >= TELLS_PLACE else ""
                return Receipt("accepted", int(before), note)
            case [-1, waiting]:
                note = f"I didn't take your message: {waiting} questions are waiting here already. Send it again later."
                return Receipt("busy", int(waiting), note, limit=f"{key}:busy")
            case [-2, number, measure, seconds, scope]:
                assert self._quotas  # noqa: S101 - who set no limit reaches none
                note = self._quotas.explain(int(number), measure, int(seconds), person)
                return Receipt("quota", 0, note, limit=f"{scope}:{measure}", seconds=int(seconds))
            case [-3]:
                return Receipt("gone")
            case _:
                return Receipt("duplicate")

    async def tells(self, refused: Receipt, person: str) -> bool:
        """Whether a person is told of a refusal: of the first, and then of none until it may work again.

        So a flood of messages costs one call to a platform, and not one for each of them.
        """
        seconds = min(max(refused.seconds, TOLD_AGAIN_SECONDS), LONGEST_UNTOLD_SECONDS)
        return await self.first(f"told:{refused.limit}:{person}", seconds=seconds)

    async def stop(self, turn: str, outcome: Outcome) -> bool:
        """End a turn early, wherever it is; False if it is done with. It is told to its worker within milliseconds.

        A turn that was deleted before anybody told of its message is never accepted.
        """
        return await self._add(turn, Note(stop=outcome))

    async def amend(
        self, turn: str, *, text: str | None = None, at: float = 0.0, early: bool = False, **place: str
    ) -> bool:
        """A question reads otherwise now, or more became known of where it stands; False if it is done with.

        ``text`` is as its author typed it, like that of a new turn; the worker understands both in the same way.

        ``at`` is when its author edited it, by the platform's clock: of two edits the later one stands, in whatever
        order they come. 0 where the platform does not say; then the one that comes last stands. ``early`` keeps the
        edit of a message that nobody told of yet for a day: only of one that is addressed to us.
        """
        return await self._add(turn, Note(text=text, place=place, edited=at), early=early)

    async def retry(
        self, key: ConversationKey, turn: str, pressed: MessageRef, person: str, *, unkept: Turn | None = None
    ) -> Receipt:
        """Ask a turn again whose reply has ``pressed`` in it: as it is kept for its Retry button, or as ``unkept``.

        It counts for the quotas of ``person``, who asks again; where that is too much it stays kept.
        """
        scopes, limits = self._limits(key, person)
        job = ""
        if unkept:
            job = StoredJob(replace(unkept, attempt=unkept.attempt + 1), (pressed,), alone=True).to_json()
        with redis_errors("take a kept turn"):
            answer = await self._scripts.retry(
                retries=Keys.retries(key),
                key=Keys.turn(turn),
                turn=turn,
                token=uuid.uuid4().hex,
                channel=pressed.channel,
                pressed=pressed.id,
                unkept=job,
                most=MOST_WAITING,
                scopes=" ".join(scopes),
                limits=limits,
            )
        return self._receipt(answer, key, person)

    async def admit(self, key: ConversationKey, person: str, name: str) -> Receipt:
        """Let somebody make a model work beside the queue, and count that as a turn; once for each ``name``."""
        with redis_errors("look at quotas"):
            answer = await self._scripts.admit(name=name, limits=self._limits(key, person)[1])
        return self._receipt(answer, key, person)

    async def charge(self, key: ConversationKey, person: str, tokens: int) -> None:
        """Count tokens that a model took for somebody beside the queue."""
        if scopes := self._limits(key, person)[0]:
            with redis_errors("count tokens"):
                await self._scripts.charge(scopes=" ".join(scopes), tokens=min(max(0, tokens), MOST_TOKENS))

    async def is_open(self, turn: str) -> bool:
        """Whether a turn waits or is being answered."""
        with redis_errors("look for a turn"):
            return bool(await self._redis.hget(Keys.turn(turn), "status") == "open")

    async def running(self, lane: str) -> Turn | None:
        """The turn of a lane that is being answered, or will be next."""
        with redis_errors("look at a lane"):
            head: Any = await self._redis.lindex(Keys.inbox(lane), 0)
        found, _ = readable(StoredJob.from_json, [head] if head else [])
        return found[0].turn if found else None

    async def find(self, turn: str) -> Turn | None:
        """A turn that waits or is being answered."""
        with redis_errors("look for a turn"):
            found: Any = await self._redis.hmget(Keys.turn(turn), "status", "lane")
            status, lane = found
            jobs: Any = await self._redis.lrange(Keys.inbox(lane), 0, -1) if status == "open" else []
        found_jobs, _ = readable(StoredJob.from_json, jobs)
        return next((job.turn for job in found_jobs if job.turn.id == turn), None)

    async def first(self, name: str, *, seconds: int = TURN_TTL) -> bool:
        """Whether this is the first time in so many seconds, in any process, that something of that name happens."""
        async with self._once(name) as token:
            with redis_errors("notice that something happens once"):
                if await self._redis.set(Keys.seen(name), token, nx=True, ex=seconds):
                    return True
                return bool(await self._redis.get(Keys.seen(name)) == token)

    async def happened(self, name: str) -> bool:
        """Whether ``first`` was told of it already."""
        with redis_errors("look whether something happened"):
            return bool(await self._redis.exists(Keys.seen(name)))

    async def correct_kept(self, key: ConversationKey, turn: str, text: str | None, *, at: float = 0.0) -> None:
        """A question that is kept for its Retry button reads ``text`` now; None if it was deleted, and is dropped.

        ``at`` is as in ``amend``.
        """
        with redis_errors("change a kept turn"):
            if text is None:
                await self._redis.hdel(Keys.retries(key), turn)
                return
            while isinstance(kept := await self._redis.hget(Keys.retries(key), turn), str):
                found, _ = readable(StoredJob.from_json, [kept])
                if not found or 0 < at < found[0].turn.edited or text == found[0].turn.text:
                    return
                job = replace(found[0], turn=replace(found[0].turn, text=text, edited=at or found[0].turn.edited))
                # Only as it was read: another edit may have come between, or somebody pressed the button.
                if await self._scripts.recast(retries=Keys.retries(key), turn=turn, old=kept, new=job.to_json()):
                    return

    # Those who answer.

    async def claim(self, most: int, *, idle: bool) -> Claimed:
        """Take up to ``most`` lanes; ``idle`` says that the worker has nothing else to do."""
        together = MOST_TOGETHER if self._follow_up == "merge" else 1
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
            if jobs or not lanes:  # else what could not be read is out of the way now
                return Claimed(tuple(jobs), quarantine == "1")

    async def _read(self, lane: Sequence[Any]) -> Job | None:
        """One lane, as claim.lua gives it; without a job if it begins with one that cannot be read.

        That one goes to the dead letters, and the lane goes on.
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

    async def move_to_dead_letters(self, job: Job, why: str) -> bool:
        """Move a job to the dead letters as it is stored; its lane goes on. False if the lease is lost."""
        return await self._move_to_dead_letters(job.lane, job.epoch, 0, len(job.stored), why)

    async def _move_to_dead_letters(self, lane: str, epoch: int, first: int, count: int, why: str) -> bool:
        with redis_errors("move a turn to the dead letters"):
            return bool(await self._scripts.reject(lane=lane, epoch=epoch, first=first, count=count, why=why))

    async def wait(self, seconds: float) -> None:
        """Return when there may be something to claim, after ``seconds`` at the latest."""
        with redis_errors("wait for turns"):
            await self._redis.blpop([Keys.bell(platform) for platform in self.platforms], timeout=seconds)

    async def signals(self) -> AsyncIterator[str]:
        """Lanes of which something became known, as it does. Raises StorageError when the connection breaks."""
        with redis_errors("listen for signals"):
            async with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                await pubsub.subscribe(Keys.SIGNALS)
                async with aclosing(pubsub.listen()) as messages:
                    async for message in messages:
                        yield str(message["data"])

    async def beat(self, texts: Mapping[Job, str]) -> Mapping[Job, tuple[str, ...] | None]:
        """Keep the leases of these jobs, and save their texts ("" if unchanged). Gives notes; None for a lost lease."""
        leases = [(job.lane, str(job.epoch), text.encode("utf-8", "replace").decode()) for job, text in texts.items()]
        with redis_errors("keep leases"):
            answers = await self._scripts.beat(
                workers=Keys.WORKERS, worker=self.worker, lease=self._lease_ms, leases=leases
            )
        return {job: None if notes is None else tuple(notes) for job, notes in zip(texts, answers, strict=True)}

    async def others(self) -> int:
        """How many other workers are there."""
        with redis_errors("count workers"):
            seconds, _ = await self._redis.time()
            oldest = int((seconds - 2 * self.lease) * 1000)
            alive = await self._redis.zrange(Keys.WORKERS, oldest, "+inf", byscore=True)
        return len(set(alive) - {self.worker})

    async def leave(self) -> None:
        """This worker ends."""
        with redis_errors("say goodbye"):
            await self._redis.zrem(Keys.WORKERS, self.worker)

    async def mark(self, job: Job, *, posting: int | None, refs: Sequence[MessageRef], text: str) -> bool:
        """Write down where a reply stands: message ``posting`` is about to be posted. False if the lease is lost."""
        fields = ["intent", "" if posting is None else str(posting), "refs", json.dumps(write_refs(refs))]
        if text:
            fields += ["text", text.encode("utf-8", "replace").decode()]
        return await self._write(job, None, fields)

    async def seal(self, job: Job, seal: Seal, refs: Sequence[MessageRef], retry: StoredJob | None) -> bool:
        """Write down how an answer ends, and keep ``retry`` for its button. False if the lease is lost."""
        return await self._write(job, retry, ["seal", seal.to_json(), "refs", json.dumps(write_refs(refs))])

    async def commit(self, job: Job, seal: Seal | None, *, dead: str = "") -> Literal["done", "lost"] | tuple[str, ...]:
        """End a job and remember what was said, in one step; may be repeated. Gives the notes if they are newer."""
        exchange = seal.exchange if seal else None
        tokens = whole_number(seal.tokens, MOST_TOKENS) if seal else 0
        key = exchange.key if exchange else job.turn.key
        with redis_errors("end a turn"):
            code, *notes = await self._scripts.commit(
                **self._memory.keys(key),
                retries=Keys.retries(key),
                lane=job.lane,
                epoch=job.epoch,
                job=job.id,
                count=len(job.stored),
                tokens=min(tokens, MOST_TOKENS),
                dead=dead,
                known=job.notes,
                exchange=self._memory.arguments(exchange) if exchange else {},
            )
        return tuple(notes) if int(code) == 3 else "lost" if int(code) == 0 else "done"

    async def release(self, job: Job, *, wait: float = 0, failed: bool = False) -> bool:
        """Let another worker go on, after ``wait`` seconds; ``failed`` counts as a try. False if the lease is lost."""
        with redis_errors("let go of a turn"):
            return bool(
                await self._scripts.release(lane=job.lane, epoch=job.epoch, wait=int(1000 * wait), failed=failed)
            )

    async def sweep(self) -> int:
        """Put aside what stands in keys of the wrong kind: see ``core.store.kind_of``. Returns how many there were."""
        found, names = 0, list[str]()
        with redis_errors("look through all keys"):
            async for name in self._redis.scan_iter(match="{parley}:*", count=500):
                if kind_of(name):
                    names.append(name)
                if len(names) >= SWEPT_AT_ONCE:
                    found += await self._put_aside(names)
                    names = []
            return found + (await self._put_aside(names) if names else 0)

    async def _put_aside(self, names: list[str]) -> int:
        return int(await self._scripts.sweep(keys=names, kinds=[kind_of(name) for name in names]))

    async def settle(self) -> int:
        """Find lanes that stand nowhere, and put them where workers look. Returns how many there were."""
        found = 0
        with redis_errors("look through the lanes"):
            async for name in self._redis.scan_iter(match=Keys.inbox("*"), count=500):
                found += int(await self._scripts.settle(lane=Keys.lane_of(name)))
        return found

    async def _add(self, turn: str, note: Note, *, early: bool = False) -> bool:
        with redis_errors("reach a turn"):
            return bool(await self._scripts.note(key=Keys.turn(turn), turn=turn, note=note.to_json(), early=early))

    async def _write(self, job: Job, retry: StoredJob | None, fields: Sequence[str]) -> bool:
        with redis_errors("write down where a reply stands"):
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

    @asynccontextmanager
    async def _once(self, name: str) -> AsyncIterator[str]:
        """A token by which a call that is made again is known as the same.

        Redis may have heard a call although we did not hear of it: the client sends it again when a connection breaks,
        and where it gave up, the platform delivers again.
        """
        token = self._unsure.pop(name, None) or uuid.uuid4().hex
        try:
            yield token
        except BaseException:
            while len(self._unsure) >= MOST_UNSURE:
                del self._unsure[next(iter(self._unsure))]
            self._unsure[name] = token
            raise


@asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    """Raise StorageError for what takes longer than a platform waits: it is told that nothing was stored."""
    try:
        async with asyncio.timeout(STORED_WITHIN):
            yield
    except TimeoutError:
        raise StorageError(f"Redis did not store a message within {STORED_WITHIN:g} s.") from None


def _readable_job(text: str, lane: str) -> StoredJob:
    """A job of a lane. Raises Unreadable."""
    job = StoredJob.from_json(text)
    if job.turn.lane != lane:
        raise Unreadable("it belongs into another lane")
    return job


def _readable_refs(text: str) -> tuple[MessageRef, ...]:
    """The messages of a reply; where they cannot be read, they are found by their marks or posted anew."""
    try:
        return read_refs(json.loads(text or "[]"))
    except (ValueError, TypeError, RecursionError):
        return ()


def _readable_seal(text: str) -> Seal | None:
    """How an answer ends; where that cannot be read, the model is asked again."""
    try:
        return Seal.from_json(text) if text else None
    except Unreadable as error:
        log.warning("answer outcome not readable", why=str(error))
        return None
