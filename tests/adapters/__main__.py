"""``python -m tests.adapters`` is ``parley``, with one platform more: the loopback."""

from __future__ import annotations

from bots.platforms import PLATFORMS
from tests.adapters import loopback

PLATFORMS.append(loopback.PLATFORM)

if __name__ == "__main__":
    from bots.cli import main

    main()
