"""How the last answers went: a bounded list, that ends by itself and names nobody."""

from __future__ import annotations

import json

from redis.asyncio import Redis

from core.store.keys import Keys
from core.turns.timings import MOST_TIMINGS, Timing, Timings


async def test_the_last_answers_are_kept_and_no_more(client: Redis) -> None:
    """They are for plots, not for ever; fields of a newer version are passed over."""
    timings = Timings(client)
    for number in range(MOST_TIMINGS + 10):
        await timings.keep(Timing(number, "slack", 0.1, 1.0, 10, 3))
    newer = {"at": 999, "platform": "web", "first": None, "writing": 0, "tokens": 0, "edits": 1, "colour": "red"}
    await client.rpush(Keys.TIMINGS, json.dumps(newer))
    last = await timings.last()
    assert (last[0].at, last[-2].at, len(last)) == (10, MOST_TIMINGS + 9, MOST_TIMINGS + 1)
    assert (last[-2].speed, last[-1].speed, last[-1].first) == (10.0, None, None)
    assert 0 < await client.ttl(Keys.TIMINGS) <= 86_400


async def test_what_redis_refuses_is_not_kept(client: Redis) -> None:
    """That is no fault of the answer."""
    await client.set(Keys.TIMINGS, "no list")
    await Timings(client).keep(Timing(1, "slack", 0.1, 1.0, 10, 3))
    assert await client.get(Keys.TIMINGS) == "no list"
