"""What one turn adds to a conversation, and what bounds a conversation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from core.stored import choice_in, count_in, list_in, text_in
from core.types import ConversationKey, Message

MAX_CONVERSATION_MESSAGES = 200
MAX_CONVERSATION_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Thread:
    """The message that started a thread: its id, and when it was written, in seconds since the epoch."""

    root: str
    root_at: float


@dataclass(frozen=True, slots=True)
class Exchange:
    """What one turn adds to a conversation: question and answer, and unanswered messages before them.

    Args:
        epoch: of the conversation when it was loaded.
        question: the turn's id.
        cut: id of the first message in the prompt window.
        heard: the listening token under which all of the thread was known; "" if it was not.
        until: the question up to which all of it is known.
        noted: ``Conversation.noted``, if some messages were read from the platform; None if none were.
    """

    key: ConversationKey
    epoch: int
    question: str
    cut: str
    messages: tuple[Message, ...]
    heard: str = ""
    until: str = ""
    noted: int | None = None

    def record(self) -> dict[str, Any]:
        """As kept in Redis, ready for JSON."""
        return {
            "key": str(self.key),
            "epoch": self.epoch,
            "question": self.question,
            "cut": self.cut,
            "messages": [message.to_json() for message in self.messages],
            "heard": self.heard,
            "until": self.until,
            **({} if self.noted is None else {"noted": self.noted}),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read what ``record`` gave. Raises Unreadable."""
        messages = tuple(Message.from_json(message) for message in list_in(record, "messages"))
        key = choice_in({"key": text_in(record, "key")}, "key", ConversationKey.parse)
        return cls(
            key,
            count_in(record, "epoch"),
            text_in(record, "question"),
            text_in(record, "cut"),
            messages,
            text_in(record, "heard", ""),
            text_in(record, "until", ""),
            count_in(record, "noted") if "noted" in record else None,
        )
