"""Opens what is remembered, for commands that work on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from bots.console.printing import print_json
from bots.platforms import load_all_settings
from core.settings import Settings

if TYPE_CHECKING:  # imported where they are used: reading the command line must not wait for them
    from redis.asyncio import Redis

    from core.archive import Archive
    from core.memory import Memory

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class Store:
    """The open memory, its archive, and the settings."""

    redis: Redis
    archive: Archive
    memory: Memory
    settings: Settings


def run_with_store(work: Callable[[Store], Awaitable[T]]) -> T:
    """Open what is remembered, run ``work`` with it, and return its result."""
    from core.archive import Archive, prepare
    from core.memory import Memory
    from core.models.table import counter
    from core.store import open_redis

    settings = load_all_settings()

    async def run() -> T:
        url = settings.redis_url.get_secret_value() if settings.redis_url else None
        async with open_redis(url, settings.data_dir) as redis:
            await prepare(redis)
            keep = settings.retention_seconds
            memory = Memory(redis, retention=keep, count=counter(settings))
            return await work(Store(redis, Archive(redis, retention=keep), memory, settings))

    return asyncio.run(run())


def report(as_json: bool, said: str, **figures: Any) -> None:
    """Print what was done: the sentence ``said`` for people, ``figures`` as JSON for programs."""
    if as_json:
        print_json({"ok": True, **figures})
    else:
        print(said)  # noqa: T201
