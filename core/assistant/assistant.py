"""One answer of the model: what is remembered is loaded, the model asked, and its words written into a draft."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import structlog

from core import metrics
from core.assistant.hearing import Heard, ReadRoom, ReadThread, hear_room, hear_thread
from core.assistant.summary import Summarizer
from core.delivery import Draft, MessageEditor, Pace, deliver
from core.errors import GenerationError, ParleyError, StorageError
from core.memory import Exchange, Memory, Thread, in_order
from core.metrics import tag
from core.model_types import Delta, Done, Thinking, Usage
from core.models import AnswerSettings as AnswerSettings  # noqa: PLC0414 - who builds an assistant needs both
from core.models import Models
from core.policy import Policy, Venue
from core.prompts import Fit, estimate_tokens
from core.stored import whole_number
from core.tasks import end_tasks
from core.types import Conversation, Ending, Hear, Message, MessageRef, Outcome, Role, Turn

log = structlog.get_logger()

Stop = asyncio.Future[Outcome]
"""A future whose result ends an answer early, with that outcome."""

EMPTY_ANSWER = "The model's answer was empty. Try again, or ask differently."
ONLY_REASONING = "The model spent its whole answer on reasoning. {/settings max 4096} gives it more room."


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as it ended.

    Attributes:
        outcome: How it ended.
        text: What it says.
        refs: The messages that show it.
        usage: Tokens, as its server counted them.
        exchange: What is remembered of it; None for nothing, as where there is no text.
        conversation: The conversation as it was before.
        seconds: From its first token to its last.
        prompt: How large its prompt was counted to be; 0 if no model began to answer it.
    """

    outcome: Outcome
    text: str = ""
    refs: tuple[MessageRef, ...] = ()
    usage: Usage = Usage()
    exchange: Exchange | None = None
    conversation: Conversation | None = None
    seconds: float = 0.0
    prompt: int = 0

    @property
    def tokens(self) -> int:
        """What it took: as the server counted or, of what was stopped or not told of, as we do."""
        # What a server says that it counted is only a claim.
        asked = whole_number(self.usage.prompt_tokens) or self.prompt
        return asked + (whole_number(self.usage.completion_tokens) or estimate_tokens(self.text))


@dataclass(slots=True)
class Writing:
    """An answer while it is written: see ``Assistant.writing``."""

    turn: Turn
    draft: Draft
    earlier: Sequence[Turn] = ()
    venue: Venue = field(default_factory=Venue)
    conversation: Conversation | None = None
    heard: Heard = field(default_factory=Heard)
    question: Message | None = None
    cut: str = ""
    shortened: bool = False
    usage: Usage = Usage()
    begun: float = field(default_factory=time.monotonic)
    asked: int = 0
    began: bool = False
    first_token: float = 0.0
    last_token: float = 0.0

    def answer(self, refs: Sequence[MessageRef]) -> Answer:
        """The answer, whose draft has ended, and what there is to remember of it: question and answer, as a pair.

        Of one that is handed on without a word of an answer, the question alone.

        Args:
            refs: The messages that show it, as far as they are known.
        """
        turn, text, outcome = self.turn, self.draft.text, self.draft.outcome
        assert outcome  # noqa: S101 - it has ended
        prompt, seconds = self.asked if self.began else 0, self.last_token - self.first_token
        answer = Answer(outcome, text, tuple(refs), self.usage, seconds=seconds, prompt=prompt)
        question = self.question or (_question(turn) if outcome.hand_on else None)
        if not ((text or outcome.hand_on) and outcome.remember and self.conversation and question):
            return answer
        said = Message(
            Role.ASSISTANT,
            text,
            id=refs[0].id if refs else f"{turn.id}/answer",
            at=time.time(),
            reply_to=turn.id,
            ending=outcome.ending,
        )
        heard, earlier = self.heard, map(_question, self.earlier)
        before = self.conversation
        exchange = Exchange(
            turn.key,
            before.epoch,
            turn.id,
            self.cut,
            (*heard.before, *heard.later, *earlier, question, *([said] if text else [])),
            heard=before.token if heard.complete else "",
            until=turn.id if heard.complete else "",
            noted=before.noted if heard.can_change else None,
        )
        return replace(answer, exchange=exchange, conversation=before)


class Assistant:
    """Answers turns with a model, and what it remembers of their conversations.

    Example::

        assistant = Assistant(memory, models, answer_settings)
        answer = await assistant.answer(turn, editor, pace)

    A worker uses ``writing`` and ``ended`` instead, since it seals an answer before people see how it ends.

    Args:
        memory: The conversations.
        models: The models, asked in order until one answers.
        answer_settings: The system prompt and parameters, where people chose none of their own.
        summarizer: Writes notes of what no longer fits into the prompt; None for no notes.
        policy: Who may give which command.
        hear: What a question knows of what was not said to Parley.
    """

    def __init__(
        self,
        memory: Memory,
        models: Models,
        answer_settings: AnswerSettings,
        *,
        summarizer: Summarizer | None = None,
        policy: Policy | None = None,
        hear: Hear = "thread",
    ) -> None:
        self.memory = memory
        self.models = models
        self.answer_settings = answer_settings
        self.summarizer = summarizer
        self.policy = policy or Policy()
        self.hear = hear

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
        """Answer a turn in ``editor``, and remember it: for a reply that no other worker could take over.

        Args:
            turn: What is asked, by whom and where.
            editor: Where the reply is written, while the model writes.
            pace: The budgets of calls that ``editor`` may make.
            read_thread: Reads what was said in a thread.
            refs: Messages of an earlier reply, to be written over.
            stop: Ends the answer early, once it is set.
            venue: Where it is asked, for the words of what goes wrong.

        Returns:
            The answer. What went wrong with the model or the memory is its outcome, and was said in the reply.

        Raises:
            PlatformError: The reply could not be shown.
        """
        draft = Draft()
        async with self.writing(turn, draft, read_thread=read_thread, stop=stop, venue=venue) as writing:
            shown = await deliver(draft, editor, pace, refs=refs)
        answer = await self.ended(writing, shown)
        if answer.exchange:
            try:
                await self.memory.append(answer.exchange)
                self.remembered(answer)
            except StorageError as error:
                log.error("answer not stored in memory", turn=tag(turn.id), error=str(error))
        return answer

    @asynccontextmanager
    async def writing(
        self,
        turn: Turn,
        draft: Draft,
        *,
        earlier: Sequence[Turn] = (),
        read_thread: ReadThread | None = None,
        read_room: ReadRoom | None = None,
        stop: Stop | None = None,
        venue: Venue | None = None,
    ) -> AsyncIterator[Writing]:
        """Have the model write an answer into ``draft`` while inside; the caller shows it.

        Whatever goes wrong with the model or the memory ends the draft with words for ``venue``, and keeps the text so
        far. Nobody writes what cannot be shown: an error inside ends the writing, too.

        Args:
            turn: What is asked.
            draft: What the answer is written into.
            earlier: Turns that get no reply of their own, since this one answers them too.
            read_thread: Reads what was said in a thread.
            read_room: Reads what was said in a channel.
            stop: Ends the answer early, once it is set.
            venue: Where it is asked.
        """
        writing = Writing(turn, draft, earlier, venue or Venue())
        task = asyncio.create_task(self._write(writing, read_thread, read_room))
        if stop:
            stop.add_done_callback(lambda stopped: _end(draft, task, stopped))
        try:
            yield writing
            await asyncio.wait({task})
        finally:
            draft.close(Outcome(Ending.STOPPED))
            await end_tasks([task])

    async def ended(self, writing: Writing, refs: Sequence[MessageRef]) -> Answer:
        """The whole answer, once it was shown in ``refs``; counted and logged."""
        outcome = writing.draft.outcome
        if outcome and outcome.hand_on and not writing.conversation:
            with suppress(StorageError):  # it was stopped before the memory was read
                await self._recall(writing, None, None)
        answer = writing.answer(refs)
        metrics.TOKENS.add(answer.usage.prompt_tokens or 0, kind="prompt")
        metrics.TOKENS.add(answer.usage.completion_tokens or 0, kind="completion")
        log.info(
            "answered",
            turn=tag(writing.turn.id),
            ending=answer.outcome.ending,
            characters=len(answer.text),
            prompt_tokens=answer.usage.prompt_tokens,
            tokens=answer.usage.completion_tokens,
            messages=len(refs),
            first_token_ms=round(1000 * (writing.first_token - writing.begun)) if writing.first_token else None,
            dur_ms=round(1000 * (time.monotonic() - writing.begun)),
        )
        return answer

    def remembered(self, answer: Answer) -> None:
        """Told that an answer is in the memory: summarize what no longer fits into the prompt, in the background."""
        if self.summarizer and answer.conversation and answer.exchange:
            before, said = answer.conversation, answer.exchange.messages
            known = {message.id for message in before.messages}
            # With the question: the window may begin with it.
            kept = (*before.messages, *(message for message in said if message.id not in known))
            self.summarizer.after(replace(before, messages=kept), answer.exchange.cut)

    async def _write(self, writing: Writing, read_thread: ReadThread | None, read_room: ReadRoom | None) -> None:
        """Write the draft until it ends; an error becomes its outcome."""
        turn, draft = writing.turn, writing.draft
        try:
            await self._recall(writing, read_thread, read_room)
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
                note = writing.venue.tell(ONLY_REASONING if ending is Ending.LENGTH else EMPTY_ANSWER)
                draft.close(Outcome(Ending.FAILED, note, retry=True))
            else:
                draft.close(Outcome(ending, _remark(ending, writing.shortened)))

    async def _recall(self, writing: Writing, read_thread: ReadThread | None, read_room: ReadRoom | None) -> None:
        """Load the conversation, and hear what was said around the question before it."""
        turn, hear = writing.turn, self.hear
        thread = Thread(turn.root, turn.root_at) if turn.key.parent else None
        conversation = await self.memory.load(turn.key, thread)
        again, alone = {asked.id for asked in (*writing.earlier, turn)}, not writing.venue.shared
        if thread and hear != "mention":
            writing.heard = await hear_thread(turn, conversation, read_thread, earlier=writing.earlier, alone=alone)
            conversation = await self._follow_changes(conversation, writing.heard)
        room: tuple[Message, ...] = ()
        if hear == "room" and not (turn.key.thread or alone):
            room = await hear_room(turn, conversation, read_room)
        said = in_order((*conversation.messages, *writing.heard.before))
        known = [m for m in said if not again & {m.id, m.reply_to} and not (m.overheard and m.at > turn.at)]
        before = in_order((*known, *map(_question, writing.earlier)))
        writing.conversation = replace(conversation, messages=before, room=room)

    async def _follow_changes(self, conversation: Conversation, heard: Heard) -> Conversation:
        """Remember overheard talk as it reads now: no event told of these edits and deletions."""
        for edited in heard.edited:
            words, beside = edited.text, edited.quotes
            await self.memory.correct(conversation.key, edited.id, words, quotes=beside, at=edited.edited)
        for deleted in heard.deleted:
            await self.memory.withdraw(conversation.key, deleted.id)
        now = {message.id: message for message in heard.edited}
        gone = {message.id for message in heard.deleted}
        messages = tuple(now.get(m.id, m) if m.overheard else m for m in conversation.messages if m.id not in gone)
        return replace(conversation, messages=messages)

    async def _generate(self, writing: Writing) -> Ending:
        """Stream the model's words into the draft."""
        turn, draft = writing.turn, writing.draft
        assert writing.conversation  # noqa: S101 - loaded before
        answer_settings = self.answer_settings.with_choices(writing.conversation.settings)
        async with aclosing(self.models.ask(writing.conversation, _question(turn), answer_settings)) as stream:
            async for event in stream:
                if draft.outcome:
                    break  # ended from outside, see _end
                match event:
                    case Fit(window, cut, shortened, tokens):
                        writing.question, writing.cut, writing.shortened = window.messages[-1], cut, shortened
                        writing.asked = tokens
                    case Delta(text):
                        writing.began = True
                        writing.last_token = time.monotonic()
                        writing.first_token = writing.first_token or writing.last_token
                        draft.append(text)
                    case Thinking(retract):
                        writing.began = True
                        draft.think()
                        if retract:
                            draft.retract()
                    case Done(ending, usage):
                        writing.usage, writing.began = usage, True
                        return ending
        return Ending.STOPPED


def _question(turn: Turn) -> Message:
    """What somebody asked, as it is remembered."""
    said = Message(Role.USER, turn.text, id=turn.id, author=turn.author, at=turn.at, edited=turn.edited)
    return replace(said, quotes=turn.quotes)


def _end(draft: Draft, writer: asyncio.Task[None], stopped: Stop) -> None:
    """End a draft early: the text so far stands.

    The writer looks at the draft as well: before Python 3.12, asyncio.wait_for drops a cancellation that comes as its
    future completes, and Redis's client awaits every call in one.
    """
    if not stopped.cancelled() and not draft.outcome:
        draft.close(stopped.result())
        writer.cancel()


def _explain(error: ParleyError, venue: Venue, *, so_far: str) -> Outcome:
    """The outcome of an answer that an error ended."""
    if so_far:
        return Outcome(Ending.INTERRUPTED, f"The answer above is incomplete. {error.tell(venue)}", retry=True)
    return Outcome(Ending.FAILED, error.tell(venue), retry=True)


def _remark(ending: Ending, shortened: bool) -> str:
    """The note under an answer that was cut at its length, or whose question was shortened."""
    remarks = []
    if ending is Ending.LENGTH:
        remarks.append("I stopped at the longest answer allowed. Say “continue” for more.")
    if shortened:
        remarks.append("Your message was too long for the model, so I left out its middle.")
    return " ".join(remarks)
