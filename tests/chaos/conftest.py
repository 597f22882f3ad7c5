"""Where processes are started quickly, for all tests of a chaos run."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.chaos.fleet import Nursery


@pytest.fixture
async def nursery() -> AsyncIterator[Nursery]:
    """Starts processes; those that are left end with it."""
    async with Nursery.open() as opened:
        yield opened
