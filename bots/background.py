"""Background tasks of an adapter: it tells people something without delaying the event that led to it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from core.errors import ParleyError

log = structlog.get_logger()

DRAIN_SECONDS = 5
"""Seconds that running tasks get to finish when a process stops."""


class BackgroundTasks:
    """Base class of adapters that run tasks in the background."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def run_in_background(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run ``work`` in the background. A refusal by the platform is logged."""

        async def run() -> None:
            try:
                await work
            except ParleyError as error:
                log.warning("notice not delivered", error=str(error), remedy=error.remedy)

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait until all tasks have finished, for ``DRAIN_SECONDS`` at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN_SECONDS)
