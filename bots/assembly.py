"""Puts the core together as the settings say: memory, models and assistant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from redis.asyncio import Redis

from core.archive import prepare
from core.assistant import AnswerSettings, Assistant, Summarizer
from core.memory import Choices, Memory
from core.model_types import ModelLimits
from core.models import Deadlines, Models
from core.models.table import counter, open_models
from core.prompts import Personas, read_persona
from core.settings import Settings
from core.store import open_redis


@dataclass(frozen=True, slots=True)
class Core:
    """Everything between a platform and a model, ready to use."""

    settings: Settings
    redis: Redis
    memory: Memory
    models: Models
    assistant: Assistant


@asynccontextmanager
async def open_core(settings: Settings) -> AsyncIterator[Core]:
    """Connect to Redis and the model's server, as the settings say.

    Raises:
        StorageError: Redis is not available, or a newer Parley wrote its data.
    """
    url = settings.redis_url.get_secret_value() if settings.redis_url else None
    async with open_redis(url, settings.data_dir) as redis:
        await prepare(redis)
        models = open_models(settings)

        async def label(chosen: str) -> str:
            return await models.label(chosen) or settings.model_name

        memory = Memory(
            redis,
            retention=settings.retention_seconds,
            count=counter(settings),
            choices=replace(choices(settings, models.names), label=label),
        )
        summarizer = Summarizer(memory, models, answer_settings(settings)) if settings.summary else None
        assistant = Assistant(
            memory,
            models,
            answer_settings(settings),
            summarizer=summarizer,
            policy=settings.policy,
            hear=settings.hear,
        )
        try:
            yield Core(settings, redis, memory, models, assistant)
        finally:
            if summarizer:
                await summarizer.aclose()
            await models.aclose()


def choices(settings: Settings, models: Sequence[str]) -> Choices:
    """What people can choose for a conversation. Raises SettingsError if a persona cannot be read."""
    asked = answer_settings(settings)
    return Choices(
        system=asked.system,
        temperature=asked.temperature,
        top_p=asked.top_p,
        max_new_tokens=asked.max_new_tokens,
        models=tuple(models),
        personas=Personas(settings.personas, settings.persona_variables),
        persona=settings.persona,
        follow=settings.follow,
    )


def answer_settings(settings: Settings) -> AnswerSettings:
    """How the assistant answers, as the settings say. Raises SettingsError if there is no such persona."""
    system = settings.system_prompt
    if settings.persona:
        system = read_persona(settings.personas, settings.persona, settings.persona_variables)
    return AnswerSettings(
        system=system,
        temperature=settings.temperature,
        max_new_tokens=settings.max_new_tokens,
        limits=ModelLimits(settings.context_tokens, settings.context_tokens),
        deadlines=Deadlines(settings.first_token_timeout, settings.between_tokens_timeout, settings.total_timeout),
        top_p=settings.top_p,
    )
