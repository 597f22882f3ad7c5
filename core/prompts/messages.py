"""The messages of a prompt, for any template: who speaks, on which day, and what.

A person's words begin with their name, so that the model can tell several people apart. The date comes with the first
message of each day: it depends only on that message and the one before it, so the beginning of a prompt stays the same
from turn to turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from core.model_types import PromptWindow
from core.prompts.guard import guard
from core.prompts.quoting import marks
from core.prompts.quoting import words as in_words
from core.prompts.voices import SpeakerNames
from core.types import Message, Role

TemplateMessage = tuple[Role, str]
"""A role and its words, as templates take them."""


def prompt_messages(window: PromptWindow, control_tokens: tuple[str, ...] = ()) -> Iterator[TemplateMessage]:
    """Yield role and words of each message, guarded against forged roles and the template's ``control_tokens``."""
    last, voices = "", SpeakerNames(message.author for message in window.messages if message.author)
    for message, answered in zip(window.messages, _answered(window.messages), strict=True):
        words = in_words(message, control_tokens)
        if message.role is Role.USER:
            if message.author and (voice := voices.name(message.author)):
                words = f"{guard(voice, control_tokens)}: {words}"
            if marked := marks(message, answered=answered):
                words = f"{marked} {words}"
            today = day(message.at)
            if today and today != last:
                last, words = today, f"({today}) {words}"
        yield message.role, words


def _answered(messages: Sequence[Message]) -> list[float]:
    """For each message, when the next answer after it was given; 0 for those after the last answer."""
    times, at = [], 0.0
    for message in reversed(messages):
        times.append(at)
        at = message.at if message.role is Role.ASSISTANT else at
    return times[::-1]


def alternate_roles(said: Iterable[TemplateMessage]) -> list[TemplateMessage]:
    """Merge messages so that roles alternate, user first, as many templates demand.

    Messages of one role in a row become one. A system message between others becomes part of the user message after it,
    or of the one before it at the end.
    """
    turns: list[TemplateMessage] = []
    for role, words in said:
        spoken_as = Role.USER if role is Role.SYSTEM else role
        if not turns and spoken_as is Role.ASSISTANT:
            turns.append((Role.USER, "…"))
        if turns and turns[-1][0] is spoken_as:
            turns[-1] = (spoken_as, f"{turns[-1][1]}\n\n{words}")
        else:
            turns.append((spoken_as, words))
    return turns


def fold_system(system: str, turns: Iterable[TemplateMessage]) -> list[TemplateMessage]:
    """Put the system prompt in front of the first user message, for models that have no such role."""
    turns = list(turns)
    if not system:
        return turns
    if turns and turns[0][0] is Role.USER:
        return [(Role.USER, f"{system}\n\n{turns[0][1]}"), *turns[1:]]
    return [(Role.USER, system), *turns]


def day(at: float) -> str:
    """``Monday, 23 November 2026`` where this process runs; empty for a message without a time."""
    return f"{datetime.fromtimestamp(at).astimezone():%A, %-d %B %Y}" if at else ""
