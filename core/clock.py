"""Our clock beside another's, as HTTP answers tell it."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime


def seconds_ahead(date: object) -> float | None:
    """Seconds that our clock is ahead of one whose answer, which came just now, bears that ``Date``.

    It counts whole seconds. None where there is no date that can be read.
    """
    try:
        return time.time() - parsedate_to_datetime(str(date)).timestamp()
    except (ValueError, TypeError, OverflowError, OSError, IndexError):
        return None
