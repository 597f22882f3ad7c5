"""Older stores are brought into today's form: one that was recorded from Parley as it was on 2026-11-23."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from core.archive.archive import Archive
from core.archive.backup import Header, read_backup, write_backup
from core.archive.schema import SCHEMA, prepare
from core.errors import StorageError
from core.memory.conversations import RedisMemory
from core.store.keys import Keys
from core.turns.queue import RedisTurnQueue
from core.types import Author, ConversationKey, MessageRef, Turn

RECORDED: dict[str, Any] = json.loads(Path(__file__).parents[2].joinpath("data", "store-1.json").read_text("utf-8"))
CHANNEL = ConversationKey("slack", "T1", "C1")
KEPT = "slack:T1:C1:1705.000100"


async def play(client: Any) -> None:
    """Write the recorded store, as it was."""
    for name, key in RECORDED.items():
        match key["type"]:
            case "string":
                await client.set(name, key["value"])
            case "list":
                await client.rpush(name, *key["value"])
            case "hash":
                await client.hset(name, mapping=key["value"])
            case "set":
                await client.sadd(name, *key["value"])
        await client.expire(name, key["seconds"])


async def test_an_older_store_goes_on(client: Redis) -> None:
    """What was said is there, no message is answered twice, and a Retry button of then still works."""
    await play(client)
    assert await prepare(client) == 7
    memory = RedisMemory(client, retention=3600)
    queue = RedisTurnQueue(client, memory, platforms=["slack"], worker="anna")
    assert [m.text for m in (await memory.load(CHANNEL)).messages][:2] == ["My name is Ada.", "Hello Ada."]
    for name in (name for name in RECORDED if ":turn:" in name):
        again = Turn(name.removeprefix(Keys.turn("")), CHANNEL, "slack:T1:C1/U1", Author("U1", "Ada"), "again", 1.0)
        assert (await queue.submit(again)).status == "duplicate"
    assert (await queue.retry(CHANNEL, KEPT, MessageRef("C1", "1705.000200"), "U1")).accepted
    [job] = (await queue.claim(1, idle=True)).jobs
    assert (job.turn.text, job.turn.author.name, job.stored[0].refs) == (
        "What broke off?",
        "Grace",
        (MessageRef("C1", "1705.000200"),),
    )
    assert await memory.forget(CHANNEL) == 8


async def test_it_is_done_once_and_by_whoever_comes_first(client: Redis) -> None:
    """Several that start at once do no harm, nor does one that is started again."""
    await play(client)
    assert sum(await asyncio.gather(*(prepare(client) for _ in range(5)))) == 7
    assert await prepare(client) == 0
    assert await client.get(Keys.SCHEMA) == str(SCHEMA)
    for name in await client.keys("*"):
        assert await client.ttl(name) > 0, name


async def test_a_newer_store_is_left_alone(client: Redis) -> None:
    """It is said what to do, and nothing is written."""
    await client.set(Keys.SCHEMA, SCHEMA + 1)
    with pytest.raises(StorageError, match="newer Parley") as caught:
        await prepare(client)
    assert caught.value.remedy
    assert await client.keys("*") == [Keys.SCHEMA]


async def test_a_number_of_another_kind_is_none(client: Redis) -> None:
    """Whatever stands there keeps nobody from starting."""
    await client.rpush(Keys.SCHEMA, "x")
    await prepare(client)
    assert await client.get(Keys.SCHEMA) == str(SCHEMA)


async def test_a_backup_of_an_older_store_is_read_in_todays_form(client: Redis, tmp_path: Path) -> None:
    """A Retry button works after it, too."""
    await play(client)
    archive = Archive(client, retention=3600)
    path = tmp_path / "old.backup"
    with write_backup(path, Header(1, "0.1.0", 1.0)) as writer:
        for family in await archive.families():
            for record in await archive.read(family):
                writer.add(record)
    await client.flushall()
    with read_backup(path) as backup:
        for record in backup.records():
            await archive.put(record)
    queue = RedisTurnQueue(client, RedisMemory(client, retention=3600), platforms=["slack"])
    assert (await queue.retry(CHANNEL, KEPT, MessageRef("C1", "1705.000200"), "U1")).accepted
