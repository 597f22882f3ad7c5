"""What is stored of turns comes back as it was; what another version or nobody of us wrote is told apart."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.memory.exchange import Exchange
from core.stored import Unreadable
from core.turns.jobs import MAX_COUNTED_TOKENS, Note, Receipt, Seal, StoredJob, read_refs, write_refs
from core.types import Author, ConversationKey, Ending, Message, MessageRef, Outcome, Role, Turn

CHANNEL = ConversationKey("slack", "T1", "C1")
TEXT = st.text(max_size=40)
WHOLE = TEXT.map(lambda text: text.encode("utf-8", "replace").decode())
TURN = st.builds(
    Turn,
    id=WHOLE.filter(bool),
    key=st.just(CHANNEL),
    lane=WHOLE.filter(bool),
    author=st.builds(Author, WHOLE, WHOLE),
    text=WHOLE,
    at=st.floats(0, 4e9),
    root=WHOLE,
    place=st.dictionaries(WHOLE, WHOLE, max_size=3),
    attempt=st.integers(0, 9),
)
REFS = st.lists(st.builds(MessageRef, WHOLE, WHOLE), max_size=3).map(tuple)
SCOPES = st.lists(st.from_regex(r"[a-z:%0-9]+", fullmatch=True), max_size=3).map(tuple)
OUTCOME = st.builds(Outcome, st.sampled_from(Ending), WHOLE, st.booleans(), st.booleans(), st.booleans(), WHOLE)
ASKED = Turn("t1", CHANNEL, "slack:a", Author("U1", "Ada"), "why?", 1.0, place={"channel": "C1"})


@given(TURN, REFS, st.booleans(), SCOPES)
def test_a_job_comes_back_as_it_was(
    turn: Turn, refs: tuple[MessageRef, ...], alone: bool, scopes: tuple[str, ...]
) -> None:
    """Every field of it; and scripts find what they change where they look for it."""
    job = StoredJob(turn, refs, alone, scopes, 12.5)
    stored = job.to_json()
    assert StoredJob.from_json(stored) == job
    assert stored.startswith('{"refs":[')
    before_the_turn = stored[: stored.index('"turn":{')]
    assert before_the_turn.count('"scopes":"') == before_the_turn.count('"since":12.5') == 1


def test_an_attempt_has_a_name_of_its_own() -> None:
    """So that the end of the first does not end the second."""
    first, second = StoredJob(ASKED), StoredJob(replace(ASKED, attempt=1))
    assert (first.id, second.id) == ("t1#0", "t1#1")
    forged = json.loads(second.to_json()) | {"id": first.id}
    with pytest.raises(Unreadable):
        StoredJob.from_record(forged)


def test_what_a_newer_version_added_is_passed_over() -> None:
    """Two versions run side by side while one takes over."""
    record = json.loads(StoredJob(ASKED).to_json())
    record |= {"mood": "good"}
    record["turn"] |= {"weather": {"sun": True}}
    assert StoredJob.from_record(record) == StoredJob(ASKED)


def test_half_a_character_is_no_text_that_can_be_stored() -> None:
    """It is replaced, in a job, a note and a seal."""
    half = "a \ud800"
    for stored in (
        StoredJob(replace(ASKED, text=half)).to_json(),
        Note(text=half, place={"files": half}).to_json(),
        Seal(half, Outcome(Ending.COMPLETE)).to_json(),
    ):
        stored.encode()


@given(st.none() | OUTCOME, st.none() | WHOLE, st.dictionaries(WHOLE, WHOLE, max_size=3), st.floats(0, 4e9))
def test_a_note_comes_back_as_it_was(
    stop: Outcome | None, text: str | None, place: dict[str, str], edited: float
) -> None:
    """And says nothing of what is not known, since notes are added to each other."""
    note = Note(stop, text, place, edited)
    assert Note.from_json(note.to_json()) == note
    known = {name for name, value in (("stop", stop), ("edited", edited), ("place", place)) if value}
    assert set(json.loads(note.to_json())) == known | ({"text"} if text is not None else set())
    assert Note.from_json("") == Note()


@pytest.mark.parametrize(
    ("note", "read"),
    [
        (Note(), ("why?", {"channel": "C1"}, 0.0)),
        (Note(text="how?", edited=5.0), ("how?", {"channel": "C1"}, 5.0)),
        (Note(text=""), ("", {"channel": "C1"}, 0.0)),
        (Note(place={"files": "a.pdf"}), ("why?", {"channel": "C1", "files": "a.pdf"}, 0.0)),
        (Note(text="how?", place={"channel": "C2"}), ("how?", {"channel": "C2"}, 0.0)),
    ],
)
def test_a_turn_reads_as_its_note_says(note: Note, read: tuple[str, dict[str, str], float]) -> None:
    """What the note does not say stays as it was stored."""
    now = note.applied(ASKED)
    assert (now.text, now.place, now.edited) == read
    assert (now.id, now.author, now.lane) == (ASKED.id, ASKED.author, ASKED.lane)


@given(WHOLE, OUTCOME, st.integers(-5, 10**30))
def test_a_seal_comes_back_as_it_was(text: str, outcome: Outcome, tokens: int) -> None:
    """With what will be remembered; and with no more tokens than an answer can have."""
    said = (Message(Role.USER, "why?", id="t1"), Message(Role.ASSISTANT, text, id="m1", reply_to="t1"))
    exchange = Exchange(CHANNEL, 3, "t1", "m0", said)
    for remembered in (None, exchange):
        seal = Seal(text, outcome, remembered, tokens)
        bounded = replace(seal, tokens=max(0, min(tokens, MAX_COUNTED_TOKENS)))
        assert Seal.from_json(seal.to_json()) == bounded


@given(REFS)
def test_messages_of_a_reply_come_back_as_they_were(refs: tuple[MessageRef, ...]) -> None:
    """In their order."""
    assert read_refs(json.loads(json.dumps(write_refs(refs)))) == refs


@pytest.mark.parametrize("bad", [["C1"], [["C1"]], [["C1", 1]], [["C1", "1", "2"]], [{"channel": "C1"}], [None]])
def test_what_names_no_message_is_unreadable(bad: list[Any]) -> None:
    """And not half a name."""
    with pytest.raises(Unreadable):
        read_refs(bad)


@pytest.mark.parametrize(
    ("receipt", "accepted", "refused"),
    [
        (Receipt("accepted", 2, "You're in line."), True, False),
        (Receipt("duplicate"), False, False),
        (Receipt("gone"), False, False),
        (Receipt("busy", 20, "Later."), False, True),
        (Receipt("quota", 0, "Later."), False, True),
    ],
)
def test_a_receipt_says_what_became_of_a_message(receipt: Receipt, accepted: bool, refused: bool) -> None:
    """Only what is too much is refused: what was there already is taken care of."""
    assert (receipt.accepted, receipt.refused) == (accepted, refused)
