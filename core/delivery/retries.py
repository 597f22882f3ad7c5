"""When a platform's call is made again: after a 429, a fault of the platform, or no connection.

How long a platform may ask us to wait is bounded in ``core.errors.wait_seconds``; a call budget that heard of a refusal
waits in ``core.pacing``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import structlog

from core import metrics
from core.errors import PlatformUnavailable, RateLimited
from core.pacing import CallBudget

log = structlog.get_logger()

T = TypeVar("T")

CALL_TRIES = 8
"""How often a call is made that fails for a passing reason."""
LONGEST_CALL_PAUSE = 8.0
"""Seconds between two such tries, at most, where the platform does not say how long to wait."""


async def retry_call(call: Callable[[], Awaitable[None]]) -> None:
    """Make a call until it works, ``CALL_TRIES`` times at most; a fault that passes only delays it.

    Raises:
        PlatformError: it did not pass, or is none that does.
    """
    for attempt in range(1, CALL_TRIES + 1):
        try:
            await call()
        except (RateLimited, PlatformUnavailable) as fault:
            if attempt == CALL_TRIES:
                raise
            log.warning("platform call failed; retrying", error=str(fault), attempt=attempt)
            await asyncio.sleep(fault.retry_after or min(LONGEST_CALL_PAUSE, 0.1 * 2**attempt))
        else:
            return


async def retry_for(call: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Make a call again and again while it fails for a passing reason.

    Args:
        call: What is tried; it waits as long as the platform asks for, else twice as long each time.
        seconds: When to give up.

    Raises:
        PlatformError: The fault did not pass in time, or is none that passes.
    """
    until, wait = time.monotonic() + seconds, 0.5
    while True:
        try:
            return await call()
        except (RateLimited, PlatformUnavailable) as fault:
            wait = fault.retry_after or 2 * wait
            if time.monotonic() + wait > until:
                raise
            await asyncio.sleep(wait)


@contextmanager
def telling_refusals(budget: CallBudget) -> Iterator[None]:
    """Let a budget know that the platform refused a call for its rate; the caller sees the refusal, too."""
    try:
        yield
    except RateLimited as refusal:
        metrics.RATE_LIMITED.add()
        log.info("rate limited", retry_after=refusal.retry_after)
        budget.refused(refusal.retry_after or 1.0)
        raise
