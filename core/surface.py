"""A platform, as seen by whoever answers a turn there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from core.delivery import MessageEditor, Pace
from core.types import Message, Turn


class Surface(Protocol):
    """What the core needs of a platform to answer its turns; any process with the platform's token can give it."""

    regenerates: bool
    """Whether a reply that went well may be asked for again as well."""

    async def understand(self, turn: Turn) -> Turn:
        """Make a message readable: names for ids, plain links, no markup. Never raises: what is unknown stays."""
        ...

    async def read_thread(self, turn: Turn) -> Sequence[Message]:
        """What people said in the turn's thread before it, oldest first, bounded. Empty if it cannot be read."""
        ...

    def open_editor(self, turn: Turn) -> MessageEditor:
        """Where the reply to a turn is written."""
        ...

    def pace(self, turn: Turn) -> Pace:
        """The budgets that the reply draws from."""
        ...
