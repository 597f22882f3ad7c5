"""How a process is asked to stop."""

from __future__ import annotations

import asyncio


class Stopping:
    """A request to stop the process: the first lets running answers finish, the second stops at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()

    def ask(self) -> None:
        """Ask, or ask once more."""
        (self.hurried if self.asked.is_set() else self.asked).set()
