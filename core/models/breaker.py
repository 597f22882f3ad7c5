"""A circuit breaker: a turn wastes no time on a dead server.

After ``FAILURES_TO_OPEN`` failures in a row the breaker opens, and no request is let through. After a pause, one
request is let through as a trial; if that fails, the next pause is twice as long. A request that began before the
breaker opened was no trial: its failure changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

FAILURES_TO_OPEN = 3
"""Failures in a row that open a breaker."""
FIRST_PAUSE = 10.0
"""Seconds from opening to the first trial."""
MAX_PAUSE = 120.0
"""Seconds between two trials, at the most."""


class Breaker:
    """Counts the failures of one server; ``clock`` is in seconds.

    Example::

        attempt = breaker.attempt()
        if attempt:
            attempt.succeeded()  # or failed(); neither, if it says nothing about the server
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._until = 0.0

    @property
    def open(self) -> bool:
        """Whether no request is let through now."""
        return not self.closed and self._clock() < self._until

    @property
    def closed(self) -> bool:
        """Whether requests go through as usual."""
        return self._failures < FAILURES_TO_OPEN

    def attempt(self) -> Attempt | None:
        """Permission for one request, or None. After a pause a single trial is let through; others wait for its end."""
        if self.closed:
            return Attempt(self, trial=False)
        if self.open:
            return None
        self._until = self._clock() + self._pause  # if the trial never ends, another one is let through then
        return Attempt(self, trial=True)

    def _succeeded(self) -> None:
        self._failures, self._pause = 0, FIRST_PAUSE

    def _failed(self, *, trial: bool) -> None:
        if trial:
            self._pause = min(MAX_PAUSE, 2 * self._pause)
        elif not self.closed:
            return
        self._failures += 1
        self._until = self._clock() + self._pause


class Attempt:
    """One request to the server, which reports its end; ``trial`` if the breaker was open before it."""

    def __init__(self, breaker: Breaker, *, trial: bool) -> None:
        self.trial = trial
        self._breaker = breaker

    def succeeded(self) -> None:
        """The server answered."""
        self._breaker._succeeded()

    def failed(self) -> None:
        """The server did not answer."""
        self._breaker._failed(trial=self.trial)
