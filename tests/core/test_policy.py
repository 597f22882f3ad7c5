"""What people are told about what is read, and how they write commands."""

from __future__ import annotations

import pytest

from core.policy import HEARS, Policy, Venue
from core.settings import load_settings
from core.types import Hear

CHANNEL = Venue("@Parley ", shared=True, threads=True)
PLACES: dict[str, tuple[Venue, Hear, str]] = {
    "a channel, threads are read": (CHANNEL, "thread", HEARS["thread"]),
    "a channel, it is read": (CHANNEL, "room", HEARS["room"]),
    "a channel, nothing is read": (CHANNEL, "mention", HEARS["mention"]),
    "a platform that brings mentions alone": (Venue("@Parley ", shared=True), "room", HEARS["mention"]),
    "a direct message": (Venue(), "room", ""),
    "a channel of the page, where all is for Parley": (Venue(shared=True), "room", ""),
}


@pytest.mark.parametrize(("venue", "hear", "said"), PLACES.values(), ids=PLACES)
def test_people_are_told_what_is_read_where_they_are(venue: Venue, hear: Hear, said: str) -> None:
    """In the mode that is set, as far as the platform brings it; nothing where all messages are for Parley."""
    settings = load_settings(_env_file=None, hear=hear)
    assert settings.policy.describe_hearing(venue) == said
    assert Policy(hear=hear).describe_hearing(venue) == said


SPELLED = {"forget": "/forget", "forget now": "/forget now:True", "forget …": "/forget number:"}


@pytest.mark.parametrize(
    ("command", "written"),
    [
        ("forget", "/forget"),
        ("forget now", "/forget now:True"),
        ("forget 3", "/forget number:3"),
        ("memory", "@Parley memory"),
        ("3 is wrong: it is 4", "@Parley 3 is wrong: it is 4"),
    ],
)
def test_a_command_is_written_as_people_type_it_there(command: str, written: str) -> None:
    """With an option where that is how it is spelled, else as a message."""
    assert Venue("@Parley ", SPELLED).write(command) == written
    assert Venue().write(command) == command
