"""A circuit breaker: a server that is dead costs a new turn no time.

After ``FAILURES`` failures in a row it opens, and nobody is let through. After a pause one attempt is, as a trial; if
that fails, the breaker stays open for twice as long. Attempts that began before it opened, and fail after that, were no
trial and change nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

FAILURES = 3
PAUSE = 10.0
"""Seconds from opening to the first trial."""
LONGEST_PAUSE = 120.0


class Breaker:
    """Counts the failures of one server; ``clock`` is in seconds.

    ::

        attempt = breaker.attempt()
        if attempt:
            attempt.succeeded()  # or failed(); neither, if it says nothing about the server
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._pause = PAUSE
        self._until = 0.0

    @property
    def open(self) -> bool:
        """Whether nobody should try now."""
        return not self.closed and self._clock() < self._until

    @property
    def closed(self) -> bool:
        """Whether nothing is known against the server."""
        return self._failures < FAILURES

    def attempt(self) -> Attempt | None:
        """Leave to try now, or None. When a pause is over one attempt is let through; the others wait for its end."""
        if self.closed:
            return Attempt(self, trial=False)
        if self.open:
            return None
        self._until = self._clock() + self._pause  # should the trial come to no end, there is another one then
        return Attempt(self, trial=True)

    def _succeeded(self) -> None:
        self._failures, self._pause = 0, PAUSE

    def _failed(self, *, trial: bool) -> None:
        if trial:
            self._pause = min(LONGEST_PAUSE, 2 * self._pause)
        elif not self.closed:
            return
        self._failures += 1
        self._until = self._clock() + self._pause


class Attempt:
    """One request to the server, whose end the breaker is told; ``trial`` if the breaker was open before it."""

    def __init__(self, breaker: Breaker, *, trial: bool) -> None:
        self.trial = trial
        self._breaker = breaker

    def succeeded(self) -> None:
        """The server answered."""
        self._breaker._succeeded()

    def failed(self) -> None:
        """The server did not answer."""
        self._breaker._failed(trial=self.trial)
