"""Ends background tasks reliably, also before Python 3.12."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any


async def end_tasks(
    tasks: Iterable[asyncio.Task[Any]], *, within: float | None = None, cancel_again: float = 0.2
) -> None:
    """Cancel tasks and wait until they have ended; their errors are ignored.

    Before Python 3.12, ``asyncio.wait_for`` drops a cancellation that arrives while its future completes. Redis's
    client and discord.py use it, so a task that is cancelled only once may never end.

    Args:
        tasks: the tasks.
        within: seconds to wait at most; None for no limit.
        cancel_again: seconds after which a task that is still running is cancelled again: its time to clean up.
    """
    pending = {task for task in tasks if not task.done()}
    loop = asyncio.get_running_loop()
    deadline = None if within is None else loop.time() + within
    while pending and (deadline is None or loop.time() < deadline):
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=cancel_again)
