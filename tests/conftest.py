"""What every test may ask for: a real Redis, empty; and what is told at the start and the end of a run."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import pytest
import redis.asyncio
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from core.store.connection import connect
from tests import needs
from tests.examples import FULL, QUICK
from tests.journeys import process
from tests.nursery import Nursery
from tests.redis_server import RedisServer, redis_binary

TOGETHER = (
    ("tests/journeys/page/",),
    ("tests/journeys/test_page_doors.py",),
    # These would disturb each other: one measures, and the other waits for leases that are short.
    ("tests/chaos/", "tests/bench/"),
    ("tests/repo/test_package.py",),
    ("tests/repo/test_logs.py",),
    ("tests/repo/test_imports.py",),
)
"""Tests that run one after the other in one process: what they share takes longer to make than they run."""
LONG = ("tests/journeys/", "tests/chaos/", "tests/bench/", "tests/repo/")
"""Where the tests are that take longest."""

# How long an example takes depends on what else the machine does. `make test-all` chooses "full".
settings.register_profile("full", deadline=None, max_examples=FULL)
settings.register_profile("quick", deadline=None, max_examples=QUICK)
settings.load_profile("quick")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where everything is installed, a skipped test is a mistake."""
    parser.addoption(
        "--no-skips", action="store_true", help="a skipped test fails, unless it cannot run on any such machine"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Signals as in a terminal, and one nursery for all processes of this run."""
    # Whoever runs the tests in the background has these ignored, and processes inherit that.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if given := getattr(config, "workerinput", None):
        process.nursery = Nursery(Path(given["nursery"]))
        return
    stack = ExitStack()
    process.nursery = stack.enter_context(Nursery.open())
    config.add_cleanup(stack.close)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Tell a process of tests where the nursery is."""
    assert process.nursery
    node.workerinput["nursery"] = str(process.nursery.folder)  # type: ignore[attr-defined]


class Schedule(LoadScopeScheduling):  # type: ignore[misc]
    """Which process runs what: each test whichever is free, but for those that stay together, which begin first."""

    def _split_scope(self, nodeid: str) -> str:
        return next((places[0] for places in TOGETHER if nodeid.startswith(places)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Schedule:
    """As above."""
    return Schedule(config, log)


def pytest_report_header() -> list[str]:
    """Name the real things under test."""
    packages = ("slack-bolt", "slack-sdk", "discord.py", "text-generation", "redis", "aiohttp")
    server = subprocess.run([redis_binary(), "--version"], capture_output=True, text=True, check=True).stdout
    return [", ".join(f"{name} {version(name)}" for name in packages), server.split(" sha=")[0]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long is begun first: at the end, a process that has nothing left to do waits for the others."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


def why_skipped(report: pytest.TestReport) -> str:
    """The reason that a skipped test gave."""
    said = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    return said.removeprefix("Skipped: ")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With ``--no-skips``, what was skipped has failed."""
    report = yield
    if item.config.getoption("no_skips") and report.skipped and not hasattr(report, "wasxfail"):
        reason = why_skipped(report)
        if reason not in needs.impossible():
            report.outcome = "failed"
            report.longrepr = f"a skipped test fails with --no-skips: {reason}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count what was skipped: a line for each thing that is missing."""
    reasons = Counter(why_skipped(report) for report in terminalreporter.getreports("skipped"))
    if reasons:
        terminalreporter.section("not run here")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")


@pytest.fixture(scope="session")
def nursery() -> Nursery:
    """What starts processes of Parley quickly."""
    assert process.nursery
    return process.nursery


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
