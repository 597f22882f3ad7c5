"""What people can tell Parley to do instead of asking it: help, memory, forget, settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from core.memory import Memory
from core.preferences import WrongChoice, find_setting
from core.types import ConversationKey, Turn

Command = Callable[[Turn, Memory], Awaitable[str]]
"""Does it and returns what to reply, as Markdown."""

WORDS: dict[str, str] = {
    "help": "what I can do",
    "memory": "what I remember of this conversation",
    "forget": "forget this conversation, and the threads that branched off it",
    "settings": "how I answer here; `settings temperature 0.2` changes it, `settings reset` takes all changes back",
}
STOP = "stop"
"""Ends the answer that is being written; it does not wait in line for its end, so it is no command like the others."""


def find(text: str) -> Command | None:
    """The command that a message is, if it is nothing else: ``forget``, ``Forget.``, ``/forget``. Empty means help.

    ``settings temperature 0.2`` is one as well; "settings are lost, why?" is a question.
    """
    first, _, rest = text.strip().lstrip("/!").partition(" ")
    if first.casefold() == "settings" and (change := find_setting(rest)):
        return partial(_change, *change)
    return _COMMANDS.get(_word(text) or "help")


def is_stop(text: str) -> bool:
    """Whether a message asks for nothing but that an answer ends."""
    return _word(text) == STOP


def days(seconds: float) -> str:
    """A time to live, as people say it."""
    whole = round(seconds / 86_400)
    if whole < 1:
        return f"{max(1, round(seconds / 3600))} h"
    return "1 day" if whole == 1 else f"{whole} days"


def _word(text: str) -> str:
    return text.strip().lstrip("/!").rstrip(".!?").casefold()


async def _help(turn: Turn, memory: Memory) -> str:
    del memory
    where = "this thread" if turn.key.thread else "this conversation"
    lines = [
        "Ask me anything: I answer with the team's own model, and I write while you watch.",
        f"I remember what is said to me in {where}, and nothing from anywhere else.",
        "",
        *(f"- `{word}`: {what}" for word, what in WORDS.items()),
        "- `stop`: end the answer that I am writing for you",
    ]
    return "\n".join(lines)


async def _memory(turn: Turn, memory: Memory) -> str:
    kept = await memory.describe(turn.key)
    if not kept.questions:
        return f"I remember nothing of {_place(turn.key)} yet."
    questions = "1 message" if kept.questions == 1 else f"{kept.questions} messages"
    answers = "1 answer" if kept.answers == 1 else f"{kept.answers} answers"
    notes = f"\n\nMy notes of what was said earlier:\n\n{kept.summary}" if kept.summary else ""
    return (
        f"I remember {questions} and {answers} of {_place(turn.key)}, about {kept.tokens:,} tokens. "
        f"I forget them {days(kept.seconds_left)} after the last one, or now if you say `forget`."
        f"{notes}"
    )


async def _forget(turn: Turn, memory: Memory) -> str:
    forgotten = await memory.forget(turn.key)
    if not forgotten:
        return f"There was nothing to forget in {_place(turn.key)}."
    return f"Done: I have forgotten {_place(turn.key)} ({forgotten} message{'s' * (forgotten != 1)})."


def _place(key: ConversationKey) -> str:
    return "this thread" if key.thread else "this conversation"


async def _settings(turn: Turn, memory: Memory) -> str:
    chosen, choices = await memory.settings(turn.key)
    return choices.describe(chosen)


async def _change(name: str, value: str, turn: Turn, memory: Memory) -> str:
    try:
        chosen = await memory.choose(turn.key, name, value)
    except WrongChoice as error:
        return str(error)
    if not name:
        return f"Done: all settings of {_place(turn.key)} are the default again."
    _, choices = await memory.settings(turn.key)
    return f"Done. {choices.describe(chosen)}"


_COMMANDS: dict[str, Command] = {
    "help": _help,
    "memory": _memory,
    "memory show": _memory,
    "forget": _forget,
    "settings": _settings,
}
