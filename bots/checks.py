"""What ``parley doctor`` looks at wherever Parley runs: Redis and the model.

Nothing that a check says holds a secret: settings are named and not quoted, and an error that nobody foresaw is only
named. Checks of a platform stand beside its adapter.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from redis.asyncio import Redis
from redis.exceptions import RedisError

from bots.app import manner
from core.backends import Backend
from core.embedded import find_server
from core.errors import GenerationError, ModelTimeout, SettingsError, StorageError
from core.generation import Deadlines, generate
from core.memory import Exchange, RedisMemory
from core.models import Manner, Model
from core.modeltable import open_models
from core.redis import open_redis
from core.settings import Settings
from core.types import ConversationKey, GenerationRequest, Message, ModelLimits, Role, Window
from core.window import share

DEADLINE = 8.0
"""Seconds for each thing that is tried over a network."""
LOADING = 90.0
"""Seconds for a redis-server of our own, which may have a large memory to load."""
SLOW_PING = 50
"""Milliseconds; an answer waits for a handful of round trips to Redis."""
BUG = "That is a fault of Parley's: please report it, with this line and the output of `parley --version`."

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried. ``remedy`` is what to do, and ``ms`` how long it took, where that says something."""

    name: str
    level: Level
    tried: str
    found: str
    remedy: str = ""
    ms: int | None = None

    @property
    def ok(self) -> bool:
        """Whether it is good enough to run; a warning is."""
        return self.level != "error"


Say = Callable[[Check], None]
"""Takes each check as soon as it is known."""


def ms(began: float) -> int:
    """Milliseconds since ``began``, which is of ``time.perf_counter``."""
    return round(1000 * (time.perf_counter() - began))


# Redis.


async def examine_redis(settings: Settings, wrong: Collection[str], say: Say) -> None:
    """Connect as the bot does (which may start a server), and look whether memory is safe there."""
    if "redis_url" in wrong:
        say(Check("redis", "warning", "Redis", "not checked, because REDIS_URL is wrong"))
        return
    url = settings.redis_url.get_secret_value() if settings.redis_url else None
    began = time.perf_counter()
    try:
        async with asyncio.timeout(DEADLINE if url else LOADING), open_redis(url, settings.data_dir) as redis:
            info = await _info(redis)
            say(_who(settings, redis, info, ms(began)))
            say(_persistence(info))
            say(_eviction(info))
            say(await _latency(redis))
            say(await _round_trip(redis))
    except (StorageError, TimeoutError, RedisError) as error:
        say(_no_redis(error, began))


def _no_redis(error: Exception, began: float) -> Check:
    if isinstance(error, StorageError):
        found, remedy = str(error), error.remedy
    else:
        found = f"stopped answering ({type(error).__name__})"
        remedy = "Look at the load of Redis, into its log, and at the network on the way to it."
    return Check("redis", "error", "Redis", found, remedy, ms(began))


async def _info(redis: Redis) -> dict[str, Any]:
    """What the server tells about itself; empty where our user may not ask."""
    try:
        return dict(await redis.info())
    except RedisError:
        return {}


def _who(settings: Settings, redis: Redis, info: dict[str, Any], took: int) -> Check:
    number = info.get("valkey_version") or info.get("redis_version")
    what = f"version {number}" if number else "6.2 or newer"
    if settings.redis_url:
        reached = redis.connection_pool.connection_kwargs
        where = reached.get("path") or f"{reached.get('host', 'localhost')}:{reached.get('port', 6379)}"
        return Check("redis", "ok", "Redis", f"at {where}, {what}", ms=took)
    binary = info.get("executable") or find_server()
    found = f"our own, {what}: {binary} with its memory in {settings.data_dir.absolute() / 'redis'}"
    return Check("redis", "ok", "Redis", found, ms=took)


def _persistence(info: dict[str, Any]) -> Check:
    name, tried = "redis.aof", "Redis, append-only file"
    if "aof_enabled" not in info:
        return Check(name, "warning", tried, "not visible to us", "See in your provider's settings that it is on.")
    if info["aof_enabled"]:
        return Check(name, "ok", tried, "on, so memory outlives a crash of Redis")
    return Check(
        name,
        "warning",
        tried,
        "off: a crash of Redis loses what was said since its last snapshot",
        "CONFIG SET appendonly yes, and the same in redis.conf",
    )


def _eviction(info: dict[str, Any]) -> Check:
    name, tried = "redis.eviction", "Redis, eviction"
    match info.get("maxmemory_policy"):
        case None:
            remedy = "See in your provider's settings that maxmemory-policy is noeviction."
            return Check(name, "warning", tried, "the policy is not visible to us", remedy)
        case "noeviction":
            return Check(name, "ok", tried, "none (noeviction)")
        case policy:
            return Check(
                name,
                "error",
                tried,
                f"maxmemory-policy is {policy}: when Redis is full it drops conversations, and the notes that keep "
                "answers from being given twice",
                "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
            )


async def _latency(redis: Redis) -> Check:
    took = []
    for _ in range(5):
        began = time.perf_counter()
        await redis.ping()
        took.append(1000 * (time.perf_counter() - began))
    middle = statistics.median(took)
    check = Check("redis.ping", "ok", "Redis, PING", f"{middle:.1f} ms", ms=round(middle))
    if middle < SLOW_PING:
        return check
    return Check(
        "redis.ping", "warning", "Redis, PING", check.found, "Let Redis run nearer: each answer waits for it.", check.ms
    )


async def _round_trip(redis: Redis) -> Check:
    """Remember something and forget it: writes, scripts and rights, all at once."""
    name, tried, began = "memory", "Memory", time.perf_counter()
    # A minute is the longest that anything of it can stay.
    memory = RedisMemory(redis, retention=60)
    key = ConversationKey("doctor", "doctor", uuid4().hex)
    try:
        said = Message(Role.USER, "Do you hear me?", id="doctor", at=time.time())
        await memory.append(Exchange(key, (await memory.load(key)).epoch, "doctor", "", (said,)))
        kept = (await memory.load(key)).messages
        await memory.forget(key)
    except StorageError as error:
        return Check(name, "error", tried, str(error), error.remedy, ms(began))
    if [message.text for message in kept] != [said.text]:
        return Check(name, "error", tried, "what was stored did not come back", BUG, ms(began))
    return Check(name, "ok", tried, "a message was stored, read back and forgotten", ms=ms(began))


# The model.


async def examine_model(settings: Settings, wrong: Collection[str], say: Say) -> None:
    """Ask the model's server how it is, how much it reads, and for one token."""
    if unknown := sorted({"model_api", "model_url", "model_auth", "model_api_key"} & set(wrong)):
        say(Check("model", "warning", "Model", f"not checked, because {unknown[-1].upper()} is wrong"))
        return
    if settings.backend == "demo":
        hint = "For a real one: MODEL_URL=http://localhost:8080, where a model's server answers."
        say(Check("model", "ok", "Model", "the demo, which understands nothing", hint))
        return
    try:
        models = open_models(settings)
        asked = manner(settings)
    except SettingsError as error:
        say(Check("model", "error", "Model", str(error), error.remedy))
        return
    try:
        for model in models.models:
            await _examine_one(settings, asked, model, say)
    finally:
        await models.aclose()


async def _examine_one(settings: Settings, asked: Manner, model: Model, say: Say) -> None:
    """One model: whether it is ready, whether it answers, and how much it reads."""
    called = f"Model {model.name}" if model.name else "Model"
    health, limits, answer = await asyncio.gather(
        _healthy(model, called), _limits(model.backend), _one_token(settings, asked, model, called)
    )
    if answer.ok or health.level == "ok":
        say(health)
    say(answer)
    if name := await _name(model, called):
        say(name)
    if answer.ok or limits:
        say(_context(settings, limits or model.limits, called, told=bool(limits)))


async def _healthy(model: Model, called: str) -> Check:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(DEADLINE):
            ready = await model.backend.healthy()
    except TimeoutError:
        ready = False
    if ready:
        return Check("model", "ok", called, f"{model.where} says that it is ready", ms=ms(began))
    return Check("model", "warning", called, f"{model.where} does not say at /health that it is ready", ms=ms(began))


async def _name(model: Model, called: str) -> Check | None:
    """Which of the models of a server is asked; None where there is nothing to choose, or the server does not tell."""
    from core.backends.detect import DetectedBackend
    from core.backends.openai import OpenAIBackend

    name, tried = "model.name", f"{called}, name"
    try:
        async with asyncio.timeout(DEADLINE):
            speaks = await model.backend.known() if isinstance(model.backend, DetectedBackend) else model.backend
            listed = await speaks.models() if isinstance(speaks, OpenAIBackend) else []
    except (GenerationError, TimeoutError):
        return None
    asked = speaks.model if isinstance(speaks, OpenAIBackend) else ""
    there = ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")
    if asked and listed and asked not in listed:
        return Check(name, "warning", tried, f"the server does not list {asked}", f"It lists {there}.")
    if not asked and len(listed) > 1:
        found = f"MODEL_NAME is not set, so the first is asked, {listed[0]}"
        return Check(name, "warning", tried, found, f"The server lists {there}.")
    return None


async def _limits(backend: Backend) -> ModelLimits | None:
    try:
        async with asyncio.timeout(DEADLINE):
            return await backend.limits()
    except (GenerationError, TimeoutError):
        return None


async def _one_token(settings: Settings, asked: Manner, model: Model, called: str) -> Check:
    name, tried, began = "model.answer", f"{called}, one token", time.perf_counter()
    window = Window(asked.system, (Message(Role.USER, "Hello"),))
    try:
        template = await model.template()
        prompt = template.render(window)
        request = GenerationRequest(prompt, 1, settings.temperature)
        async with aclosing(generate(model.backend, request, Deadlines(DEADLINE, DEADLINE, DEADLINE))) as stream:
            async for _ in stream:
                pass
    except ModelTimeout as error:
        waits = f"{settings.first_token_timeout:g} s (FIRST_TOKEN_TIMEOUT)"
        remedy = f"Look at the load of the model's server, and whether MODEL_URL names it; Parley itself waits {waits}."
        return Check(name, "error", tried, str(error), remedy, ms(began))
    except (GenerationError, SettingsError) as error:
        return Check(name, "error", tried, str(error), error.remedy, ms(began))
    took = ms(began)
    by = "its server" if template.name == "chat" else f"{template.name} (PROMPT_TEMPLATE)"
    return Check(name, "ok", tried, f"after {took:,} ms; the prompt is written as {by} does it", ms=took)


def _context(settings: Settings, limits: ModelLimits | None, called: str, *, told: bool) -> Check:
    name, tried = "model.context", f"{called}, context"
    limits = limits or ModelLimits(settings.context_tokens, settings.context_tokens)
    if told:
        said = f"{limits.max_total_tokens:,} tokens, as the server says"
    else:
        said = f"{limits.max_total_tokens:,} tokens, as CONTEXT_TOKENS says: the server does not tell"
    most = share(limits, settings.max_new_tokens).answer
    if most == settings.max_new_tokens:
        return Check(name, "ok", tried, said)
    return Check(
        name, "warning", tried, f"{said}; an answer gets half of it at the most", f"MAX_NEW_TOKENS={most} would say so."
    )
