"""A circuit breaker: a server that is dead costs a new turn no time.

After ``FAILURES`` failures in a row it opens, and nobody is let through. After a while one is, to see; if that fails,
it stays open for twice as long.
"""

from __future__ import annotations

import time
from collections.abc import Callable

FAILURES = 3
PAUSE = 10.0
"""Seconds until somebody is let through for the first time."""
LONGEST_PAUSE = 120.0


class Breaker:
    """Counts what went wrong with one server; ``clock`` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._pause = PAUSE
        self._until = 0.0

    @property
    def open(self) -> bool:
        """Whether nobody should try now."""
        return self._failures >= FAILURES and self._clock() < self._until

    @property
    def closed(self) -> bool:
        """Whether nothing is known against it."""
        return self._failures < FAILURES

    def admits(self) -> bool:
        """Whether to try now. While it is half open only one is told so; the others wait for what comes of it."""
        if self.closed:
            return True
        if self._clock() < self._until:
            return False
        self._until = self._clock() + self._pause
        return True

    def succeeded(self) -> None:
        """It answered."""
        self._failures, self._pause = 0, PAUSE

    def failed(self) -> None:
        """It did not."""
        if self._failures >= FAILURES:
            self._pause = min(LONGEST_PAUSE, 2 * self._pause)
        self._failures += 1
        self._until = self._clock() + self._pause
