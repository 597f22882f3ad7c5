"""The whole story of one answer: remember, fit, render, generate, deliver, remember."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace

import structlog

from core import metrics
from core.assistant.summary import Summarizer
from core.delivery import BeforeTheEnd, Delivery, Draft, MessageEditor, Pace, deliver
from core.errors import GenerationError, MessageGone, ParleyError, PlatformError, StorageError
from core.memory import Exchange, Memory, Thread
from core.metrics import tag
from core.models import AnswerSettings as AnswerSettings  # noqa: PLC0414 - who builds an assistant needs both
from core.models import Models
from core.policy import Policy, Venue
from core.prompts import Fit, MarkRemover
from core.types import Conversation, Delta, Done, Ending, Message, MessageRef, Outcome, Role, Thinking, Turn, Usage

log = structlog.get_logger()

Stop = asyncio.Future[Outcome]
"""Set its result to end an answer early, with that outcome."""
ReadThread = Callable[[Turn], Awaitable[Sequence[Message]]]
"""Reads what people said in a thread before Parley was asked into it."""

SILENT = "The model's answer was empty. Try again, or ask differently."
THOUGHT = "The model spent its whole answer on reasoning. {/settings max 4096} gives it more room."
JOINED = "You were asked into this thread just now. The {count} messages before this line were read from it, once."
UNREAD = "You were asked into this thread just now, and what was said in it before could not be read."
JOINED_ID, UNREAD_ID = "/joined", "/unread"
"""How the ids of these notes end. A thread that could not be read is read at its next turn."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as it came out; ``refs`` are its messages, none if it was deleted while it grew.

    ``exchange`` is what there is to remember. An answer without text is not remembered: it is offered again.
    """

    outcome: Outcome
    text: str = ""
    refs: tuple[MessageRef, ...] = ()
    usage: Usage = Usage()
    exchange: Exchange | None = None
    conversation: Conversation | None = None
    """As it was before."""
    seconds: float = 0.0
    """From its first token to its last."""


BeforeItEnds = Callable[[Answer], Awaitable[None]]
"""Called with an answer that is whole, before people see how it ends."""


@dataclass(slots=True)
class _Writing:
    """What one answer knows while it is written."""

    turn: Turn
    draft: Draft
    earlier: Sequence[Turn] = ()
    venue: Venue = field(default_factory=Venue)
    conversation: Conversation | None = None
    heard: tuple[Message, ...] = ()
    question: Message | None = None
    cut: str = ""
    shortened: bool = False
    usage: Usage = Usage()
    first_token: float = 0.0
    last_token: float = 0.0


class Assistant:
    """Answers turns on one model, or the first of several that can, with one memory."""

    def __init__(
        self,
        memory: Memory,
        models: Models,
        answer_settings: AnswerSettings,
        *,
        summarizer: Summarizer | None = None,
        policy: Policy | None = None,
    ) -> None:
        self.memory = memory
        self.models = models
        self.answer_settings = answer_settings
        self.summarizer = summarizer
        self.policy = policy or Policy()

    async def answer(
        self,
        turn: Turn,
        editor: MessageEditor,
        pace: Pace,
        *,
        read_thread: ReadThread | None = None,
        refs: Sequence[MessageRef] = (),
        stop: Stop | None = None,
        venue: Venue | None = None,
    ) -> Answer:
        """Write an answer, and remember it: for a reply that no worker takes over. Raises as ``write`` does."""
        answer = await self.write(
            turn, Draft(), editor, pace, read_thread=read_thread, refs=refs, stop=stop, venue=venue
        )
        if answer.exchange:
            try:
                await self.memory.append(answer.exchange)
                self.remembered(answer)
            except StorageError as error:
                log.error("answer not stored in memory", turn=tag(turn.id), error=str(error))
        return answer

    def remembered(self, answer: Answer) -> None:
        """What was said is in the memory: fold what no longer fits, in the background."""
        if self.summarizer and answer.conversation and answer.exchange:
            before, said = answer.conversation, answer.exchange.messages
            known = {message.id for message in before.messages}
            # With the question: the window may begin with it.
            kept = (*before.messages, *(message for message in said if message.id not in known))
            self.summarizer.after(replace(before, messages=kept), answer.exchange.cut)

    async def write(
        self,
        turn: Turn,
        draft: Draft,
        editor: MessageEditor,
        pace: Pace,
        *,
        earlier: Sequence[Turn] = (),
        read_thread: ReadThread | None = None,
        refs: Sequence[MessageRef] = (),
        stop: Stop | None = None,
        before_it_ends: BeforeItEnds | None = None,
        venue: Venue | None = None,
    ) -> Answer:
        """Write an answer to a turn into ``draft``: the reply grows in ``editor`` meanwhile.

        ``earlier`` are turns that get no reply of their own, since this one answers them too. Whatever goes wrong with
        the model or the memory is said in the reply, in words for ``venue``, with the text so far kept.

        Raises:
            PlatformError: the reply could not be shown.
        """
        begun = time.monotonic()
        writing = _Writing(turn, draft, earlier, venue or Venue())

        async def tell(refs: Sequence[MessageRef], outcome: Outcome) -> None:
            if before_it_ends:
                await before_it_ends(self._so_far(writing, outcome, refs))

        try:
            async with asyncio.TaskGroup() as group:
                delivery = group.create_task(_deliver(draft, editor, pace, refs, tell))
                writer = group.create_task(self._write(writing, read_thread))
                if stop:
                    stop.add_done_callback(lambda stopped: _end(draft, writer, stopped))
        except BaseExceptionGroup as group:
            error = group.exceptions[0]
            if not isinstance(error, MessageGone):
                raise error from None
            log.info("reply deleted while it was written", turn=tag(turn.id), code=error.code)
            return Answer(Outcome(Ending.STOPPED))
        shown, outcome = delivery.result(), draft.outcome
        assert outcome  # noqa: S101 - a delivery ends after its draft
        if outcome.hand_on and not writing.conversation:
            with suppress(StorageError):  # it was stopped before the memory was read
                await self._recall(writing, None)
        answer = self._so_far(writing, outcome, shown.refs)
        metrics.TOKENS.add(answer.usage.prompt_tokens or 0, kind="prompt")
        metrics.TOKENS.add(answer.usage.completion_tokens or 0, kind="completion")
        log.info(
            "answered",
            turn=tag(turn.id),
            ending=outcome.ending,
            characters=len(answer.text),
            prompt_tokens=answer.usage.prompt_tokens,
            tokens=answer.usage.completion_tokens,
            messages=len(shown.refs),
            first_token_ms=round(1000 * (writing.first_token - begun)) if writing.first_token else None,
            dur_ms=round(1000 * (time.monotonic() - begun)),
        )
        return answer

    async def _write(self, writing: _Writing, read_thread: ReadThread | None) -> None:
        """Write the draft to its end; an error becomes its outcome."""
        turn, draft = writing.turn, writing.draft
        try:
            await self._recall(writing, read_thread)
            ending = Ending.STOPPED if draft.outcome else await self._generate(writing)
        except (GenerationError, StorageError) as error:
            if isinstance(error, GenerationError):
                metrics.MODEL_ERRORS.add(kind=type(error).__name__)
            log.warning(
                "answer interrupted",
                turn=tag(turn.id),
                error=str(error),
                remedy=error.remedy,
                kind=type(error).__name__,
            )
            draft.close(_explain(error, writing.venue, so_far=draft.best))
        except Exception:
            draft.close(_explain(ParleyError("a fault of ours"), writing.venue, so_far=draft.best))
            log.exception("internal error", turn=tag(turn.id))
        else:
            if not draft.text:
                note = writing.venue.tell(THOUGHT if ending is Ending.LENGTH else SILENT)
                draft.close(Outcome(Ending.FAILED, note, retry=True))
            else:
                draft.close(Outcome(ending, _remark(ending, writing.shortened)))

    async def _recall(self, writing: _Writing, read_thread: ReadThread | None) -> None:
        """Load the conversation; a thread that began without us is read once."""
        turn = writing.turn
        thread = Thread(turn.root, turn.root_at) if turn.key.thread else None
        conversation = await self.memory.load(turn.key, thread)
        again = {asked.id for asked in (*writing.earlier, turn)}
        known = tuple(m for m in conversation.messages if not again & {m.id, m.reply_to})
        if read_thread and (conversation.stranger or _is_unread(conversation)):
            writing.heard = await self._read(turn, conversation, read_thread)
        writing.heard += tuple(_question(asked) for asked in writing.earlier)
        writing.conversation = replace(conversation, messages=(*known, *writing.heard))

    async def _read(self, turn: Turn, conversation: Conversation, read_thread: ReadThread) -> tuple[Message, ...]:
        """What was said in a thread before we were asked into it, and a note; only a note, if it cannot be read now."""
        try:
            heard = await read_thread(turn)
        except PlatformError as error:
            log.warning("thread not read", code=error.code, remedy=error.remedy)
            note = Message(Role.SYSTEM, UNREAD, id=f"{turn.id}{UNREAD_ID}", at=turn.at)
            return () if _is_unread(conversation) else (note,)
        known = {message.id for message in conversation.messages}
        new = [m for m in heard if m.id not in known and m.id.rpartition(":")[2] not in known]
        note = Message(Role.SYSTEM, JOINED.format(count=len(new)), id=f"{turn.id}{JOINED_ID}", at=turn.at)
        return (*new, note) if new or _is_unread(conversation) else ()

    async def _generate(self, writing: _Writing) -> Ending:
        """Stream the model's words into the draft."""
        turn, draft = writing.turn, writing.draft
        assert writing.conversation  # noqa: S101 - loaded before
        answer_settings = self.answer_settings.chosen(writing.conversation.settings)
        marks = MarkRemover()
        async with aclosing(self.models.ask(writing.conversation, _question(turn), answer_settings)) as stream:
            async for event in stream:
                if draft.outcome:
                    break  # ended from outside, see _end
                match event:
                    case Fit(window, cut, shortened):
                        writing.question, writing.cut, writing.shortened = window.messages[-1], cut, shortened
                    case Delta(text):
                        writing.last_token = time.monotonic()
                        writing.first_token = writing.first_token or writing.last_token
                        draft.append(marks.feed(text))
                    case Thinking(retract):
                        draft.think()
                        if retract:
                            marks = MarkRemover()
                            draft.retract()
                    case Done(ending, usage):
                        draft.append(marks.flush())
                        writing.usage = usage
                        return ending
        return Ending.STOPPED

    def _so_far(self, writing: _Writing, outcome: Outcome, refs: Sequence[MessageRef]) -> Answer:
        """An answer whose text is whole, and what there is to remember of it: question and answer, as a pair.

        Of one that is handed on without a word of an answer, the question alone.
        """
        turn, text = writing.turn, writing.draft.text
        seconds = writing.last_token - writing.first_token
        answer = Answer(outcome, text, tuple(refs), writing.usage, seconds=seconds)
        question = writing.question or (_question(turn) if outcome.hand_on else None)
        if not ((text or outcome.hand_on) and outcome.remember and writing.conversation and question):
            return answer
        said = Message(
            Role.ASSISTANT,
            text,
            id=refs[0].id if refs else f"{turn.id}/answer",
            at=time.time(),
            reply_to=turn.id,
            ending=outcome.ending,
        )
        messages = (*writing.heard, question, *([said] if text else []))
        exchange = Exchange(turn.key, writing.conversation.epoch, turn.id, writing.cut, messages)
        return replace(answer, exchange=exchange, conversation=writing.conversation)


def _is_unread(conversation: Conversation) -> bool:
    """Whether a thread could not be read when we were asked into it, nor since."""
    notes = [m.id for m in conversation.messages if m.role is Role.SYSTEM and m.id.endswith((JOINED_ID, UNREAD_ID))]
    return bool(notes) and notes[-1].endswith(UNREAD_ID)


def _question(turn: Turn) -> Message:
    """What somebody asked, as it is remembered."""
    return Message(Role.USER, turn.text, id=turn.id, author=turn.author, at=turn.at, edited=turn.edited)


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


def _explain(error: ParleyError, venue: Venue, *, so_far: str) -> Outcome:
    """What a person reads when an answer breaks off."""
    if so_far:
        return Outcome(Ending.INTERRUPTED, f"The answer above is incomplete. {error.tell(venue)}", retry=True)
    return Outcome(Ending.FAILED, error.tell(venue), retry=True)


def _remark(ending: Ending, shortened: bool) -> str:
    """What a person should know about an answer that came to its end."""
    remarks = []
    if ending is Ending.LENGTH:
        remarks.append("I stopped at the longest answer allowed. Say “continue” for more.")
    if shortened:
        remarks.append("Your message was too long for the model, so I left out its middle.")
    return " ".join(remarks)
