"""Where people talk to Parley, and what the operator allows them to do there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from core.types import Hear

Group = Literal["anyone", "admins"]
Action = Literal["forget", "settings"]
HEARS: Mapping[Hear, str] = {
    "mention": "I don't read what isn't meant for me.",
    "thread": "In threads where I was asked, I also read what isn't meant for me, and remember it with the thread.",
    "room": "In threads where I was asked, I also read what isn't meant for me, and remember it with the thread. In "
    "channels I read the last messages before a question, and keep them for four hours at most.",
}
"""What is read besides messages to Parley, as people are told."""

OPERATOR = "the person who runs Parley here"
"""Whom to ask if neither CONTACT nor ADMINS names anybody on a platform."""
_PLACEHOLDER = re.compile(r"\{(contact|/[^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Venue:
    """A place where people talk to Parley, and how commands are written there.

    Args:
        prefix: with which a message to Parley begins there.
        spelled: commands that are written differently there, such as slash commands; ``…`` after the first word of one
            stands for whatever follows it, which is then written after its spelling.
        shared: False if one person is alone with Parley.
        buttons: whether a reply can have buttons.
        threads: whether people talk in threads there, and what doesn't mention Parley reaches it.
        contact: whom to ask for help, as people know them there.
        asking: a sentence that says how to ask a question there.
    """

    prefix: str = ""
    spelled: Mapping[str, str] = field(default_factory=dict)
    shared: bool = False
    buttons: bool = False
    threads: bool = False
    contact: str = ""
    asking: str = "Ask me anything: write your question here."

    def write(self, command: str) -> str:
        """A command as people type it here: ``/forget``, ``@Parley settings temperature 0.2``."""
        first, _, rest = command.partition(" ")
        option = self.spelled.get(f"{first} …", "") if rest else ""
        return self.spelled.get(command) or (f"{option}{rest}" if option else f"{self.prefix}{command}")

    def tell(self, text: str) -> str:
        """Fill the placeholders of a sentence: ``{contact}``, and commands such as ``{/forget}``."""
        return _PLACEHOLDER.sub(lambda found: self._fill(found[1]), text)

    def _fill(self, name: str) -> str:
        return (self.contact or OPERATOR) if name == "contact" else f"`{self.write(name[1:])}`"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decided: who can use which command in shared conversations, what is read, and for how long."""

    admins: frozenset[str] = frozenset()
    forget_by: Group = "anyone"
    settings_by: Group = "anyone"
    retention: int = 30 * 86_400
    """Seconds after its last message for which a conversation is kept."""
    hear: Hear = "thread"

    def describe_hearing(self, venue: Venue) -> str:
        """What is read in a place besides messages to Parley, in words; "" where all messages are."""
        if not venue.shared or not (venue.prefix or venue.threads):
            return ""
        return HEARS[self.hear if venue.threads else "mention"]

    def refusal(self, action: Action, user: str, *, shared: bool) -> str:
        """Why a person is not allowed to do this, with placeholders for ``Venue.tell``; "" if they are.

        In a conversation that is not ``shared``, everything is allowed.
        """
        group = self.forget_by if action == "forget" else self.settings_by
        if not shared or group == "anyone" or user in self.admins:
            return ""
        if action == "forget":
            return "Only admins can make me forget a shared conversation. Ask {contact}."
        return "Only admins can change settings in a shared conversation. Ask {contact}."
