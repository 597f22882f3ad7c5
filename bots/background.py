"""What an adapter does beside: people are told something, and the event that led to it does not wait for that."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from core.errors import ParleyError

log = structlog.get_logger()

PATIENCE = 5
"""Seconds for which those under way are waited for at the end."""


class Errands:
    """Runs errands; who has some inherits from it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def later(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something beside; a refusal of the platform is logged, not lost."""

        async def run() -> None:
            try:
                await work
            except ParleyError as error:
                log.warning("notice not delivered", error=str(error), remedy=error.remedy)

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Let what was begun here come to its end."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=PATIENCE)
