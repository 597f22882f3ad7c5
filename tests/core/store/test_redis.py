"""The connection to Redis: what it checks, what it rides out, and what it says when something is wrong."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from core.errors import StorageError
from core.store.connection import BoundedRetry, connect, open_redis, redis_errors
from core.store.keys import Keys
from core.types import ConversationKey
from tests.waiting import UNHURRIED


@asynccontextmanager
async def server_that_says(**answers: str | list[str]) -> AsyncIterator[str]:
    """The address of something on TCP that answers commands by their name, of a list the last one for good."""
    said = {"PING": ["+PONG"]} | {name: [text] if isinstance(text, str) else text for name, text in answers.items()}

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            words = []
            for _ in range(int(head[1:])):
                size = int((await reader.readline())[1:])
                words.append((await reader.readexactly(size + 2))[:-2].decode())
            say = said.get(words[0], ["+OK"])
            writer.write(f"{say.pop(0) if len(say) > 1 else say[0]}\r\n".format(*words).encode())
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


def hello(version: str) -> str:
    """What a server of that version says to HELLO."""
    return f"%2\r\n+version\r\n+{version}\r\n+proto\r\n:3"


async def test_answers_are_text(client: Redis) -> None:
    """What was stored as str comes back as str, in lists and in hashes."""
    await client.rpush("list", "ä")
    await client.hset("hash", "field", "€")
    assert await client.lrange("list", 0, -1) == ["ä"]
    assert await client.hgetall("hash") == {"field": "€"}


async def test_a_burst_waits_for_a_connection(redis_url: str) -> None:
    """More calls at once than there are connections: all are answered."""
    client = await connect(redis_url)
    answers = await asyncio.gather(*(client.blpop([f"none:{n}"], timeout=0.05) for n in range(120)))
    assert answers == [None] * 120
    await client.aclose()


async def test_a_server_that_is_not_there_is_named_at_once() -> None:
    """Connection refused: one error within seconds, with the address and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(StorageError, match=place) as caught:
            await connect(f"redis://:hunter2@{place}/0")
    assert time.monotonic() - began < UNHURRIED
    assert "REDIS_URL" in caught.value.remedy
    assert "hunter2" not in str(caught.value)


async def test_a_wrong_password_is_not_repeated(redis_url: str) -> None:
    """On a socket and on TCP the error says which server refused, and never the password."""
    path = redis_url.removeprefix("unix://")
    refusal = "-WRONGPASS invalid username-password pair or user is disabled."
    async with server_that_says(HELLO=refusal) as place:
        for url, name in ((f"unix://somebody@{path}?password=hunter2", path), (f"redis://:hunter2@{place}", place)):
            with pytest.raises(StorageError, match="password") as caught:
                await connect(url)
            assert name in str(caught.value)
            assert "REDIS_URL" in caught.value.remedy
            assert "hunter2" not in str(caught.value) + caught.value.remedy


@pytest.mark.parametrize(
    "url",
    [
        "http://:hunter2@localhost",
        "localhost:6379",
        "redis://:hunter2/x@localhost",
        "redis://:hunter2#x@localhost",
        "redis://me:99/hunter2@localhost",
        "redis://localhost:hunter2",
        "redis://localhost?hunter2=1",
        "redis://localhost/5x",
        "redis://:hunter2@localhost/hunter2",
        "rediss://localhost/0/1",
        "redis://localhost?db=5x",
        "unix://",
    ],
)
async def test_a_wrong_address_is_not_repeated(url: str) -> None:
    """Whatever is wrong with it, an address may contain a password; the remedy shows how to write one."""
    with pytest.raises(StorageError, match="REDIS_URL") as caught:
        await connect(url)
    assert "hunter2" not in str(caught.value) + caught.value.remedy
    assert "redis://" in caught.value.remedy


async def test_a_database_that_is_not_there_is_said_to_be_missing(redis_url: str) -> None:
    """One of a number that this server does not have; those that it has are used."""
    path = redis_url.removeprefix("unix://")
    async with server_that_says(HELLO=hello("8.2.3"), SELECT="-ERR DB index is out of range") as place:
        for url in (f"redis://{place}/99", f"unix://{path}?db=99"):
            with pytest.raises(StorageError, match="no database of the number") as caught:
                await connect(url)
            assert "Most have 16" in caught.value.remedy
    client = await connect(f"unix://{path}?db=15")
    assert await client.ping()
    await client.aclose()
    async with server_that_says(HELLO=hello("8.2.3")) as place:
        for end in ("", "/", "/3", "/3/"):
            await (await connect(f"redis://{place}{end}")).aclose()


async def test_a_server_older_than_6_2_is_refused() -> None:
    """By its version, and where it is too old to tell it: the commands that Parley needs are not there."""
    # Redis 5 repeats the arguments of a command that it does not know, and the password is one.
    unknown = "-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `{4}`, "
    for answer in (hello("6.0.16"), unknown):
        async with server_that_says(HELLO=answer) as place:
            with pytest.raises(StorageError, match=r"6\.2 or newer") as caught:
                await connect(f"redis://:hunter2@{place}")
            assert place in str(caught.value)
            assert "hunter2" not in str(caught.value)


async def test_a_server_of_6_2_is_welcome() -> None:
    """The oldest that is good enough; a user who may not ask for INFO is no hindrance."""
    async with server_that_says(HELLO=hello("6.2.0"), INFO="-NOPERM no") as place:
        client = await connect(f"redis://{place}/0")
        await client.aclose()


async def test_a_server_that_is_still_loading_is_waited_for() -> None:
    """After both were restarted, the one with the large memory takes longer."""
    loading = "-LOADING Redis is loading the dataset in memory"
    async with server_that_says(HELLO=hello("8.2.3"), PING=[loading, loading, "+PONG"]) as place:
        client = await connect(f"redis://{place}/0")
        assert await client.ping()
        await client.aclose()


async def test_what_hangs_is_given_up_in_time() -> None:
    """Tries that each take long do not add up: the first that fails after the time was the last."""
    began = time.monotonic()
    failed: list[float] = []

    async def hang() -> None:
        await asyncio.sleep(0.05)
        failed.append(time.monotonic() - began)
        raise RedisTimeoutError

    async def disconnect(_: Exception) -> None: ...

    with pytest.raises(RedisTimeoutError):
        await BoundedRetry(seconds=0.08).call_with_retry(hang, disconnect)
    assert all(at <= 0.08 for at in failed[:-1])


async def test_without_an_address_parley_brings_its_own(tmp_path: Path) -> None:
    """No REDIS_URL: a real Redis all the same, with the same client."""
    async with open_redis(None, tmp_path) as client:
        await client.set("name", "Parley")
        assert await client.get("name") == "Parley"


async def test_with_an_address_nothing_is_started(redis_url: str, client: Redis, tmp_path: Path) -> None:
    """With REDIS_URL, that server and no other, and no file is written."""
    data_dir = tmp_path / "data"
    async with open_redis(redis_url, data_dir) as opened:
        await opened.set("name", "Parley")
    assert await client.get("name") == "Parley"
    assert not data_dir.exists()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RedisConnectionError("Connection closed by server."), "ConnectionError"),
        (OutOfMemoryError("command not allowed"), "OutOfMemoryError"),
        (ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), "WRONGTYPE"),
        (ResponseError("Command # 1 (SET name secret) of pipeline caused error: ERR no"), "ResponseError"),
        (ResponseError("user_script:3: attempt to index a nil value: 'a secret'"), "ResponseError"),
        (TimeoutError(), "TimeoutError"),
        (OSError("broken"), "broken"),
    ],
)
def test_errors_become_storage_errors_without_data(error: Exception, reason: str) -> None:
    """The message tells what was tried and why it failed; what the server quotes stays out of it."""

    def fail() -> None:
        with redis_errors("store a turn"):
            raise error

    with pytest.raises(StorageError, match=f"could not store a turn: .*{reason}") as caught:
        fail()
    assert "secret" not in str(caught.value)
    assert caught.value.remedy


def test_other_errors_pass() -> None:
    """What is not Redis's fault is not blamed on it."""

    def fail() -> None:
        with redis_errors("store a turn"):
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail()


CHANNEL = ConversationKey("slack", "T1", "C1")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (Keys.messages, "{parley}:conv:slack:T1:C1:messages"),
        (Keys.state, "{parley}:conv:slack:T1:C1:state"),
        (Keys.forks, "{parley}:conv:slack:T1:C1:forks"),
        (Keys.retries, "{parley}:conv:slack:T1:C1:retries"),
    ],
)
def test_key_names_stay(name: Callable[[ConversationKey], str], expected: str) -> None:
    """Names are a stored format: another name would forget everything."""
    assert name(CHANNEL) == expected
    assert expected.startswith(Keys.CONVERSATIONS)


def test_no_thread_can_take_a_channels_key() -> None:
    """A thread called "messages", or one with braces or colons in its name, has names of its own."""
    threads = [ConversationKey("slack", "T1", "C1", thread) for thread in ("messages", "x:messages", "{x}")]
    names = [name(key) for key in (CHANNEL, *threads) for name in (Keys.messages, Keys.state, Keys.forks)]
    assert len(set(names)) == len(names)
    assert all(name.count("{") == 1 for name in names)
    assert Keys.turn("slack:T1:C1:1700.1") == "{parley}:turn:slack:T1:C1:1700.1"
