"""People's questions go before background requests."""

from __future__ import annotations

import asyncio

import pytest

from core.models.priority import Preempted, Priority
from tests.waiting import wait_until


async def test_a_question_ends_what_runs_in_the_background() -> None:
    """All of it, and only that."""
    priority, ended = Priority(), 0

    async def background() -> None:
        nonlocal ended
        with pytest.raises(Preempted):
            async with priority.use(background=True):
                await asyncio.Event().wait()
        ended += 1

    tasks = [asyncio.create_task(background()) for _ in range(3)]
    await asyncio.sleep(0)
    async with priority.use(background=False):
        await wait_until(lambda: ended == 3, description="the end of the background requests")
    await asyncio.gather(*tasks)


async def test_nothing_begins_in_the_background_while_somebody_waits() -> None:
    """Afterwards it does."""
    priority = Priority()
    async with priority.use(background=False):
        with pytest.raises(Preempted):
            async with priority.use(background=True):
                raise AssertionError("it began")
        idle = asyncio.create_task(priority.wait_idle(0))
        await asyncio.sleep(0)
        assert not idle.done()
    await idle
    async with priority.use(background=True):
        pass


async def test_its_own_timeout_is_no_question() -> None:
    """What goes wrong in a background request is raised as it is; so is a cancellation."""
    priority = Priority()
    with pytest.raises(TimeoutError):
        async with priority.use(background=True):
            raise TimeoutError
    task = asyncio.create_task(priority.wait_idle(3600))
    async with priority.use(background=False):
        pass
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
