"""Runs ``parley doctor`` and reads its report.

Every secret in these tests has "canary" in it, and no run may print that.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

from structlog.testing import capture_logs

from bots.doctor.examine import examine
from tests.journeys.process import run_with

BOT, APP, KEY = "xoxb-canary-bot", "xapp-canary-app", "hf_canary"
NOWHERE = "127.0.0.1:9"
"""The port of the discard service: nothing listens there."""

Settings = dict[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """What one run said, and how it ended."""

    code: int
    text: str

    @property
    def checks(self) -> dict[str, dict[str, Any]]:
        """The checks of ``--json`` by their names; of several with one name, the worst."""
        checks = sorted(json.loads(self.text)["checks"], key=lambda check: "ok warning error".index(check["level"]))
        return {check["name"]: check for check in checks}

    @property
    def next(self) -> list[dict[str, str]]:
        """What one is told to do, in order."""
        steps: list[dict[str, str]] = json.loads(self.text)["next"]
        return steps

    @property
    def failed(self) -> set[str]:
        """The names of the checks that failed."""
        return {name for name, check in self.checks.items() if check["level"] == "error"}

    @property
    def warned(self) -> set[str]:
        """The names of the checks that warned."""
        return {name for name, check in self.checks.items() if check["level"] == "warning"}


def environment(folder: Path, settings: Settings) -> dict[str, str]:
    """Nothing but settings."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "WEB_PORT": "0", **settings}


async def doctor(folder: Path, settings: Settings, *arguments: str) -> Report:
    """Run it in a folder, as a process."""
    ran = await asyncio.to_thread(run_with, environment(folder, settings), folder, "doctor", *arguments)
    assert "canary" not in ran.out + ran.err
    assert not ran.err, ran.err
    return Report(ran.code, ran.out)


async def listed(folder: Path, settings: Settings) -> Report:
    """What ``parley doctor --json`` prints in that folder. A process would spend a second on imports each time."""
    out, err = StringIO(), StringIO()
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, environment(folder, settings), clear=True))
        stack.enter_context(chdir(folder))
        logged = stack.enter_context(capture_logs())
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        code = await examine(as_json=True)
    assert "canary" not in f"{out.getvalue()}{logged}"
    assert not err.getvalue()
    return Report(code, out.getvalue())


def env_file(folder: Path, content: bytes) -> None:
    """Write the folder's .env."""
    Path(folder, ".env").write_bytes(content)


def made_in(folder: Path) -> list[Path]:
    """What a run left there."""
    return list(folder.iterdir())


@asynccontextmanager
async def guest(client: Any, url: str, *rules: str) -> AsyncIterator[str]:
    """The address of the same Redis for a user who may not do everything."""
    await client.execute_command("ACL", "SETUSER", "guest", "on", ">canary", "~*", "&*", "+@all", *rules)
    try:
        yield f"unix://guest@{url.removeprefix('unix://')}?password=canary"
    finally:
        await client.execute_command("ACL", "DELUSER", "guest")
