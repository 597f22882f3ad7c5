"""How a process is asked to stop, also while it still waits for a platform."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, TypeVar

import structlog

from core.errors import PlatformUnavailable, RateLimited

log = structlog.get_logger()
T = TypeVar("T")

CONNECT_RETRY_SECONDS = (1, 2, 4, 8, 15, 30)
"""Seconds between tries to reach a platform at the start; the last one for ever."""


class Stopping:
    """Requests to stop the process: the first lets running answers finish, the second stops at once."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.at_once = asyncio.Event()

    def request(self) -> None:
        """Request it, or request it once more."""
        (self.at_once if self.requested.is_set() else self.requested).set()

    async def connect(self, platform: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """Do what a start needs, again and again while a platform is away; None if we are asked to stop meanwhile.

        Raises:
            PlatformError: trying again would not help.
        """
        for attempt in count():
            task, stop = asyncio.create_task(work()), asyncio.create_task(self.requested.wait())
            try:
                await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
                if task.done():
                    return task.result()
            except (PlatformUnavailable, RateLimited) as error:
                last = len(CONNECT_RETRY_SECONDS) - 1
                wait = error.retry_after or CONNECT_RETRY_SECONDS[min(attempt, last)]
                log.warning("platform unreachable; retrying", platform=platform, error=str(error), again_in=wait)
                await asyncio.wait({stop}, timeout=wait)
            finally:
                stop.cancel()
                task.cancel()
                await asyncio.gather(task, stop, return_exceptions=True)
            if self.requested.is_set():
                break
        return None
