"""Discord, as a worker sees it: with the bot's token, and without a gateway."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import structlog

from bots.discord.budgets import DiscordBudgets
from bots.discord.buttons import identity
from bots.discord.calls import Calls
from bots.discord.editor import DiscordEditor
from bots.discord.events import with_context
from bots.discord.messenger import tell
from bots.discord.text import readable
from bots.discord.typing import Typists
from bots.discord.venue import venue_of
from core.delivery import Pace, retry_for
from core.policy import Venue
from core.prompts import shorten
from core.types import Author, Message, Role, Turn

log = structlog.get_logger()

THREAD_MESSAGES = 50
"""Messages that are read of a thread in which people spoke before we were asked: the newest."""
THREAD_TIMEOUT = 10.0
"""Seconds that an answer waits for a thread that Discord does not give at once."""
THREAD_TOKENS = 500
"""The most tokens of each of its messages."""


class DiscordSurface:
    """All of Discord that one bot sees. See ``core.delivery.Surface``."""

    regenerates = True

    def __init__(
        self, calls: Calls, budgets: DiscordBudgets, *, typists: Typists, first_words: float, contact: str = ""
    ) -> None:
        """``contact`` is the person whom people can ask, as Discord shows it."""
        self.calls = calls
        self._contact = contact
        self._budgets = budgets
        self._typists = typists
        self._first_words = first_words
        self._open: WeakValueDictionary[str, DiscordEditor] = WeakValueDictionary()

    async def understand(self, turn: Turn) -> Turn:
        """What is replied to and what is attached, in words. Names were known when the turn was made."""
        return replace(turn, text=with_context(turn.text, turn.place))

    async def read_thread(self, turn: Turn, after: str = "") -> Sequence[Message]:
        """The thread's messages before the turn, as far as we may read them."""
        if turn.place.get("private"):
            return ()
        before = turn.id.rpartition(":")[2]
        path = f"/channels/{turn.key.thread}/messages?limit={THREAD_MESSAGES}&before={before}"
        answer = await retry_for(partial(self.calls, "read a thread", "GET", path), THREAD_TIMEOUT)
        said = [self._message(turn, message) for message in reversed(answer.objects)]
        return [message for message in said if message.text]

    async def read_room(self, turn: Turn) -> Sequence[Message]:
        """See ``core.delivery.Surface``."""
        return ()

    async def venue(self, turn: Turn) -> Venue:
        """See ``core.delivery.Surface``."""
        user = self.calls.client.user
        return venue_of(turn, user.display_name if user else "Parley", self._contact)

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

    def _message(self, turn: Turn, said: dict[str, Any]) -> Message:
        """One message of a thread, as it is remembered."""
        author, key = said["author"], turn.key
        ours = self.calls.client.user is not None and int(author["id"]) == self.calls.client.user.id
        name = author.get("global_name") or author["username"]
        names = {user["id"]: user.get("global_name") or user["username"] for user in said.get("mentions", [])}
        return Message(
            role=Role.ASSISTANT if ours else Role.USER,
            text=shorten(readable(said["content"], names), THREAD_TOKENS),
            id=identity(key.workspace, key.thread, said["id"]),
            author=None if ours else Author(author["id"], name),
            at=_at(said["id"]),
        )


def _at(snowflake: str) -> float:
    """When something was said, from its id."""
    return ((int(snowflake) >> 22) + 1_420_070_400_000) / 1000
