"""Starts ``parley`` over and over, quickly: a process that has the libraries loaded already, and forks.

A run of the tests starts hundreds of processes, and each would spend a second on imports that are the same every time.
Its settings and failpoints are read by each child, which then runs the same ``main`` as ``python -m bots``.

Who wants a process connects to the nursery's socket and says which, as a line of JSON. Its pid comes back as a line,
and another line when it has ended: its exit code, or minus the signal that ended it. Whoever hangs up ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, Self

from core.turns import failpoints
from tests.waiting import wait_until

ROOT = Path(__file__).parents[1]
LOADED = (
    "aiohttp",
    "bots.cli",
    "bots.run",
    "bots.discord.platform",
    "bots.slack.platform",
    "bots.terminal.talk",
    "core.turns.worker",
    "discord.ext.commands",
    "pydantic_settings",
    "redis.asyncio",
    "slack_bolt.adapter.socket_mode.async_handler",
    "slack_bolt.app.async_app",
    "structlog",
    "text_generation",
    "typer.core",
)
"""What each process would import."""
KINDS = {"plain": (), "page": ("bots.web.platform", "gradio", "uvicorn")}
"""What else is loaded: for the page it takes seconds, and a hundred megabytes of which others have no use."""
LOOK = 0.02
"""Seconds between two looks for children that ended."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


class Child:
    """A process that a nursery started; it has the methods of asyncio's own."""

    def __init__(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._writer = writer
        self._waiting = asyncio.create_task(self._wait(reader))

    async def _wait(self, reader: asyncio.StreamReader) -> int:
        self.returncode = int(await reader.readline() or -signal.SIGKILL)
        self._writer.close()
        return self.returncode

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        return await asyncio.shield(self._waiting)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it without a word."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """Starts processes. All processes of a run of tests share one: each has the folder of it.

    What has the libraries comes into being when somebody first asks for it, and another one for the page.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Self]:
        """A nursery; what it started ends with it."""
        with TemporaryDirectory(prefix="parley-nursery-") as folder:
            nursery, over = cls(Path(folder)), threading.Event()
            begun: dict[str, subprocess.Popen[bytes]] = {}
            beginning = threading.Thread(target=nursery._begin_wanted, args=(begun, over))
            beginning.start()
            try:
                yield nursery
            finally:
                over.set()
                beginning.join()
                for process in begun.values():
                    process.terminate()
                    process.wait()

    def _begin_wanted(self, begun: dict[str, subprocess.Popen[bytes]], over: threading.Event) -> None:
        """Begin what is asked for: here, because whoever asks may end before others do."""
        while not over.wait(LOOK):
            for kind in KINDS.keys() - begun.keys():
                with suppress(PermissionError):  # a test is somebody else for a moment
                    if not self._wanted(kind).exists():
                        continue
                    command = [sys.executable, "-m", "tests.nursery", str(self._socket(kind)), *KINDS[kind]]
                    begun[kind] = subprocess.Popen(command, cwd=ROOT)

    def _is_ready(self, kind: str) -> bool:
        """Ask for one; whether it listens."""
        if self._socket(kind).exists():
            return True
        self._wanted(kind).touch()
        return False

    def _wanted(self, kind: str) -> Path:
        return self.folder / f"{kind}.wanted"

    def _socket(self, kind: str) -> Path:
        return self.folder / f"{kind}.sock"

    async def start(self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> Child:
        """Start ``parley`` with these arguments in a folder; what it says on stderr goes to the log."""
        kind = "page" if "web" in arguments else "plain"
        await wait_until(lambda: self._is_ready(kind), timeout=60, pause=LOOK, description="the nursery")
        reader, writer = await asyncio.open_unix_connection(self._socket(kind))
        writer.write(_asking(arguments, environment, folder, log=log))
        return Child(int(await reader.readline()), reader, writer)

    def run(self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, said: str) -> Ran:
        """Run ``parley`` with these arguments and that on its stdin, to its end. It blocks."""
        while not self._is_ready("plain"):
            time.sleep(LOOK)
        with TemporaryDirectory(prefix="parley-command-") as place, socket.socket(socket.AF_UNIX) as connection:
            typed, out, log = (Path(place, name) for name in ("in", "out", "err"))
            typed.write_text(said, encoding="utf-8")
            connection.connect(str(self._socket("plain")))
            connection.sendall(_asking(arguments, environment, folder, said=typed, out=out, log=log))
            with connection.makefile("rb") as lines:
                lines.readline()  # its pid
                code = int(lines.readline())
            return Ran(code, out.read_text(encoding="utf-8"), log.read_text(encoding="utf-8"))


def _asking(arguments: Sequence[str], environment: Mapping[str, str], folder: Path, **files: Path) -> bytes:
    """The line that asks for a process."""
    where = {"folder": str(folder), **{name: str(path) for name, path in files.items()}}
    return json.dumps({"arguments": arguments, "environment": environment, **where}).encode() + b"\n"


class _Server:
    """The other side of that, in a process of its own."""

    def __init__(self, path: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path + ".new")
        self._listener.listen(64)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._children: dict[int, socket.socket] = {}
        os.rename(path + ".new", path)  # noqa: PTH104 - from here on it can be seen

    def serve(self) -> None:
        """Start what is asked for, and tell of those that ended."""
        while True:
            for key, _ in self._selector.select(LOOK):
                if key.fileobj is self._listener:
                    self._selector.register(self._listener.accept()[0], selectors.EVENT_READ)
                else:
                    assert isinstance(key.fileobj, socket.socket)
                    self._read(key.fileobj)
            self._reap()

    def _read(self, connection: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            if line := connection.makefile("rb").readline():
                pid = self._start(json.loads(line))
                self._children[pid] = connection
                connection.sendall(b"%d\n" % pid)
                return
        self._selector.unregister(connection)
        for pid, one in self._children.items():
            if one is connection:
                os.kill(pid, signal.SIGKILL)
        connection.close()

    def _start(self, asked: dict[str, Any]) -> int:
        if not (pid := os.fork()):
            _become(asked)
        return pid

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with contextlib.suppress(OSError):  # whoever hung up does not want to know
                self._children.pop(pid).sendall(b"%d\n" % os.waitstatus_to_exitcode(status))

    def end(self) -> None:
        """End all of them."""
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)


def _become(asked: dict[str, Any]) -> NoReturn:
    """Be the process that was asked for: with nothing that belongs to the nursery."""
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.chdir(asked["folder"])
        write = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        for number, (name, how) in enumerate((("said", os.O_RDONLY), ("out", write), ("log", write))):
            os.dup2(os.open(asked.get(name, os.devnull), how, 0o600), number)
        os.closerange(3, 256)
        os.environ.clear()
        os.environ.update(asked["environment"])
        sys.argv = ["parley", *asked["arguments"]]

        importlib.reload(failpoints)  # they are read once, when it is imported
        from bots.__main__ import main as parley

        parley()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Be a nursery, until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # as bots.web.platform sets it: read at import
    for name in (*LOADED, *sys.argv[2:]):
        __import__(name)
    gc.freeze()  # else each child copies all of it when it first collects garbage
    server = _Server(sys.argv[1])
    try:
        server.serve()
    finally:
        server.end()


if __name__ == "__main__":
    main()
