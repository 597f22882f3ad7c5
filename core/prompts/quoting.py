"""A message in words, with what comes with it: quotes, overheard talk and blocks have marks that nobody else can write.

A mark is a line in brackets that explains itself, and lines that begin with ``> `` belong to the mark before them. What
people write is guarded, so that no text, name, quote or fact passes for a mark: see ``core.prompts.guard``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from core.prompts.guard import GuardMarkRemover, guard, name
from core.prompts.voices import SpeakerNames
from core.quotes import Quote, QuoteKind
from core.types import Author, Fact, Message, Role

HEADINGS = {
    QuoteKind.FORWARD: "forwarded message",
    QuoteKind.REPLY: "in reply to",
    QuoteKind.ROOT: "the message this thread began with",
    QuoteKind.CARD: "shown with this message",
    QuoteKind.TABLE: "table pasted with this message",
    QuoteKind.UNREADABLE: "attached, and not readable to you",
}
END_OF_QUOTE = "[end of quote]"
OVERHEARD = "[overheard, not said to you]"
OVERHEARD_APP = "[overheard from an app, not said to you]"
APP = "[from an app]"
EDITED = "[edited after you answered]"
SYSTEM_NOTE = "system note"
FACTS_HEADING = "[what people here asked you to remember]"
SUMMARY_HEADING = "[notes of what was said here earlier, written by you and perhaps incomplete]"
ROOM_HEADING = "[overheard in this channel shortly before, not said to you]"
ROOM_END = "[end of what was overheard]"

FACTS_ID, SUMMARY_ID, ROOM_ID = "facts", "summary", "room"
"""Ids of the system messages that a window has besides what was said: their text is a block, guarded already."""

_ORIGIN_CHARACTERS = 80


def words(message: Message, control_tokens: tuple[str, ...] = ()) -> str:
    """What a message says to the model, guarded: its quotes, then its text, then what can't be read of it.

    A block of the window is guarded against the template's ``control_tokens`` alone: its marks are ours.
    """
    if message.role is Role.SYSTEM:
        if message.id in (FACTS_ID, SUMMARY_ID, ROOM_ID):
            return guard(message.text, control_tokens, marks=False)
        return f"[{SYSTEM_NOTE}: {guard(message.text, control_tokens)}]"
    readable = [quote for quote in message.quotes if quote.kind is not QuoteKind.UNREADABLE]
    speaker = message.author.name if message.author else ""
    lines = [_quoted(quote, speaker, control_tokens) for quote in readable]
    if message.text:
        lines += [*([END_OF_QUOTE] if lines else []), guard(message.text, control_tokens)]
    lines += [_quoted(quote, speaker, control_tokens) for quote in message.quotes if quote not in readable]
    return "\n".join(lines)


def plain_words(message: Message) -> str:
    """What a message says, as a person reads it: with its quotes, and without marks of the guard."""
    remover = GuardMarkRemover()
    return remover.feed(words(message)) + remover.flush() if message.quotes else message.text


def marks(message: Message, *, answered: float = 0.0) -> str:
    """The marks before a person's name: whether it was said to somebody else, and whether it read otherwise before.

    Args:
        message: of a person or an app.
        answered: when the next answer after it was given; 0 if there is none yet.
    """
    overheard = (OVERHEARD_APP if message.author and message.author.app else OVERHEARD) if message.overheard else ""
    return " ".join(filter(None, (overheard, EDITED if 0 < answered < message.edited else "")))


def facts_block(facts: Sequence[Fact], left_out: int = 0) -> str:
    """What people told Parley to remember, as the text of a system message; "" for nothing.

    Args:
        facts: in the order in which they are told.
        left_out: how many older ones are not among them, for want of room.
    """
    lines = [f"{left_out} older ones are left out here."] if left_out else []
    lines += [_fact(fact) for fact in facts]
    return _list(FACTS_HEADING, lines) if lines else ""


def room_block(messages: Sequence[Message], others: Iterable[Author] = ()) -> str:
    """What was said in a channel, not to Parley, as the text of a system message; "" for nothing.

    Args:
        messages: oldest first. One of the system is a note about them.
        others: who else speaks in the prompt, in order, so that namesakes are told apart as they are there.
    """
    others = list(dict.fromkeys(others))
    voices = SpeakerNames([*others, *(message.author for message in messages if message.author)])
    for author in others:
        voices.name(author)
    return f"{_list(ROOM_HEADING, _room_lines(messages, voices))}\n{ROOM_END}" if messages else ""


def summary_block(summary: str) -> str:
    """Notes of what is no longer in the prompt, as the text of a system message."""
    return "\n".join([SUMMARY_HEADING, *_under(summary)])


def _list(heading: str, texts: Iterable[str]) -> str:
    """A heading, and guarded texts under it: each begins a line, and what continues it is indented."""
    lines = ("\n>     ".join(text.splitlines()) for text in texts)
    return "\n".join([heading, *(f"> {line}" for line in lines)])


def _room_lines(messages: Sequence[Message], voices: SpeakerNames) -> Iterator[str]:
    for message in messages:
        voice = (voices.name(message.author) if message.author else "") or "Somebody"
        app = f"{APP} " if message.author and message.author.app else ""
        clock = f"{datetime.fromtimestamp(message.at).astimezone():%H:%M} " if message.at else ""
        yield words(message) if message.role is Role.SYSTEM else f"{clock}{app}{guard(voice)}: {words(message)}"


def _fact(fact: Fact) -> str:
    day = f" on {datetime.fromtimestamp(fact.at).astimezone():%-d %B %Y}" if fact.at else ""
    told = "corrected" if fact.corrected else "told"
    return f"{fact.number}. {told} by {_called(fact.author.name)}{day}: {guard(fact.text)}"


def _quoted(quote: Quote, speaker: str, control_tokens: tuple[str, ...]) -> str:
    heading = HEADINGS[quote.kind]
    if quote.kind is QuoteKind.UNREADABLE:
        what = " ".join(quote.text.replace("[", "(").replace("]", ")").split())
        return f"[{guard(f'{heading}: {what}', control_tokens)}]"
    by = _called(quote.by) if quote.by and quote.by != speaker else ""
    if quote.kind is QuoteKind.REPLY:
        heading += f" {_called(quote.by) if quote.by else 'what you said'}"
    elif by:
        heading += f", by {by}"
    if quote.origin:
        heading += f", from {_called(quote.origin, _ORIGIN_CHARACTERS)}"
    return "\n".join([f"[{guard(heading, control_tokens)}]", *_under(quote.text, control_tokens)])


def _under(text: str, control_tokens: tuple[str, ...] = ()) -> list[str]:
    """The lines of a text, as they stand under a mark."""
    return [f"> {line}" for line in guard(text, control_tokens).splitlines()]


def _called(text: str, limit: int = 40) -> str:
    """A name as it stands in a mark."""
    return f'"{name(text, limit)}"'
