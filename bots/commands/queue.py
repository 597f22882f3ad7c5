"""``parley queue``: the questions that are waiting or being answered, and the dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from bots.console.printing import ago, many, plain, print_json, table
from bots.console.printing import show as show_table
from bots.console.usage import Command
from bots.platforms import load_all_settings
from core.errors import ParleyError

if TYPE_CHECKING:  # imported where they are used: reading the command line must not wait for them
    from core.turns import DeadLetter, Lane, Operator, TurnQueue

T = TypeVar("T")

LS_QUEUE, LS_DEAD = "parley queue ls", "parley queue dead ls"
"""The commands that list turns in the queue, and dead letters."""

ID_HELP = "The question's id, as `ls` or the log shows it. The end of it is enough."
Turn = Annotated[str, typer.Argument(metavar="TURN", help=ID_HELP)]
DeadTurn = Annotated[str, typer.Argument(metavar="TURN", help=ID_HELP, show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Text = Annotated[bool, typer.Option("--text", help="Also show what the question says.")]
All = Annotated[bool, typer.Option("--all", help="Take all dead letters.")]


class Missing(ParleyError):
    """There is no such turn."""


def attach(queue: typer.Typer, dead: typer.Typer) -> None:
    """Register the commands."""
    commands: dict[str, Callable[..., None]] = {"ls": ls, "show": show, "requeue": requeue, "cancel": cancel}
    for name, command in commands.items():
        queue.command(name, cls=Command)(command)
    letters: dict[str, Callable[..., None]] = {"ls": dead_ls, "replay": replay, "drop": drop}
    for name, command in letters.items():
        dead.command(name, cls=Command)(command)


def ls(as_json: AsJson = False) -> None:
    """List the questions that are waiting or being answered, and which worker has them."""
    lanes = _run_with_queue(lambda operator, _: operator.lanes())
    if as_json:
        print_json([_lane(lane) for lane in lanes])
        return
    if not lanes:
        print("The queue is empty.")  # noqa: T201
        return
    shown = table("turn", "asked", "where it is", "tries", "answer so far")
    for lane in lanes:
        for number, job in enumerate(lane.jobs):
            where = _where(lane) if number == 0 else f"in line, number {number + 1}"
            so_far = f"{lane.characters} characters" if number == 0 and lane.characters else ""
            shown.add_row(job.turn.id, ago(job.turn.at), where, str(lane.tries) if number == 0 else "", so_far)
    show_table(shown)


def show(turn: Turn, text: Text = False, as_json: AsJson = False) -> None:
    """Show everything that is known about one question."""

    async def find(operator: Operator, _: TurnQueue) -> Lane:
        lanes = await operator.lanes()
        name = _one([job.turn.id for lane in lanes for job in lane.jobs], turn)
        return next(lane for lane in lanes if any(job.turn.id == name for job in lane.jobs))

    lane = _run_with_queue(find)
    name = _one([job.turn.id for job in lane.jobs], turn)
    if as_json:
        print_json(_lane(lane, text=text) | {"turn": name})
        return
    shown = table("", "")
    for key, value in _in_words(lane, name, text=text):
        shown.add_row(key, plain(value))
    show_table(shown)


def requeue(turn: Turn, as_json: AsJson = False) -> None:
    """Take a question from its worker, so that another worker answers it now."""
    name = _run_with_queue(lambda operator, _: _requeue(operator, turn))
    _report(as_json, name, f"{name} is back in the queue, first in its line.")


def cancel(turn: Turn, as_json: AsJson = False) -> None:
    """Stop a question. What was answered so far stays, and the person is told."""
    name = _run_with_queue(lambda operator, queue: _cancel(operator, queue, turn))
    _report(as_json, name, f"Stopped {name}.")


def dead_ls(as_json: AsJson = False) -> None:
    """List the dead letters, and why each was given up."""
    letters = _run_with_queue(lambda operator, _: operator.dead_letters())
    if as_json:
        print_json([_letter(letter) for letter in letters])
        return
    if not letters:
        print("There are no dead letters.")  # noqa: T201
        return
    shown = table("turn", "given up", "tries", "why")
    for letter in letters:
        shown.add_row(letter.name, ago(letter.at) if letter.at else "", str(letter.tries), plain(letter.why))
    show_table(shown)


def replay(turn: DeadTurn = "", every: All = False, as_json: AsJson = False) -> None:
    """Answer a dead letter again; the new answer replaces what was shown."""
    _check(turn, every)
    names = _run_with_queue(lambda operator, _: _take(operator, turn, every, operator.replay))
    _report(as_json, names, f"Back in the queue: {many(len(names), 'question')}.")


def drop(turn: DeadTurn = "", every: All = False, as_json: AsJson = False) -> None:
    """Delete a dead letter."""
    _check(turn, every)
    names = _run_with_queue(lambda operator, _: _take(operator, turn, every, operator.drop))
    _report(as_json, names, f"Deleted {many(len(names), 'dead letter')}.")


def _check(turn: str, every: bool) -> None:
    if bool(turn) == every:
        raise typer.BadParameter(
            "Give a TURN or --all, not both." if turn else "Give a TURN, or --all for all dead letters."
        )


async def _requeue(operator: Operator, wanted: str) -> str:
    name = await _waiting(operator, wanted)
    if not await operator.requeue(name):
        raise _missing(wanted)
    return name


async def _cancel(operator: Operator, queue: TurnQueue, wanted: str) -> str:
    from core.turns import CANCELLED

    name = await _waiting(operator, wanted)
    if not await queue.stop(name, CANCELLED):
        raise _missing(wanted)
    return name


async def _waiting(operator: Operator, wanted: str) -> str:
    return _one([job.turn.id for lane in await operator.lanes() for job in lane.jobs], wanted)


async def _take(
    operator: Operator, wanted: str, every: bool, take: Callable[[DeadLetter], Awaitable[bool]]
) -> list[str]:
    letters = {letter.name: letter for letter in await operator.dead_letters()}
    names = list(letters) if every else [_one(list(letters), wanted, LS_DEAD)]
    return [name for name in names if await take(letters[name])]


def _one(turns: Sequence[str], wanted: str, listing: str = LS_QUEUE) -> str:
    from core.turns import matching

    found = list(dict.fromkeys(matching(turns, wanted)))
    if len(found) > 1:
        raise Missing(f"'{wanted}' matches several: {', '.join(found)}.", remedy="Type more of the id.")
    if not found:
        raise _missing(wanted, listing)
    return found[0]


def _missing(wanted: str, listing: str = LS_QUEUE) -> Missing:
    what = "dead letter" if listing == LS_DEAD else "question in the queue"
    return Missing(f"No {what} matches '{wanted}'.", remedy=f"`{listing}` lists them.")


def _run_with_queue(work: Callable[[Operator, TurnQueue], Awaitable[T]]) -> T:
    """Open the queue, run ``work`` with it, and return its result."""
    from core.memory import Memory
    from core.store import open_redis
    from core.turns import Operator, TurnQueue

    settings = load_all_settings()

    async def run() -> T:
        url = settings.redis_url.get_secret_value() if settings.redis_url else None
        async with open_redis(url, settings.data_dir) as redis:
            memory = Memory(redis, retention=settings.retention_seconds)
            return await work(Operator(redis), TurnQueue(redis, memory))

    return asyncio.run(run())


def _lane(lane: Lane, *, text: bool = False) -> dict[str, Any]:
    """A lane as JSON."""
    turns = [
        {
            "id": job.turn.id,
            "asked_at": job.turn.at,
            "author": job.turn.author.id,
            "asked_again": job.turn.attempt,
            "characters": len(job.turn.text),
            **({"text": job.turn.text} if text else {}),
        }
        for job in lane.jobs
    ]
    return {
        "lane": lane.name,
        "place": lane.place,
        "worker": lane.owner,
        "tries": lane.tries,
        "lease_seconds": lane.seconds,
        "answer_characters": lane.characters,
        "answer_messages": lane.messages,
        "turns": turns,
    }


def _in_words(lane: Lane, name: str, *, text: bool) -> Iterator[tuple[str, str]]:
    """What is known about a turn, as names and values."""
    place, job = next((number, job) for number, job in enumerate(lane.jobs) if job.turn.id == name)
    yield "turn", name
    yield "asked", f"{ago(job.turn.at)} by {job.turn.author.id}, {many(len(job.turn.text), 'character')}"
    if text:
        yield "question", job.turn.text
    yield "conversation", str(job.turn.key)
    if place:
        yield "where it is", f"in line, number {place + 1}"
        return
    yield "where it is", _where(lane)
    yield "tries", str(lane.tries)
    if job.turn.attempt:
        yield "asked again", many(job.turn.attempt, "time")
    if lane.characters:
        messages = f" in {many(lane.messages, 'message')}" if lane.messages else ""
        yield "answer so far", f"{many(lane.characters, 'character')}{messages}"
    if lane.place == "held" and lane.owner:
        yield "lease", f"ends in {max(0, lane.seconds):.0f} s unless its worker renews it"


def _letter(letter: DeadLetter) -> dict[str, Any]:
    author = letter.job.turn.author.id if letter.job else ""
    return {"id": letter.name, "author": author, "at": letter.at, "why": letter.why, "tries": letter.tries}


def _where(lane: Lane) -> str:
    match lane.place:
        case "held" if lane.owner:
            return f"being answered by {lane.owner}"
        case "held":
            return f"tried again in {max(0, lane.seconds):.0f} s"
        case "suspects":
            return "its worker crashed twice: it is tried once more on its own"
        case "waiting":
            return "waits until the message that its thread branched from is answered"
        case _:
            return "waits for a worker"


def _report(as_json: bool, what: Any, said: str) -> None:
    if as_json:
        print_json({"ok": True, "turns": [what] if isinstance(what, str) else what})
    else:
        print(said)  # noqa: T201
