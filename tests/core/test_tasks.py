"""Background tasks end, whatever a library does with a cancellation."""

from __future__ import annotations

import asyncio

from core.tasks import end_tasks


async def loop_that_drops(cancellations: int) -> None:
    """A loop whose awaited calls swallow some cancellations, as asyncio.wait_for does before Python 3.12."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if cancellations == 0:
                raise
            cancellations -= 1


async def test_a_task_that_drops_cancellations_ends_all_the_same() -> None:
    """It is cancelled again until it has ended."""
    tasks = [asyncio.create_task(loop_that_drops(count)) for count in (0, 1, 3)]
    await asyncio.sleep(0)
    await end_tasks(tasks)
    assert all(task.cancelled() for task in tasks)


async def test_a_task_that_failed_or_ended_is_no_error() -> None:
    """Only that it ended counts."""

    async def fail() -> None:
        raise ValueError

    tasks = [asyncio.create_task(fail()), asyncio.create_task(asyncio.sleep(0))]
    await asyncio.wait(tasks)
    await end_tasks(tasks)
    assert isinstance(tasks[0].exception(), ValueError)


async def test_a_task_that_never_ends_is_left_after_a_while() -> None:
    """Where the process has to stop in time."""
    stubborn = asyncio.create_task(loop_that_drops(20))
    await asyncio.sleep(0)
    await end_tasks([stubborn], within=0.01)
    assert not stubborn.done()
    await end_tasks([stubborn], cancel_again=0.001)
