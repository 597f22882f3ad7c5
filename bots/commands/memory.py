"""``parley memory``: list, show, export and forget conversations. Backups: ``bots/commands/backup``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bots.commands.store import AsJson, Store, report, run_with_store
from bots.console.printing import ago, many, plain, print_json, progress, show, span, table
from bots.console.usage import Command
from bots.platforms import PLATFORMS
from core.errors import ParleyError

if TYPE_CHECKING:  # imported where they are used: reading the command line must not wait for them
    from core.archive import Record

MAX_NAMES_SHOWN = 3
"""Conversations that are named one by one before they are forgotten."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `parley memory ls` shows it. The end of it is enough.")]
Conversation = Annotated[
    str, typer.Option(metavar="NAME", help="Only this conversation, as `ls` shows it. The end of its name is enough.")
]
Channel = Annotated[
    str, typer.Option(metavar="ID", help="Only this channel with its threads, by the platform's id, such as C0123.")
]
User = Annotated[str, typer.Option(metavar="ID", help="Only this person, by the platform's id, such as U0123.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


class Missing(ParleyError):
    """There is no such conversation."""


def attach(memory: typer.Typer) -> None:
    """Register the commands."""
    commands: dict[str, Callable[..., None]] = {"ls": ls, "show": show_one, "export": export}
    for name, command in {**commands, "forget": forget}.items():
        memory.command(name, cls=Command)(command)


def ls(conversation: Conversation = "", channel: Channel = "", user: User = "", as_json: AsJson = False) -> None:
    """List the conversations, with their size and when each is forgotten, but not what was said."""

    async def look(store: Store) -> list[dict[str, Any]]:
        found = selected(store, conversation, channel, user, whole=True)
        return [_figures(record) async for record in found if record.stored or record.facts]

    rows = sorted(run_with_store(look), key=lambda row: str(row["conversation"]))
    if as_json:
        print_json(rows)
        return
    if not rows:
        print("Nothing is remembered.")  # noqa: T201
        return
    shown = table("conversation", "messages", "tokens", "bytes", "facts", "last message", "forgotten in")
    for row in rows:
        left = span(row["forgotten_at"] - time.time())
        sizes = (str(row["messages"]), str(row["tokens"]), f"{row['bytes']:,}", str(row["facts"]))
        shown.add_row(row["conversation"], *sizes, ago(row["last_at"]), left)
    show(shown)


def show_one(conversation: Name, as_json: AsJson = False) -> None:
    """Show one conversation, word for word."""
    from core.prompts import plain_words

    [record] = run_with_store(lambda store: select(store, conversation, "", "", whole=True))
    figures, state = _figures(record), record.state
    chosen: dict[str, Any] = json.loads(record.parts["settings"].value) if "settings" in record.parts else {}
    said: list[dict[str, Any]] = [
        {
            "id": m.id,
            "role": m.role,
            "author": m.author.id if m.author else "",
            "name": m.author.name if m.author else "",
        }
        | {"at": m.at, "tokens": m.tokens, "ending": m.ending, "text": m.text}
        | {"overheard": m.overheard, "quotes": [quote.record() for quote in m.quotes]}
        for m in record.messages
    ]
    told: list[dict[str, Any]] = [
        {"number": fact.number, "text": fact.text, "author": fact.author.id, "name": fact.author.name}
        | {"at": fact.at, "corrected": fact.corrected}
        for fact in record.facts
    ]
    if as_json:
        print_json(figures | {"state": state, "settings": chosen, "facts": told, "said": said})
        return
    lines = [f"{record.key}: {many(figures['messages'], 'message')}, {figures['tokens']:,} tokens"]
    lines += [f"chosen here: {name} = {value}" for name, value in chosen.items() if name != "v"]
    if told:
        lines += ["", "Told to remember:"]
        lines += [
            f"{fact['number']}. {fact['text']} ({fact['name'] or fact['author']}, {_date(fact['at'])})" for fact in told
        ]
    if state.get("summary"):
        lines += ["", "Summary of earlier messages:", state["summary"]]
    for message in record.messages:
        if message.id and message.id == state.get("cut"):
            lines += ["", "── from here on, the model sees the messages themselves ──"]
        who = (message.author.name if message.author else "") or message.role
        lines += ["", f"{_date(message.at)}  {who}{' (overheard)' if message.overheard else ''}", plain_words(message)]
    print(plain("\n".join(lines)))  # noqa: T201


def export(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The file to write. Without it, or with -: standard output.")
    ] = None,
    *,
    conversation: Conversation = "",
    channel: Channel = "",
    user: User = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write conversations as lines of JSON: all of them, or one conversation, one channel, one person.

    For a person, that is what they said, the answers to it, and what they told to remember. `parley restore --merge`
    reads the file.
    """
    from core.archive import SCHEMA, Header, Writer, write_backup
    from core.version import parley_version

    records = run_with_store(lambda store: select(store, conversation, channel, user))
    header = Header(SCHEMA, parley_version(), time.time())
    if file in (None, Path("-")):
        writer = Writer(sys.stdout.buffer, header)
        for record in records:
            writer.add(record)
        writer.end()
        return
    with write_backup(file, header, packed=False, over=force) as writer:
        for record in records:
            writer.add(record)
    report(as_json, f"{file} holds {many(len(records), 'conversation')}.", file=str(file), conversations=len(records))


def forget(
    conversation: Conversation = "", channel: Channel = "", user: User = "", yes: Yes = False, as_json: AsJson = False
) -> None:
    """Forget a conversation with its threads, a channel, or all that one person said, with the answers to it.

    What people told to remember, notes that may tell it, dead letters and what Retry buttons would ask go with it.
    For a person, also the feedback they gave, their name on the page, and their questions that are still in the queue.

    Other questions in the queue will be answered and remembered: `parley queue ls` lists them.
    """
    if sum(map(bool, (conversation, channel, user))) != 1:
        raise typer.BadParameter("Say what to forget: one of --conversation, --channel and --user.")
    records = run_with_store(lambda store: select(store, conversation, channel, user, threads=True))
    if not records and not user:  # a person's questions can also be in the queue or among the dead letters
        report(as_json, "Nothing is remembered there.", conversations=0, messages=0)
        return
    count, what = sum(len(record.stored) for record in records), _meant(records, user)
    facts = sum(len(record.facts) for record in records)
    told = f" and {many(facts, 'fact')}" if facts else ""
    if not yes and not sys.stdin.isatty():
        raise typer.BadParameter("Nobody is at a terminal to confirm this. Add --yes to forget without being asked.")
    if not yes and not typer.confirm(f"Forget {what}, {many(count, 'message')}{told}, for good?", err=True):
        raise typer.Exit(1)
    forgotten = run_with_store(lambda store: _forget(store, conversation, channel, user))
    said = f"Forgot {what}, {many(forgotten, 'message')}{told}."
    report(as_json, said, conversations=len(records), messages=forgotten, facts=facts)


def _meant(records: Sequence[Record], user: str) -> str:
    """Say in words what is forgotten: a few conversations by name, with the number of their threads."""
    if user:
        return f"what {user} said and the answers to it in {many(len(records), 'conversation')}"
    keys = {record.key for record in records}
    names = [str(key) for key in keys if key.parent not in keys]
    threads = len(keys) - len(names)
    named = ", ".join(sorted(names)) if len(names) <= MAX_NAMES_SHOWN else many(len(names), "conversation")
    whose = "its" if len(names) == 1 else "their"
    return f"{named} and {whose} {many(threads, 'thread')}" if threads else named


async def _forget(store: Store, conversation: str, channel: str, user: str) -> int:
    if user:
        return await forget_person(store, user)
    records = await select(store, conversation, channel, "", threads=True)
    forgotten = 0
    with progress("Forgetting", len(records)) as step:
        for record in records:
            forgotten += await store.memory.forget(record.key)
            step()
    return forgotten


async def forget_person(store: Store, user: str) -> int:
    """Forget everything a person said, and what platforms store about them. Returns the number of messages."""
    from core.archive import PersonEraser
    from core.turns import TurnQueue

    person = PersonEraser(store.redis, store.memory, TurnQueue(store.redis, store.memory), user)
    forgotten = await person.forget()
    for platform in PLATFORMS:
        if platform.forget_person:
            await platform.forget_person(store.redis, store.settings, user)
    return forgotten


async def select(
    store: Store, conversation: str, channel: str, user: str, *, whole: bool = False, threads: bool = False
) -> list[Record]:
    """All conversations that ``selected`` yields."""
    return [record async for record in selected(store, conversation, channel, user, whole=whole, threads=threads)]


async def selected(
    store: Store, conversation: str, channel: str, user: str, *, whole: bool = False, threads: bool = False
) -> AsyncIterator[Record]:
    """Yield the conversations that the options select, channel by channel.

    Args:
        store: Where they are stored.
        conversation: The end of one conversation's name; "" for all.
        channel: A channel's id, which selects its threads too; "" for all.
        user: A person's id; "" for everybody.
        whole: Whether a person's conversations come whole, or only with what they said and the answers to it.
        threads: Whether the threads of a single conversation come with it.
    """
    families = await store.archive.families()
    if conversation:
        name = one_name([str(key) for family in families for key in family], conversation)
        families = [
            {k: parts for k, parts in family.items() if str(k) == name or (threads and str(k.parent) == name)}
            for family in families
        ]
    if channel:
        families = [{key: parts for key, parts in family.items() if key.channel == channel} for family in families]
    families = [family for family in families if family]
    with progress("Reading", len(families)) as step:
        for family in families:
            async for record in store.archive.records(family):
                only = record.only(user) if user else record
                if not user or only.parts:
                    yield record if whole else only
            step()


def one_name(names: list[str], wanted: str) -> str:
    """Find a conversation by its name, or by an end of it that only one has. Raises Missing."""
    from core.turns import matching

    found = matching(names, wanted)
    if len(found) > 1:
        raise Missing(f"'{wanted}' matches several: {', '.join(found)}.", remedy="Type more of the name.")
    if not found:
        raise Missing(f"No conversation matches '{wanted}'.", remedy="`parley memory ls` lists them.")
    return found[0]


def _date(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def _figures(record: Record) -> dict[str, Any]:
    """A conversation in numbers."""
    messages, stored, facts = record.messages, record.stored, record.facts
    return {
        "conversation": str(record.key),
        "messages": len(messages),
        "people": len({m.author.id for m in messages if m.author} | {fact.author.id for fact in facts}),
        "tokens": sum(m.tokens for m in messages),
        "bytes": sum(len(text.encode()) for text in stored),
        "facts": len(facts),
        "last_at": max([*(m.at for m in messages[-1:]), *(fact.at for fact in facts)], default=0.0),
        "forgotten_at": max(
            (record.parts[name].until for name in ("messages", "facts") if name in record.parts), default=0.0
        ),
    }
