"""Our own redis-server: real servers, real processes, real signals."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import stat
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from core.errors import StorageError
from core.store.connection import connect
from core.store.embedded import MAX_SOCKET_PATH_BYTES, embedded_redis
from tests.core.store.embedding import left_in, lives, put, said
from tests.waiting import wait_until

NOBODY = 65534
HOLDER = """
import asyncio, signal, sys
from pathlib import Path
from core.store.connection import connect
from core.store.embedded import embedded_redis

async def main():
    async with embedded_redis(Path(sys.argv[1])) as url:
        print(url, flush=True)
        let_go = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin, let_go.set)
        try:
            await let_go.wait()
        except asyncio.CancelledError:
            client = await connect(url)
            await client.set("last words", "bye")
            await client.aclose()
            raise

# Who runs the tests in the background has it ignored, and it would stay so.
signal.signal(signal.SIGINT, signal.default_int_handler)
asyncio.run(main())
"""


@pytest.fixture(autouse=True)
async def no_server_stays(tmp_path: Path) -> AsyncIterator[None]:
    """Not even where a test fails: whatever is left is adopted, and ended."""
    yield
    for data_dir in left_in(tmp_path):
        async with embedded_redis(data_dir):
            pass


@asynccontextmanager
async def holder(data_dir: Path) -> AsyncIterator[tuple[Process, str]]:
    """Another process that holds the server of ``data_dir``, and the address it was given."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(data_dir), stdin=PIPE, stdout=PIPE, start_new_session=True
    )
    try:
        assert process.stdout
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def let_go(process: Process) -> None:
    """Ask a holder to leave, and see it leave cleanly."""
    assert process.stdin
    process.stdin.close()
    assert await process.wait() == 0


async def pid(url: str) -> int:
    """The process id of the server that answers."""
    client = await connect(url)
    info: dict[str, Any] = await client.info("server")
    await client.aclose()
    return int(info["process_id"])


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder with a short name, as temporary folders have."""
    with tempfile.TemporaryDirectory(prefix="p-") as folder:
        yield Path(folder)


@pytest.fixture
def their_folder(short_path: Path) -> Iterator[Path]:
    """A folder into which this process may not write, whoever it is: root is somebody else meanwhile."""
    user, folder = os.geteuid(), short_path / "theirs"
    folder.mkdir(mode=0o500)
    short_path.chmod(0o755)
    os.seteuid(user or NOBODY)
    yield folder
    os.seteuid(user)


# Life and death


async def test_memory_survives_a_clean_restart(tmp_path: Path) -> None:
    """What was said is there the next day, and nothing runs in between."""
    data_dir = tmp_path / "new" / "data"
    async with embedded_redis(data_dir) as url:
        await put(url, "hello")
    assert not lives(data_dir)
    assert not (data_dir / "redis" / "redis.sock").exists()
    async with embedded_redis(data_dir) as url:
        assert await said(url) == "hello"
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((data_dir / "redis").stat().st_mode) == 0o700


async def test_two_processes_share_one_server_until_the_last_leaves(tmp_path: Path) -> None:
    """It is the same server for both; the one who started it may leave first."""
    async with holder(tmp_path) as (first, url), holder(tmp_path) as (second, other_url):
        assert url == other_url
        server = await pid(url)
        await let_go(first)
        assert await pid(url) == server
        await put(url, "still here")
        await let_go(second)
        assert not lives(tmp_path)


async def test_an_orphan_is_adopted_with_its_memory(tmp_path: Path) -> None:
    """A holder killed with SIGKILL leaves its server behind; the next process uses it, and ends it."""
    async with holder(tmp_path) as (process, url):
        server = await pid(url)
        await put(url, "hello")
        process.kill()
        await process.wait()
    async with embedded_redis(tmp_path) as url:
        assert await pid(url) == server
        assert await said(url) == "hello"
    assert not lives(tmp_path)


async def test_four_processes_at_once_start_one_server(tmp_path: Path) -> None:
    """Whoever comes first starts it; nobody fails, and nobody starts a second."""
    async with AsyncExitStack() as stack:
        holders = await asyncio.gather(*(stack.enter_async_context(holder(tmp_path)) for _ in range(4)))
        assert len({await pid(url) for _, url in holders}) == 1
        await asyncio.gather(*(let_go(process) for process, _ in holders))
    assert not lives(tmp_path)
    assert (tmp_path / "redis" / "server.log").read_text().count("Ready to accept connections") == 1


async def test_ctrl_c_lets_a_holder_finish(tmp_path: Path) -> None:
    """SIGINT to the whole foreground group: the server outlives the signal until its holder is done."""
    async with holder(tmp_path) as (process, url):
        assert url
        os.killpg(process.pid, signal.SIGINT)
        assert await process.wait() != 0
    assert not lives(tmp_path)
    async with embedded_redis(tmp_path) as url:
        assert await said(url, "last words") == "bye"


async def test_a_server_that_dies_is_started_again(tmp_path: Path) -> None:
    """A client of ours notices nothing but the wait, and memory is whole."""
    async with embedded_redis(tmp_path) as url:
        client = await connect(url)
        await client.set("said", "hello")
        server = await pid(url)
        os.kill(server, signal.SIGKILL)
        assert await client.get("said") == "hello"
        assert await pid(url) != server
        await client.aclose()
    assert not lives(tmp_path)


async def test_what_a_dead_server_left_is_no_hindrance(tmp_path: Path) -> None:
    """Holder and server killed at once: socket file and locks stay behind, and the next start succeeds."""
    async with holder(tmp_path) as (process, url):
        await put(url, "hello")
        server = await pid(url)
        process.kill()
        await process.wait()
        os.kill(server, signal.SIGKILL)
    await wait_until(lambda: not lives(tmp_path), description="the server is gone")
    assert (tmp_path / "redis" / "redis.sock").exists()
    async with embedded_redis(tmp_path) as url:
        assert await said(url) == "hello"


async def test_a_large_memory_is_waited_for(tmp_path: Path) -> None:
    """Loading takes longer than the patience for silence, and is no silence."""
    (tmp_path / "redis").mkdir()
    with (tmp_path / "redis" / "appendonly.aof").open("wb") as file:
        file.writelines(
            b"*3\r\n$3\r\nSET\r\n$10\r\nkey:%06d\r\n$200\r\n%s\r\n" % (n, b"x" * 200) for n in range(300_000)
        )
    async with embedded_redis(tmp_path, patience=0.2) as url:
        client = await connect(url)
        assert await client.dbsize() == 300_000
        await client.aclose()


async def test_waiting_for_ones_turn_holds_up_nothing_else(tmp_path: Path) -> None:
    """While another process starts or stops the server, the loop goes on; then it is our turn."""
    (tmp_path / "redis").mkdir()
    busy = os.open(tmp_path / "redis" / "start.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(busy, fcntl.LOCK_EX)
    async with AsyncExitStack() as stack:
        opening = asyncio.create_task(stack.enter_async_context(embedded_redis(tmp_path)))
        assert not (await asyncio.wait([opening], timeout=0.05))[0]
        os.close(busy)
        assert await pid(await opening)


async def test_a_turn_that_never_comes_is_an_error(tmp_path: Path) -> None:
    """A process that hangs while it starts or stops the server does not make all others hang."""
    (tmp_path / "redis").mkdir()
    busy = os.open(tmp_path / "redis" / "start.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(busy, fcntl.LOCK_EX)
    with pytest.raises(StorageError, match=r"starting or stopping redis-server for 0\.1 seconds"):
        async with embedded_redis(tmp_path, patience=0.1):
            pass
    os.close(busy)


async def test_nothing_lives_on_in_a_folder_that_was_removed(tmp_path: Path) -> None:
    """Somebody deletes the data under a running Parley: it leaves without an error, and the server ends."""
    data_dir = tmp_path / "data"
    async with embedded_redis(data_dir) as url:
        reader, writer = await asyncio.open_unix_connection(url.removeprefix("unix://"))
        shutil.rmtree(data_dir)
    assert await reader.read() == b""
    writer.close()


# Where it lives


async def test_a_path_too_long_for_a_socket_is_reached_from_a_private_place(
    tmp_path: Path, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any DATA_DIR works; processes meet there even with different TMPDIRs, and nothing is left behind."""
    data_dir = tmp_path / ("long name, 100 % " * 10)
    temporary = [short_path / "a", short_path / "b"]
    urls, servers = [], []
    for folder in temporary:
        folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary[0]))
    async with embedded_redis(data_dir) as url:
        servers.append(await pid(url))
        urls.append(url)
        (private,) = temporary[0].iterdir()
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        monkeypatch.setattr("tempfile.tempdir", str(temporary[1]))
        async with embedded_redis(data_dir) as other_url:
            servers.append(await pid(other_url))
            urls.append(other_url)
    assert servers[0] == servers[1]
    assert urls[0] != urls[1]
    assert all(len(url) < MAX_SOCKET_PATH_BYTES + len("unix://") for url in urls)
    assert not list(temporary[0].iterdir())


async def test_a_place_that_somebody_else_prepared_is_refused(
    tmp_path: Path, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link, or a folder open to others, where ours should be: somebody wants to listen in."""
    data_dir, temporary = tmp_path / ("x" * 120), short_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    async with embedded_redis(data_dir):
        (private,) = temporary.iterdir()
    trap = tmp_path / "trap"
    trap.mkdir(mode=0o700)
    private.symlink_to(trap)
    with pytest.raises(StorageError, match="ours alone"):
        async with embedded_redis(data_dir):
            pass
    private.unlink()
    private.mkdir()
    private.chmod(0o777)
    with pytest.raises(StorageError, match="ours alone") as caught:
        async with embedded_redis(data_dir):
            pass
    assert "DATA_DIR" in caught.value.remedy


async def test_a_data_dir_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The error says which folder, and which setting chooses another."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=str(tmp_path / "file")) as caught:
        async with embedded_redis(tmp_path / "file" / "data"):
            pass
    assert "DATA_DIR" in caught.value.remedy


async def test_a_data_dir_of_somebody_else_is_named(their_folder: Path) -> None:
    """The same where the permission is missing."""
    with pytest.raises(StorageError, match="Permission denied"):
        async with embedded_redis(their_folder / "data", server=Path("redis-server")):  # which is not reached
            pass
