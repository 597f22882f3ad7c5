"""Ends background tasks for certain, also before Python 3.12."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any


async def end_tasks(
    tasks: Iterable[asyncio.Task[Any]], *, within: float | None = None, cancel_again: float = 0.2
) -> None:
    """Cancel tasks and wait until they have ended, for ``within`` seconds at most; their errors are ignored.

    Tasks that are still running are cancelled again every ``cancel_again`` seconds: that is how long they may take to
    clean up. Before Python 3.12, ``asyncio.wait_for`` drops a
    cancellation that arrives while its future completes, and Redis's client and discord.py await their calls in it: a
    loop that is cancelled only once may run for ever.
    """
    pending = {task for task in tasks if not task.done()}
    loop = asyncio.get_running_loop()
    deadline = None if within is None else loop.time() + within
    while pending and (deadline is None or loop.time() < deadline):
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=cancel_again)
