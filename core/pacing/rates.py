"""How a platform's calls come in: one after the other into a bucket, or each so long after it was made."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque

_DUST = 1e-9
"""Less than this of a call is rounding."""


class RateLimit(ABC):
    """Calls that may be made; times are in seconds, of whatever clock, and never go back."""

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity

    @abstractmethod
    def free(self, now: float) -> float:
        """Calls that may be made now; fewer than none if more were made than there might."""

    @abstractmethod
    def pay(self, calls: int, now: float) -> None:
        """So many calls were made now; fewer than none are given back."""

    @abstractmethod
    def keep(self, most: float, now: float) -> None:
        """No more than so many are free now: the others were made by somebody else."""

    @abstractmethod
    def told(self, free: float, now: float) -> None:
        """So many are free now, says who counts for all; from here on we count by ourselves until told again."""

    @abstractmethod
    def seconds_to(self, more: float, now: float) -> float:
        """Seconds until so many more are free than now; infinite if not that many were made."""


class TokenBucket(RateLimit):
    """``capacity`` calls at once, and ``per_second`` more each second, as long as it is not full."""

    def __init__(self, capacity: float, per_second: float) -> None:
        super().__init__(capacity)
        self._per_second = per_second
        self._calls, self._counted_at = capacity, -math.inf

    def free(self, now: float) -> float:
        """See ``RateLimit.free``."""
        if self._calls < self.capacity:
            self._calls = min(self.capacity, self._calls + (now - self._counted_at) * self._per_second)
        self._counted_at = now
        return self._calls

    def pay(self, calls: int, now: float) -> None:
        """See ``RateLimit.pay``."""
        self._calls = self.free(now) - calls

    def keep(self, most: float, now: float) -> None:
        """See ``RateLimit.keep``."""
        self._calls = min(self.free(now), most)

    def told(self, free: float, now: float) -> None:
        """See ``RateLimit.told``."""
        self._calls, self._counted_at = free, now

    def seconds_to(self, more: float, now: float) -> float:
        """See ``RateLimit.seconds_to``."""
        return more / self._per_second if more > _DUST else 0.0


class SlidingWindow(RateLimit):
    """``capacity`` calls in any ``seconds``: each is free again so long after it was made."""

    def __init__(self, capacity: int, seconds: float) -> None:
        super().__init__(capacity)
        self._seconds = seconds
        self._made: deque[float] = deque()
        self._elsewhere, self._elsewhere_at = 0, -math.inf  # calls of others; when they were made is not known

    def free(self, now: float) -> float:
        """See ``RateLimit.free``."""
        while self._made and self._made[0] <= now - self._seconds:
            self._made.popleft()
        if self._elsewhere_at <= now - self._seconds:
            self._elsewhere = 0
        return self.capacity - len(self._made) - self._elsewhere

    def pay(self, calls: int, now: float) -> None:
        """See ``RateLimit.pay``; what is given back was made just now."""
        self._made.extend([now] * calls)
        for _ in range(min(-calls, len(self._made))):
            self._made.pop()

    def keep(self, most: float, now: float) -> None:
        """See ``RateLimit.keep``."""
        self._made.extend([now] * math.ceil(self.free(now) - most))

    def told(self, free: float, now: float) -> None:
        """See ``RateLimit.told``; what others made is taken to be as young as it may be."""
        used = math.ceil(self.capacity - free)
        self.free(now)
        self._elsewhere, self._elsewhere_at = max(0, used - len(self._made)), now

    def seconds_to(self, more: float, now: float) -> float:
        """See ``RateLimit.seconds_to``."""
        self.free(now)
        made = sorted([*self._made, *[self._elsewhere_at] * self._elsewhere])
        missing = math.ceil(more - _DUST)
        if missing <= 0:
            return 0.0
        return made[missing - 1] + self._seconds - now if missing <= len(made) else math.inf
