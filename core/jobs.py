"""Turns on their way, as values: what stands in the queue, and what its askers and its workers are told.

What is stored carries the version ``v`` of its format (``core.types.FORMAT``). A worker leaves jobs of a newer version
to newer workers, and reads older ones, so that two versions can run side by side while one takes over from the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from core.memory import Exchange
from core.types import FORMAT, MessageRef, Outcome, Turn

TRIES = 3
"""A turn whose worker died so often is given up; the last try is made alone, beside no other turn."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a message that was submitted.

    ``before`` counts the turns that are answered before it. ``note`` is a line for its author alone, for
    ``core.policy.Venue.tell``; "" if there is nothing to say.
    """

    status: Literal["accepted", "duplicate", "busy", "quota"]
    before: int = 0
    note: str = ""

    @property
    def accepted(self) -> bool:
        """Whether this call, and no earlier one, put the message into the queue."""
        return self.status == "accepted"


@dataclass(frozen=True, slots=True)
class StoredJob:
    """One entry of a lane's inbox.

    ``refs`` are messages of an earlier reply, to be written over. ``alone`` says that it is never answered together
    with its neighbours, and ``scopes`` name the quotas that it counts for. ``since`` is when it was kept for its Retry
    button, and then when that was pressed, in seconds since the epoch; 0 for neither.
    """

    turn: Turn
    refs: tuple[MessageRef, ...] = ()
    alone: bool = False
    scopes: tuple[str, ...] = ()
    since: float = 0.0

    @property
    def id(self) -> str:
        """The turn, and how often a person asked for it again."""
        return f"{self.turn.id}#{self.turn.attempt}"

    def to_json(self) -> str:
        """As stored; ``refs`` and ``since`` stand first, where lanes.lua finds them."""
        record = {
            "refs": write_refs(self.refs),
            "since": round(self.since, 3),
            "v": FORMAT,
            "id": self.id,
            "alone": self.alone,
            "scopes": " ".join(self.scopes),
            "turn": self.turn.record(),
        }
        # Half a surrogate pair, which JSON can bring in, is no text that could be stored.
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace").decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote; fields of a newer version are passed over."""
        record = json.loads(text)
        return cls(
            Turn.from_record(record["turn"]),
            read_refs(record["refs"]),
            bool(record["alone"]),
            tuple(record["scopes"].split()),
            float(record.get("since", 0.0)),
        )


@dataclass(frozen=True, slots=True)
class Note:
    """What became known of a turn since it was stored: that it was stopped, what it reads now, more of its place."""

    stop: Outcome | None = None
    text: str | None = None
    place: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """What is known, and nothing else: notes are added to each other."""
        record: dict[str, Any] = {}
        if self.stop:
            record["stop"] = self.stop.record()
        if self.text is not None:
            record["text"] = self.text
        if self.place:
            record["place"] = dict(self.place)
        return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace").decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote; "" is no note."""
        record = json.loads(text or "{}")
        stop = Outcome.from_record(record["stop"]) if record.get("stop") else None
        return cls(stop, record.get("text"), record.get("place") or {})

    def applied(self, turn: Turn) -> Turn:
        """The turn as it reads now."""
        text = turn.text if self.text is None else self.text
        return replace(turn, text=text, place={**turn.place, **self.place})


@dataclass(frozen=True, slots=True)
class Seal:
    """How an answer ends, written down before people see it: whoever goes on shows this, and asks no model again.

    ``exchange`` is what will be remembered, None for nothing.
    """

    text: str
    outcome: Outcome
    exchange: Exchange | None = None
    tokens: int = 0

    def to_json(self) -> str:
        """As stored."""
        record = {
            "text": self.text,
            "outcome": self.outcome.record(),
            "exchange": self.exchange.record() if self.exchange else None,
            "tokens": self.tokens,
        }
        return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace").decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote."""
        record = json.loads(text)
        exchange = Exchange.from_record(record["exchange"]) if record["exchange"] else None
        return cls(record["text"], Outcome.from_record(record["outcome"]), exchange, int(record["tokens"]))


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A turn that a worker holds, and what an earlier worker left of its reply.

    ``epoch`` is the number of the lease: whoever has an older one may change nothing. ``stored`` are the turns that are
    answered together, the last of them with the reply; ``notes`` are as stored, one for each. ``tries`` counts this
    one. ``posting`` is the number of a message that may have been posted although its name was not written down.
    """

    lane: str
    epoch: int
    tries: int
    stored: tuple[StoredJob, ...]
    notes: tuple[str, ...]
    refs: tuple[MessageRef, ...] = ()
    text: str = ""
    posting: int | None = None
    seal: Seal | None = None

    @property
    def id(self) -> str:
        """The name of the last of its turns, and of the attempt at it."""
        return self.stored[-1].id

    @property
    def turn(self) -> Turn:
        """The turn that gets the reply, as it was stored."""
        return self.stored[-1].turn

    @property
    def hopeless(self) -> bool:
        """Whether workers died of it so often that it is not tried again."""
        return self.tries > TRIES


def write_refs(refs: Sequence[MessageRef]) -> list[list[str]]:
    """Messages of a reply, ready for JSON."""
    return [[ref.channel, ref.id] for ref in refs]


def read_refs(record: Sequence[Sequence[str]]) -> tuple[MessageRef, ...]:
    """Read what ``write_refs`` gave."""
    return tuple(MessageRef(channel, name) for channel, name in record)
