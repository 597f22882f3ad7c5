"""What is stored of messages and turns reads back as it was."""

from __future__ import annotations

import pytest

from core.types import Author, ConversationKey, Message, Role, Turn

PERSON, APP = Author("U1", "Ann"), Author("B1", "Alerts", app=True)


@pytest.mark.parametrize("author", [PERSON, APP])
def test_an_author_reads_back_as_a_person_or_as_an_app(author: Author) -> None:
    """In messages and in turns."""
    message = Message(Role.USER, "hello", id="m1", author=author)
    turn = Turn("t1", ConversationKey("slack", "T1", "C1"), "lane", author, "hello", 1.0)
    assert Message.from_json(message.to_json()) == message
    assert Turn.from_record(turn.record()) == turn
