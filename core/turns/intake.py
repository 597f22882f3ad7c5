"""Accepts turns into the queue, exactly once, and changes those that are in it."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal

from redis.asyncio import Redis

from core import metrics
from core.assistant import commands
from core.errors import StorageError
from core.memory import Following
from core.quotas import Quotas
from core.quotes import Quote
from core.store import TURN_TTL, Keys, redis_errors
from core.stored import readable
from core.turns.jobs import MAX_COUNTED_TOKENS, Note, Receipt, StoredJob
from core.turns.scripts import QueueScripts
from core.types import ConversationKey, Ending, MessageRef, Outcome, Turn

MAX_LANE_TURNS = 20
"""Turns that can wait in one lane."""
PLACE_TOLD_FROM = 2
"""People are told how many turns are ahead of theirs from this number on."""
MAX_UNCONFIRMED_CALLS = 1000
"""Calls that are remembered because Redis did not confirm them; the oldest are dropped first."""
MIN_REFUSAL_SECONDS, MAX_REFUSAL_SECONDS = 10, 600
"""After a person was told of a refusal, further ones are silent for so many seconds, at least and at most."""
STORE_TIMEOUT_SECONDS = 1.5
"""Time to store an event that the platform wants acknowledged within three seconds."""

FollowUp = Literal["queue", "merge", "interrupt"]
"""What happens to messages that arrive while an answer is being written: see ``Settings.follow_up``."""
SUPERSEDED = Outcome(Ending.STOPPED, "Stopped, because you sent a newer message.", hand_on=True)


class Intake:
    """Accepts turns, and changes or stops accepted ones. Every method raises StorageError if Redis is away."""

    def __init__(
        self,
        redis: Redis,
        scripts: QueueScripts,
        following: Following,
        *,
        follow_up: FollowUp = "queue",
        quotas: Quotas | None = None,
    ) -> None:
        self._redis = redis
        self._scripts = scripts
        self._following = following
        self._follow_up = follow_up
        self._quotas = quotas
        self._unconfirmed: dict[str, str] = {}

    async def submit(self, turn: Turn) -> Receipt:
        """Accept a message, once in 24 hours. When this returns ``accepted``, it is stored and will be answered."""
        receipt = await self._take(turn)
        kind = "command" if commands.find_in(turn) else "question"
        metrics.EVENTS.add(platform=turn.key.platform, type=kind, outcome=receipt.status)
        return receipt

    async def _take(self, turn: Turn) -> Receipt:
        scopes, limits = self._limits(turn.key, turn.author.id)
        command = commands.find_in(turn) is not None
        job = StoredJob(turn, alone=command, scopes=scopes)
        async with self._once(turn.id) as token:
            with redis_errors("accept a message"):
                # A command needs no model. If it is edited into a question, core.turns.reply asks for admission.
                answer = await self._scripts.submit(
                    key=Keys.turn(turn.id),
                    token=token,
                    turn=turn.id,
                    lane=turn.lane,
                    job=job.to_json(),
                    most=MAX_LANE_TURNS,
                    follow_up=self._follow_up,
                    superseded=json.dumps(SUPERSEDED.record()),
                    limits=[] if command else limits,
                    **self._following.arguments(turn),
                )
        return self._receipt(answer, turn.key, turn.author.id)

    def _limits(self, key: ConversationKey, person: str) -> tuple[tuple[str, ...], list[dict[str, str | int]]]:
        """The quota scopes that a question counts for, and the limits as scripts take them."""
        scopes = self._quotas.scopes(key, person) if self._quotas else ()
        names = ("scope", "turns", "tokens", "queued")
        limits = [{name: limit for name, limit in zip(names, one, strict=True) if limit is not None} for one in scopes]
        return tuple(scope[0] for scope in scopes), limits

    def _receipt(self, answer: Sequence[Any], key: ConversationKey, person: str) -> Receipt:
        """Read the answer of ``submit.lua``, ``retry.lua`` or ``admit.lua``."""
        match [int(answer[0]), *answer[1:]]:
            case [1]:
                return Receipt("accepted")
            case [1, before]:
                note = (
                    f"You're in line: {before} questions are ahead of yours." if int(before) >= PLACE_TOLD_FROM else ""
                )
                return Receipt("accepted", int(before), note)
            case [-1, waiting]:
                note = f"I didn't take your message: {waiting} questions are waiting here already. Send it again later."
                return Receipt("busy", int(waiting), note, limit=f"{key}:busy")
            case [-2, number, measure, seconds, scope]:
                assert self._quotas  # noqa: S101 - without quotas there are no limits
                note = self._quotas.explain(int(number), measure, int(seconds), person)
                return Receipt("quota", 0, note, limit=f"{scope}:{measure}", seconds=int(seconds))
            case [-3]:
                return Receipt("gone")
            case _:
                return Receipt("duplicate")

    async def tells(self, refused: Receipt, person: str) -> bool:
        """Whether to tell a person of a refusal: of the first one, and then of none until a message may be accepted.

        So a flood of messages costs one platform call, not one for each message.
        """
        seconds = min(max(refused.seconds, MIN_REFUSAL_SECONDS), MAX_REFUSAL_SECONDS)
        return await self.first(f"told:{refused.limit}:{person}", seconds=seconds)

    async def stop(self, turn: str, outcome: Outcome) -> bool:
        """End a turn early, wherever it is; its worker hears of it within milliseconds. False if it has ended already.

        A deletion that arrives before its message prevents that message from being accepted.
        """
        return await self._add(turn, Note(stop=outcome))

    async def amend(
        self,
        turn: str,
        *,
        text: str | None = None,
        quotes: tuple[Quote, ...] = (),
        at: float = 0.0,
        early: bool = False,
        **place: str,
    ) -> bool:
        """Change the text or the place of a turn that has not ended. False if it has.

        Args:
            turn: its id.
            text: the new text as its author typed it; None if unchanged.
            quotes: what comes with it now, as the adapter read it, in place of the quotes of the same kinds.
            at: when it was edited, by the platform's clock: the later of two edits wins, in whatever order they arrive.
                0 if the platform does not say; then the last one to arrive wins.
            early: if the message has not arrived yet, keep its edit for a day. Only for messages addressed to Parley.
            place: what became known of where the message is.
        """
        return await self._add(turn, Note(text=text, place=place, edited=at, quotes=quotes), early=early)

    async def retry(
        self, key: ConversationKey, turn: str, pressed: MessageRef, person: str, *, unkept: Turn | None = None
    ) -> Receipt:
        """Submit a turn again: as kept for its Retry button, or else as ``unkept``.

        Args:
            key: of the conversation.
            turn: its id.
            pressed: the message of the reply whose button was pressed.
            person: who pressed it; it counts for their quotas. If that is too much, the turn stays kept.
            unkept: the turn to submit if none is kept.
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
                most=MAX_LANE_TURNS,
                scopes=" ".join(scopes),
                limits=limits,
            )
        return self._receipt(answer, key, person)

    async def correct_kept(self, key: ConversationKey, turn: str, text: str | None, *, at: float = 0.0) -> None:
        """Change the text of a question that is kept for its Retry button; None drops it, because it was deleted.

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
                # Compare and set: another edit may have come between, or somebody pressed the button.
                if await self._scripts.replace_kept(retries=Keys.retries(key), turn=turn, old=kept, new=job.to_json()):
                    return

    async def admit(self, key: ConversationKey, person: str, name: str) -> Receipt:
        """Allow a model request beside the queue, and count it as a turn; once for each ``name``."""
        with redis_errors("look at quotas"):
            answer = await self._scripts.admit(name=name, limits=self._limits(key, person)[1])
        return self._receipt(answer, key, person)

    async def charge(self, key: ConversationKey, person: str, tokens: int) -> None:
        """Count the tokens of a model request beside the queue for the quotas of ``person``."""
        if scopes := self._limits(key, person)[0]:
            with redis_errors("count tokens"):
                await self._scripts.charge(scopes=" ".join(scopes), tokens=min(max(0, tokens), MAX_COUNTED_TOKENS))

    async def is_open(self, turn: str) -> bool:
        """Whether a turn is waiting or being answered."""
        with redis_errors("look for a turn"):
            return bool(await self._redis.hget(Keys.turn(turn), "status") == "open")

    async def running(self, lane: str) -> Turn | None:
        """The turn of a lane that is being answered, or is next."""
        with redis_errors("look at a lane"):
            head: Any = await self._redis.lindex(Keys.inbox(lane), 0)
        found, _ = readable(StoredJob.from_json, [head] if head else [])
        return found[0].turn if found else None

    async def find(self, turn: str) -> Turn | None:
        """The turn with that id, if it is waiting or being answered."""
        with redis_errors("look for a turn"):
            found: Any = await self._redis.hmget(Keys.turn(turn), "status", "lane")
            status, lane = found
            jobs: Any = await self._redis.lrange(Keys.inbox(lane), 0, -1) if status == "open" else []
        found_jobs, _ = readable(StoredJob.from_json, jobs)
        return next((job.turn for job in found_jobs if job.turn.id == turn), None)

    async def first(self, name: str, *, seconds: int = TURN_TTL) -> bool:
        """Whether nobody asked this for ``name`` in the last ``seconds``, in any process."""
        async with self._once(name) as token:
            with redis_errors("notice that something happens once"):
                if await self._redis.set(Keys.seen(name), token, nx=True, ex=seconds):
                    return True
                return bool(await self._redis.get(Keys.seen(name)) == token)

    async def happened(self, name: str) -> bool:
        """Whether ``first`` was asked for that name already."""
        with redis_errors("look whether something happened"):
            return bool(await self._redis.exists(Keys.seen(name)))

    async def _add(self, turn: str, note: Note, *, early: bool = False) -> bool:
        with redis_errors("reach a turn"):
            return bool(await self._scripts.note(key=Keys.turn(turn), turn=turn, note=note.to_json(), early=early))

    @asynccontextmanager
    async def _once(self, name: str) -> AsyncIterator[str]:
        """An idempotency token: a repeated call has the same one.

        Redis may have run a call that we got no answer to. The client repeats it when a connection breaks; if it gives
        up, the platform redelivers the event.
        """
        token = self._unconfirmed.pop(name, None) or uuid.uuid4().hex
        try:
            yield token
        except BaseException:
            while len(self._unconfirmed) >= MAX_UNCONFIRMED_CALLS:
                del self._unconfirmed[next(iter(self._unconfirmed))]
            self._unconfirmed[name] = token
            raise


@asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    """Raise StorageError after ``STORE_TIMEOUT_SECONDS``: the platform hears in time that nothing was stored."""
    try:
        async with asyncio.timeout(STORE_TIMEOUT_SECONDS):
            yield
    except TimeoutError:
        raise StorageError(f"Redis did not store a message within {STORE_TIMEOUT_SECONDS:g} s.") from None
