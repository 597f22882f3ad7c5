"""A deadline for each of many short waits, with one timer for all of them.

``asyncio.timeout`` sets and cancels a timer each time: for tokens that come by the thousand that is a third of all
work. This timer is left alone while the deadline moves; when it fires too early, it is set again.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class RollingDeadline:
    """Raises TimeoutError in the waiting task once the loop's clock passes the deadline.

    ``expired`` tells this deadline from any other timeout. Each wait may be in another task; there is one at a time.

    Example::

        with closing(RollingDeadline()) as deadline:
            for token in tokens:
                with deadline.until(loop.time() + 30):
                    await send(token)
    """

    def __init__(self) -> None:
        self.expired = False
        self._loop = asyncio.get_running_loop()
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0

    def until(self, due: float) -> Self:
        """Set the deadline of the next wait, in the loop's time."""
        self._due = due
        if self._timer is None or self._timer.when() > due:
            self.close()
            self._timer = self._loop.call_at(due, self._fire)
        return self

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> None:
        self._task = task = asyncio.current_task(self._loop)
        assert task  # noqa: S101 - awaits happen in tasks
        self._cancelling = task.cancelling()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self.expired and task and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _fire(self) -> None:
        self._timer = None
        if not self._task:
            return  # between two waits; the next one sets it again
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._fire)
        else:
            self.expired = True
            self._task.cancel()
