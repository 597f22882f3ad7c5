"""How calls come back after they were made: into a token bucket one after the other, in a sliding window all in time.

Both limits have slots. A call takes one, and the slot is free again at its release time; only how that time is found
differs. ``core/pacing/budget.lua`` counts the same way for all processes together.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable


class RateLimit(ABC):
    """``capacity`` slots for calls. Times are in seconds, of any clock that never goes back."""

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self._releases: deque[float] = deque()  # of the slots that are taken, soonest first

    @abstractmethod
    def _release_time(self, now: float) -> float:
        """When the slot of a call that is made ``now`` is free again."""

    def free(self, now: float) -> float:
        """Free slots; a negative number if more calls were made than the limit allows."""
        while self._releases and self._releases[0] <= now:
            self._releases.popleft()
        return self.capacity - len(self._releases)

    def pay(self, calls: int, now: float) -> None:
        """Take a slot for each of these calls, made ``now``; a negative number gives back the newest."""
        for _ in range(calls):
            self._releases.append(self._release_time(now))
        for _ in range(min(-calls, len(self._releases))):
            self._releases.pop()

    def keep(self, most: float, now: float) -> None:
        """Leave at most so many slots free: somebody else made the other calls."""
        self.pay(math.ceil(self.free(now) - most), now)

    def replace(self, releases: Iterable[float]) -> None:
        """Start again from these release times, soonest first."""
        self._releases = deque(releases)

    def seconds_to(self, more: float, now: float) -> float:
        """Seconds until so many more slots are free than now; infinite if not that many are taken."""
        self.free(now)
        missing = math.ceil(more)
        if missing <= 0:
            return 0.0
        return self._releases[missing - 1] - now if missing <= len(self._releases) else math.inf


class TokenBucket(RateLimit):
    """``capacity`` calls at once, and ``per_second`` more each second until it is full again."""

    def __init__(self, capacity: float, per_second: float) -> None:
        super().__init__(capacity)
        self._seconds_per_call = 1 / per_second

    def _release_time(self, now: float) -> float:
        return max(now, self._releases[-1] if self._releases else now) + self._seconds_per_call


class SlidingWindow(RateLimit):
    """``capacity`` calls in any ``seconds``."""

    def __init__(self, capacity: int, seconds: float) -> None:
        super().__init__(capacity)
        self._seconds = seconds

    def _release_time(self, now: float) -> float:
        return now + self._seconds
