"""The form of the store."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from core.archive.schema import SCHEMA, prepare
from core.errors import StorageError
from core.store.keys import Keys


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
