"""What is kept of an answer: in its seal, in the memory, and for its Retry button, with questions as they read now."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from core.assistant import Answer
from core.delivery import Surface
from core.memory import Exchange
from core.turns.jobs import MAX_COUNTED_TOKENS, Job, Note, Seal, StoredJob
from core.turns.lease import Lease
from core.types import MessageRef, Role


def sealed(answer: Answer) -> Seal:
    """The seal of an answer. The tokens are what its server claims to have counted."""
    return Seal(answer.text, answer.outcome, answer.exchange, min(answer.tokens, MAX_COUNTED_TOKENS))


def named(seal: Seal, refs: Sequence[MessageRef]) -> Seal:
    """The seal, with the answer named after its first message, which was perhaps not posted when it was sealed."""
    exchange = seal.exchange
    if not refs or not exchange or exchange.messages[-1].role is not Role.ASSISTANT:
        return seal
    *before, said = exchange.messages
    return replace(seal, exchange=replace(exchange, messages=(*before, replace(said, id=refs[0].id))))


def retry_job(lease: Lease, answer: Answer, refs: Sequence[MessageRef]) -> StoredJob | None:
    """The job that the Retry button starts: the question as it reads now; None if it was deleted.

    Turns that were merged into it are asked again too, unless they are remembered: then the model sees them anyway.

    Args:
        lease: The turns that were answered, and what became known of them.
        answer: What was answered.
        refs: The messages of the reply, to be written over.
    """
    if not (turns := lease.turns()):
        return None
    *earlier, turn = turns
    remembered = {message.id for message in answer.exchange.messages} if answer.exchange else set()
    unknown = [one for one in earlier if one.id not in remembered]
    text = "\n\n".join([*(one.text for one in unknown), turn.text])
    voices = tuple(sorted({one.author.id for one in unknown} - {turn.author.id}))
    scopes = next(stored.scopes for stored in lease.job.stored if stored.turn.id == turn.id)
    quotes = (*(quote for one in unknown for quote in one.quotes), *turn.quotes)
    turn = replace(turn, text=text, quotes=quotes, attempt=turn.attempt + 1)
    return StoredJob(turn, tuple(refs), alone=True, scopes=scopes, since=time.time(), voices=voices)


async def as_it_reads_now(exchange: Exchange | None, job: Job, surface: Surface) -> Exchange | None:
    """What is remembered, with questions as they read now; None if the question that was answered was deleted.

    An edited text is understood as the first one was: names for ids, what it replies to, its files.
    """
    if not exchange:
        return None
    pairs = zip(job.stored, job.notes, strict=True)
    known = {stored.turn.id: (stored.turn, Note.from_json(note)) for stored, note in pairs if note}
    messages = []
    for message in exchange.messages:
        turn, note = known.get(message.id, (None, None)) if message.role is Role.USER else (None, None)
        if note and note.stop and not note.stop.remember:
            if message.id == exchange.question:
                return None
            continue
        if turn and note and (note.quotes or (note.text is not None and note.text != turn.text)):
            now = await surface.understand(note.applied(turn))
            edited = note.edited or message.edited
            message = replace(message, text=now.text, quotes=now.quotes, tokens=0, edited=edited)  # noqa: PLW2901
        messages.append(message)
    return replace(exchange, messages=tuple(messages))
