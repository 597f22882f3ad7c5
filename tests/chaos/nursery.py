"""Starts ``parley`` over and over, quickly: a process that has the libraries loaded already, and forks.

A chaos run starts hundreds of processes, and each would spend a second on imports that are the same every time. Only
libraries are loaded before the fork: Parley's own code, its settings and its failpoints are read by each child, which
then runs the same ``main`` as ``python -m bots``. Commands come as lines of JSON on stdin; ``{"pid": …}`` and
``{"ended": …, "code": …}`` go to stdout. When stdin ends, so does everybody.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from typing import Any, NoReturn

LIBRARIES = (
    "aiohttp",
    "pydantic_settings",
    "redis.asyncio",
    "slack_bolt.app.async_app",
    "slack_bolt.adapter.socket_mode.async_handler",
    "structlog",
    "text_generation",
    "typer",
)
LOOK = 0.02
"""Seconds between two looks for children that ended."""


def main() -> None:
    """Start what is asked for, until nobody asks any more."""
    for name in LIBRARIES:
        __import__(name)
    children: set[int] = set()
    _say({"ready": True})
    waiting = b""
    while True:
        if select.select([0], [], [], LOOK)[0]:
            if not (data := os.read(0, 65_536)):
                break
            *lines, waiting = (waiting + data).split(b"\n")
            for line in lines:
                children.add(_start(json.loads(line)))
        _reap(children)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    time.sleep(LOOK)
    _reap(children)


def _start(asked: dict[str, Any]) -> int:
    """Fork a process with these ``arguments``, this ``environment``, this folder and this log."""
    pid = os.fork()
    if not pid:
        _become(asked)
    _say({"pid": pid})
    return pid


def _become(asked: dict[str, Any]) -> NoReturn:
    """Be that process."""
    code = 1
    try:
        os.chdir(asked["folder"])
        nothing = os.open(os.devnull, os.O_RDWR)
        log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for number, file in enumerate((nothing, nothing, log)):
            os.dup2(file, number)
        os.environ.clear()
        os.environ.update(asked["environment"])
        sys.argv = ["parley", *asked["arguments"]]

        from bots.cli import main as parley

        parley()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    finally:
        sys.stderr.flush()
        os._exit(code)


def _reap(children: set[int]) -> None:
    """Tell of those that ended: with which code, or minus the signal that ended them."""
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        children.discard(pid)
        _say({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _say(what: dict[str, Any]) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    main()
