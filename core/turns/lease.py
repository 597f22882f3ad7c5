"""A worker's lease on a turn, and an editor that refuses to write once the lease is over.

Redis refuses what comes with an old epoch; a platform cannot. So before every call a worker looks at its own clock: a
process that was frozen for longer than its lease wakes up, sees that its time is over, and edits nothing. A call gets
no longer than the lease has left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import structlog

from core import metrics
from core.delivery import Draft, FallbackEditor, MessageEditor
from core.errors import (
    MessageGone,
    ParleyError,
    PlatformError,
    PlatformUnauthorized,
    PlatformUnavailable,
    RateLimited,
    StorageError,
    StorageFault,
)
from core.turns.failpoints import crash_point
from core.turns.jobs import Job, Note, Seal, StoredJob
from core.turns.queue import TurnQueue
from core.types import MessageLimits, MessageRef, Outcome, Turn

log = structlog.get_logger()
T = TypeVar("T")

SAVE_TIMEOUT = 0.5
"""Seconds that an edit waits until the text it shows is saved; after that it is made anyway."""
RECEIPT_TIMEOUT = 1.0
"""Seconds to save the id of a posted message; if that fails, the message is found by its mark."""
SEAL_TIMEOUT = 2.0
"""Seconds that an answer's end waits to be saved before people see it."""
PAUSE_TIMEOUT = 2.0
"""Seconds to show, when a process ends, why an answer stopped growing; after that the turn is released anyway."""
MOST_SAVED = 65_536
"""Characters of an answer that are saved while it grows."""

RESULTS: dict[type[PlatformError], str] = {
    RateLimited: "rate_limited",
    MessageGone: "gone",
    PlatformUnavailable: "unavailable",
    PlatformUnauthorized: "unauthorized",
}
"""The label of each refusal in ``metrics.EDITS``; all others are "refused"."""


class LeaseLost(ParleyError):
    """Another worker has this turn, or may have it."""


class Lease:
    """A job, for as long as it is ours.

    Args:
        job: What was claimed.
        seconds: How long a lease lasts without being renewed.
        claimed_at: When the claim was sent, on the monotonic clock.
    """

    def __init__(self, job: Job, seconds: float, claimed_at: float) -> None:
        self.job = job
        self.seconds = seconds
        self.until = claimed_at + seconds
        """When it ends, in seconds of the monotonic clock."""
        self.lost = False
        """Whether another worker has it, as far as we know."""
        self.stop: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        """Set once somebody ends the answer early."""
        self.draft: Draft | None = None
        self.saved = ""
        self._apply_stops()

    @property
    def call_timeout(self) -> float:
        """Seconds that one call of a platform may take: a third of the lease."""
        return self.seconds / 3

    @property
    def notes(self) -> tuple[Note, ...]:
        """What became known of each of its turns since it was stored."""
        return tuple(Note.from_json(note) for note in self.job.notes)

    @property
    def withdrawn(self) -> bool:
        """Whether the message that is to be answered was deleted."""
        return self.stop.done() and not self.stop.result().remember

    def turns(self) -> tuple[Turn, ...]:
        """The turns that are answered together, as they read now, without those that were deleted."""
        pairs = zip(self.job.stored, self.notes, strict=True)
        return tuple(note.applied(stored.turn) for stored, note in pairs if not (note.stop and not note.stop.remember))

    def unsaved(self) -> str:
        """The text so far, if there is more of it than was saved."""
        text = self.draft.text[:MOST_SAVED] if self.draft and len(self.draft) > len(self.job.text) else ""
        if text == self.saved:
            return ""
        self.saved = text
        return text

    def renew(self, sent_at: float, notes: tuple[str, ...]) -> None:
        """Redis renewed it, at ``sent_at`` (monotonic clock) or later."""
        self.until = sent_at + self.seconds
        self.learn(notes)

    def learn(self, notes: tuple[str, ...]) -> None:
        """Take over new notes about its turns."""
        if notes != self.job.notes and len(notes) == len(self.job.stored):
            self.job = replace(self.job, notes=notes)
            self._apply_stops()

    def check(self) -> None:
        """Raise LeaseLost unless a call that begins now ends while the lease is ours."""
        if self.lost or time.monotonic() + self.call_timeout > self.until:
            raise LeaseLost("the lease on a turn is over")

    def end_at(self, at: float, outcome: Outcome) -> None:
        """End the answer at a time, in seconds since the epoch, if it has not ended by then."""

        def end() -> None:
            if not self.stop.done():
                self.stop.set_result(outcome)

        asyncio.get_running_loop().call_later(max(0.0, at - time.time()), end)

    def _apply_stops(self) -> None:
        """End the answer if somebody stopped it, or if nothing is left that asks for it."""
        stops = [note.stop for note in self.notes]
        asked = [stop for stop in stops if stop and stop.remember]
        if (asked or all(stops)) and not self.stop.done():
            self.stop.set_result([stop for stop in asked or stops if stop][-1])


class LeaseEditor:
    """A ``core.delivery.MessageEditor`` that writes only while the lease lasts, and saves where the reply stands.

    Before a message is posted, the intention is saved; afterwards, the message's id. If the platform's response to a
    post was lost, the message is looked for before it is posted again, by this worker or by its heir.

    Args:
        editor: The platform's own editor.
        queue: Where it is saved how far the reply got.
        lease: Every call is made only while this lasts.
    """

    def __init__(self, editor: MessageEditor, queue: TurnQueue, lease: Lease) -> None:
        self.first_at: float | None = None
        """When people saw the first of it, on the monotonic clock."""
        self.edits = 0
        self.refused = 0
        """Posts and edits that the platform took, and that it did not."""
        self._editor = editor
        self._queue = queue
        self._lease = lease
        self._refs = list(lease.job.refs or lease.job.stored[-1].refs)
        self._posting = lease.job.posting
        self._last_growing: tuple[MessageRef, str] | None = None
        self._unanswered = False

    @property
    def refs(self) -> tuple[MessageRef, ...]:
        """The messages of the reply whose ids are known."""
        return tuple(self._refs)

    @property
    def limits(self) -> MessageLimits:
        """See ``MessageEditor.limits``."""
        return self._editor.limits

    def fall_back(self, *, anew: bool = False) -> bool:
        """See ``FallbackEditor.fall_back``."""
        return isinstance(self._editor, FallbackEditor) and self._editor.fall_back(anew=anew)

    def working(self) -> AbstractAsyncContextManager[None]:
        """See ``MessageEditor.working``."""
        return self._editor.working()

    async def post(self, text: str, part: int, *, growing: bool) -> MessageRef:
        """Post a message, or edit the one that an earlier worker posted in its place."""
        if found := await self._prepare(part):
            await self.edit(found, text, growing=growing)
            return found
        try:
            ref = await self._call(self._editor.post(text, part, growing=growing))
        except PlatformError as error:
            self._was_refused(error)
            raise
        self._people_saw(text)
        crash_point("post.unwritten")
        await self._posted(ref)
        self._last_growing = (ref, text)
        return ref

    async def edit(self, ref: MessageRef, text: str, *, growing: bool) -> None:
        """See ``MessageEditor.edit``."""
        if growing:
            await self._save()
        crash_point("edit")
        await self._call(self._editor.edit(ref, text, growing=growing))
        self._people_saw(text)
        crash_point("edited")
        self._last_growing = (ref, text)

    async def finish(
        self, refs: Sequence[MessageRef], parts: Sequence[str], outcome: Outcome, *, whole: str = ""
    ) -> tuple[MessageRef, ...]:
        """See ``MessageEditor.finish``."""
        part = len(refs)
        if part < max(len(parts), 1) and (found := await self._prepare(part)):
            refs = (*refs, found)
        crash_point("finish")
        try:
            finished = await self._call(self._editor.finish(refs, parts, outcome, whole=whole))
        except PlatformError as error:
            self._was_refused(error)
            raise
        self._people_saw("")
        crash_point("finished")
        self._last_growing = None
        if self._unanswered:
            await self._finish_again(partial(self._editor.finish, finished, parts, outcome, whole=whole))
        return finished

    async def remove(self, ref: MessageRef) -> None:
        """See ``MessageEditor.remove``."""
        await self._call(self._editor.remove(ref))

    async def find(self, part: int) -> MessageRef | None:
        """See ``MessageEditor.find``."""
        return await self._within_lease(self._editor.find(part))

    async def pause(self, outcome: Outcome) -> None:
        """Note under the message that grows why it stopped growing, if there is one. Never raises."""
        if self._last_growing:
            ref, text = self._last_growing
            try:
                async with asyncio.timeout(PAUSE_TIMEOUT):
                    await self._call(self._editor.finish([ref], [text], outcome))
            except (ParleyError, TimeoutError) as error:
                log.info("pause note not shown", error=str(error))

    async def seal(self, seal: Seal, refs: Sequence[MessageRef], retry: StoredJob | None) -> None:
        """Save how the answer ends. If Redis is unavailable, people see the end anyway."""
        crash_point("seal")
        try:
            async with asyncio.timeout(SEAL_TIMEOUT):
                kept = await self._queue.seal(self._lease.job, seal, refs or self._refs, retry)
        except (StorageError, TimeoutError) as error:
            log.warning("answer outcome not stored", error=str(error), retry=bool(retry))
            return
        if not kept:
            self._lease.lost = True
            raise LeaseLost("another worker has this turn")
        crash_point("sealed")

    async def _finish_again(self, finish: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Repeat the final edit: a call that timed out may have taken effect after it, and restored older text."""
        await asyncio.sleep(self._lease.call_timeout)
        try:
            await self._call(finish())
        except PlatformError as error:
            log.info("final edit not repeated", error=str(error))

    async def _prepare(self, part: int) -> MessageRef | None:
        """Before a post: find the message that was posted already, or else save that one is about to be."""
        if self._posting == part and (found := await self._look_for(part)):
            log.info("lost message found", part=part)
            await self._posted(found)
            return found
        self._lease.check()
        crash_point("post")
        try:
            async with asyncio.timeout(self._lease.call_timeout):
                held = await self._mark(part)
        except StorageFault:
            raise  # Redis is available, so a retry would fail in the same way
        except (StorageError, TimeoutError) as error:
            raise PlatformUnavailable(f"the queue is unavailable: {error}", code="storage") from None
        if not held:
            self._lease.lost = True
            raise LeaseLost("another worker has this turn")
        self._posting = part
        crash_point("post.written")
        return None

    async def _look_for(self, part: int) -> MessageRef | None:
        """The message posted as ``part``, if any; a call that timed out may take effect a moment later."""
        found = await self.find(part)
        if not found and self._unanswered:
            await asyncio.sleep(self._lease.call_timeout)
            found = await self.find(part)
        return found

    async def _save(self) -> None:
        """Save the text that people are about to see, so that no heir shows less; and notice a lost lease."""
        try:
            async with asyncio.timeout(SAVE_TIMEOUT):
                held = await self._mark(self._posting)
        except (StorageError, TimeoutError):
            return  # by our own clock it is ours, which is what counts
        if not held:
            self._lease.lost = True
            raise LeaseLost("another worker has this turn")

    async def _posted(self, ref: MessageRef) -> None:
        """Save the id of a message that was posted."""
        self._refs.append(ref)
        self._posting = None
        try:
            async with asyncio.timeout(RECEIPT_TIMEOUT):
                await self._mark(None)
        except (StorageError, TimeoutError) as error:
            log.info("message id not stored", error=str(error))
        crash_point("posted")

    def _people_saw(self, text: str) -> None:
        """Note when people first saw a text; the note that the model is thinking does not count."""
        if not text or text != self.limits.thinking:
            self.first_at = self.first_at or time.monotonic()

    def _was_refused(self, error: PlatformError) -> None:
        """A post failed: if the platform refused it, it was not posted; if it did not respond, it may have been."""
        if not isinstance(error, PlatformUnavailable):
            self._posting = None

    async def _mark(self, posting: int | None) -> bool:
        text = self._lease.unsaved()
        return await self._queue.mark(self._lease.job, posting=posting, refs=self._refs, text=text)

    async def _call(self, call: Coroutine[Any, Any, T]) -> T:
        """One call that writes, counted by its result."""
        platform = self._lease.job.turn.key.platform
        try:
            result = await self._within_lease(call)
        except LeaseLost:
            metrics.EDITS.add(platform=platform, result="fenced")
            raise
        except PlatformError as error:
            metrics.EDITS.add(platform=platform, result=RESULTS.get(type(error), "refused"))
            self.refused += not isinstance(error, MessageGone)
            raise
        metrics.EDITS.add(platform=platform, result="ok")
        self.edits += 1
        return result

    async def _within_lease(self, call: Coroutine[Any, Any, T]) -> T:
        """One call of the platform, in the time that the lease has left."""
        try:
            self._lease.check()
        except LeaseLost:
            call.close()
            raise
        try:
            async with asyncio.timeout(self._lease.call_timeout) as timeout:
                return await call
        except TimeoutError:
            if not timeout.expired():
                raise
            self._unanswered = True
            raise PlatformUnavailable("the platform did not answer in time", code="timeout") from None
