"""Whatever stands where a budget is stored: calls go on, together with the other processes."""

from __future__ import annotations

import asyncio
import json

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from core.pacing import CallBudgets
from core.pacing.connection import budget_script
from core.store.keys import Keys
from tests.waiting import UNHURRIED

NAME = "slack:T1:chat.update"
KEY = Keys.budget(NAME)
NUMBERS = [
    *("", "garbage", "nan", "-nan", "inf", "-inf", "1e400", "1e308", "-1e308", "0x7fffffff", " 7", "7 ", "1_000"),
    *("9007199254740991", "-9007199254740991", "9007199254740993", "-1", "1e15", "٣", "\udcff\udcfe", "[1]"),
]
FIELDS = ["releases", "at", "clock", "blocked", "of:other", "of:me", "of:", "no such field"]
RECORDS = [
    "1 2 3 4 5 6",
    "nan nan nan nan nan nan",
    "inf inf inf inf inf inf",
    "1e15 1e15 1e15 1e15 1e15 1e15",
    "-1 -1 -1 -1 -1 -1",
    "9007199254740991 0 11 0 -9007199254740991 9007199254740991",
    "- - - - - -",
]
RELEASES = ["nan nan", "1e15 1e15", "-5 -5", "5 4 3 2 1", "1 " * 5000, "9007199254740991 9007199254740991", "- : -"]
KINDS = ["string", "list", "set", "zset", "hash of everything"]


async def spoil(client: Redis, what: str, value: str) -> None:
    """Put a value in a field, or a key of another kind."""
    await client.delete(KEY)
    match what:
        case "string":
            await client.set(KEY, value)
        case "list":
            await client.rpush(KEY, value)
        case "set":
            await client.sadd(KEY, value)
        case "zset":
            await client.zadd(KEY, {value: 1})
        case "hash of everything":
            await client.hset(KEY, mapping=dict.fromkeys(FIELDS, value))
        case _:
            await client.hset(KEY, what, value)


def request(number: int, seconds: float, now: int, refused: int = 0) -> dict[str, object]:
    """What a process asks which has made no call yet, and waits for one; five are free at once, or one each second."""
    window = {"capacity": 5, "per_second": 0 if seconds else 1, "window": round(1000 * seconds), "free": 5}
    nothing = {"made": 0, "unreported": 0, "ages": [], "reserved": 0, "passed": -1, "spares": []}
    asked = {"number": number, "time": now, "refused": refused, "life": 12_000, "poll": 1000, "waiters": [[0, 0]]}
    return {**window, **nothing, **asked}


@pytest.mark.parametrize("seconds", [0.0, 5.0])
@pytest.mark.parametrize("what", [*FIELDS, *KINDS])
async def test_whatever_is_stored_a_call_is_granted(client: Redis, seconds: float, what: str) -> None:
    """Once a bucket that was said to be empty is full again, for each process; no refusal is made up."""
    script = budget_script(client)
    for value in [*NUMBERS, *RECORDS, *RELEASES]:
        await spoil(client, what, value)
        served, now = {"me": 0, "other": 0}, 1_000_000
        for number in range(1, 20):
            now += 1000
            for me in served:
                reply = json.loads(await script(key=KEY, name=me, request=request(number, seconds, now)))
                assert reply["blocked"] <= 7, f"a refusal, of {value!r}"
                served[me] += reply["served"] + len(reply["soon"])
        assert min(served.values()) > 0, f"nothing is granted, of {value!r}"
        assert await client.type(KEY) == "hash"
        assert 0 < await client.pttl(KEY) < 4_000_000, f"it has no end, of {value!r}"


@pytest.mark.parametrize("what", ["releases", *KINDS])
async def test_nobody_counts_alone_for_what_is_stored(client: Redis, what: str) -> None:
    """Not for a moment: the first question after it is answered."""
    budgets = CallBudgets(client)
    with capture_logs() as logs:
        for value in ("", "nan", "1e308"):
            budget = budgets.open(NAME, 5, 100.0)
            await spoil(client, what, value)
            async with asyncio.timeout(UNHURRIED):
                await budget.reserve()
                budget.spend()
                await asyncio.gather(*(budget.take() for _ in range(10)))
    await budgets.aclose()
    assert [entry for entry in logs if "not shared" in entry["event"]] == []


async def test_a_refusal_is_never_longer_than_any_platforms(client: Redis) -> None:
    """Whatever a process was told by whoever answered in the platform's place."""
    asked = request(1, 0.0, 1_000_000, refused=10**14)
    reply = json.loads(await budget_script(client)(key=KEY, name="me", request=asked))
    assert reply["blocked"] == 3_600_000
