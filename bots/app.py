"""Puts Parley together: the only place that chooses implementations.

Platforms and backends are imported where they are chosen: each costs from half a second to ten, and a chat in a
terminal needs none of them.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Protocol

import structlog
from redis.asyncio import Redis

from core.assistant import Assistant, Manner
from core.errors import SettingsError
from core.generation import Deadlines
from core.memory import Memory, RedisMemory
from core.models import Models
from core.modeltable import counter, open_models
from core.preferences import Choices
from core.prompts.personas import read_persona, read_personas
from core.queue import RedisTurnQueue
from core.redis import open_redis
from core.settings import Settings
from core.summary import Summarizer
from core.surface import Surface
from core.types import ModelLimits
from core.worker import Worker

log = structlog.get_logger()

PLATFORMS = ("slack", "web")
WORKER = "worker"
"""What ``parley run`` calls a process that answers, and takes nothing."""


class Stopping:
    """That somebody asks the process to stop: once, to let running answers end, and once more, to stop at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()

    def ask(self) -> None:
        """Ask, or ask once more."""
        (self.hurried if self.asked.is_set() else self.asked).set()


@dataclass(frozen=True, slots=True)
class Core:
    """Everything between a platform and a model, ready to use."""

    settings: Settings
    redis: Redis
    memory: RedisMemory
    models: Models
    assistant: Assistant


@asynccontextmanager
async def open_core(settings: Settings) -> AsyncIterator[Core]:
    """Connect to Redis and the model's server, as the settings say.

    Raises:
        StorageError: there is no Redis to be had.
    """
    url = settings.redis_url.get_secret_value() if settings.redis_url else None
    async with open_redis(url, settings.data_dir) as redis:
        models = open_models(settings)
        memory = RedisMemory(
            redis,
            retention=settings.retention_seconds,
            count=counter(settings),
            choices=choices(settings, models.names),
        )
        summarizer = Summarizer(memory, models, manner(settings)) if settings.summary else None
        assistant = Assistant(memory, models, manner(settings), summarizer=summarizer)
        try:
            yield Core(settings, redis, memory, models, assistant)
        finally:
            if summarizer:
                await summarizer.aclose()
            await models.aclose()


def choices(settings: Settings, models: Sequence[str]) -> Choices:
    """What people can choose for a conversation. Raises SettingsError if a persona cannot be read."""
    asked = manner(settings)
    return Choices(
        system=asked.system,
        temperature=asked.temperature,
        top_p=asked.top_p,
        max_new_tokens=asked.max_new_tokens,
        models=tuple(models),
        personas=read_personas(settings.personas, settings.persona_variables),
        persona=settings.persona,
    )


def manner(settings: Settings) -> Manner:
    """How the assistant answers, as the settings say. Raises SettingsError if there is no such persona."""
    system = settings.system_prompt
    if settings.persona:
        system = read_persona(settings.personas, settings.persona, settings.persona_variables)
    return Manner(
        system=system,
        temperature=settings.temperature,
        max_new_tokens=settings.max_new_tokens,
        limits=ModelLimits(settings.context_tokens, settings.context_tokens),
        deadlines=Deadlines(settings.first_token_timeout, settings.between_tokens_timeout, settings.total_timeout),
        top_p=settings.top_p,
    )


def configured(settings: Settings) -> list[str]:
    """The platforms for which a token is set."""
    return ["slack"] if settings.slack_bot_token or settings.slack_app_token else []


def has_page() -> bool:
    """Whether what the page needs is installed."""
    return find_spec("gradio") is not None


@dataclass(frozen=True, slots=True)
class Duties:
    """What a process does: it takes the turns of the platforms in ``listens``, and answers those of ``answers``."""

    listens: tuple[str, ...]
    answers: tuple[str, ...]


def duties(settings: Settings, names: Sequence[str], *, worker: bool) -> Duties:
    """What ``parley run`` with these names has to do; all that is configured, where none is named.

    Raises:
        SettingsError: a name that means nothing, or a worker that has nothing to do.
    """
    if unknown := set(names) - {*PLATFORMS, WORKER}:
        raise SettingsError(
            f"there is no platform called {', '.join(sorted(unknown))}; there is {', '.join((*PLATFORMS, WORKER))}",
        )
    ready = tuple(configured(settings))
    reachable = (*ready, "web")  # to answer on the page, Redis is enough
    listens = tuple(name for name in PLATFORMS if name in names) or (() if WORKER in names else ready)
    if not worker and WORKER in names:
        raise SettingsError("`worker` and `--no-worker` contradict each other; leave one of them out")
    answers = reachable if WORKER in names else listens if worker else ()
    return Duties(listens, tuple(dict.fromkeys((*listens, *answers))) if answers else ())


class Platform(Protocol):
    """Where people are: ``surface`` answers them, and ``listening`` takes what they say into the queue."""

    @property
    def surface(self) -> Surface:
        """Answers turns."""
        ...

    def listening(self, queue: RedisTurnQueue, memory: Memory) -> AbstractAsyncContextManager[None]:
        """Take turns while inside."""
        ...


def open_platform(
    name: str, core: Core, stopping: Stopping, *, listens: bool
) -> AbstractAsyncContextManager[Platform | None]:
    """A platform, as soon as it can be reached; None if we are asked to stop meanwhile."""
    if name == "web":
        from bots.web.platform import open_web

        return open_web(core)
    from bots.slack.platform import open_slack

    return open_slack(core.settings, stopping, listens=listens)


async def run(settings: Settings, todo: Duties) -> None:
    """Do what there is to do until SIGTERM or SIGINT, then let running answers end.

    Intake ends first, then answers get their time, and the rest is handed over.

    Raises:
        ParleyError: a platform, Redis or a setting makes it impossible to begin.
    """
    stopping = Stopping()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.ask)
    async with open_core(settings) as core, AsyncExitStack() as stack:
        log.info("starting", version=version("parley"), model=settings.backend, **asdict(todo))
        platforms: dict[str, Platform] = {}
        for name in dict.fromkeys((*todo.listens, *todo.answers)):
            opening = open_platform(name, core, stopping, listens=name in todo.listens)
            if platform := await stack.enter_async_context(opening):
                platforms[name] = platform
        if not stopping.asked.is_set():
            await _serve(core, todo, platforms, stopping)
    log.info("stopped")


async def _serve(core: Core, todo: Duties, platforms: Mapping[str, Platform], stopping: Stopping) -> None:
    """Take turns and answer them, until we are asked to stop."""
    settings = core.settings
    queue = RedisTurnQueue(
        core.redis,
        core.memory,
        platforms=todo.answers,
        lease=settings.lease_seconds,
        follow_up=settings.follow_up,
        quotas=settings.quotas,
    )
    surfaces = {name: platforms[name].surface for name in todo.answers}
    worker = Worker(queue, core.assistant, surfaces, slots=settings.worker_slots)
    try:
        async with AsyncExitStack() as listeners:
            for name in todo.listens:
                await listeners.enter_async_context(platforms[name].listening(queue, core.memory))
            if todo.answers:
                worker.start()
            await stopping.asked.wait()
    finally:
        await worker.drain(settings.grace, stopping.hurried)
