"""Takes turns and sees them answered: in order within a lane, side by side across lanes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import structlog

from core import commands
from core.assistant import Assistant, Stop
from core.delivery import deliver
from core.draft import Draft
from core.errors import ParleyError, StorageError
from core.surface import Surface
from core.turns import Turns
from core.types import Ending, MessageRef, Outcome, Turn

log = structlog.get_logger()

SLOTS = 128
"""Answers written at the same time; the model's server has its own queue behind that."""
GRACE = 25.0
"""Seconds that running answers get to end when the process is asked to; below the 30 s of most supervisors."""
CLOSING = 10.0
"""Seconds in which the others say that they were interrupted."""
RESTARTED = Outcome(Ending.INTERRUPTED, "I was restarted in the middle of this answer.", retry=True)
WITHDRAWN = Outcome(Ending.STOPPED, "Stopped: the message that asked for this was deleted.", remember=False)


@dataclass(slots=True)
class _Job:
    """A turn on its way, the messages that its reply writes over, and the handle that ends it early."""

    turn: Turn
    refs: Sequence[MessageRef]
    stop: Stop
    correction: str | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Worker:
    """Answers turns in this process.

    Turns of one lane are answered in the order of ``submit``. A turn inside a thread waits for the turn on which the
    thread hangs, since it starts from its answer.
    """

    def __init__(
        self, assistant: Assistant, turns: Turns, surfaces: Mapping[str, Surface], *, slots: int = SLOTS
    ) -> None:
        self.assistant = assistant
        self.turns = turns
        self.surfaces = surfaces
        self._slots = asyncio.Semaphore(slots)
        self._lanes: dict[str, deque[_Job]] = {}
        self._jobs: dict[str, _Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, turn: Turn, refs: Sequence[MessageRef] = ()) -> None:
        """Queue a turn. ``refs`` are the messages of an earlier reply to it, to be written over."""
        job = _Job(turn, refs, asyncio.get_running_loop().create_future())
        self._jobs[turn.id] = job
        if turn.lane in self._lanes:
            self._lanes[turn.lane].append(job)
            return
        self._lanes[turn.lane] = deque([job])
        task = asyncio.create_task(self._run_lane(turn.lane))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self, turn: str, outcome: Outcome) -> bool:
        """End a turn early; one that still waits in its lane is dropped without a reply. False if it is not here."""
        job = self._jobs.get(turn)
        if not job or job.stop.done():
            return False
        job.stop.set_result(outcome)
        return True

    def correct(self, turn: str, text: str) -> None:
        """A question was edited: an answer that is under way is remembered with what it reads now."""
        if job := self._jobs.get(turn):
            job.correction = text

    def amend(self, turn: str, **place: str) -> None:
        """Something more became known of a turn; it counts if nobody has begun to answer."""
        if job := self._jobs.get(turn):
            job.turn = replace(job.turn, place={**job.turn.place, **place})

    def has(self, turn: str) -> bool:
        """Whether a turn waits or is being answered here."""
        return turn in self._jobs

    async def drain(self, grace: float = GRACE, hurry: asyncio.Event | None = None) -> None:
        """Let what runs end within ``grace`` seconds, or until ``hurry``.

        What does not end in time is marked as interrupted, with Retry.
        """
        if not self._tasks:
            return
        log.info("draining", turns=len(self._jobs), seconds=grace)
        waiting: set[asyncio.Task[Any]] = {
            asyncio.create_task(asyncio.wait(self._tasks)),
            asyncio.create_task((hurry or asyncio.Event()).wait()),
        }
        await asyncio.wait(waiting, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        late = set(self._tasks)
        for job in list(self._jobs.values()):
            if not job.stop.done():
                job.stop.set_result(RESTARTED)
        if late:
            await asyncio.wait(late, timeout=CLOSING)

    async def _run_lane(self, lane: str) -> None:
        jobs = self._lanes[lane]
        while jobs:
            job = jobs[0]
            try:
                if root := self._jobs.get(job.turn.root):
                    await root.done.wait()
                async with self._slots:
                    await self._answer(job)
            except ParleyError as error:
                log.error("turn failed", turn=job.turn.id, error=str(error), remedy=error.remedy)
            except Exception:
                log.exception("turn failed", turn=job.turn.id)
            finally:
                jobs.popleft()
                job.done.set()
                if self._jobs.get(job.turn.id) is job:
                    del self._jobs[job.turn.id]
        del self._lanes[lane]

    async def _answer(self, job: _Job) -> None:
        """Answer one turn, or do what it commands."""
        if job.stop.done() and job.stop.result() is WITHDRAWN:
            return
        surface = self.surfaces[job.turn.key.platform]
        turn = await surface.understand(job.turn)
        if job.correction is not None:  # before anything was asked
            turn = replace(turn, text=job.correction)
        editor, pace = surface.open_editor(turn), surface.pace(turn)
        if command := commands.find(turn.text):
            draft = Draft()
            try:
                draft.append(await command(turn, self.assistant.memory))
                draft.close(Outcome(Ending.COMPLETE))
            except ParleyError as error:
                log.warning("command failed", turn=turn.id, error=str(error), remedy=error.remedy)
                draft.close(Outcome(Ending.FAILED, error.plain))
            await deliver(draft, editor, pace, refs=job.refs)
            return
        await self.assistant.answer(
            turn,
            editor,
            pace,
            read_thread=surface.read_thread,
            refs=job.refs,
            stop=job.stop,
            before_the_end=partial(self._offer_retry, job.turn),
            reads_now=partial(_reads_now, job, turn),
        )

    async def _offer_retry(self, turn: Turn, refs: Sequence[MessageRef], outcome: Outcome) -> None:
        """Keep a turn before people see the button that asks for it again."""
        if outcome.retry:
            try:
                await self.turns.keep(turn, refs)
            except StorageError as error:
                log.warning("Retry will not work", turn=turn.id, error=str(error))


def _reads_now(job: _Job, turn: Turn) -> str | None:
    """What a question reads now; None if it was deleted."""
    if job.stop.done() and not job.stop.result().remember:
        return None
    return turn.text if job.correction is None else job.correction
