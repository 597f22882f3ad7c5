"""The whole story of one answer: remember, fit, render, generate, deliver, remember."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

import structlog

from core import metrics
from core.backends import Backend
from core.delivery import BeforeTheEnd, Delivery, MessageEditor, Pace, deliver
from core.draft import Draft
from core.errors import GenerationError, MessageGone, ParleyError, PromptTooLong, StorageError
from core.generation import Deadlines, generate
from core.memory import Exchange, Memory, Thread
from core.prompts import PromptTemplate
from core.tags import tag
from core.tokens import TokenCounter, estimate
from core.types import (
    Conversation,
    Delta,
    Done,
    Ending,
    GenerationRequest,
    Message,
    MessageRef,
    ModelLimits,
    Outcome,
    Role,
    Turn,
    Usage,
)
from core.window import STEP, Budget, Fit, fit, share

log = structlog.get_logger()

Stop = asyncio.Future[Outcome]
"""Set its result to end an answer early, with that outcome."""
ReadThread = Callable[[Turn], Awaitable[Sequence[Message]]]
"""Reads what people said in a thread before Parley was asked into it."""

JOINED = "You were asked into this thread just now. The {count} messages before this line were read from it, once."
LIMITS_TIMEOUT = 5.0
"""Seconds to wait for the server's word on its context length; the setting serves where it does not come."""
LIMITS_PAUSE = 10.0
"""Seconds before a server that did not tell is asked again, so that turns do not wait for it one after another."""
LIMITS_TTL = 600.0
"""Seconds after which the server is asked again: it may have been started anew with another model."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How an assistant answers: its system prompt and the parameters of generation."""

    system: str
    temperature: float
    max_new_tokens: int
    limits: ModelLimits
    """Where the server does not tell its own."""
    deadlines: Deadlines = Deadlines()


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


BeforeItEnds = Callable[[Answer], Awaitable[None]]
"""Called with an answer that is whole, before people see how it ends."""


@dataclass(slots=True)
class _Writing:
    """What one answer knows while it is written."""

    turn: Turn
    draft: Draft
    earlier: Sequence[Turn] = ()
    conversation: Conversation | None = None
    heard: tuple[Message, ...] = ()
    question: Message | None = None
    cut: str = ""
    shortened: bool = False
    usage: Usage = Usage()
    first_token: float = 0.0


class Assistant:
    """Answers turns on one model, with one memory."""

    def __init__(
        self,
        memory: Memory,
        backend: Backend,
        template: PromptTemplate,
        manner: Manner,
        *,
        count: TokenCounter = estimate,
    ) -> None:
        self.memory = memory
        self.backend = backend
        self.template = template
        self.manner = manner
        self._count = count
        self._limits: ModelLimits | None = None
        self._limits_until = 0.0
        self._asking = asyncio.Lock()

    async def answer(
        self,
        turn: Turn,
        editor: MessageEditor,
        pace: Pace,
        *,
        read_thread: ReadThread | None = None,
        refs: Sequence[MessageRef] = (),
        stop: Stop | None = None,
    ) -> Answer:
        """Write an answer, and remember it: for a reply that nobody else would go on with. Raises as ``write`` does."""
        answer = await self.write(turn, Draft(), editor, pace, read_thread=read_thread, refs=refs, stop=stop)
        if answer.exchange:
            try:
                await self.memory.append(answer.exchange)
            except StorageError as error:
                log.error("an answer was given and could not be remembered", turn=tag(turn.id), error=str(error))
        return answer

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
    ) -> Answer:
        """Write an answer to a turn into ``draft``: the reply grows in ``editor`` meanwhile.

        ``earlier`` are turns that get no reply of their own, since this one answers them too. Whatever goes wrong with
        the model or the memory is said in the reply, with the text so far kept.

        Raises:
            PlatformError: the reply could not be shown.
        """
        begun = time.monotonic()
        writing = _Writing(turn, draft, earlier)

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
            log.info("reply deleted while it grew", turn=tag(turn.id), code=error.code)
            return Answer(Outcome(Ending.STOPPED))
        shown, outcome = delivery.result(), draft.outcome
        assert outcome  # noqa: S101 - a delivery ends after its draft
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
                "answer broke off", turn=tag(turn.id), error=str(error), remedy=error.remedy, kind=type(error).__name__
            )
            draft.close(_explain(error, so_far=draft.best))
        except Exception:
            draft.close(_explain(ParleyError("a fault of ours"), so_far=draft.best))
            log.exception("a fault of ours", turn=tag(turn.id))
        else:
            if not draft.text:
                draft.close(
                    Outcome(Ending.FAILED, "The model had nothing to say. Try again, or ask differently.", retry=True)
                )
            else:
                draft.close(Outcome(ending, _remark(ending, writing.shortened)))

    async def _recall(self, writing: _Writing, read_thread: ReadThread | None) -> None:
        """Load the conversation; a thread that began without us is read once."""
        turn = writing.turn
        thread = Thread(turn.root, turn.root_at) if turn.key.thread else None
        conversation = await self.memory.load(turn.key, thread)
        again = {asked.id for asked in (*writing.earlier, turn)}
        known = tuple(m for m in conversation.messages if not again & {m.id, m.reply_to})
        if conversation.stranger and read_thread and (heard := await read_thread(turn)):
            note = Message(Role.SYSTEM, JOINED.format(count=len(heard)), id=f"{turn.id}/joined", at=turn.at)
            writing.heard = (*heard, note)
        writing.heard += tuple(_question(asked) for asked in writing.earlier)
        writing.conversation = replace(conversation, messages=(*known, *writing.heard))

    async def _generate(self, writing: _Writing) -> Ending:
        """Stream the model's words into the draft; a prompt that is refused as too long is cut once more."""
        budget = await self._budget()
        try:
            return await self._stream(writing, budget)
        except PromptTooLong:
            if writing.draft.text:
                raise
            log.warning("prompt refused as too long; cutting it once more", turn=tag(writing.turn.id))
            return await self._stream(writing, replace(budget, prompt=int(budget.prompt * STEP)))

    async def _stream(self, writing: _Writing, budget: Budget) -> Ending:
        fitted = self._fit(writing, budget)
        request = GenerationRequest(
            self.template.render(fitted.window), max_new_tokens=budget.answer, temperature=self.manner.temperature
        )
        async with aclosing(generate(self.backend, request, self.manner.deadlines)) as stream:
            async for event in stream:
                if writing.draft.outcome:
                    break  # ended from outside, see _end
                match event:
                    case Delta(text):
                        writing.first_token = writing.first_token or time.monotonic()
                        writing.draft.append(text)
                    case Done(ending, usage):
                        writing.usage = usage
                        return ending
        return Ending.STOPPED

    def _fit(self, writing: _Writing, budget: Budget) -> Fit:
        """What the model sees; what it does not is noted for the memory and the person."""
        turn = writing.turn
        assert writing.conversation  # noqa: S101 - loaded before
        fitted = fit(writing.conversation, _question(turn), self.manner.system, budget, count=self._count)
        writing.question, writing.cut, writing.shortened = fitted.window.messages[-1], fitted.cut, fitted.shortened
        return fitted

    async def _budget(self) -> Budget:
        """Tokens for prompt and answer: the server's word, where it can be had."""
        async with self._asking:  # one asks for all
            if time.monotonic() > self._limits_until:
                try:
                    async with asyncio.timeout(LIMITS_TIMEOUT):
                        self._limits = await self.backend.limits()
                    self._limits_until = time.monotonic() + LIMITS_TTL
                except (GenerationError, TimeoutError) as error:
                    log.warning("the model's limits are not to be had", error=str(error))
                    self._limits_until = time.monotonic() + LIMITS_PAUSE
        return share(self._limits or self.manner.limits, self.manner.max_new_tokens)

    def _so_far(self, writing: _Writing, outcome: Outcome, refs: Sequence[MessageRef]) -> Answer:
        """An answer whose text is whole, and what there is to remember of it: question and answer, as a pair."""
        turn, text = writing.turn, writing.draft.text
        answer = Answer(outcome, text, tuple(refs), writing.usage)
        if not (text and outcome.remember and writing.conversation and writing.question):
            return answer
        said = Message(
            Role.ASSISTANT,
            text,
            id=refs[0].id if refs else f"{turn.id}/answer",
            at=time.time(),
            reply_to=turn.id,
            ending=outcome.ending,
        )
        messages = (*writing.heard, writing.question, said)
        exchange = Exchange(turn.key, writing.conversation.epoch, turn.id, writing.cut, messages)
        return replace(answer, exchange=exchange)


def _question(turn: Turn) -> Message:
    """What somebody asked, as it is remembered."""
    return Message(Role.USER, turn.text, id=turn.id, author=turn.author, at=turn.at)


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
