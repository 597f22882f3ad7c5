"""What each message says in a prompt, whatever the family: who speaks, and on which day.

A person's words begin with their name, so that several people in one conversation are told apart. The date stands
with the first message of each day: it depends on nothing but that message and the one before it, so a
prompt's beginning stays the same from turn to turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from core.guard import guard, name
from core.types import Role, Window

Said = tuple[Role, str]
"""Who speaks in a prompt, and what."""


def spoken(window: Window, controls: tuple[str, ...] = ()) -> Iterator[Said]:
    """Role and words of each message, guarded against forged roles and control tokens, ``controls`` among them."""
    last = ""
    for message in window.messages:
        words = guard(message.text, controls)
        if message.role is Role.USER:
            if message.author and message.author.name:
                words = f"{guard(name(message.author.name), controls)}: {words}"
            today = day(message.at)
            if today and today != last:
                last, words = today, f"({today}) {words}"
        yield message.role, words


def strictly(said: Iterable[Said]) -> list[Said]:
    """The same in turns, as many templates demand it: a person first, then by turns.

    What one role says several times in a row becomes one message, and a remark between messages a part of the person's
    message after it, or before it at the end.
    """
    turns: list[Said] = []
    for role, words in said:
        spoken_as = Role.USER if role is Role.SYSTEM else role
        if not turns and spoken_as is Role.ASSISTANT:
            turns.append((Role.USER, "…"))
        if turns and turns[-1][0] is spoken_as:
            turns[-1] = (spoken_as, f"{turns[-1][1]}\n\n{words}")
        else:
            turns.append((spoken_as, words))
    return turns


def folded(system: str, turns: Iterable[Said]) -> list[Said]:
    """The system prompt as the beginning of what the first person says, for models that have no such role."""
    turns = list(turns)
    if not system:
        return turns
    if turns and turns[0][0] is Role.USER:
        return [(Role.USER, f"{system}\n\n{turns[0][1]}"), *turns[1:]]
    return [(Role.USER, system), *turns]


def day(at: float) -> str:
    """``Monday, 23 November 2026`` where this process runs; empty for a message without a time."""
    return f"{datetime.fromtimestamp(at).astimezone():%A, %-d %B %Y}" if at else ""
