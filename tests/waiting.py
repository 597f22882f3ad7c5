"""Wait for a condition, never for a time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

UNHURRIED = 45.0
"""Seconds for what usually takes a moment: where a test is not about time, a busy machine does not make it fail."""


async def wait_until(
    condition: Callable[[], Any | Awaitable[Any]],
    *,
    description: str = "",
    timeout: float = UNHURRIED,
    pause: float = 0.005,
) -> Any:
    """The first truthy value of ``condition``, looked at every ``pause`` seconds.

    Fails with ``description`` after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"still waiting after {timeout:g} s: {description or condition}")
        await asyncio.sleep(pause)
