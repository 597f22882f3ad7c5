"""The names of keys, and the table that says what each holds."""

from __future__ import annotations

import pytest

from core.store.catalog import STORED, StoredKey, declare, kind_of
from core.store.keys import Keys
from core.types import ConversationKey

CHANNEL = ConversationKey("slack", "T1", "C1")
THREAD = ConversationKey("slack", "T1", "C1", "1700.1")
NAMES = [
    *(make(key) for make in (Keys.messages, Keys.state, Keys.forks, Keys.settings, Keys.folding, Keys.retries,
                   Keys.room, Keys.changed)
      for key in (CHANNEL, THREAD)),
    *(Keys.lanes(place, "slack") for place in ("ready", "held", "suspects")),
    *(Keys.EPOCH, Keys.SCHEMA, Keys.WORKERS, Keys.DEAD, Keys.PROBE, Keys.TIMINGS, Keys.CONNECTIONS),
    *(Keys.turn("slack:T1:C1:1"), Keys.seen("hello"), Keys.inbox("slack:T1:C1"), Keys.lane_state("slack:T1:C1")),
    *(Keys.feedback("slack:T1:C1:1"), Keys.bell("slack"), Keys.listening("slack"), Keys.budget("slack:T1:chat.update")),
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_key_has_a_kind(name: str) -> None:
    """So that one of another kind is found and put aside."""
    assert kind_of(name)


def test_a_turn_and_who_waits_for_it_are_told_apart() -> None:
    """Their names begin alike."""
    turn = Keys.turn("slack:T1:C1:1")
    assert (kind_of(turn), kind_of(f"{turn}/waiting")) == ("hash", "set")


def test_what_is_none_of_ours_has_no_kind() -> None:
    """Somebody else may keep something in the same Redis."""
    assert [kind_of(name) for name in ("", "session:1", "{parley}:", "{parley}:something")] == [""] * 4


def test_every_kind_of_key_ends() -> None:
    """Nothing is kept for ever."""
    assert all(key.until for key in STORED)


def test_a_platform_declares_what_it_keeps_for_itself() -> None:
    """Then such a key is known as every other."""
    name = Keys.own("parrot", "cage:7")
    assert not kind_of(name)
    declare([StoredKey("parrot:cage:<number>", "zset", "words it learnt", "a day")])
    assert kind_of(name) == "zset"
