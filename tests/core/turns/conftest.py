"""What tests of workers share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from tests.core.turns.office import Office, Town
from tests.doubles.tgi import TgiDouble


@pytest.fixture
async def tgi() -> AsyncIterator[TgiDouble]:
    """A model's server."""
    async with TgiDouble() as double:
        yield double


@pytest.fixture
def town() -> Town:
    """What people see."""
    return Town()


@pytest.fixture
async def office(client: redis.asyncio.Redis, tgi: TgiDouble, town: Town) -> AsyncIterator[Office]:
    """Nobody works there yet; whoever does goes home at the end."""
    office = Office(client, tgi, town)
    yield office
    await asyncio.gather(*(worker.drain(0.0) for worker in office.workers))
