"""What was looked at, and found: by ``parley doctor``, by the page's Status tab, by ``/livez`` and ``/readyz``.

Nothing that a finding says holds a secret: settings are named and not quoted, and an error that nobody foresaw is only
named. Doctor's checks of a platform stand beside its adapter, all others in ``bots/doctor``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

CHECK_TIMEOUT = 8.0
"""Seconds that each step of a check over a network may take."""
BUG = "This is a bug in Parley. Please report it, with this line and the output of `parley --version`."
EXAMPLE = ". Example: "
"""Between what is wrong with a setting and what it could look like."""

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: for programs: ``redis.ping``.
        level: how it is; a warning is good enough to run.
        tried: for people: ``Redis, response time``. "" where the name says it.
        found: what was found; "" where there is nothing to say.
        remedy: what to do about it.
        ms: how long it took, where that says something.
    """

    name: str
    level: Level
    tried: str = ""
    found: str = ""
    remedy: str = ""
    ms: int | None = None

    @property
    def ok(self) -> bool:
        """Whether it is good enough to run; a warning is."""
        return self.level != "error"


FAR_OFF = 30.0
"""Seconds that a clock may differ from a platform's; one that is synchronized is never off by this much."""
SET_CLOCK = (
    "Set this machine's clock, and let it synchronize (NTP): timedatectl set-ntp true (systemd-timesyncd, chrony)."
)


def clock_check(name: str, platform: str, ahead: float | None) -> list[Finding]:
    """That this machine's clock is so many seconds ahead of a platform's; nothing where they agree, or none is told."""
    if ahead is None or abs(ahead) < FAR_OFF:
        return []
    found = f"this machine's clock is {abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} {platform}'s"
    return [Finding(name, "warning", f"{platform}, clock", found, SET_CLOCK)]


Say = Callable[[Finding], None]
"""Takes each check as soon as it is known."""


def ms(began: float) -> int:
    """Milliseconds since ``began``, which is of ``time.perf_counter``."""
    return round(1000 * (time.perf_counter() - began))


def without_example(said: str) -> tuple[str, str]:
    """A line about a wrong setting in two: what is wrong, and the example as something to do, if there is one."""
    what, separator, example = said.partition(EXAMPLE)
    return what, f"Correct it, for example: {example}" if separator else ""
