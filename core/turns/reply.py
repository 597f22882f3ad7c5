"""One job, from claim to commit: the reply is written, shown and remembered, or the job is left to another worker.

``Reply.run`` is the story of an answer, told in one place: the message is understood, the model writes, the delivery
shows the text while it grows, the seal writes down how it ends, people see the end, and the commit remembers it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import structlog
from structlog.contextvars import bound_contextvars

from core import metrics
from core.assistant import Answer, Assistant, Command, commands
from core.delivery import Delivery, Draft, Pace, PrivateSurface, Surface, deliver
from core.errors import (
    MessageGone,
    NotAllowed,
    ParleyError,
    PlatformError,
    PlatformUnauthorized,
    StorageError,
    StorageFault,
)
from core.metrics import tag, turn_fields
from core.policy import Venue
from core.prompts import estimate_tokens
from core.stored import whole_number
from core.turns.failpoints import crash_on, crash_point
from core.turns.jobs import Job, Seal, StoredJob
from core.turns.lease import Lease, LeaseEditor, LeaseLost
from core.turns.queue import TurnQueue
from core.turns.remembered import as_it_reads_now, named, retry_job, sealed
from core.turns.timings import Timing, Timings
from core.types import Ending, MessageRef, Outcome, Turn

log = structlog.get_logger()

WITHDRAWN = Outcome(Ending.STOPPED, "Stopped, because the question was deleted.", remember=False)
STOPPED = Outcome(Ending.STOPPED, "Stopped.", retry=True)
RESTARTING = Outcome(Ending.INTERRUPTED, "I'm restarting, and I'll finish this answer afterwards.")
OUT_OF_TIME = Outcome(
    Ending.INTERRUPTED, "This answer is incomplete: I can only write it for 15 minutes. Ask again for the rest."
)
NOT_ALLOWED_THERE = (
    "I couldn't reply where you asked: I'm not allowed to write there. "
    "Ask me in a direct message, or ask whoever manages that channel to let me post."
)
REPLY_REFUSED = (
    "I couldn't show you my answer where you asked, because it was refused there. "
    "Ask again; if that doesn't help, tell {contact}."
)
WOULD_HAVE_POSTED = "This is what I would have posted:"
PLATFORM_RETRY = 30.0
"""Seconds before a turn is tried again whose platform was unavailable."""
GIVE_UP_AFTER = 3600.0
"""Seconds after which a turn is given up if its platform is still unavailable."""
TAKEN_OVER = "again"
"""In ``Turn.place``: an earlier worker died with this turn, and may have left a typing status behind."""
FAULT_RETRY = 1.0
"""Seconds before a turn is tried again after an error in our own code."""
WHOLE_ENDINGS = (Ending.COMPLETE, Ending.LENGTH)
"""Endings of an answer that is worth sending privately where it could not be posted."""
TELL_TIMEOUT = 10.0
"""Seconds to reach a person privately."""
COMMIT_RETRY = 0.5
"""Seconds between two tries to commit while Redis is unavailable."""
MOST_COMMIT_FAULTS = 3
"""Commits of one answer that may fail although Redis is available, before the turn becomes a dead letter."""


class Reply:
    """The reply to one job.

    Example::

        reply = Reply(lease, queue, assistant, surface)
        await reply.run()

    Args:
        lease: The job, and until when it is ours.
        queue: Where the reply's progress is written down, and where the job is committed or released.
        assistant: Has the model answer.
        surface: The platform that the turn came from.
        timings: Where it is noted how the answer went; None to note nothing.
    """

    def __init__(
        self,
        lease: Lease,
        queue: TurnQueue,
        assistant: Assistant,
        surface: Surface,
        timings: Timings | None = None,
    ) -> None:
        self.lease = lease
        self._queue = queue
        self._assistant = assistant
        self._surface = surface
        self._timings = timings
        self._begun = time.monotonic()
        self._editor: LeaseEditor | None = None
        self._written: Answer | None = None
        self._for_retry: tuple[StoredJob, Answer] | None = None

    async def run(self) -> None:
        """Answer and commit, or leave the job to another worker. Never raises, but for a cancellation."""
        job, begun, how = self.lease.job, time.monotonic(), "left"
        if job.tries > 1:
            metrics.TAKEOVERS.add()
        try:
            # All that is logged on the way says of which turn.
            with bound_contextvars(**turn_fields(job.turn), job=tag(job.id), epoch=job.epoch):
                how = await self._run(job)
        finally:
            metrics.TURN_DURATION.observe(time.monotonic() - begun, outcome=how)
            if self.lease.lost:
                metrics.FENCED.add()
        await self._record_timing()

    async def _run(self, job: Job) -> str:
        """Answer and commit.

        Returns:
            How it ended, as ``metrics.TURN_DURATION`` counts it: an ``Ending``, or "left", "gone" or "dead".
        """
        how = "left"
        try:
            seal, why = await self._show_reply()
            why = await self._commit(seal, why)
            if self._written and not why:
                self._assistant.remembered(self._written)
            how = "dead" if why else seal.outcome.ending if seal else "gone"
        except LeaseLost:
            self.lease.lost = True
            log.warning("answer left to another worker")
        except MessageGone as error:
            how = "gone"
            log.info("reply target gone", code=error.code)
            await self._last_step(self._commit(None))
        except PlatformError as error:
            log.warning("reply not shown", error=str(error), code=error.code, remedy=error.remedy)
            passes = error.retryable or isinstance(error, PlatformUnauthorized)  # a token can be put right
            if passes and job.waited + time.monotonic() - self._begun < GIVE_UP_AFTER:
                await self._last_step(self._release(PLATFORM_RETRY, failed=False))
            else:
                how = "gone" if isinstance(error, NotAllowed) else "dead"
                await self._tell_asker(job.turn, NOT_ALLOWED_THERE if isinstance(error, NotAllowed) else REPLY_REFUSED)
                await self._last_step(self._commit(None, str(error) if how == "dead" else ""))
        except StorageFault as error:
            log.exception("internal error", error=str(error))
            how = await self._fail(str(error))
        except StorageError as error:
            log.warning("queue unavailable", error=str(error))
            await self._last_step(self._release(FAULT_RETRY, failed=False))
        except Exception as error:
            log.exception("internal error")
            how = await self._fail(type(error).__name__)
        return how

    async def hand_over(self, *, say_so: bool) -> None:
        """Leave the job to another worker. Never raises.

        Args:
            say_so: Whether people are told under the answer, since no other worker is there to continue it.
        """
        if say_so and self._editor:
            await self._editor.pause(RESTARTING)
        crash_point("release")
        await self._last_step(self._release(0, failed=False))
        crash_point("released")

    async def _tell_asker(self, turn: Turn, why: str) -> None:
        """Tell the asker privately that the reply could not be posted, and what it would have said."""
        if self.lease.lost or not isinstance(self._surface, PrivateSurface):
            return
        draft = self.lease.draft
        whole = draft.text if draft and draft.outcome and draft.outcome.ending in WHOLE_ENDINGS else ""
        try:
            async with asyncio.timeout(TELL_TIMEOUT):
                why = (await self._surface.venue(turn)).tell(why)
                await self._surface.tell(turn, f"{why} {WOULD_HAVE_POSTED}\n\n{whole}" if whole else why)
        except (PlatformError, TimeoutError) as error:
            log.warning("asker not told", error=str(error))

    async def _record_timing(self) -> None:
        """Note how an answer of the model went, if we showed any of it."""
        editor, written, turn = self._editor, self._written, self.lease.job.turn
        if not (self._timings and editor and self.lease.draft and (editor.edits or editor.refused)) or self.lease.lost:
            return
        first = round(self.lease.job.waited + editor.first_at - self._begun, 3) if editor.first_at else None
        tokens = (whole_number(written.usage.completion_tokens) or estimate_tokens(written.text)) if written else 0
        writing = round(written.seconds, 3) if written else 0.0
        await self._timings.keep(
            Timing(time.time(), turn.key.platform, first, writing, tokens, editor.edits, editor.refused)
        )

    async def _show_reply(self) -> tuple[Seal | None, str]:
        """Show the reply to its end.

        Returns:
            How it ended, None if there is no reply; and why the turn becomes a dead letter, "" if it does not.
        """
        job = self.lease.job
        if self.lease.withdrawn and not job.refs:
            return None, ""
        *earlier, turn = [await self._surface.understand(turn) for turn in self.lease.turns() or [job.turn]]
        if job.tries > 1:
            turn = replace(turn, place={**turn.place, TAKEN_OVER: "yes"})
        crash_point("understood")
        editor = self._editor = LeaseEditor(self._surface.open_editor(turn), self._queue, self.lease)
        if editor.limits.until:
            self.lease.end_at(editor.limits.until, OUT_OF_TIME)
        pace, venue = self._surface.pace(turn), await self._surface.venue(turn)
        if job.seal:
            return named(job.seal, await self._show(job.seal, pace)), ""
        if job.hopeless:
            seal = Seal(job.text, _given_up(job, venue))
            refs = await self._show(seal, pace)
            await self._queue.mark(job, posting=None, refs=refs, text="")  # to be written over, should it be replayed
            return seal, f"{job.tries - 1} workers died of it, or failed"
        if command := commands.find_in(turn) or commands.find_in(self._typed()):
            seal = await self._obey(turn, command, venue)
            await editor.seal(seal, (), None)
            await self._show(seal, pace)
            return seal, ""
        if refusal := await self._refusal(job):
            seal = Seal("", Outcome(Ending.FAILED, venue.tell(refusal)))
            await editor.seal(seal, (), None)
            await self._show(seal, pace)
            return seal, ""
        crash_on(turn.text)
        return await self._write(turn, earlier, pace, venue), ""

    async def _show(self, seal: Seal, pace: Pace) -> tuple[MessageRef, ...]:
        """Show a reply that is complete already. Returns its messages."""
        assert self._editor  # noqa: S101 - the caller opened it
        return await deliver(Draft.ended(seal.text, seal.outcome), self._editor, pace, refs=self._editor.refs)

    async def _write(self, turn: Turn, earlier: Sequence[Turn], pace: Pace, venue: Venue) -> Seal:
        """Have the model write, and show what it writes; how it ends is written down before people see it."""
        editor = self._editor
        assert editor  # noqa: S101 - the caller opened it
        draft = self.lease.draft = Draft(floor=self.lease.job.text)
        model = self._assistant.writing(
            turn,
            draft,
            earlier=earlier,
            read_thread=self._surface.read_thread,
            read_room=self._surface.read_room,
            stop=self.lease.stop,
            venue=venue,
        )
        async with editor.working(), model as writing:
            with Delivery(draft, editor, pace, editor.refs) as delivery:
                await delivery.grow()
                await self._seal(writing.answer(delivery.refs))
                await delivery.conclude()
        self._written = await self._assistant.ended(writing, delivery.refs)
        return named(sealed(self._written), delivery.refs)

    async def _refusal(self, job: Job) -> str:
        """Why a model is not asked, "" if it is: a command was let in for nothing, and was edited into a question."""
        if not commands.find_in(job.turn):
            return ""
        return (await self._queue.admit(job.turn.key, job.turn.author.id, job.id)).note

    def _typed(self) -> Turn:
        """The newest message as its author typed it, without the file names that the platform adds."""
        return (self.lease.turns() or [self.lease.job.turn])[-1]

    async def _obey(self, turn: Turn, command: Command, venue: Venue) -> Seal:
        """Carry out a command. Returns the reply to it."""
        try:
            said = await command(turn, self._assistant.memory, venue, self._assistant.policy)
            if said.confirm:
                await self._queue.first(commands.Confirmation.of(turn, said.confirm).name)
            return Seal(said.text, Outcome(Ending.COMPLETE, confirm=said.confirm))
        except ParleyError as error:
            log.warning("command failed", error=str(error), remedy=error.remedy)
            return Seal("", Outcome(Ending.FAILED, error.tell(venue)))

    async def _seal(self, answer: Answer) -> None:
        """Write down how an answer ends, and which question its Retry button asks, before people see either."""
        assert self._editor  # noqa: S101 - set before anything is written
        again = answer.outcome.retry or (self._surface.regenerates and answer.text and answer.outcome.remember)
        retry = retry_job(self.lease, answer, answer.refs or self._editor.refs) if again else None
        if retry:
            self._for_retry = retry, answer
        await self._editor.seal(sealed(answer), answer.refs, retry)

    async def _correct_retry(self) -> None:
        """Update the question that the Retry button asks, if it was edited since the seal."""
        if not (self._for_retry and self._editor):
            return
        before, answer = self._for_retry
        now = retry_job(self.lease, answer, answer.refs or self._editor.refs)
        text = now.turn.text if now and now.turn.id == before.turn.id else None
        if text != before.turn.text:
            await self._queue.correct_kept(before.turn.key, before.turn.id, text)

    async def _commit(self, seal: Seal | None, dead: str = "") -> str:
        """End the job and remember what was said, as it reads by then.

        A job that cannot be committed although Redis is available becomes a dead letter.

        Args:
            seal: How the answer ended; None if nothing was answered.
            dead: Why the job becomes a dead letter; "" if it does not.

        Returns:
            Why it became a dead letter, "" if it did not.

        Raises:
            LeaseLost: Another worker has the turn.
        """
        faults = 0
        while True:
            job = self.lease.job
            crash_point("commit")
            try:
                current = (
                    replace(seal, exchange=await as_it_reads_now(seal.exchange, job, self._surface)) if seal else None
                )
                await self._correct_retry()
                result = await self._queue.commit(job, current, dead=dead)
            except Exception as error:
                known = isinstance(error, StorageError)
                if not known or isinstance(error, StorageFault):
                    faults += 1
                    log.exception("internal error", error=type(error).__name__)
                else:
                    log.warning("commit failed; retrying", error=str(error))
                self.lease.check()
                if faults >= MOST_COMMIT_FAULTS:
                    why = f"its answer could not be stored: {str(error) if known else type(error).__name__}"
                    await self._move_to_dead_letters(why)
                    return why
                await asyncio.sleep(COMMIT_RETRY)
                continue
            if result == "done":
                crash_point("committed")
                return dead
            if result == "lost":
                raise LeaseLost("another worker has this turn")
            self.lease.learn(result)

    async def _fail(self, what: str) -> str:
        """After an error in our own code: release the job, or give it up if it was tried too often."""
        job = self.lease.job
        if not job.hopeless:
            await self._last_step(self._release(FAULT_RETRY, failed=True))
            return "left"
        await self._last_step(self._move_to_dead_letters(f"it failed {job.tries} times, the last time with {what}"))
        return "dead"

    async def _move_to_dead_letters(self, why: str) -> None:
        """Move the job to the dead letters as it is stored, so that its lane continues."""
        log.error("turn moved to the dead letters", turn=tag(self.lease.job.turn.id), why=why)
        if not await self._queue.move_to_dead_letters(self.lease.job, why):
            raise LeaseLost("another worker has this turn")

    async def _release(self, wait: float, *, failed: bool) -> None:
        await self._queue.release(self.lease.job, wait=wait, failed=failed)

    async def _last_step(self, step: object) -> None:
        """The last step of a job that failed; if this fails too, the lease expires on its own."""
        try:
            await step  # type: ignore[misc]
        except (ParleyError, TimeoutError) as error:
            log.warning("lease left to expire", turn=tag(self.lease.job.turn.id), error=str(error))


def _given_up(job: Job, venue: Venue) -> Outcome:
    tries = job.tries - 1
    note = venue.tell(f"I crashed on this question {tries} times and won't try it again. Tell {{contact}}; its id is ")
    note = f"{note}{job.turn.id}."
    return Outcome(Ending.INTERRUPTED if job.text else Ending.FAILED, note)
