"""What a worker may still do with a turn: as long as its lease lasts, and knowing what became known."""

from __future__ import annotations

import asyncio
import time

import pytest

from core.delivery.draft import Draft
from core.turns.jobs import Job, Note, StoredJob
from core.turns.lease import Lease, LeaseLost
from core.types import Author, ConversationKey, Ending, Outcome, Turn

CHANNEL = ConversationKey("slack", "T1", "C1")
STOP = Outcome(Ending.STOPPED, "Stopped.")
DELETED = Outcome(Ending.STOPPED, "Deleted.", remember=False)


def job(*notes: str) -> Job:
    """A job of as many turns as there are notes."""
    turns = [Turn(f"t{number}", CHANNEL, "slack:a", Author("U1", ""), "?", 1.0) for number in range(len(notes))]
    return Job("slack:a", 1, 1, tuple(map(StoredJob, turns)), notes)


def lease(*notes: str, seconds: float = 60.0) -> Lease:
    """One that was just given."""
    return Lease(job(*notes or ("",)), seconds, time.monotonic())


async def test_a_call_begins_only_if_it_ends_while_the_lease_is_ours() -> None:
    """A third of it is left for the call."""
    lease().check()
    over = Lease(job(""), 60.0, time.monotonic() - 41)
    with pytest.raises(LeaseLost):
        over.check()
    over.renew(time.monotonic(), ("",))
    over.check()
    over.lost = True
    with pytest.raises(LeaseLost):
        over.check()


@pytest.mark.parametrize(
    ("notes", "ends"),
    [
        (("",), None),
        ((Note(stop=STOP).to_json(),), STOP),
        ((Note(stop=DELETED).to_json(),), DELETED),
        (("", Note(stop=STOP).to_json()), STOP),
        (("", Note(stop=DELETED).to_json()), None),
        ((Note(stop=DELETED).to_json(), Note(stop=DELETED).to_json()), DELETED),
        ((Note(stop=DELETED).to_json(), Note(stop=STOP).to_json()), STOP),
    ],
)
async def test_a_stop_ends_an_answer_and_a_deletion_does_where_nobody_else_asks(
    notes: tuple[str, ...], ends: Outcome | None
) -> None:
    """Known when it was taken, or learned meanwhile."""
    known, learned = lease(*notes), lease(*[""] * len(notes))
    learned.learn(notes)
    for one in (known, learned):
        assert (one.stop.result() if one.stop.done() else None) == ends
    assert [turn.id for turn in known.turns()] == [
        f"t{number}" for number, note in enumerate(notes) if Note.from_json(note).stop != DELETED
    ]


@pytest.mark.parametrize("note", ["", "x", "[]", "7", '{"stop":7}', '{"text":[1]}', '{"place":{"a":1}}', "[" * 5000])
async def test_notes_that_cannot_be_read_are_not_known(note: str) -> None:
    """The turn is answered as it was asked."""
    one = lease(note)
    assert not one.stop.done()
    assert [turn.text for turn in one.turns()] == ["?"]


@pytest.mark.parametrize("note", ['{"stop":{"remember":false}}', '{"stop":{"remember":false,"ending":"new"}}'])
async def test_a_deletion_is_heeded_in_whatever_words_it_is_told(note: str) -> None:
    """Also in those of a newer version."""
    assert lease(note).withdrawn
    assert lease(note).turns() == ()


@pytest.mark.parametrize("notes", [(), ("", "")])
async def test_notes_of_another_number_of_turns_are_of_others(notes: tuple[str, ...]) -> None:
    """What was learned before stands."""
    one = lease(Note(text="better").to_json())
    one.renew(time.monotonic(), notes)
    assert [turn.text for turn in one.turns()] == ["better"]


async def test_a_text_is_saved_once_and_not_before_it_is_longer() -> None:
    """Than what an earlier worker saved."""
    one = lease("")
    assert one.unsaved() == ""
    one.draft = Draft()
    one.draft.append("word ")
    assert (one.unsaved(), one.unsaved()) == ("word ", "")


async def test_an_answer_ends_at_its_time() -> None:
    """If nothing has ended it before."""
    one = lease("")
    one.end_at(time.time() - 5, STOP)
    assert await asyncio.wait_for(one.stop, 10) == STOP
