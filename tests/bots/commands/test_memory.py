"""``parley memory``, ``parley backup`` and ``parley restore``, on a real Redis."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner

from bots.cli import cli as parley
from bots.web.people import People
from core.errors import ParleyError
from core.memory.conversations import Memory
from core.memory.exchange import Exchange, Thread
from core.memory.feedback import Feedback
from core.quotes import Quote, QuoteKind
from core.types import Author, ConversationKey, Message, Role, Turn
from tests.journeys.process import environment

Cli = Callable[..., "Ran"]
CHANNEL = ConversationKey("slack", "T1", "C1")
OTHER = ConversationKey("slack", "T1", "C2")


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def cli(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """``parley …``, without a process of its own for each."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, **settings: str) -> Ran:
        env = environment(tmp_path, **{"REDIS_URL": redis_url, "COLUMNS": "200", **settings})
        result = CliRunner().invoke(parley, words, env=env)
        if isinstance(result.exception, ParleyError):
            return Ran(1, result.stdout, f"{result.exception}\n{result.exception.remedy}")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


async def say(client: Redis, key: ConversationKey, number: int, person: str) -> None:
    """Somebody asks something, and is answered."""
    memory = Memory(client, retention=86_400)
    loaded = await memory.load(key, Thread("q1", 1.0) if key.thread else None)
    asked = Message(
        Role.USER, f"secret {number}", id=f"q{number}", author=Author(person, f"Name of {person}"), at=number
    )
    said = Message(Role.ASSISTANT, f"reply {number}", id=f"a{number}", at=number + 0.5, reply_to=asked.id)
    assert await memory.append(Exchange(key, loaded.epoch, asked.id, "", (asked, said)))


@pytest.fixture
async def talk(client: Redis) -> None:
    """Two people in a channel and a thread of it, and one in another channel."""
    await say(client, CHANNEL, 1, "U1")
    await say(client, CHANNEL, 2, "U2")
    await say(client, replace(CHANNEL, thread="1.0"), 3, "U1")
    await say(client, OTHER, 4, "U2")


@pytest.mark.usefixtures("talk")
def test_an_operator_sees_what_is_remembered_and_only_on_demand_what_was_said(cli: Cli) -> None:
    """In numbers for all, word for word for one conversation, which the end of its name is enough to name."""
    listed = cli("memory", "ls")
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == [
        "slack:T1:C1",
        "slack:T1:C1:1.0",
        "slack:T1:C2",
    ]
    assert "secret" not in listed.stdout
    rows = json.loads(cli("memory", "ls", "--channel", "C1", "--json").stdout)
    assert [(row["conversation"], row["messages"], row["people"]) for row in rows] == [
        ("slack:T1:C1", 4, 2),
        ("slack:T1:C1:1.0", 4, 1),
    ]
    assert len(json.loads(cli("memory", "ls", "--user", "U2", "--json").stdout)) == 2
    shown = cli("memory", "show", "C2").stdout
    assert "Name of U2\nsecret 4\n" in shown
    assert "secret 1" not in shown
    said = json.loads(cli("memory", "show", "C2", "--json").stdout)["said"]
    assert [message["text"] for message in said] == ["secret 4", "reply 4"]
    missing = cli("memory", "show", "C7")
    assert (missing.returncode, "parley memory ls" in missing.stderr) == (1, True)


async def test_what_was_said_is_shown_to_the_letter(cli: Cli, client: Redis) -> None:
    """Tabs and what joins letters and emoji, too; nothing that a terminal would obey."""
    said = "a\tb\n\N{MAN}\N{ZERO WIDTH JOINER}\N{ROCKET} \u0645\u06cc\N{ZERO WIDTH NON-JOINER}\u062e\u0648"
    bad = "\x1b[2J\x9b2J\r\N{RIGHT-TO-LEFT OVERRIDE}gpj"
    memory = Memory(client, retention=86_400)
    asked = Message(Role.USER, said + bad, id="q1", author=Author("U1", "Ada"), at=1.0)
    answer = Message(Role.ASSISTANT, "Yes.", id="a1", at=1.5, reply_to="q1")
    assert await memory.append(Exchange(CHANNEL, 0, "q1", "", (asked, answer)))
    shown = (await asyncio.to_thread(cli, "memory", "show", "C1")).stdout
    assert f"  Ada\n{said} [2J 2J  gpj\n" in shown


async def test_quotes_and_overheard_talk_are_shown_as_what_they_are(cli: Cli, client: Redis) -> None:
    """For people and for programs."""
    quote = Quote(QuoteKind.FORWARD, "<s> It moved.", "Carla", "#office")
    overheard = Message(Role.USER, "No.", id="o1", author=Author("U2", "Bob"), at=1.0, overheard=True)
    asked = Message(Role.USER, "Why?", id="q1", author=Author("U1", "Ada"), at=2.0, quotes=(quote,))
    assert await Memory(client, retention=86_400).append(Exchange(CHANNEL, 0, "q1", "", (overheard, asked)))
    shown = (await asyncio.to_thread(cli, "memory", "show", "C1")).stdout
    assert "  Bob (overheard)\nNo.\n" in shown
    assert '  Ada\n[forwarded message, by "Carla", from "#office"]\n> <s> It moved.\n[end of quote]\nWhy?\n' in shown
    said = json.loads((await asyncio.to_thread(cli, "memory", "show", "C1", "--json")).stdout)["said"]
    assert [(one["overheard"], one["quotes"]) for one in said] == [(True, []), (False, [quote.record()])]


@pytest.mark.usefixtures("talk")
def test_what_one_person_said_can_be_handed_to_them_and_forgotten(cli: Cli) -> None:
    """Nobody is asked twice, and nobody else's words go."""
    theirs = cli("memory", "export", "-", "--user", "U1").stdout
    assert "secret 1" in theirs
    assert "secret 3" in theirs
    assert "secret 2" not in theirs
    assert cli("memory", "forget").returncode == 2
    unasked = cli("memory", "forget", "--user", "U1")
    assert (unasked.returncode, "--yes" in unasked.stderr) == (2, True)
    assert cli("memory", "forget", "--user", "U1", "--yes").returncode == 0
    assert "U1" not in cli("memory", "export").stdout
    assert json.loads(cli("memory", "forget", "--channel", "C1", "--yes", "--json").stdout)["messages"] == 2
    assert [row["conversation"] for row in json.loads(cli("memory", "ls", "--json").stdout)] == ["slack:T1:C2"]


async def test_what_people_told_to_remember_is_listed_shown_exported_and_forgotten(cli: Cli, client: Redis) -> None:
    """Also of a channel where nothing else is remembered; one person's alone where only they are meant."""
    facts = Memory(client, retention=86_400).facts
    for number, person in enumerate(("U1", "U2"), 1):
        turn = Turn(f"q{number}", CHANNEL, str(CHANNEL), Author(person, f"Name of {person}"), "", 1_700_000_000.0)
        await facts.tell(turn, f"secret {number}")
    [row] = json.loads((await asyncio.to_thread(cli, "memory", "ls", "--json")).stdout)
    assert (row["conversation"], row["messages"], row["facts"], row["people"]) == (str(CHANNEL), 0, 2, 2)
    assert row["forgotten_at"] > row["last_at"] > 0
    assert "secret" not in (await asyncio.to_thread(cli, "memory", "ls")).stdout
    shown = (await asyncio.to_thread(cli, "memory", "show", "C1")).stdout
    assert "Told to remember:\n1. secret 1 (Name of U1, 2023-11-" in shown
    assert [
        fact["text"]
        for fact in json.loads((await asyncio.to_thread(cli, "memory", "show", "C1", "--json")).stdout)["facts"]
    ] == [
        "secret 1",
        "secret 2",
    ]
    exported = (await asyncio.to_thread(cli, "memory", "export", "--user", "U2")).stdout
    assert "secret 2" in exported
    assert "secret 1" not in exported
    assert (await asyncio.to_thread(cli, "backup", "all.backup")).returncode == 0
    assert (
        "0 messages and 1 fact." in (await asyncio.to_thread(cli, "memory", "forget", "--user", "U2", "--yes")).stdout
    )
    assert [fact.text for fact in await facts.all(CHANNEL)] == ["secret 1"]
    assert (
        "slack:T1:C1, 0 messages and 1 fact."
        in (await asyncio.to_thread(cli, "memory", "forget", "--channel", "C1", "--yes")).stdout
    )
    assert await facts.all(CHANNEL) == ()
    assert "Nothing is remembered." in (await asyncio.to_thread(cli, "memory", "ls")).stdout
    assert (await asyncio.to_thread(cli, "restore", "all.backup", "--replace")).returncode == 0
    assert [fact.text for fact in await facts.all(CHANNEL)] == ["secret 1", "secret 2"]
    assert "Something is remembered here already" in (await asyncio.to_thread(cli, "restore", "all.backup")).stderr


@pytest.mark.usefixtures("talk")
def test_who_is_asked_whether_to_forget_is_told_what_and_how_much(tmp_path: Path, redis_url: str, cli: Cli) -> None:
    """By its name, with the threads that go with it; the numbers for programs are the same."""
    said, asked = asked_at_a_terminal(tmp_path, redis_url, "--conversation", "C1", answer="n")
    assert (said, asked) == ("", "Forget slack:T1:C1 and its 1 thread, 8 messages, for good? [y/N]:")
    _, asked = asked_at_a_terminal(tmp_path, redis_url, "--user", "U1", answer="n")
    assert "Forget what U1 said and the answers to it in 2 conversations, 6 messages, for good?" in asked
    forgotten = json.loads(cli("memory", "forget", "--conversation", "C1", "--yes", "--json").stdout)
    assert (forgotten["conversations"], forgotten["messages"]) == (2, 8)
    said, asked = asked_at_a_terminal(tmp_path, redis_url, "--conversation", "C2", answer="y")
    assert said == "Forgot slack:T1:C2, 2 messages."
    assert cli("memory", "ls").stdout == "Nothing is remembered.\n"


def asked_at_a_terminal(folder: Path, redis_url: str, *words: str, answer: str) -> tuple[str, str]:
    """What `memory forget` says, and what it asks, where a person is there to answer."""
    person, terminal = os.openpty()
    os.write(person, f"{answer}\n".encode())
    command = (sys.executable, "-m", "bots", "memory", "forget", *words)
    env = environment(folder, REDIS_URL=redis_url)
    ran = subprocess.run(command, cwd=folder, env=env, stdin=terminal, capture_output=True, text=True, check=False)
    os.close(person)
    os.close(terminal)
    return ran.stdout.strip(), ran.stderr.strip()


async def test_of_who_is_forgotten_nothing_is_left(cli: Cli, client: Redis) -> None:
    """Neither the thumbs that they gave, nor how they are called on the page; others keep theirs."""
    feedback, people = Feedback(client), People(client, retention=86_400)
    for user in ("U1", "U2"):
        await feedback.rate("turn", user, "up")
        await people.set_name(user, f"Name of {user}")
    forgotten = await asyncio.to_thread(cli, "memory", "forget", "--user", "U1", "--yes")
    assert forgotten.returncode == 0
    assert await feedback.ratings("turn") == {"up": 1, "down": 0}
    assert [(await people.find(user)).name for user in ("U1", "U2")] == ["", "Name of U2"]


@pytest.mark.usefixtures("talk")
def test_what_is_exported_can_be_restored(cli: Cli) -> None:
    """A conversation that was forgotten since stays forgotten; what is already here is not added."""
    assert cli("memory", "export", "all.jsonl").returncode == 0
    again = cli("memory", "export", "all.jsonl")
    assert (again.returncode, "--force" in again.stderr) == (1, True)
    assert cli("memory", "forget", "--channel", "C2", "--yes").returncode == 0
    added = json.loads(cli("restore", "all.jsonl", "--merge", "--json").stdout)
    assert (added["merged"], added["unchanged"], added["forgotten"]) == (0, 2, 1)
    said = "Left out: 2 conversations, already here. Left out: 1 conversation, forgotten since.\n"
    assert cli("restore", "all.jsonl", "--merge").stdout == f"Restored 0 conversations. {said}"
    assert cli("memory", "forget", "--user", "U2", "--yes").returncode == 0
    again = cli("restore", "all.jsonl", "--merge")
    assert again.stdout.startswith("Restored 1 conversation. Left out: 1 conversation, ")


@pytest.mark.usefixtures("talk")
def test_a_backup_is_restored_onto_an_empty_redis(cli: Cli, tmp_path: Path, redis_url: str) -> None:
    """All of it; a second time only if one says how; and a damaged file changes nothing."""
    made = json.loads(cli("backup", "all.backup", "--json").stdout)
    assert (made["conversations"], made["waiting"]) == (3, 0)
    assert "3 conversations" in cli("restore", "all.backup", "--check").stdout
    elsewhere = {"REDIS_URL": f"{redis_url}?db=1"}
    damaged = tmp_path / "damaged.backup"
    damaged.write_bytes((tmp_path / "all.backup").read_bytes()[:-20])
    refused = cli("restore", str(damaged), **elsewhere)
    assert (refused.returncode, "cannot be trusted" in refused.stderr) == (1, True)
    assert "Nothing is remembered" in cli("memory", "ls", **elsewhere).stdout
    assert "Restored 3 conversations." in cli("restore", "all.backup", **elsewhere).stdout
    said = cli("memory", "show", "C1", **elsewhere).stdout
    assert said == cli("memory", "show", "C1").stdout
    assert "secret 2" in said
    second = cli("restore", "all.backup", **elsewhere)
    assert (second.returncode, "--merge" in second.stderr) == (1, True)
    assert cli("restore", "all.backup", "--merge", "--replace", **elsewhere).returncode == 2
    merged = cli("restore", "all.backup", "--merge", **elsewhere).stdout
    assert merged == "Restored 0 conversations. Left out: 3 conversations, already here.\n"
    assert cli("memory", "forget", "--channel", "C2", "--yes").returncode == 0
    assert cli("backup", "fewer.backup").returncode == 0
    replaced = json.loads(cli("restore", "fewer.backup", "--replace", "--json", **elsewhere).stdout)
    assert replaced["written"] == 3
    names = [row["conversation"] for row in json.loads(cli("memory", "ls", "--json", **elsewhere).stdout)]
    assert names == ["slack:T1:C1", "slack:T1:C1:1.0"]


@pytest.mark.usefixtures("talk")
def test_a_backup_goes_through_a_pipe(tmp_path: Path, redis_url: str) -> None:
    """Out of a container, say: bytes on stdout, words on stderr; cut off, it restores nothing."""
    elsewhere = f"{redis_url}?db=1"

    def piped(*words: str, said: bytes = b"", url: str = redis_url) -> subprocess.CompletedProcess[bytes]:
        env = environment(tmp_path, REDIS_URL=url)
        command = [sys.executable, "-m", "bots", *words]
        return subprocess.run(command, cwd=tmp_path, env=env, input=said, capture_output=True, timeout=60, check=False)

    made = piped("backup", "-")
    assert (made.returncode, made.stderr) == (0, b"The backup holds 3 conversations.\n")
    assert made.stdout.startswith(b"\x1f\x8b")
    cut = piped("restore", "-", said=made.stdout[:-20], url=elsewhere)
    assert (cut.returncode, b"The backup on standard input cannot be trusted" in cut.stderr) == (1, True)
    assert b"This backup is complete: 3 conv" in piped("restore", "-", "--check", said=made.stdout).stdout
    assert piped("restore", "-", said=made.stdout, url=elsewhere).stdout == b"Restored 3 conversations.\n"
    assert b"secret 2" in piped("memory", "show", "C1", url=elsewhere).stdout
    for mode, warned in ((0o644, True), (0o600, False)):
        (tmp_path / "saved").touch()
        (tmp_path / "saved").chmod(mode)
        with (tmp_path / "saved").open("wb") as file:
            command = [sys.executable, "-m", "bots", "backup", "-"]
            env = environment(tmp_path, REDIS_URL=redis_url)
            said = subprocess.run(
                command, cwd=tmp_path, env=env, stdout=file, stderr=subprocess.PIPE, check=True
            ).stderr
        assert (b"chmod 600" in said) == warned
    failed = piped("backup", "-", url="redis://127.0.0.1:1")
    assert (failed.returncode, failed.stdout) == (1, b"")
    assert piped("backup", "-", "--json").returncode == 2


@pytest.mark.parametrize("words", [("backup", "-"), ("restore", "-")])
def test_a_terminal_takes_and_gives_no_backup(tmp_path: Path, redis_url: str, words: tuple[str, ...]) -> None:
    """It would show what no terminal can, or wait for what nobody can type."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "bots", *words]
    env = environment(tmp_path, REDIS_URL=redis_url)
    ran = subprocess.run(
        command, cwd=tmp_path, env=env, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(ours)
    os.close(theirs)
    assert (ran.returncode, b"parley.backup" in ran.stderr) == (2, True)


async def overhear(client: Redis) -> None:
    """Somebody asks in a channel and in a thread, and says something to others there afterwards."""
    memory, now = Memory(client, retention=86_400), time.time()
    for key in (CHANNEL, replace(CHANNEL, thread="2.0")):
        await say(client, key, 1, "Ada")
        said = Message(Role.USER, f"talk in {key}", f"m-{key}", Author("Bob", "Bob"), now, overheard=True)
        assert await memory.overhear(key, said)


def test_a_prompt_is_shown_with_what_was_overheard(redis_url: str, cli: Cli) -> None:
    """In a thread always; in a channel with HEAR=room. What was said to others is no question."""

    async def fill() -> None:
        client = Redis.from_url(redis_url, decode_responses=True)
        await overhear(client)
        await client.aclose()

    asyncio.run(fill())
    channel, thread = str(CHANNEL), f"{CHANNEL}:2.0"
    for hear, heard in (("thread", False), ("room", True)):
        shown = cli("prompt", "show", channel, "--say", "Why?", HEAR=hear, PROMPT_TEMPLATE="chatml").stdout
        assert (f"talk in {channel}" in shown) is heard
        assert cli("prompt", "show", thread, "--say", "Why?", HEAR=hear).stdout.count("talk in") == 1
        assert "talk in" not in cli("prompt", "show", thread, HEAR=hear).stdout
