"""The Redis client of a process: its options, retries and errors."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    DataError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.maint_notifications import MaintNotificationsConfig

from core import metrics
from core.errors import StorageError, StorageFault
from core.store.embedded import OLDEST_REDIS, embedded_redis, parse_version


class BoundedRetry(Retry):
    """Retries for about as long as a restart of Redis takes.

    An unreachable server is given up after about 8 seconds. redis-py only counts tries, and 12 tries at a server
    that hangs would be a minute of timeouts: here, no try starts more than ``seconds`` after the first.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        super().__init__(ExponentialWithJitterBackoff(base=0.05, cap=1), retries=12)
        self._seconds = seconds

    async def call_with_retry(
        self,
        do: Callable[[], Awaitable[Any]],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> Any:
        """See redis-py."""
        deadline = time.monotonic() + self._seconds

        async def fail_in_time(error: Exception, *count: int) -> None:
            await fail(error, *count)
            if time.monotonic() > deadline:
                raise error

        return await super().call_with_retry(do, fail_in_time, is_retryable, with_failure_count)


_OPTIONS: dict[str, Any] = {
    # A burst waits for a free one: more of them cost a handshake each and make one Redis no faster. The pool blocks;
    # redis-py's other one would raise at once.
    "max_connections": 16,
    "timeout": 5,
    "socket_timeout": 5,
    "socket_connect_timeout": 5,
    # After a failover the old master says READONLY: the connection is dropped, and the next one finds the new one.
    "retry_on_error": [ReadOnlyError],
    # A PING before a call is a round trip more, also before HELLO; TCP's own keepalive finds dead connections.
    "health_check_interval": 0,
    "protocol": 3,
    "legacy_responses": False,
    # Its name and version would be a round trip more for each connection.
    "driver_info": None,
    # All that is stored is text: JSON, ids and numbers.
    "decode_responses": True,
    # Bytes that are no text come from nobody of us. They are read and sent back as they are.
    "encoding_errors": "surrogateescape",
    # On by default; then redis-py no longer looks whether an idle connection is still alive, and only Redis
    # Enterprise has anything to notify.
    "maint_notifications_config": MaintNotificationsConfig(enabled=False),
}


async def connect(url: str) -> Redis:
    """A client for ``url``, after one look at the server; answers are ``str``.

    The look fails within a few seconds where something is wrong; a server that is still loading its data is waited
    for, a minute at the most. Afterwards a call rides out a restart of Redis: it raises after about 10 seconds. A
    call may reach the server twice when a connection breaks, so it must not matter if it does.

    Raises:
        StorageError: Redis cannot be reached, refuses us, or is older than 6.2.
    """
    place = _place(url)
    try:
        await _look(url, place)
        return _client(url, retry=BoundedRetry())
    except AuthenticationError:
        raise StorageError(
            f"Redis at {place} does not accept the user name or the password.",
            remedy="Correct them in REDIS_URL, for example redis://user:password@localhost:6379/0",
        ) from None
    except (RedisError, OSError) as error:
        if _reason(error) == "MISCONF":
            raise StorageError(
                f"Redis at {place} cannot write to its disk, and takes nothing more.",
                remedy="Make room on its disk, or look into its log; it continues on its own once it can write.",
            ) from error
        if "DB index is out of range" in str(error):
            raise StorageError(
                f"Redis at {place} has no database of the number that REDIS_URL names.",
                remedy="Most have 16, counted from 0: write it like redis://user:password@localhost:6379/0",
            ) from error
        raise StorageError(
            f"Redis at {place} does not answer as it should: {_reason(error)}",
            remedy="Check that it runs and that REDIS_URL names it; without REDIS_URL, Parley starts one itself.",
        ) from error
    except (TypeError, ValueError):
        # These errors repeat parts of the address, and a password may be among them.
        raise _wrong_address() from None


@asynccontextmanager
async def open_redis(url: str | None, data_dir: Path) -> AsyncIterator[Redis]:
    """The Redis that REDIS_URL names, else one of our own with its memory in ``data_dir``.

    Raises:
        StorageError: as ``connect`` and ``embedded_redis`` do.
    """
    if not url:
        async with embedded_redis(data_dir) as address, open_redis(address, data_dir) as client:
            yield client
        return
    client = await connect(url)
    try:
        yield client
    finally:
        await client.aclose()


def lone_connection(client: Redis) -> AbstractConnection:
    """A connection to the same server, not connected yet, beside the pool: for what must not wait behind others.

    Only connecting has a time limit; the caller sets one for the rest.
    """
    pool = client.connection_pool
    connection: AbstractConnection = pool.connection_class(**{**pool.connection_kwargs, "socket_timeout": None})
    return connection


@contextmanager
def redis_errors(operation: str) -> Iterator[None]:
    """Turn whatever Redis raises inside into StorageError: "could not ``operation``", and nothing of the data.

    StorageFault where Redis is there: a script that fails, a key of the wrong kind, an argument that cannot be sent.
    """
    try:
        yield
    except (RedisError, OSError, UnicodeError) as error:
        metrics.REDIS_DISRUPTIONS.add()
        if _is_fault(error):
            raise StorageFault(
                f"Redis could not {operation}: {_reason(error)}",
                remedy="Redis answers, so this is a fault of Parley's, or its data was damaged: please report it.",
            ) from error
        raise StorageError(
            f"Redis could not {operation}: {_reason(error)}",
            remedy="Check that Redis runs and has memory and disk left; without REDIS_URL it is Parley's own.",
        ) from error


AWAY = ("LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MISCONF", "OOM", "NOREPLICAS", "BUSY")
"""Error codes of a server that can't work now, but will once it has recovered or an operator has helped."""
REFUSED = ("NOAUTH", "NOPERM", "WRONGPASS", "DENIED")
"""Error codes of a server that rejects our credentials or permissions."""


_NOT_NOW = rf"(?:^ ?|error: \(['\"]|: -)(?:{'|'.join((*AWAY, *REFUSED))})\b"
"""One of those: alone, as a pipeline repeats it, or as a script of an older Redis does."""


def _is_fault(error: Exception) -> bool:
    """Whether Redis works, but can't run this command: a fault of ours or damaged data."""
    if isinstance(error, (UnicodeError, DataError)):
        return True
    if not isinstance(error, ResponseError) or isinstance(error, (ReadOnlyError, OutOfMemoryError, AuthorizationError)):
        return False
    return not re.search(_NOT_NOW, f"{getattr(error, 'status_code', '')} {error}")


def _client(url: str, **options: Any) -> Redis:
    return Redis.from_pool(BlockingConnectionPool.from_url(url, **{**_OPTIONS, **options}))


async def _look(url: str, place: str) -> None:
    """Raise whatever is wrong with the server, at the first try."""
    quick = {"socket_timeout": 2, "socket_connect_timeout": 2}
    client: Any = _client(url, retry=Retry(NoBackoff(), 0), **quick)
    try:
        # INFO would tell as well, but a user without @dangerous may not ask.
        version = (await client.execute_command("HELLO"))["version"]
        number = parse_version(version)
        if number and number < OLDEST_REDIS:
            raise _too_old(place, f"is version {version}")
        await _loaded(client)
    except RedisError as error:
        # A unix socket's handshake hides what the server said in a ConnectionError.
        said = error.__cause__ if isinstance(error.__cause__, RedisError) else error
        if isinstance(said, ResponseError) and "unknown command" in str(said).lower():
            raise _too_old(place, "does not know HELLO") from None
        raise said from None
    finally:
        await client.aclose()


async def _loaded(client: Any) -> None:
    """Return when the server has loaded its data."""
    deadline = time.monotonic() + 60
    while True:
        try:
            await client.ping()
        except BusyLoadingError:
            if time.monotonic() > deadline:
                raise
        else:
            return
        await asyncio.sleep(0.05)


def _reason(error: Exception) -> str:
    """What went wrong. A refusal is only named: its words may repeat the arguments of a command."""
    name = type(error).__name__
    if isinstance(error, (RedisConnectionError, RedisTimeoutError, OSError)):
        return f"{name}: {error}".removesuffix(": ")
    code = re.match(r"[A-Z]{3,}\b", str(error)) if type(error) is ResponseError else None
    line = re.search(r"\buser_script:(\d+)", str(error)) if isinstance(error, ResponseError) else None
    return (code[0] if code else name) + (f" in line {line[1]} of a script" if line else "")


def _place(url: str) -> str:
    """Where a server is, in words that a log may hold."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _wrong_address() from None
    if parts.scheme == "unix" and parts.path:
        return parts.path
    # A password with an unquoted / ? or # in it ends the host early: the rest of it would be taken for a path.
    if parts.scheme not in ("redis", "rediss") or "@" in parts.path + parts.query + parts.fragment:
        raise _wrong_address()
    # redis-py takes what is no number for database 0, where other people's data may be.
    if not re.fullmatch(r"/?[0-9]*/?", parts.path):
        raise _wrong_address(": what stands behind its host should be the number of a database")
    return f"{host or 'localhost'}:{port or 6379}"


def _wrong_address(why: str = "") -> StorageError:
    return StorageError(
        f"REDIS_URL is not an address of a Redis{why}.",
        remedy="Write it like redis://user:password@localhost:6379/0 (rediss:// for TLS, unix:///path for a socket), "
        "with special characters of the password percent-encoded.",
    )


def _too_old(place: str, what: str) -> StorageError:
    return StorageError(
        f"Redis at {place} {what}; Parley needs 6.2 or newer.",
        remedy="Point REDIS_URL at a newer Redis, or leave it out: Parley then starts one itself.",
    )
