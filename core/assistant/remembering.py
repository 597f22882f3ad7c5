"""Commands about what people told Parley to remember: ``remember: …``, ``forget 3``, ``that is wrong: …``.

Anybody in a conversation can give them. No model is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from core.assistant.command import Command, CommandCall, CommandReply
from core.markdown import heal
from core.memory import CorrectFact, FactRefused, RemoveFact, TellFact, most_alike, read_fact_command
from core.types import Fact

EXPLAINED = (
    "Write what I should always know in {place} after a colon, as in {{/remember: standup is at 9:15}}. {{/memory}} "
    "lists what I was told."
)
CORRECTION_EXPLAINED = (
    "Write what is right after a colon: {/3 is wrong: standup is at 9:30} corrects number 3 of what I was told to "
    "remember, and {/that is wrong: standup is at 9:30} corrects what is most like it."
)
NOTHING_TOLD = "I was told nothing to remember for {place} yet. {{/remember: standup is at 9:15}} tells me something."


def find(text: str) -> Command | None:
    """The command about something to remember that a message is; None for anything else."""
    match read_fact_command(text):
        case TellFact(text):
            return Command(partial(_remember, text))
        case CorrectFact(number, text):
            return Command(partial(_correct, number, text))
        case RemoveFact(number, asks):
            return Command(partial(_explain_removal if asks else _remove, number))
    return None


def listed(facts: Sequence[Fact], call: CommandCall) -> str:
    """The facts as Markdown, with how to change them; "" for none."""
    if not facts:
        return ""
    last = facts[-1].number
    how = f"{{/forget {last}}} removes one, and {{/{last} is wrong: …}} corrects one"
    lines = [f"- **{fact.number}**: {heal(fact.text)} ({_origin(fact)})" for fact in facts]
    return "\n".join([f"What I was told to remember for {_home(call)} ({call.venue.tell(how)}):", "", *lines])


def in_number(facts: int) -> str:
    """How many facts there are, in words."""
    return f"{facts} {'thing' if facts == 1 else 'things'} I was told to remember"


async def explain(call: CommandCall) -> CommandReply:
    """``remember`` alone says how to use it."""
    return call.say(EXPLAINED.format(place=_home(call)))


async def _remember(text: str, call: CommandCall) -> CommandReply:
    if not text:
        return await explain(call)
    try:
        fact = await call.memory.facts.tell(call.turn, text)
    except FactRefused as refused:
        return call.refuse(str(refused))
    return _noted(fact, call, f"{{/memory}} lists what I was told, {{/forget {fact.number}}} removes it.")


async def _correct(number: int, text: str, call: CommandCall) -> CommandReply:
    if not text:
        return call.say(CORRECTION_EXPLAINED)
    facts = call.memory.facts
    try:
        if not number and (meant := most_alike(text, await facts.all(call.turn.key))):
            number = meant.number
        if number:
            replaced = await facts.replace(call.turn, number, text)
            return _corrected(*replaced, call) if replaced else await _missing(number, call)
        fact = await facts.tell(call.turn, text, corrected=True)
    except FactRefused as refused:
        return call.refuse(str(refused))
    return _noted(
        fact,
        call,
        "I was told nothing like it before, so it's a new entry. If you meant my last answer, say it without "
        f"“that is wrong:”, and {{/forget {fact.number}}} removes the entry.",
    )


async def _remove(number: int, call: CommandCall) -> CommandReply:
    fact = await call.memory.facts.remove(call.turn.key, number)
    return CommandReply(f"Removed {number}: “{heal(fact.text)}”.") if fact else await _missing(number, call)


async def _explain_removal(number: int, call: CommandCall) -> CommandReply:
    """``forget 3?`` asks what it would do, so nothing is removed."""
    fact = {fact.number: fact for fact in await call.memory.facts.all(call.turn.key)}.get(number)
    if not fact:
        return await _missing(number, call)
    how = call.venue.tell(f"{{/forget {number}}} would remove")
    return CommandReply(f"{how} “{heal(fact.text)}” for {_home(call)}. Nothing is removed yet.")


async def _missing(number: int, call: CommandCall) -> CommandReply:
    """There is no fact of that number: it was removed, or never there."""
    facts = await call.memory.facts.all(call.turn.key)
    if 0 < number <= await call.memory.facts.last_number(call.turn.key):
        gone = f"Number {number} is removed already."
    elif not facts:
        return call.refuse(NOTHING_TOLD.format(place=_home(call)))
    else:
        gone = f"There's no number {number} in {_home(call)}."
    there = f" There's {_in_words([fact.number for fact in facts])}: {{/memory}} lists them." if facts else ""
    return call.refuse(gone + there)


def _noted(fact: Fact, call: CommandCall, more: str) -> CommandReply:
    noted = f"Noted for {_home(call)} as {fact.number}: “{heal(fact.text)}”."
    return CommandReply(f"{noted} {call.venue.tell(more)}")


def _corrected(before: Fact, after: Fact, call: CommandCall) -> CommandReply:
    if before.text == after.text:
        return CommandReply(f"{after.number} says for {_home(call)}: “{heal(after.text)}”.")
    return CommandReply(f"Corrected {after.number}: “{heal(after.text)}” replaces “{heal(before.text)}”.")


def _home(call: CommandCall) -> str:
    """The conversation that facts belong to, in words: a thread's channel."""
    return "this channel" if call.venue.shared and not call.turn.key.owner else "this conversation"


def _origin(fact: Fact) -> str:
    """Who told a fact, and when."""
    when = datetime.fromtimestamp(fact.at).astimezone()
    by = heal(fact.author.name)
    told = [f"corrected by {by}" if by else "corrected"] if fact.corrected else [by] if by else []
    return ", ".join([*told, f"{when.day} {when:%B %Y}"])


def _in_words(numbers: Sequence[int]) -> str:
    *others, last = map(str, numbers)
    return f"{', '.join(others)} and {last}" if others else last
