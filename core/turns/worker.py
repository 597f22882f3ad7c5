"""Takes turns from the queue and answers several at the same time, until it is asked to stop.

Any number of workers share the queue, on any machine. A worker can die at any moment: its leases expire, and the others
continue its answers. One that is asked to stop takes nothing new, lets running answers end, and hands over the rest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from core import metrics
from core.assistant import Assistant
from core.delivery import Surface
from core.errors import StorageError, StorageFault
from core.metrics import tag, turn_fields
from core.tasks import end_tasks
from core.turns.failpoints import crash_point
from core.turns.lease import Lease
from core.turns.queue import TurnQueue
from core.turns.reply import Reply
from core.turns.timings import Timings

log = structlog.get_logger()

SLOTS = 64
"""Answers written at the same time; the model's server has its own queue behind that."""
CLAIM_BATCH = 16
"""Lanes taken by one claim, so that other workers get their share."""
GRACE = 25.0
"""Seconds that running answers get when the process is asked to stop; below the 30 s of most supervisors."""
CLAIM_POLL = 1.0
"""Seconds after which a worker looks for turns although nothing woke it: leases expire silently."""
HOUSEKEEPING_INTERVAL = 60.0
"""Seconds between two searches for orphaned lanes."""
HAND_OVER_TIMEOUT = 5.0
"""Seconds to hand over answers that did not end in time."""
CANCEL_AGAIN = 1.0
"""Seconds that a cancelled answer gets to clear its typing status."""
LOOP_RETRY = 1.0
"""Seconds before a loop continues after Redis was unavailable, or after an error in our own code."""
SWEEP_INTERVAL = 600.0
"""Seconds between two searches for keys of the wrong type; an error from Redis starts one at once."""
NEVER = float("-inf")
"""When a loop that has ended last made progress: so long ago that it counts as stuck at once."""


class Worker:
    """Answers the queued turns of some platforms.

    Example::

        worker = Worker(queue, assistant, {"slack": slack.surface})
        worker.start()
        await stopping.wait()
        await worker.drain()

    Args:
        queue: Where turns are claimed.
        assistant: Has the model answer.
        surfaces: The platforms whose turns it answers, by name.
        slots: How many answers are written at the same time, at most.
        timings: Where it is noted how answers went; None to note nothing.
    """

    def __init__(
        self,
        queue: TurnQueue,
        assistant: Assistant,
        surfaces: Mapping[str, Surface],
        *,
        slots: int = SLOTS,
        timings: Timings | None = None,
    ) -> None:
        self.progressed_at = time.monotonic()
        """When it last looked for turns, or found all slots taken; on the monotonic clock."""
        self._queue = queue
        self._assistant = assistant
        self._surfaces = surfaces
        self._slots = slots
        self._timings = timings
        self._replies: dict[asyncio.Task[None], Reply] = {}
        self._quarantine = False
        self._stopping = asyncio.Event()
        self._slot_free = asyncio.Event()
        self._beat_now = asyncio.Event()
        self._claiming: asyncio.Task[None] | None = None
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._damaged = asyncio.Event()
        self._swept_at = NEVER

    @property
    def running(self) -> int:
        """How many turns are being answered by this worker."""
        return len(self._replies)

    def start(self) -> None:
        """Begin to take turns, and register as a worker."""
        self._beat_now.set()
        self._claiming = asyncio.create_task(self._repeat("claims", self._claim))
        others = {"beats": self._beat, "signals": self._follow_signals, "housekeeping": self._keep_house}
        self._loops = {name: asyncio.create_task(self._repeat(name, step)) for name, step in others.items()}

    def progress(self) -> dict[str, Callable[[], float]]:
        """When each loop last made progress, on the monotonic clock; one that only listens does so until it ends."""

        def last(task: asyncio.Task[None] | None, at: Callable[[], float]) -> float:
            return at() if self._stopping.is_set() or (task and not task.done()) else NEVER

        others = {name: partial(last, task, time.monotonic) for name, task in self._loops.items()}
        return {"claims": lambda: last(self._claiming, lambda: self.progressed_at), **others}

    async def drain(self, grace: float = GRACE, hurry: asyncio.Event | None = None) -> None:
        """Take nothing new, let running answers end, hand over the rest, and unregister.

        Args:
            grace: Seconds that running answers get.
            hurry: Ends that time early, once it is set.
        """
        self._stopping.set()
        self._slot_free.set()
        if self._claiming:
            await self._claiming
        if self._replies:
            log.info("draining", turns=len(self._replies), seconds=grace)
            ended = asyncio.create_task(asyncio.wait(self._replies))
            hurried = asyncio.create_task((hurry or asyncio.Event()).wait())
            await asyncio.wait({ended, hurried}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
            hurried.cancel()
            ended.cancel()
            await self._hand_over()
        await end_tasks(self._loops.values(), within=HAND_OVER_TIMEOUT, cancel_again=CANCEL_AGAIN)
        try:
            await self._queue.unregister()
        except StorageError as error:
            log.info("worker not unregistered", error=str(error))

    async def _hand_over(self) -> None:
        """Cancel the answers that did not end in time, and release their turns to other workers."""
        late = dict(self._replies)
        await end_tasks(late, within=HAND_OVER_TIMEOUT, cancel_again=CANCEL_AGAIN)
        left = [reply for task, reply in late.items() if task.cancelled() and not reply.lease.lost]
        if not left:
            return
        try:
            async with asyncio.timeout(HAND_OVER_TIMEOUT):
                alone = not await self._queue.other_workers()
                await asyncio.gather(*(reply.hand_over(say_so=alone) for reply in left))
            log.info("answers handed over", turns=len(left))
        except (StorageError, TimeoutError) as error:
            log.warning("leases left to expire", turns=len(left), error=str(error))

    async def _claim(self) -> None:
        """Claim as many turns as there are free slots, or wait until there is one of either."""
        self.progressed_at = time.monotonic()
        room = self._slots - len(self._replies)
        if room <= 0 or (self._quarantine and self._replies):
            self._slot_free.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(CLAIM_POLL):
                    await self._wait_unless_stopping(self._slot_free.wait())
            return
        asked_at = time.monotonic()
        claimed = await self._queue.claim(min(room, CLAIM_BATCH), idle=not self._replies)
        self._quarantine = claimed.quarantine
        for job in claimed.jobs:
            try:
                self._begin(Lease(job, self._queue.lease, asked_at))
            except Exception as error:
                log.exception("internal error", turn=tag(job.turn.id))
                await self._queue.move_to_dead_letters(job, f"it could not be started: {type(error).__name__}")
        if not claimed.jobs:
            await self._wait_unless_stopping(self._queue.wait(CLAIM_POLL))

    def _begin(self, lease: Lease) -> None:
        """Start to answer one job, in a task of its own."""
        crash_point("claimed")
        say = log.info if lease.job.tries > 1 else log.debug
        say("turn claimed", **turn_fields(lease.job.turn), epoch=lease.job.epoch, tries=lease.job.tries)
        surface = self._surfaces[lease.job.turn.key.platform]
        reply = Reply(lease, self._queue, self._assistant, surface, self._timings)
        task = asyncio.create_task(reply.run())
        self._replies[task] = reply
        task.add_done_callback(self._forget_reply)

    def _forget_reply(self, task: asyncio.Task[None]) -> None:
        del self._replies[task]
        self._slot_free.set()

    async def _beat(self) -> None:
        """Renew our leases, save texts and receive notes: every third of a lease, and at once after a signal."""
        try:
            async with asyncio.timeout(self._queue.lease / 3):
                await self._beat_now.wait()
        except TimeoutError:
            pass
        self._beat_now.clear()
        replies = {reply.lease.job: (task, reply.lease) for task, reply in self._replies.items()}
        sent_at = time.monotonic()
        try:
            answers = await self._queue.beat({job: lease.unsaved() for job, (_, lease) in replies.items()})
        except StorageError:
            self._beat_now.set()  # the next beat is due now
            raise
        if replies:
            crash_point("beat")
        for job, notes in answers.items():
            task, lease = replies[job]
            if notes is not None:
                lease.renew(sent_at, notes)
            elif not task.done():
                lease.lost = True
                task.cancel()

    async def _follow_signals(self) -> None:
        """Beat at once when there is a new note on a turn that is answered here."""
        async for lane in self._queue.signals():
            if any(reply.lease.job.lane == lane for reply in self._replies.values()):
                self._beat_now.set()

    async def _keep_house(self) -> None:
        """Repair what only a fault outside of our scripts can cause: keys of the wrong type, orphaned lanes."""
        if time.monotonic() - self._swept_at >= SWEEP_INTERVAL or self._damaged.is_set():
            self._damaged.clear()
            if moved := await self._queue.set_aside_damaged_keys():
                log.warning("keys of the wrong kind put aside", stored=moved)
            self._swept_at = time.monotonic()
        if found := await self._queue.requeue_orphans():
            log.warning("orphaned lanes requeued", lanes=found)
        with suppress(TimeoutError):
            async with asyncio.timeout(HOUSEKEEPING_INTERVAL):
                await self._damaged.wait()

    async def _repeat(self, name: str, step: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Repeat a step until we stop, whatever it raises; after an error, with a pause."""
        broken = False
        while not (self._stopping.is_set() and name == "claims"):
            try:
                await step()
                broken = False
            except (asyncio.CancelledError, Exception) as error:
                if isinstance(error, asyncio.CancelledError) and self._is_cancelled():
                    raise
                if isinstance(error, StorageError) and not isinstance(error, StorageFault):
                    if not broken:
                        log.warning("Redis unavailable; retrying", error=str(error), remedy=error.remedy)
                    broken = True
                else:
                    self._damaged.set()
                    metrics.LOOP_FAULTS.add(kind=name)
                    log.exception("internal error", what=name)
                await asyncio.sleep(LOOP_RETRY)

    @staticmethod
    def _is_cancelled() -> bool:
        """Whether this loop itself was cancelled, and not only a call that it made."""
        task = asyncio.current_task()
        return bool(task and task.cancelling())

    async def _wait_unless_stopping(self, wait: Coroutine[Any, Any, Any]) -> None:
        """Wait for something, or until we are asked to stop."""
        waiting = asyncio.ensure_future(wait)
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
        finally:
            for task in (waiting, stopping):
                task.cancel()
            await asyncio.gather(waiting, stopping, return_exceptions=True)
