"""How often a channel may be written to: five messages and five edits in five seconds, as far as anybody has seen.

Discord does not promise these numbers (docs.discord.com, topics/rate-limits: "should not be hard-coded"), so every
answer corrects our count. Edits of one channel share them, whatever message is edited; an answer to a slash command has
its own, for as long as its token lives.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from bots.discord.calls import Answered
from core.pacing import Budget

CALLS, SECONDS = 5, 5.0
LATE = 0.1
"""Seconds more, for calls that are longer on their way than the ones after them."""
MOST = 4096
"""Channels that are kept in mind."""


class Window(Budget):
    """So many ``calls`` in any ``seconds``: a call is free again so long after it was made."""

    def __init__(self, calls: int, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._made: deque[float] = deque()
        super().__init__(calls, calls / seconds, clock=clock)

    def learn(self, answered: Answered) -> None:
        """Discord said how many calls are left, and for how long that is all."""
        if answered.headers.get("X-RateLimit-Remaining") == "0":
            self.refused(float(answered.headers.get("X-RateLimit-Reset-After") or self._seconds))

    def _serve(self) -> None:
        super()._serve()
        self._count()

    def _count(self) -> None:
        now = self._clock()
        more = round(self.capacity - self._calls) - len(self._made)
        self._made.extend([now] * more)
        for _ in range(-more):
            self._made.pop()
        while self._made and self._made[0] <= now - self._seconds:
            self._made.popleft()
            self._calls += 1

    def _seconds_to_a_call(self) -> float:
        now = self._clock()
        blocked = max(0.0, self._blocked_until - now)
        missing = math.ceil(1 - (self._calls - self._reserved) - 1e-9)
        if missing <= 0:
            return blocked
        if missing > len(self._made):  # all are reserved: whoever spends or releases one serves
            return max(blocked, 1.0)
        return max(blocked, self._made[missing - 1] + self._seconds - now)


class Budgets:
    """Of each channel, or of each interaction's token, the posts and the edits."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[Window, Window]] = OrderedDict()

    def of(self, place: str) -> tuple[Window, Window]:
        """Posts, edits."""
        if place not in self._known:
            while len(self._known) >= MOST:
                self._known.popitem(last=False)
            self._known[place] = (Window(CALLS, SECONDS + LATE), Window(CALLS, SECONDS + LATE))
        self._known.move_to_end(place)
        return self._known[place]
