"""Discord's refusals: buckets, the global limit, and faults on demand.

Every response carries the headers of its bucket (docs.discord.com, topics/rate-limits). A bucket belongs to a route and
a major parameter, here a channel or an interaction's token, and is a fixed window that begins with its first call.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from dataclasses import dataclass, field

from tests.doubles.discord_records import Json

VIA = {"Via": "1.1 google"}
"""Stands on everything that comes from Discord itself, and not on what Cloudflare says before it."""


class Refusal(Exception):
    """Discord says no."""

    def __init__(self, status: int, code: int, message: str, headers: dict[str, str] | None = None, **more: object):
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}
        self.body: Json = {"message": message, "code": code, **more}


@dataclass(slots=True)
class Bucket:
    """``limit`` calls in ``seconds``."""

    name: str
    limit: int
    seconds: float
    used: int = 0
    ends: float = 0.0

    def take(self) -> float:
        """Count a call; seconds to wait if there is none left, else 0."""
        now = time.monotonic()
        if now >= self.ends:
            self.used, self.ends = 0, now + self.seconds
        if self.used >= self.limit:
            return self.ends - now
        self.used += 1
        return 0.0

    @property
    def headers(self) -> dict[str, str]:
        """As Discord sends them."""
        left = max(0.0, self.ends - time.monotonic())
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.limit - self.used),
            "X-RateLimit-Reset": f"{time.time() + left:.3f}",
            "X-RateLimit-Reset-After": f"{left:.3f}",
            "X-RateLimit-Bucket": self.name,
        }


@dataclass(slots=True)
class Fault:
    """What goes wrong with the next ``times`` calls of a route; ``after`` lets it do its work first."""

    route: str
    times: int
    status: int = 0
    code: int = 0
    message: str = ""
    delay: float = 0.0
    after: bool = False
    drop: bool = False
    page: bool = False  # a proxy's page in HTML instead, with status 200
    headers: dict[str, str] = field(default_factory=dict)
    more: Json = field(default_factory=dict)


RULES = {
    "GET /channels/:id/messages": (5, 5.0),
    "POST /channels/:id/messages": (5, 5.0),
    "PATCH /channels/:id/messages/:id": (5, 5.0),
    "POST /webhooks/:id/:token": (5, 5.0),
    "PATCH /webhooks/:id/:token/messages/:id": (5, 5.0),
}
"""Observed for sends and edits (discord.py#6073, discord.js#11485); the others are generous."""
GENEROUS = (50, 1.0)


class Limits:
    """Counts every call."""

    def __init__(self) -> None:
        self.enforced = True
        self.per_second = 50
        self.rules = dict(RULES)
        self.faults: list[Fault] = []
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._recent: deque[float] = deque()
        self.busiest = 0
        """The most calls that came in any second."""
        self._old: dict[str, deque[float]] = defaultdict(deque)

    def count(self, route: str, major: str, *, bound: bool) -> dict[str, str]:
        """Count a call and give its headers. ``bound``: to the limit of all calls of the bot."""
        if not self.enforced:
            return dict(VIA)
        now = time.monotonic()
        if bound:
            while self._recent and self._recent[0] <= now - 1.0:
                self._recent.popleft()
            if len(self._recent) >= self.per_second:
                wait = self._recent[0] + 1.0 - now
                raise too_many(wait, scope="global")
            self._recent.append(now)
            self.busiest = max(self.busiest, len(self._recent))
        limit, seconds = self.rules.get(route, GENEROUS)
        name = f"{abs(hash(route)):032x}"[:32]
        bucket = self._buckets.setdefault((route, major), Bucket(name, limit, seconds))
        wait = bucket.take()
        if wait:
            raise too_many(wait, scope="user", headers=bucket.headers)
        return {**bucket.headers, **VIA}

    def count_old(self, channel: str) -> None:
        """An edit of a message that is older than an hour: three in six seconds (code 30046)."""
        now, edits = time.monotonic(), self._old[channel]
        while edits and edits[0] <= now - 6.0:
            edits.popleft()
        if len(edits) >= 3:
            raise too_many(edits[0] + 6.0 - now, scope="user", code=30046)
        edits.append(now)

    def fault(self, route: str) -> Fault | None:
        """The next fault of a route, if one is due."""
        for fault in self.faults:
            if fault.route in (route, "*") and fault.times > 0:
                fault.times -= 1
                return fault
        return None


def too_many(wait: float, *, scope: str, code: int = 0, headers: dict[str, str] | None = None) -> Refusal:
    """A 429 as Discord sends it."""
    extra = {"Retry-After": str(int(wait) + 1), "X-RateLimit-Scope": scope, **VIA}
    if scope == "global":
        extra["X-RateLimit-Global"] = "true"
    more: Json = {"retry_after": round(wait, 3) + 0.001, "global": scope == "global"}
    text = "You are being rate limited."
    if code == 30046:
        text = "Maximum number of edits to messages older than 1 hour reached. Try again later"
    return Refusal(429, code, text, {**(headers or {}), **extra}, **more)
