"""What comes with a message beside its text: forwards, replies, tables, cards of apps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from core.stored import Unreadable, choice_in, list_in, text_in


class QuoteKind(StrEnum):
    """What a quote is."""

    FORWARD = "forward"
    """A message that was written elsewhere and forwarded."""
    REPLY = "reply"
    """The message that is replied to, by anybody."""
    ROOT = "root"
    """The message that a thread hangs on."""
    CARD = "card"
    """What an app shows beside a text: an alert, an embed, a link preview, a poll."""
    TABLE = "table"
    """A table that the author pasted, as Markdown."""
    UNREADABLE = "unreadable"
    """What can't be read, named in one line, such as "a voice message"."""


@dataclass(frozen=True, slots=True)
class Quote:
    """Something that comes with a message beside its text: forwarded, replied to, pasted, or made by an app.

    Args:
        kind: what it is.
        text: Markdown, as people read it; adapters keep it bounded.
        by: the display name of its author; "" if that is the author of the message, or not known.
        origin: where it was written, as people call it: "#general". "" if here, or not known.
    """

    kind: QuoteKind
    text: str
    by: str = ""
    origin: str = ""

    def record(self) -> dict[str, Any]:
        """As stored in Redis, ready for JSON; fields with their default are left out."""
        record = {"kind": self.kind, "text": self.text, "by": self.by, "origin": self.origin}
        return {name: value for name, value in record.items() if value}

    @classmethod
    def from_record(cls, record: Any) -> Self:
        """Read what ``record`` gave. Raises Unreadable."""
        if not isinstance(record, Mapping):
            raise Unreadable("a quote is not an object")
        kind = choice_in(record, "kind", QuoteKind)
        return cls(kind, text_in(record, "text", ""), text_in(record, "by", ""), text_in(record, "origin", ""))


def quotes_in(record: Mapping[str, Any]) -> tuple[Quote, ...]:
    """The ``quotes`` of a stored record; none if it has no such field. Raises Unreadable."""
    return tuple(map(Quote.from_record, list_in(record, "quotes"))) if "quotes" in record else ()
