"""Parley as people run it: a real process, with nothing in its environment but what a test sets."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path

from tests.doubles.slack import SlackDouble
from tests.doubles.slack_records import Posted
from tests.doubles.tgi import TgiDouble
from tests.nursery import Child, Nursery, Ran
from tests.waiting import UNHURRIED, wait_until

GENERAL = "C0GENERAL"
STREAM = " ".join(f"word{i}" for i in range(120)) + "."
_numbers = count(1)


nursery: Nursery | None = None
"""What starts processes, while tests run; without it each is started from nothing."""


class Parley:
    """A running ``parley``; ``log`` is what it wrote to stderr so far."""

    def __init__(self, process: asyncio.subprocess.Process | Child, log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        """What it wrote to stderr so far."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and wait until it has. Returns its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), UNHURRIED)


def environment(tmp: Path, **settings: str) -> dict[str, str]:
    """Nothing set but the data folder, and what is given."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**inherited, "DATA_DIR": str(tmp / "data"), **settings}


@contextmanager
def from_nothing() -> Iterator[None]:
    """Where the very start of a process matters: without a nursery."""
    global nursery  # noqa: PLW0603
    kept, nursery = nursery, None
    try:
        yield
    finally:
        nursery = kept


def run_with(env: Mapping[str, str], tmp: Path, *arguments: str, said: str = "") -> Ran:
    """``parley`` with these arguments, in a folder, with all of that environment, to its end. It blocks."""
    if nursery:
        return nursery.run(arguments, env, tmp, said)
    ran = subprocess.run(
        (sys.executable, "-m", "bots", *arguments),
        cwd=tmp,
        env=env,
        input=said,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def run_command(tmp: Path, *arguments: str, said: str = "", **settings: str) -> Ran:
    """The same with nothing set but the data folder, and what is given."""
    return run_with(environment(tmp, **settings), tmp, *arguments, said=said)


async def command(tmp: Path, *arguments: str, said: str = "", **settings: str) -> Ran:
    """The same where doubles answer in this process meanwhile."""
    return await asyncio.to_thread(run_command, tmp, *arguments, said=said, **settings)


@asynccontextmanager
async def run_parley(tmp: Path, *arguments: str, **settings: str) -> AsyncIterator[Parley]:
    """``parley`` with these arguments, ended when the block ends."""
    log = tmp / f"stderr-{next(_numbers)}.log"
    given = environment(tmp, **settings)
    process: asyncio.subprocess.Process | Child
    if nursery:
        process = await nursery.start(arguments, given, tmp, log)
    else:
        command = (sys.executable, "-m", "bots", *arguments)
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *command, cwd=tmp, env=given, stdin=DEVNULL, stdout=DEVNULL, stderr=stderr
            )
    parley = Parley(process, log)
    try:
        yield parley
    finally:
        await parley.stop()


@asynccontextmanager
async def in_slack(slack: SlackDouble, tgi: TgiDouble, tmp: Path, **settings: str) -> AsyncIterator[Parley]:
    """``parley run``, connected to both doubles."""
    tokens = {
        "SLACK_API_URL": slack.url,
        "SLACK_BOT_TOKEN": slack.bot_token,
        "SLACK_APP_TOKEN": slack.app_token,
        "MODEL_API": "tgi",
        "MODEL_URL": tgi.url,
    }
    async with run_parley(tmp, "run", **{**tokens, **settings}) as parley:
        await wait_until(lambda: slack.sockets or parley.process.returncode is not None, description="a socket")
        assert slack.sockets, parley.log
        yield parley


async def reply(slack: SlackDouble, channel: str, ts: str, *, final: bool = True) -> Posted:
    """The first reply in a thread, once it is there, or once it is finished."""
    await wait_until(lambda: slack.replies(channel, ts), description="a reply")
    posted = slack.replies(channel, ts)[0]
    if final:
        await finished(slack, posted)
    return posted


async def finished(slack: SlackDouble, posted: Posted) -> None:
    """Wait until the status under a message says that Parley is done with it."""
    await wait_until(
        lambda: any(s.status == "active" and s.at > posted.at for s in slack.statuses), description="a finished reply"
    )
