"""A deployment to be broken: a Redis of its own, listeners and workers as real processes, doubles around them."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from bots.slack.manifest import SCOPES
from tests.chaos.scribe import Scribe
from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.process import environment
from tests.nursery import Child, Nursery
from tests.redis_server import RedisServer
from tests.waiting import UNHURRIED, wait_until

ROOT = Path(__file__).parents[2]
RETRIES = (0.0, 0.5, 1.0, *[2.0] * 60)
"""Slack tries thrice, within five minutes; here it is quicker, and does not give up while a Redis is away."""
LOOK = 0.05
"""Seconds between two looks for members that died."""


class Member:
    """One process of the fleet."""

    def __init__(self, name: str, child: Child, log: Path) -> None:
        self.name, self.log, self.pid = name, log, child.pid
        self.frozen = False
        self.killed_at = 0.0
        """In seconds since the epoch; 0 if nobody killed it."""
        self._child = child

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._child.returncode is None

    @property
    def text(self) -> str:
        """What it logged so far."""
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Its log lines of one event; ``at`` is in seconds since the epoch."""
        return [
            line | {"at": _seconds(line["ts"])}
            for line in map(_parse, self.text.splitlines())
            if line["event"] == event
        ]

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        if self.running and number is signal.SIGKILL:
            self.killed_at = time.time()
        self._child.send_signal(number)

    def kill(self) -> None:
        """End it without a word."""
        self.signal(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop its clock: nothing in it goes on."""
        self.frozen = True
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, as if nothing had happened."""
        self.frozen = False
        self.signal(signal.SIGCONT)

    async def stop(self) -> int:
        """Ask it to end, as a supervisor does. Returns its exit code."""
        self.signal(signal.SIGTERM)
        return await self.wait()

    async def wait(self, timeout: float = UNHURRIED) -> int:
        """Wait until it has ended. Returns its exit code, or minus the signal that ended it."""
        return await asyncio.wait_for(self._child.wait(), timeout)


@dataclass(frozen=True, slots=True)
class Taken:
    """A worker took a turn, which has the name that logs give it: see ``core.metrics.tags``."""

    at: float
    turn: str
    epoch: int
    tries: int
    pid: int


class Server(RedisServer):
    """A redis-server with an append-only file, and a client of it that outlives it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "redis.sock", "--appendonly", "yes")
        self.client: Redis = Redis(unix_socket_path=str(self.socket), decode_responses=True)

    async def stop(self) -> None:
        """End it."""
        await self.client.aclose()
        self.kill()


class Fleet:
    """Redis, the doubles of Slack and of the model, and as many listeners and workers as were asked for."""

    def __init__(self, folder: Path, nursery: Nursery, server: Server, slack: SlackDouble, tgi: TgiDouble) -> None:
        self.folder, self.nursery, self.server, self.slack, self.tgi = folder, nursery, server, slack, tgi
        self.redis = server.client
        self.scribe = Scribe(tgi)
        self.members: list[Member] = []
        self.wall = time.time() - time.monotonic()
        """What to add to the times of the doubles to get those of the logs."""
        self.settings: dict[str, str] = {}
        self._numbers = count(1)

    @property
    def workers(self) -> list[Member]:
        """Those that answer, and run."""
        return [member for member in self.members if member.running and member.name.startswith("worker")]

    @property
    def listeners(self) -> list[Member]:
        """Those that take what people say, and run."""
        return [member for member in self.members if member.running and member.name.startswith("listener")]

    async def listener(self, **settings: str) -> Member:
        """One more process that takes what people say, and answers nothing."""
        sockets = self.slack.sockets
        member = await self._start("listener", ("run", "slack", "--no-worker"), settings)
        await wait_until(lambda: self.slack.sockets > sockets or not member.running, description="one more socket")
        return member

    async def worker(self, **settings: str) -> Member:
        """One more process that answers."""
        return await self._start("worker", ("run", "worker"), settings)

    @asynccontextmanager
    async def kept(self, workers: int, listeners: int = 0, **settings: str) -> AsyncIterator[None]:
        """As a supervisor would: so many of each run while inside, whoever dies."""

        async def keep() -> None:
            while True:
                for _ in range(listeners - len(self.listeners)):
                    await self.listener(**settings)
                for _ in range(workers - len(self.workers)):
                    await self.worker(**settings)
                await asyncio.sleep(LOOK)

        keeping = asyncio.create_task(keep())
        try:
            await wait_until(lambda: len(self.workers) >= workers and len(self.listeners) >= listeners)
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _start(self, kind: str, arguments: Sequence[str], settings: dict[str, str]) -> Member:
        name = f"{kind}-{next(self._numbers)}"
        given = environment(self.folder, **{**self.settings, **settings})
        log = self.folder / f"{name}.log"
        member = Member(name, await self.nursery.start(arguments, given, self.folder, log), log)
        self.members.append(member)
        return member

    def log(self) -> str:
        """The end of everybody's log, for when something went wrong."""
        return "\n".join(f"{member.name} ({member.pid}):\n{member.text[-3000:]}" for member in self.members)

    async def until(self, condition: Callable[[], Any], timeout: float = UNHURRIED) -> None:
        """Wait for something to be seen in the logs, which are read anew each time."""
        await wait_until(condition, timeout=timeout, pause=0.05)

    async def refill(self) -> None:
        """Forget what was spent of Slack's budgets: who comes new may show answers that grow."""
        async for name in self.redis.scan_iter(match="{parley}:budget:*"):
            await self.redis.delete(name)

    def holders(self) -> dict[str, Taken]:
        """Who took each turn last."""
        return {taken.turn: taken for taken in self.taken()}

    def taken(self) -> list[Taken]:
        """Every time that a worker took a turn, as the workers logged it, in order."""
        found = [
            Taken(line["at"], line["turn"], line["epoch"], line["tries"], member.pid)
            for member in self.members
            for line in member.lines("turn claimed")
        ]
        return sorted(found, key=lambda taken: taken.epoch)

    async def waits(self) -> list[str]:
        """What is not done with: lanes that stand somewhere, and jobs in inboxes."""
        left = []
        for place in ("ready", "held", "suspects"):
            left += [f"{place} {lane!s}" for lane in await self.redis.zrange(f"{{parley}}:{place}:slack", 0, -1)]
        left += [str(name) async for name in self.redis.scan_iter(match="{parley}:lane:*:inbox", count=1000)]
        return left


@asynccontextmanager
async def sailing(
    folder: Path, *, lease: float = 3.0, tiers: bool = False, nursery: Nursery | None = None, **settings: str
) -> AsyncIterator[Fleet]:
    """A fleet without members. Its model writes answers of about a second, and its Slack redelivers soon."""
    async with AsyncExitStack() as stack:
        if not nursery:
            nursery = stack.enter_context(Nursery.open())
        server = Server(folder)
        stack.push_async_callback(server.stop)
        server.start()
        slack = await stack.enter_async_context(SlackDouble(tiers=tiers))
        slack.scopes = list(SCOPES)
        slack.ack_deadline, slack.retry_delays = 2.0, RETRIES
        tgi = await stack.enter_async_context(TgiDouble())
        fleet = Fleet(folder, nursery, server, slack, tgi)
        fleet.settings = {
            "REDIS_URL": server.url,
            "SLACK_API_URL": slack.url,
            "SLACK_BOT_TOKEN": slack.bot_token,
            "SLACK_APP_TOKEN": slack.app_token,
            "MODEL_URL": tgi.url,
            "LEASE_SECONDS": str(lease),
            "LOG_LEVEL": "debug",
            **settings,
        }
        try:
            yield fleet
        finally:
            for member in fleet.members:
                member.thaw()
                member.kill()
            await asyncio.gather(*(member.wait() for member in fleet.members))


def process_of(agent: str) -> int:
    """Which process called Slack, as its User-Agent says; 0 if it does not."""
    found = re.search(r"process (\d+)", agent)
    return int(found[1]) if found else 0


@cache
def _seconds(ts: str) -> float:
    return datetime.fromisoformat(ts).timestamp()


def _parse(line: str) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except ValueError:  # what a library wrote past the log, or half a line of a process that was killed
        return {"event": line, "ts": "1970-01-01T00:00:00+00:00"}
