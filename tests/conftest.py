"""What every test may ask for: a real Redis, empty; and a header that names the real things under test."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import redis.asyncio
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from core.redis import connect
from tests.journeys import process
from tests.nursery import Nursery
from tests.redis_server import RedisServer, redis_binary

HEAVY = (
    "tests/bench/test_bench.py::test_a_scene_is_measured[durable]",
    "tests/bench/test_bench.py::test_a_scene_is_measured[page]",
    "tests/chaos/",
    "tests/journeys/page/",
    "tests/journeys/test_page_doors.py",
)
TOGETHER = ("tests/repo/test_package.py",)
"""What is made for these takes longer than the tests themselves."""


def pytest_configure() -> None:
    """Whoever runs the tests in the background has these ignored, and processes inherit that."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Rooms(LoadScopeScheduling):  # type: ignore[misc]
    """Which process runs what: each test whichever is free, but one after the other what needs a core for itself."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(HEAVY):
            return "heavy"
        return next((place for place in TOGETHER if nodeid.startswith(place)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Rooms:
    """The heavy ones are begun first, in an order that keeps what they share."""
    return Rooms(config, log)


def pytest_report_header() -> list[str]:
    """Name the real things under test."""
    packages = ("slack-bolt", "slack-sdk", "discord.py", "text-generation", "redis", "aiohttp")
    server = subprocess.run([redis_binary(), "--version"], capture_output=True, text=True, check=True).stdout
    return [", ".join(f"{name} {version(name)}" for name in packages), server.split(" sha=")[0]]


@pytest.fixture(scope="session", autouse=True)
def nursery() -> Iterator[Nursery]:
    """What starts processes of Parley quickly."""
    with Nursery.open() as one:
        process.nursery = one
        yield one
        process.nursery = None


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real redis-server on a unix socket, for the whole run."""
    with tempfile.TemporaryDirectory(prefix="parley-") as folder:
        server = RedisServer(Path(folder, "redis.sock"))
        server.start()
        yield server.url
        server.kill()


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of that server, as Parley connects it; emptied before the test."""
    connection = await connect(redis_url)
    await connection.flushall()
    yield connection
    await connection.aclose()
