"""The whole story of one answer: remember, fit, render, generate, deliver, remember."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import structlog

from core.delivery import BeforeTheEnd, Delivery, MessageEditor, Pace, deliver
from core.draft import Draft
from core.errors import GenerationError, MessageGone, ParleyError, StorageError
from core.memory import Memory, Thread
from core.models import Manner as Manner  # noqa: PLC0414 - who builds an assistant needs both
from core.models import Models
from core.summary import Summarizer
from core.types import (
    Conversation,
    Delta,
    Done,
    Ending,
    Message,
    MessageRef,
    Outcome,
    Role,
    Thinking,
    Turn,
    Usage,
)
from core.window import Fit

log = structlog.get_logger()

Stop = asyncio.Future[Outcome]
"""Set its result to end an answer early, with that outcome."""
ReadThread = Callable[[Turn], Awaitable[Sequence[Message]]]
"""Reads what people said in a thread before Parley was asked into it."""

ReadsNow = Callable[[], str | None]
"""What the question reads now; None if it was taken back. What is stored is what stands there in the end."""

SILENT = "The model had nothing to say. Try again, or ask differently."
THOUGHT = "The model used up all its words thinking and came to no answer. `settings max 4096` gives it more."
JOINED = "You were asked into this thread just now. The {count} messages before this line were read from it, once."


@dataclass(slots=True)
class Answer:
    """One answer as it came out; ``refs`` are its messages, none if it was deleted while it grew."""

    outcome: Outcome
    text: str = ""
    refs: tuple[MessageRef, ...] = ()
    usage: Usage = Usage()


@dataclass(slots=True)
class _Writing:
    """What one answer knows while it is written."""

    turn: Turn
    draft: Draft = field(default_factory=Draft)
    conversation: Conversation | None = None
    heard: tuple[Message, ...] = ()
    question: Message | None = None
    cut: str = ""
    shortened: bool = False
    usage: Usage = Usage()
    first_token: float = 0.0


class Assistant:
    """Answers turns on one model, or the first of several that can, with one memory."""

    def __init__(self, memory: Memory, models: Models, manner: Manner, *, summarizer: Summarizer | None = None) -> None:
        self.memory = memory
        self.models = models
        self.manner = manner
        self.summarizer = summarizer

    async def answer(
        self,
        turn: Turn,
        editor: MessageEditor,
        pace: Pace,
        *,
        read_thread: ReadThread | None = None,
        refs: Sequence[MessageRef] = (),
        stop: Stop | None = None,
        before_the_end: BeforeTheEnd | None = None,
        reads_now: ReadsNow | None = None,
    ) -> Answer:
        """Answer a turn: the reply grows in ``editor`` while the model writes, and both are remembered in the end.

        Whatever goes wrong with the model or the memory is said in the reply, with the text so far kept.

        Raises:
            PlatformError: the reply could not be shown.
        """
        begun = time.monotonic()
        writing = _Writing(turn)
        try:
            async with asyncio.TaskGroup() as group:
                delivery = group.create_task(_deliver(writing.draft, editor, pace, refs, before_the_end))
                writer = group.create_task(self._write(writing, read_thread))
                if stop:
                    stop.add_done_callback(lambda stopped: _end(writing.draft, writer, stopped))
        except BaseExceptionGroup as group:
            error = group.exceptions[0]
            if not isinstance(error, MessageGone):
                raise error from None
            log.info("reply deleted while it grew", turn=turn.id, code=error.code)
            return Answer(Outcome(Ending.STOPPED))
        shown, outcome = delivery.result(), writing.draft.outcome
        assert outcome  # noqa: S101 - a delivery ends after its draft
        answer = Answer(outcome, writing.draft.text, tuple(shown.refs), writing.usage)
        await self._remember(writing, answer, reads_now)
        log.info(
            "answered",
            turn=turn.id,
            ending=outcome.ending,
            characters=len(answer.text),
            prompt_tokens=answer.usage.prompt_tokens,
            tokens=answer.usage.completion_tokens,
            messages=len(shown.refs),
            first_token_ms=round(1000 * (writing.first_token - begun)) if writing.first_token else None,
            ms=round(1000 * (time.monotonic() - begun)),
        )
        return answer

    async def _write(self, writing: _Writing, read_thread: ReadThread | None) -> None:
        """Write the draft to its end; an error becomes its outcome."""
        turn, draft = writing.turn, writing.draft
        try:
            await self._recall(writing, read_thread)
            ending = Ending.STOPPED if draft.outcome else await self._generate(writing)
        except (GenerationError, StorageError) as error:
            log.warning(
                "answer broke off", turn=turn.id, error=str(error), remedy=error.remedy, kind=type(error).__name__
            )
            draft.close(_explain(error, so_far=draft.text))
        except Exception:
            draft.close(_explain(ParleyError("a fault of ours"), so_far=draft.text))
            log.exception("a fault of ours", turn=turn.id)
        else:
            if not draft.text:
                draft.close(Outcome(Ending.FAILED, THOUGHT if ending is Ending.LENGTH else SILENT, retry=True))
            else:
                draft.close(Outcome(ending, _remark(ending, writing.shortened)))

    async def _recall(self, writing: _Writing, read_thread: ReadThread | None) -> None:
        """Load the conversation; a thread that began without us is read once."""
        turn = writing.turn
        thread = Thread(turn.root, turn.root_at) if turn.key.thread else None
        conversation = await self.memory.load(turn.key, thread)
        earlier = tuple(m for m in conversation.messages if turn.id not in (m.id, m.reply_to))  # asked again
        if conversation.stranger and read_thread and (heard := await read_thread(turn)):
            note = Message(Role.SYSTEM, JOINED.format(count=len(heard)), id=f"{turn.id}/joined", at=turn.at)
            writing.heard = (*heard, note)
        writing.conversation = replace(conversation, messages=(*earlier, *writing.heard))

    async def _generate(self, writing: _Writing) -> Ending:
        """Stream the model's words into the draft."""
        turn, draft = writing.turn, writing.draft
        assert writing.conversation  # noqa: S101 - loaded before
        manner = self.manner.chosen(writing.conversation.settings)
        question = Message(Role.USER, turn.text, id=turn.id, author=turn.author, at=turn.at)
        async with aclosing(self.models.ask(writing.conversation, question, manner)) as stream:
            async for event in stream:
                if draft.outcome:
                    break  # ended from outside, see _end
                match event:
                    case Fit(window, cut, shortened):
                        writing.question, writing.cut, writing.shortened = window.messages[-1], cut, shortened
                    case Delta(text):
                        writing.first_token = writing.first_token or time.monotonic()
                        draft.append(text)
                    case Thinking(retract=True):
                        draft.retract()
                    case Done(ending, usage):
                        writing.usage = usage
                        return ending
        return Ending.STOPPED

    async def _remember(self, writing: _Writing, answer: Answer, reads_now: ReadsNow | None) -> None:
        """Store question and answer as a pair. An answer without text is not stored: it is offered again."""
        turn, question = writing.turn, writing.question
        if not (answer.text and answer.outcome.remember and writing.conversation and question):
            return
        before = reads_now() if reads_now else turn.text
        if before is None:
            return
        if before != turn.text:
            question = replace(question, text=before, tokens=0)
        said = Message(
            Role.ASSISTANT,
            answer.text,
            id=answer.refs[0].id if answer.refs else f"{turn.id}/answer",
            at=time.time(),
            reply_to=turn.id,
            ending=answer.outcome.ending,
        )
        messages = (*writing.heard, question, said)
        try:
            await self.memory.append(writing.conversation, messages, question=turn.id, cut=writing.cut)
            if self.summarizer:
                self.summarizer.after(writing.conversation, writing.cut)
            after = reads_now() if reads_now else before
            if after is None:  # changed while it was being stored
                await self.memory.withdraw(turn.key, turn.id)
            elif after != before:
                await self.memory.correct(turn.key, turn.id, after)
        except StorageError as error:
            log.error("an answer was given and could not be remembered", turn=turn.id, error=str(error))


async def _deliver(
    draft: Draft,
    editor: MessageEditor,
    pace: Pace,
    refs: Sequence[MessageRef],
    before_the_end: BeforeTheEnd | None,
) -> Delivery:
    """Deliver, and end the draft with the delivery: nobody writes what cannot be shown."""
    try:
        return await deliver(draft, editor, pace, refs=refs, before_the_end=before_the_end)
    finally:
        draft.close(Outcome(Ending.STOPPED))


def _end(draft: Draft, writer: asyncio.Task[None], stopped: Stop) -> None:
    """End a draft from outside: what it says so far stands.

    The writer looks at the draft as well: before Python 3.12, asyncio.wait_for drops a cancellation that comes as its
    future completes, and Redis's client awaits every call in one.
    """
    if not stopped.cancelled() and not draft.outcome:
        draft.close(stopped.result())
        writer.cancel()


def _explain(error: ParleyError, *, so_far: str) -> Outcome:
    """What a person reads when an answer breaks off."""
    if so_far:
        return Outcome(Ending.INTERRUPTED, f"{error.plain} What is above is as far as it got.", retry=True)
    return Outcome(Ending.FAILED, error.plain, retry=True)


def _remark(ending: Ending, shortened: bool) -> str:
    """What a person should know about an answer that came to its end."""
    remarks = []
    if ending is Ending.LENGTH:
        remarks.append("I stopped here: that is as long as one answer may get. Say “continue” for more.")
    if shortened:
        remarks.append("Your message is longer than the model can read at once, so I left out its middle.")
    return " ".join(remarks)
