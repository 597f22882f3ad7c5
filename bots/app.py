"""Puts Parley together: the only place that chooses implementations.

Platforms and backends are imported where they are chosen: each costs from half a second to ten, and a chat in a
terminal needs none of them.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version

import structlog
from redis.asyncio import Redis

from core.assistant import Assistant, Manner
from core.errors import SettingsError
from core.generation import Deadlines
from core.memory import RedisMemory
from core.models import Models
from core.modeltable import counter, open_models
from core.preferences import Choices
from core.prompts.personas import read_persona, read_personas
from core.redis import open_redis
from core.settings import Settings
from core.summary import Summarizer
from core.turns import Turns
from core.types import ModelLimits

log = structlog.get_logger()

PLATFORMS = ("slack",)


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
    turns: Turns
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
            yield Core(settings, redis, memory, Turns(redis), models, assistant)
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


async def run(settings: Settings, platforms: Sequence[str]) -> None:
    """Serve platforms until SIGTERM or SIGINT, then let running answers end.

    Raises:
        ParleyError: a platform, Redis or a setting makes it impossible to begin.
    """
    if unknown := set(platforms) - set(PLATFORMS):
        raise SettingsError(
            f"there is no platform called {', '.join(sorted(unknown))}; there is {', '.join(PLATFORMS)}",
        )
    from bots.slack.platform import serve

    stopping = Stopping()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.ask)
    async with open_core(settings) as core:
        log.info("starting", version=version("parley"), platforms=list(platforms), model=settings.backend)
        await serve(core, stopping)
    log.info("stopped")
