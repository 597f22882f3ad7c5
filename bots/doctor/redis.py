"""What ``parley doctor`` checks in Redis: that it is there, that memory is safe in it, and what Parley may do there."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from bots.findings import BUG, CHECK_TIMEOUT, Finding, Say, ms
from core.archive import SCHEMA, too_new
from core.causes import cause
from core.errors import StorageError
from core.memory import Exchange, Memory
from core.settings import Settings
from core.store import Keys, find_server, open_redis
from core.types import ConversationKey, Message, Role

START_TIMEOUT = 90.0
"""Seconds that our own redis-server may take to start: it may have a large memory to load."""
SLOW_PING_MS = 50
"""A slower PING is a warning: an answer waits for a handful of round trips to Redis."""
HIGH_MEMORY_SHARE = 0.9
"""If Redis uses a larger share of its memory, that is a warning."""
MIN_FREE_CONNECTIONS = 32
"""Fewer free connections are a warning: a process takes up to 17."""
CLOCK_SKEW_SECONDS = 2.0
"""A larger difference between the clocks is a warning; people notice no effect of a smaller one."""
WRONG_CLOCK_SECONDS = 60.0
"""A larger difference means that a clock is not synchronized."""


async def examine_redis(settings: Settings, wrong: Collection[str], say: Say) -> None:
    """Connect as the bot does (which may start a server), and look whether memory is safe there."""
    if "redis_url" in wrong:
        say(Finding("redis", "warning", "Redis", "not checked, because REDIS_URL is wrong"))
        return
    url = settings.redis_url.get_secret_value() if settings.redis_url else None
    began = time.perf_counter()
    try:
        async with (
            asyncio.timeout(CHECK_TIMEOUT if url else START_TIMEOUT),
            open_redis(url, settings.data_dir) as redis,
        ):
            info = await _info(redis)
            say(_who(settings, redis, info, ms(began)))
            say(_persistence(info))
            say(_eviction(info))
            say(_memory(info))
            if crowd := _connections(info):
                say(crowd)
            say(await _latency(redis))
            say(await _clock(redis))
            if form := await _form(redis):
                say(form)
            say(await _rights(redis))
            say(await _round_trip(redis))
    except (StorageError, TimeoutError, RedisError) as error:
        say(_no_redis(error, began))


def _no_redis(error: Exception, began: float) -> Finding:
    if isinstance(error, StorageError):
        found, remedy = str(error), error.remedy
    else:
        found = f"it stopped answering ({cause(error)})"
        remedy = "Check the load and the log of Redis, and the network to it."
    return Finding("redis", "error", "Redis", found, remedy, ms(began))


async def _info(redis: Redis) -> dict[str, Any]:
    """What the server tells about itself; empty where our user may not ask."""
    try:
        return dict(await redis.info())
    except RedisError:
        return {}


def _who(settings: Settings, redis: Redis, info: dict[str, Any], took: int) -> Finding:
    number = info.get("valkey_version") or info.get("redis_version")
    what = f"version {number}" if number else "6.2 or newer"
    if settings.redis_url:
        reached = redis.connection_pool.connection_kwargs
        where = reached.get("path") or f"{reached.get('host', 'localhost')}:{reached.get('port', 6379)}"
        return Finding("redis", "ok", "Redis", f"at {where}, {what}", ms=took)
    binary = info.get("executable") or find_server()
    found = f"Parley's own, {what}: {binary}, data in {settings.data_dir.absolute() / 'redis'}"
    return Finding("redis", "ok", "Redis", found, ms=took)


def _persistence(info: dict[str, Any]) -> Finding:
    name, tried = "redis.aof", "Redis, append-only file"
    if "aof_enabled" not in info:
        return Finding(
            name, "warning", tried, "not visible to Parley's user", "Check in your provider's settings that it is on."
        )
    if "err" in (info.get("aof_last_write_status"), info.get("aof_last_bgrewrite_status")):
        found = "on, but Redis cannot write it: what is said now may be lost"
        remedy = "Make room on the disk of Redis, and check its log. Redis recovers on its own once it can write."
        return Finding(name, "error", tried, found, remedy)
    if info["aof_enabled"]:
        return Finding(name, "ok", tried, "on, so the memory survives a crash of Redis")
    return Finding(
        name,
        "warning",
        tried,
        "off: if Redis crashes, what was said since its last snapshot is lost",
        "Run CONFIG SET appendonly yes in Redis, and write the same into redis.conf.",
    )


def _eviction(info: dict[str, Any]) -> Finding:
    name, tried = "redis.eviction", "Redis, eviction"
    match info.get("maxmemory_policy"):
        case None:
            remedy = "Check in your provider's settings that maxmemory-policy is noeviction."
            return Finding(name, "warning", tried, "not visible to Parley's user", remedy)
        case "noeviction":
            return Finding(name, "ok", tried, "off (noeviction)")
        case policy:
            return Finding(
                name,
                "error",
                tried,
                f"maxmemory-policy is {policy}: when Redis is full, it deletes conversations, and the records that "
                "prevent double answers",
                "Run CONFIG SET maxmemory-policy noeviction in Redis, and write the same into redis.conf.",
            )


async def _latency(redis: Redis) -> Finding:
    took = []
    for _ in range(5):
        began = time.perf_counter()
        await redis.ping()
        took.append(1000 * (time.perf_counter() - began))
    middle = statistics.median(took)
    check = Finding("redis.ping", "ok", "Redis, response time", f"{middle:.1f} ms", ms=round(middle))
    if middle < SLOW_PING_MS:
        return check
    return Finding(
        "redis.ping",
        "warning",
        check.tried,
        check.found,
        "Run Redis closer to Parley: each answer waits for it several times.",
        check.ms,
    )


async def _round_trip(redis: Redis) -> Finding:
    """Remember something and forget it: writes, scripts and rights, all at once."""
    name, tried, began = "memory", "Memory", time.perf_counter()
    # A minute is the longest that anything of it can stay.
    memory = Memory(redis, retention=60)
    key = ConversationKey("doctor", "doctor", uuid4().hex)
    try:
        said = Message(Role.USER, "Do you hear me?", id="doctor", at=time.time())
        await memory.append(Exchange(key, (await memory.load(key)).epoch, "doctor", "", (said,)))
        kept = (await memory.load(key)).messages
        await memory.forget(key)
    except StorageError as error:
        return Finding(name, "error", tried, str(error), error.remedy, ms(began))
    if [message.text for message in kept] != [said.text]:
        return Finding(name, "error", tried, "a message was stored, but could not be read back", BUG, ms(began))
    return Finding(name, "ok", tried, "a message was stored, read back and forgotten", ms=ms(began))


def _memory(info: dict[str, Any]) -> Finding:
    """How full it is: with noeviction, a full Redis accepts no message."""
    name, tried = "redis.memory", "Redis, memory"
    used, limit = int(info.get("used_memory") or 0), int(info.get("maxmemory") or 0)
    if not used:
        return Finding(
            name,
            "warning",
            tried,
            "not visible to Parley's user",
            "Check in your provider's settings that there is room.",
        )
    most = limit or int(info.get("total_system_memory") or 0)
    said = f"{_size(used)} used"
    said += f" of {_size(most)} ({'maxmemory' if limit else 'all of its machine'})" if most else ""
    if most and used > HIGH_MEMORY_SHARE * most:
        remedy = "Give Redis more memory (CONFIG SET maxmemory, or a larger machine), or set a smaller RETENTION_DAYS."
        return Finding(name, "error", tried, f"{said}: when it is full, Parley can accept no message", remedy)
    return Finding(name, "ok", tried, said)


def _connections(info: dict[str, Any]) -> Finding | None:
    """Whether more processes can connect; None if so."""
    most, there = int(info.get("maxclients") or 0), int(info.get("connected_clients") or 0)
    if not most or most - there >= MIN_FREE_CONNECTIONS:
        return None
    found = f"{there} of {most} are in use, and each Parley process needs up to 17"
    return Finding(
        "redis.clients",
        "warning",
        "Redis, connections",
        found,
        "Run CONFIG SET maxclients 10000 in Redis, and write the same into redis.conf.",
    )


async def _clock(redis: Redis) -> Finding:
    """How far this machine's clock is from that of Redis: messages carry the one, their lifetimes the other."""
    name, tried = "redis.clock", "Clock"
    before = time.time()
    seconds, micros = await redis.time()
    off = (before + time.time()) / 2 - (seconds + micros / 1e6)
    if abs(off) < CLOCK_SKEW_SECONDS:
        return Finding(name, "ok", tried, "the same time as Redis")
    found = f"this machine is {abs(off):,.0f} s {'ahead of' if off > 0 else 'behind'} Redis"
    remedy = "Let both machines synchronize their clocks: timedatectl set-ntp true (systemd-timesyncd, chrony)."
    return Finding(name, "error" if abs(off) > WRONG_CLOCK_SECONDS else "warning", tried, found, remedy)


async def _form(redis: Redis) -> Finding | None:
    """Whether the store has a form that we know; None if it has ours."""
    found = str(await redis.get(Keys.SCHEMA) or SCHEMA)
    if found == str(SCHEMA):
        return None
    name, tried = "redis.form", "Memory, format"
    if int(found) > SCHEMA:
        error = too_new(int(found))
        return Finding(name, "error", tried, str(error), error.remedy)
    return Finding(name, "ok", tried, f"version {found}, of an older Parley; the next start upgrades it to {SCHEMA}")


async def _rights(redis: Redis) -> Finding:
    """Try one command of each kind that is needed and that the round trip below does not use."""
    name, tried, began = "redis.rights", "Redis, permissions", time.perf_counter()
    nothing: Any = Keys.seen("doctor")

    async def listen() -> None:
        async with redis.pubsub() as pubsub:
            await pubsub.subscribe(Keys.SIGNALS)
            await pubsub.get_message(timeout=2)  # a refusal is an answer like any other

    async def multi() -> None:
        async with redis.pipeline(transaction=True) as pipe:
            pipe.exists(nothing)
            await pipe.execute()

    tries: dict[str, Callable[[], Awaitable[Any]]] = {
        "SCAN": lambda: redis.scan(match=nothing),
        "BLPOP": lambda: redis.blpop([nothing], timeout=0.01),
        "PUBLISH": lambda: redis.publish(Keys.SIGNALS, ""),
        "SUBSCRIBE": listen,
        "MULTI": multi,
    }
    refused = []
    for command, attempt in tries.items():
        try:
            await attempt()
        except NoPermissionError:
            refused.append(command)
        except ResponseError:
            continue  # such as a full disk: the round trip says so
    if not refused:
        return Finding(name, "ok", tried, "all that Parley needs", ms=ms(began))
    remedy = "Grant them in Redis: ACL SETUSER <name> ~{parley}:* &{parley}:* +@all -@admin -@dangerous +info"
    return Finding(name, "error", tried, f"Parley's user may not run {', '.join(refused)}", remedy, ms(began))


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
