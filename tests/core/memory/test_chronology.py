"""What was overheard stands where it was said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.memory.chronology import in_order
from core.types import Author, Message, Role
from tests.examples import examples

BOB = Author("U2", "Bob")


def read(line: str) -> list[Message]:
    """Messages written as ``q1 a1@9 m5``: a question at 1, its answer given at 9, something overheard at 5."""
    messages = []
    for word in line.split():
        name, _, given_at = word.partition("@")
        at = float(given_at or name[1:])
        match name[0]:
            case "q":
                messages.append(Message(Role.USER, name, name, BOB, at))
            case "a":
                messages.append(Message(Role.ASSISTANT, name, name, at=at, reply_to=f"q{name[1:]}"))
            case "n":
                messages.append(Message(Role.SYSTEM, name, name, at=at))
            case "m":
                messages.append(Message(Role.USER, name, name, BOB, at, overheard=True))
    return messages


@pytest.mark.parametrize(
    ("stored", "reads"),
    [
        ("", ""),
        ("m1 m2", "m1 m2"),
        ("q1 a1@9", "q1 a1"),
        # While an answer is being written: after it, and before the next question, stored early or late.
        ("q1 m5 a1@9", "q1 a1 m5"),
        ("m5 q1 a1@9 q10 a10@12", "q1 a1 m5 q10 a10"),
        ("q1 a1@9 q10 a10@12 m5", "q1 a1 m5 q10 a10"),
        # Before a question, stored after it.
        ("q10 a10@12 m9", "m9 q10 a10"),
        ("q3 a3 m9 m8 m7", "q3 a3 m7 m8 m9"),
        # An answer that was given again stands where it was stored; what was said later than both, after both.
        ("q20 a20@21 q10 a10@30 m25", "q20 a20 q10 a10 m25"),
        ("q20 a20@21 q10 a10@30 m15", "m15 q20 a20 q10 a10"),
        # A copied answer whose question left the list has its own time.
        ("a1@9 q12 a12@13 m10", "a1 m10 q12 a12"),
        # A note about what was read stands before its question, what was read before the note.
        ("m1 m2 n5 q5 a5@6", "m1 m2 n5 q5 a5"),
        ("n5 q5 a5@6 m2 m1", "m1 m2 n5 q5 a5"),
    ],
)
def test_overheard_messages_stand_where_they_were_said(stored: str, reads: str) -> None:
    """The others keep their order."""
    assert [message.id for message in in_order(read(stored))] == reads.split()


numbers = st.integers(0, 30)
words = st.one_of(
    *(st.builds(f"{kind}{{}}".format, numbers) for kind in "qmn"),
    st.builds("a{}@{}".format, numbers, numbers),
)


@examples(100)
@given(st.lists(words, max_size=30))
def test_nothing_is_lost_and_nothing_else_moves(line: list[str]) -> None:
    """Whatever the times; and to put in order what is in order changes nothing."""
    stored = read(" ".join(line))
    ordered = in_order(stored)
    assert sorted(ordered, key=id) == sorted(stored, key=id)
    assert [one for one in ordered if not one.overheard] == [one for one in stored if not one.overheard]
    overheard = [one.at for one in ordered if one.overheard]
    assert overheard == sorted(overheard)
    assert in_order(ordered) == ordered
