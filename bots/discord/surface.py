"""Discord, as a worker sees it: with the bot's token, and without a gateway."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakValueDictionary

import structlog

from bots.discord.budgets import DiscordBudgets
from bots.discord.calls import Calls
from bots.discord.editor import DiscordEditor
from bots.discord.history import History
from bots.discord.messenger import tell
from bots.discord.settings import DiscordSettings
from bots.discord.typing import Typists
from bots.discord.venue import contact_in, venue_of
from core.delivery import Pace
from core.policy import Venue
from core.types import Message, Turn

log = structlog.get_logger()


class DiscordSurface:
    """All of Discord that one bot sees. See ``core.delivery.Surface``."""

    regenerates = True

    def __init__(self, calls: Calls, budgets: DiscordBudgets, settings: DiscordSettings, *, typists: Typists) -> None:
        self.calls = calls
        self._contact = contact_in(settings)
        self._budgets = budgets
        self._history = History(calls, budgets, settings)
        self._typists = typists
        self._heard = settings.discord_message_content
        self._first_words = settings.first_words_ms / 1000
        self._open: WeakValueDictionary[str, DiscordEditor] = WeakValueDictionary()

    async def understand(self, turn: Turn) -> Turn:
        """As it is: names were known when the turn was made."""
        return turn

    async def read_thread(self, turn: Turn, after: str = "") -> Sequence[Message]:
        """See ``core.delivery.Surface``."""
        return await self._history.thread(turn, after)

    async def read_room(self, turn: Turn) -> Sequence[Message]:
        """See ``core.delivery.Surface``."""
        return await self._history.room(turn)

    async def venue(self, turn: Turn) -> Venue:
        """See ``core.delivery.Surface``."""
        user = self.calls.client.user
        return venue_of(turn, user.display_name if user else "Parley", self._contact, heard=self._heard)

    def open_editor(self, turn: Turn) -> DiscordEditor:
        """Where the reply to a turn is written."""
        posts, edits = self._budgets.in_place(self._place(turn))
        editor = self._open[turn.id] = DiscordEditor(self.calls, turn, posts, edits, typists=self._typists)
        return editor

    def pace(self, turn: Turn) -> Pace:
        """Posts and edits are counted for the channel, or for the interaction, and all together for the bot."""
        editor = self._open.get(turn.id)
        return Pace(*self._budgets.in_place(self._place(turn)), self._first_words, editor.ready if editor else None)

    async def tell(self, turn: Turn, text: str) -> None:
        """See ``core.delivery.PrivateSurface``: in a direct message."""
        await tell(self.calls, turn, text)

    def _place(self, turn: Turn) -> str:
        own = turn.place.get("token") or turn.place.get("open_thread")
        return turn.id if own else turn.place["channel"]
