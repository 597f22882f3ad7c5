"""``parley queue``: what an operator sees and can do, on a real Redis, as a process."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from core.memory.conversations import Memory
from core.turns.jobs import Note
from core.turns.operator import CANCELLED, Operator
from core.turns.queue import TurnQueue
from core.types import Author, ConversationKey, MessageRef, Turn
from tests.journeys.process import run_command
from tests.nursery import Ran

Cli = Callable[..., Ran]
KEY = ConversationKey("slack", "T1", "C1")


@pytest.fixture
def cli(tmp_path: Path, redis_url: str) -> Cli:
    """``parley queue …``."""

    def run(*words: str) -> Ran:
        return run_command(tmp_path, "queue", *words, REDIS_URL=redis_url, COLUMNS="200")

    return run


@pytest.fixture
def queue(client: redis.asyncio.Redis) -> TurnQueue:
    """The queue, with a worker called anna."""
    memory = Memory(client, retention=3600)
    return TurnQueue(client, memory, platforms=["slack"], worker="anna", lease=60)


def ask(number: int, lane: str = "slack:T1:C1/U1") -> Turn:
    """A turn as Slack would make it."""
    return Turn(f"slack:T1:C1:170{number}.5", KEY, lane, Author("U1", ""), "a secret", 1.0)


async def test_an_operator_sees_what_waits_and_not_what_it_says(queue: TurnQueue, cli: Cli) -> None:
    """Unless they ask for it."""
    assert "The queue is empty" in cli("ls").out
    for number in (1, 2):
        await queue.submit(ask(number))
    await queue.claim(1, idle=True)
    said = cli("ls").out
    assert "answered by anna" in said
    assert "in line, number 2" in said
    assert "secret" not in said
    [lane] = json.loads(cli("ls", "--json").out)
    assert (lane["place"], lane["worker"], lane["tries"], len(lane["turns"])) == ("held", "anna", 1, 2)
    shown = cli("show", "1701.5").out
    assert re.search(r"^asked +\S+ .* ago by U1, 8 characters$", shown, re.MULTILINE)
    assert re.search(r"^where it is +being answered by anna$", shown, re.MULTILINE)
    assert not re.search(r"secret|[{}\[\]]", shown)  # for people, not JSON
    assert re.search(r"^question +a secret$", cli("show", "1702.5", "--text").out, re.MULTILINE)
    assert json.loads(cli("show", "1701.5", "--text", "--json").out)["turns"][0]["text"] == "a secret"


async def test_what_is_stuck_can_be_taken_from_its_worker(queue: TurnQueue, cli: Cli) -> None:
    """The next who looks gets it, as if nothing had been tried."""
    await queue.submit(ask(1))
    [job] = (await queue.claim(1, idle=True)).jobs
    assert cli("requeue", "1701.5").code == 0
    [again] = (await queue.claim(1, idle=True)).jobs
    assert (again.turn, again.tries) == (job.turn, 1)
    assert await queue.commit(job, None) == "lost"


async def test_a_turn_can_be_cancelled(queue: TurnQueue, cli: Cli) -> None:
    """The person is told by whoever answers it."""
    await queue.submit(ask(1))
    assert "Stopped slack:" in cli("cancel", "1701.5").out
    [job] = (await queue.claim(1, idle=True)).jobs
    assert Note.from_json(job.notes[0]).stop == CANCELLED


async def test_dead_letters_can_be_answered_again_or_dropped(queue: TurnQueue, cli: Cli) -> None:
    """Once, over the messages of the reply."""
    for number in (1, 2, 3):
        await queue.submit(ask(number, f"slack:{number}"))
    ref = MessageRef("C1", "9.0")
    for job in (await queue.claim(9, idle=True)).jobs:
        await queue.mark(job, posting=None, refs=[ref], text="")
        assert await queue.commit(job, None, dead="it kills") == "done"
    assert "it kills" in cli("dead", "ls").out
    assert len(json.loads(cli("dead", "ls", "--json").out)) == 3
    assert cli("dead", "replay", "1701.5").code == 0
    [job] = (await queue.claim(9, idle=True)).jobs
    assert (job.turn.id, job.stored[0].refs, job.tries) == ("slack:T1:C1:1701.5", (ref,), 1)
    both = cli("dead", "drop", "1702.5", "--all")
    assert (both.code, "not both" in both.err) == (2, True)
    assert len(json.loads(cli("dead", "ls", "--json").out)) == 2
    assert cli("dead", "drop", "1702.5").code == 0
    answer: dict[str, Any] = json.loads(cli("dead", "replay", "--all", "--json").out)
    assert answer["turns"] == ["slack:T1:C1:1703.5"]
    assert "no dead letters" in cli("dead", "ls").out


async def test_who_names_no_turn_is_told_what_to_do(queue: TurnQueue, cli: Cli) -> None:
    """An end of an id that fits several is not guessed at."""
    for number in (1, 2):
        await queue.submit(replace(ask(number, f"slack:{number}")))
    unknown = cli("show", "nothing")
    assert (unknown.code, "parley queue ls" in unknown.err) == (1, True)
    unclear = cli("cancel", ".5")
    assert (unclear.code, "Type more of the id" in unclear.err) == (1, True)
    for command in ("replay", "drop"):
        dead = cli("dead", command, "1701.5")
        assert (dead.code, "`parley queue dead ls` lists" in dead.err) == (1, True)
    nothing = cli("dead", "replay")
    assert (nothing.code, "--all" in nothing.err) == (2, True)


async def test_a_lane_tells_where_it_stands(queue: TurnQueue, client: redis.asyncio.Redis) -> None:
    """In a thread whose root is being answered, or put off for a while."""
    await queue.submit(ask(1))
    await queue.submit(replace(ask(2, "slack:thread"), root=ask(1).id))
    places = {lane.name: lane.place for lane in await Operator(client).lanes()}
    assert places == {"slack:T1:C1/U1": "ready", "slack:thread": "waiting"}
    [job] = (await queue.claim(1, idle=True)).jobs
    await queue.release(job, wait=30)
    found = await Operator(client).find(ask(1).id)
    assert found
    assert (found.place, found.owner) == ("held", "")
    assert 25 < found.seconds <= 30


BAD_LETTERS: list[Any] = [
    "no JSON",
    "[]",
    "{}",
    '{"v":1,"at":"now","tries":1,"why":"so","job":{}}',
    '{"v":1,"at":1e999,"tries":NaN,"why":["so"],"job":7}',
    '{"v":1,"at":1.0,"tries":1,"why":"it is not JSON","key":"{parley}:lane:x:inbox","entry":"\x1b[31ma secret"}',
    '{"v":1,"at":1.0,"tries":1,"why":"[red]so[/nothing]","job":{"turn":{"id":"\\ud800"}}}',
    "[" * 50_000,
    b"\xff\xfe",
]


async def test_one_bad_letter_hides_no_other(queue: TurnQueue, cli: Cli, client: redis.asyncio.Redis) -> None:
    """All are listed and can be thrown away; those that can be answered are, and nothing says what was said."""
    await queue.submit(ask(1))
    [job] = (await queue.claim(1, idle=True)).jobs
    await queue.commit(job, None, dead="as an example")
    await client.rpush("{parley}:dead", *BAD_LETTERS)
    listed = cli("dead", "ls")
    assert "slack:T1:C1:1701.5" in listed.out, listed.err
    assert "secret" not in listed.out
    assert "\x1b[31m" not in listed.out
    letters = json.loads(cli("dead", "ls", "--json").out)
    assert len({letter["id"] for letter in letters}) == len(BAD_LETTERS) + 1
    assert all(letter["why"] for letter in letters)
    assert json.loads(cli("dead", "replay", "--all", "--json").out)["turns"] == ["slack:T1:C1:1701.5"]
    assert len(json.loads(cli("dead", "drop", "--all", "--json").out)["turns"]) == len(BAD_LETTERS)
    assert json.loads(cli("dead", "ls", "--json").out) == []
    [job] = (await queue.claim(1, idle=True)).jobs
    assert job.turn.id == "slack:T1:C1:1701.5"
