"""Where people talk to Parley, and what the operator lets them do there: values that replies and commands need."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Group = Literal["anyone", "admins"]
Action = Literal["forget", "settings"]

OPERATOR = "the person who runs Parley here"
"""Whom to ask where neither CONTACT nor ADMINS names anybody that people on a platform would know."""
_PLACEHOLDER = re.compile(r"\{(contact|/[^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Venue:
    """A place where people talk to Parley: how a command is written there, and who else can speak.

    A message to Parley begins with ``prefix`` there. ``spelled`` has the commands that are written otherwise: as slash
    commands of the platform. ``shared`` is False where one person is alone with Parley. ``buttons`` says that a reply
    can have buttons.
    ``contact`` is whom to ask, as people know them there. ``asking`` says how to ask a question there.
    """

    prefix: str = ""
    spelled: Mapping[str, str] = field(default_factory=dict)
    shared: bool = False
    buttons: bool = False
    contact: str = ""
    asking: str = "Ask me anything: write your question here."

    def write(self, command: str) -> str:
        """A command as people type it here: ``/forget``, ``@Parley settings temperature 0.2``."""
        return self.spelled.get(command) or f"{self.prefix}{command}"

    def tell(self, text: str) -> str:
        """One of our own sentences with its placeholders filled: ``{contact}``, and commands such as ``{/forget}``."""
        return _PLACEHOLDER.sub(lambda found: self._fill(found[1]), text)

    def _fill(self, name: str) -> str:
        return (self.contact or OPERATOR) if name == "contact" else f"`{self.write(name[1:])}`"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decided: who may give which command where several people talk, and how long is remembered."""

    admins: frozenset[str] = frozenset()
    forget_by: Group = "anyone"
    settings_by: Group = "anyone"
    retention: int = 30 * 86_400
    """Seconds after its last message for which a conversation is kept."""

    def refusal(self, action: Action, user: str, *, shared: bool) -> str:
        """Why a person may not do this, with placeholders for ``Venue.tell``; "" if they may.

        In a conversation of one's own one may do everything.
        """
        group = self.forget_by if action == "forget" else self.settings_by
        if not shared or group == "anyone" or user in self.admins:
            return ""
        if action == "forget":
            return "Only admins can make me forget a shared conversation. Ask {contact}."
        return "Only admins can change settings in a shared conversation. Ask {contact}."
