"""What an operator sees of the queue and can do to it. Texts of messages are shown only on request."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from core.metrics import tag
from core.store import Keys, redis_errors
from core.stored import Unreadable, count_in, finite, read_record, readable, record_in, text_in, time_in, whole_number
from core.turns.jobs import StoredJob
from core.turns.scripts import QueueScripts
from core.types import Ending, Outcome

CANCELLED = Outcome(Ending.STOPPED, "An operator stopped this answer.")
PLACES = ("ready", "held", "suspects")


@dataclass(frozen=True, slots=True)
class Lane:
    """One line of turns.

    Attributes:
        place: "ready", "held", "suspects", or "waiting" (for the turn it depends on).
        owner: The worker that holds it.
        tries: How often its first turn was taken.
        seconds: How long its lease still lasts, if it is held.
        characters: How much of the answer is saved.
        messages: How many messages of the reply are known.
        jobs: Its turns, oldest first.
    """

    name: str
    place: str
    owner: str
    tries: int
    seconds: float
    characters: int
    messages: int
    jobs: tuple[StoredJob, ...]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A turn that was given up.

    Attributes:
        at: When, in seconds since the epoch.
        why: The reason, for the operator.
        tries: How often it was tried.
        name: The turn's id, or one made up for a letter that cannot be read.
        job: The turn; None if it cannot be read.
        stored: The letter as it is stored.
    """

    at: float
    why: str
    tries: int
    name: str
    job: StoredJob | None
    stored: str

    def concerns(self, user: str) -> bool:
        """Whether a person asked it; a letter that cannot be read concerns everybody it names."""
        return user in (self.job.turn.author.id, *self.job.voices) if self.job else user in self.stored


class Operator:
    """Inspects and repairs the queue. Every method raises StorageError when Redis is unavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis
        self._scripts = QueueScripts(redis)

    async def lanes(self) -> list[Lane]:
        """All lanes with turns that wait or are answered, the longest waiting first."""
        with redis_errors("look through the lanes"):
            names = [Keys.lane_of(key) async for key in self._redis.scan_iter(match=Keys.inbox("*"), count=500)]
            now = await self._now()
            lanes = [await self._lane(name, now) for name in names]
        return sorted((lane for lane in lanes if lane), key=lambda lane: lane.jobs[0].turn.at)

    async def find(self, turn: str) -> Lane | None:
        """The lane in which a turn waits or is answered."""
        with redis_errors("look for a turn"):
            status, lane = await self._redis.hmget(Keys.turn(turn), "status", "lane")
            return await self._lane(lane, await self._now()) if status == "open" else None

    async def requeue(self, turn: str) -> bool:
        """Take a turn's lane from the worker that holds it, so that another answers at once. False if it is done."""
        with redis_errors("put a turn back"):
            return bool(await self._scripts.requeue(key=Keys.turn(turn)))

    async def dead_letters(self) -> list[DeadLetter]:
        """All dead letters, oldest first, including those that cannot be read."""
        with redis_errors("read the dead letters"):
            if await self._redis.type(Keys.DEAD) not in ("list", "none"):
                return []
            stored = await self._redis.lrange(Keys.DEAD, 0, -1)
        return [_letter(text) for text in stored]

    async def replay(self, letter: DeadLetter) -> bool:
        """Queue a dead letter again; its reply is written over the old one. False if it is gone."""
        return await self._take(letter, again=True)

    async def drop(self, letter: DeadLetter) -> bool:
        """Delete a dead letter. False if it is gone."""
        return await self._take(letter, again=False)

    async def _take(self, letter: DeadLetter, *, again: bool) -> bool:
        with redis_errors("take a dead letter"):
            token = uuid.uuid4().hex
            return bool(await self._scripts.replay(dead=Keys.DEAD, letter=letter.stored, token=token, again=again))

    async def _now(self) -> float:
        """The time by Redis's clock, by which leases end."""
        seconds, micros = await self._redis.time()
        return float(seconds) + float(micros) / 1e6

    async def _lane(self, name: str, now: float) -> Lane | None:
        platform = name.partition(":")[0]
        # Without a transaction: of a lane with a key of another kind, the worker that mends it tells.
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.lrange(Keys.inbox(name), 0, -1)
            pipe.hmget(Keys.lane_state(name), "owner", "tries", "text", "refs")
            for place in PLACES:
                pipe.zscore(Keys.lanes(place, platform), name)
            found: list[Any] = await pipe.execute(raise_on_error=False)
        if any(isinstance(one, ResponseError) for one in found):
            return None
        jobs, (owner, tries, text, refs), *scores = found
        if not jobs:
            return None
        place = next((place for place, score in zip(PLACES, scores, strict=True) if score is not None), "waiting")
        seconds = scores[1] / 1000 - now if place == "held" else 0.0
        read, _ = readable(StoredJob.from_json, jobs)
        if not read:
            return None
        return Lane(
            name,
            place,
            owner or "",
            whole_number(tries),
            round(finite(seconds), 1),
            len(text or ""),
            _count(refs),
            tuple(read),
        )


def matching(turns: Sequence[str], wanted: str) -> list[str]:
    """The turns that an operator means: by id, by the tag in log lines, or by the end of the id; none by ""."""
    if not wanted:
        return []
    exact = [turn for turn in turns if wanted in (turn, tag(turn))]
    return exact or [turn for turn in turns if turn.endswith(wanted)]


def _count(refs: str | None) -> int:
    """How many messages of a reply are known."""
    try:
        found = json.loads(refs or "[]")
    except (ValueError, RecursionError):
        return 0
    return len(found) if isinstance(found, list) else 0


def _letter(text: str) -> DeadLetter:
    """A dead letter, as far as it can be read."""
    name = f"unreadable:{tag(text)}"
    try:
        record = read_record(text)
        at, why, tries = time_in(record, "at"), text_in(record, "why"), count_in(record, "tries")
        if "job" not in record:
            return DeadLetter(at, f"{why}: {text_in(record, 'key', '')}", tries, name, None, text)
    except Unreadable as error:
        return DeadLetter(0.0, f"this letter cannot be read: {error}", 0, name, None, text)
    try:
        job = StoredJob.from_record(record_in(record, "job"))
    except Unreadable as error:
        return DeadLetter(at, why if str(error) in why else f"{why}; {error}", tries, name, None, text)
    return DeadLetter(at, why, tries, job.turn.id, job, text)
