"""A real redis-server on a unix socket, which a test may kill and start again."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis

from core.store.embedded import find_server

STARTS_WITHIN = 30.0


def redis_binary() -> str:
    """The redis-server that Parley itself would start."""
    found = find_server()
    assert found, "no redis-server: run the tests with `make test`"
    return str(found)


class RedisServer:
    """``binary`` in the folder of its ``socket``, with ``options`` as on its command line."""

    def __init__(self, socket: Path, *options: str, binary: str = "") -> None:
        self.socket = socket
        self.url = f"unix://{socket}"
        folder = str(socket.parent)
        self._command = [binary or redis_binary(), "--port", "0", "--unixsocket", str(socket), "--dir", folder]
        self._command += ["--save", "", *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, with what it wrote down before, and wait until it answers: its socket is there sooner."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + STARTS_WITHIN
        with redis.Redis(unix_socket_path=str(self.socket)) as client:
            while True:
                try:
                    client.ping()
                except (redis.RedisError, OSError):
                    assert self._process.poll() is None, f"redis-server ended with {self._process.returncode}"
                    assert time.monotonic() < deadline, "redis-server does not answer"
                    time.sleep(0.005)
                else:
                    return

    def signal(self, number: int) -> None:
        """Freeze it with SIGSTOP, thaw it with SIGCONT."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it without a word, as a machine does that loses power."""
        self.signal(signal.SIGKILL)
        if self._process:
            self._process.wait()


@asynccontextmanager
async def running_redis(socket: Path, *options: str, binary: str = "") -> AsyncIterator[RedisServer]:
    """One that answers, for as long as the block lasts."""
    server = RedisServer(socket, *options, binary=binary)
    try:
        server.start()
        yield server
    finally:
        server.kill()
