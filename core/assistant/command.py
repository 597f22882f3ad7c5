"""A command as a person gave it, and the reply to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from core.memory import Memory
from core.policy import Policy, Venue
from core.types import ConversationKey, Turn


@dataclass(frozen=True, slots=True)
class CommandReply:
    """What a command replies.

    Attributes:
        text: Markdown.
        confirm: What a Forget button is bound to; "" for no button.
        private: Whether it is for the author alone, where the platform can do that: nothing was changed.
    """

    text: str
    confirm: str = ""
    private: bool = False


@dataclass(frozen=True, slots=True)
class CommandCall:
    """A command as a person gave it: the turn, the venue, and the operator's policy."""

    turn: Turn
    memory: Memory
    venue: Venue
    policy: Policy

    @property
    def place(self) -> str:
        """The conversation that it is about, in words."""
        return place_of(self.turn.key, self.venue)

    def say(self, text: str) -> CommandReply:
        """Reply with a sentence of our own, its placeholders filled."""
        return CommandReply(self.venue.tell(text))

    def refuse(self, text: str) -> CommandReply:
        """The same for a refusal: nothing was changed."""
        return CommandReply(self.venue.tell(text), private=True)


@dataclass(frozen=True, slots=True)
class Command:
    """Something that a person tells Parley to do.

    >>> command = commands.find("settings temperature 0.2")
    >>> said = await command(turn, memory, venue, policy)
    """

    obey: Callable[[CommandCall], Awaitable[CommandReply]]

    def __call__(
        self, turn: Turn, memory: Memory, venue: Venue | None = None, policy: Policy | None = None
    ) -> Awaitable[CommandReply]:
        """Obey ``turn``, which was said in ``venue``, as far as ``policy`` lets its author. Raises StorageError."""
        return self.obey(CommandCall(turn, memory, venue or Venue(), policy or Policy()))


def place_of(key: ConversationKey, venue: Venue) -> str:
    """A conversation, in words."""
    return "this thread" if key.thread else "this channel" if venue.shared else "this conversation"
