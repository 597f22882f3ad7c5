"""Values of the queue: jobs, notes and seals as they are stored, and receipts for those who submit.

What is stored carries the version ``v`` of its format (``core.types.FORMAT``). A worker leaves jobs of a newer version
to newer workers, and reads older ones, so that two versions can run side by side while one takes over from the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, TypeVar

from core.memory import Exchange
from core.quotes import Quote, quotes_in
from core.stored import Unreadable, count_in, flag_in, list_in, read_record, record_in, text_in, texts_in, time_in
from core.types import FORMAT, Ending, MessageRef, Outcome, Turn

T = TypeVar("T")

MAX_COUNTED_TOKENS = 1_000_000_000
"""The most tokens that one answer counts for a quota, whatever its server claims."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a message that was submitted.

    ``before`` counts the turns that are answered before it. ``note`` is a line for its author alone, for
    ``core.policy.Venue.tell``; "" if there is nothing to say. ``gone`` is a turn that cannot be asked again any more.
    ``limit`` names what a refused one was too much for, and ``seconds`` say when it may work, where that is known.
    """

    status: Literal["accepted", "duplicate", "busy", "quota", "gone"]
    before: int = 0
    note: str = ""
    limit: str = ""
    seconds: int = 0

    @property
    def accepted(self) -> bool:
        """Whether this call, and no earlier one, put the message into the queue."""
        return self.status == "accepted"

    @property
    def refused(self) -> bool:
        """Whether it was too much; ``note`` says so."""
        return self.status in ("busy", "quota")


@dataclass(frozen=True, slots=True)
class StoredJob:
    """One entry of a lane's inbox.

    ``refs`` are messages of an earlier reply, to be written over. ``alone`` says that it is never answered together
    with its neighbours, and ``scopes`` name the quotas that it counts for. ``since`` is when it was kept for its Retry
    button, and then when that was pressed, in seconds since the epoch; 0 for neither. ``voices`` are other people whose
    words are part of its text, since they were asked together with it.
    """

    turn: Turn
    refs: tuple[MessageRef, ...] = ()
    alone: bool = False
    scopes: tuple[str, ...] = ()
    since: float = 0.0
    voices: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The turn's id, and how often it was retried."""
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
            **({"voices": list(self.voices)} if self.voices else {}),
            "turn": self.turn.record(),
        }
        # Half a surrogate pair, which JSON can bring in, is no text that could be stored.
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace").decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote; fields of a newer version are passed over. Raises Unreadable."""
        return cls.from_record(read_record(text))

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read what was JSON. Raises Unreadable."""
        job = cls(
            Turn.from_record(record_in(record, "turn")),
            read_refs(list_in(record, "refs")),
            flag_in(record, "alone"),
            tuple(text_in(record, "scopes").split()),
            time_in(record, "since", 0.0),
            tuple(text_in({"voice": voice}, "voice") for voice in list_in(record, "voices", [])),
        )
        if text_in(record, "id") != job.id:
            raise Unreadable("its id is not that of its turn")
        return job


@dataclass(frozen=True, slots=True)
class Note:
    """What became known of a turn since it was stored: that it was stopped, what it reads now, more of its place.

    ``edited`` is since when it reads so, by the platform's clock; 0 where the platform does not say. ``quotes`` replace
    those of the same kinds.
    """

    stop: Outcome | None = None
    text: str | None = None
    place: Mapping[str, str] = field(default_factory=dict)
    edited: float = 0.0
    quotes: tuple[Quote, ...] = ()

    def to_json(self) -> str:
        """Only the fields that are known: notes are merged in Redis."""
        record: dict[str, Any] = {}
        if self.stop:
            record["stop"] = self.stop.record()
        if self.text is not None:
            record["text"] = self.text
        if self.edited:
            record["edited"] = self.edited
        if self.place:
            record["place"] = dict(self.place)
        if self.quotes:
            record["quotes"] = [quote.record() for quote in self.quotes]
        return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace").decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote; "" is no note. Never raises: what cannot be read of it is not known."""
        try:
            record = read_record(text or "{}")
        except Unreadable:
            return cls()
        return cls(
            _stop_in(record),
            _known(lambda: text_in(record, "text") if "text" in record else None, None),
            _known(lambda: texts_in(record, "place"), {}),
            _known(lambda: time_in(record, "edited", 0.0), 0.0),
            _known(lambda: quotes_in(record), ()),
        )

    def applied(self, turn: Turn) -> Turn:
        """The turn as it reads now."""
        kinds = {quote.kind for quote in self.quotes}
        quotes = (*(quote for quote in turn.quotes if quote.kind not in kinds), *self.quotes)
        turn = replace(turn, place={**turn.place, **self.place}, quotes=quotes)
        return turn if self.text is None else replace(turn, text=self.text, edited=self.edited or turn.edited)


@dataclass(frozen=True, slots=True)
class Seal:
    """How an answer ends, written down before people see it: its heir shows this and asks no model.

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
            "tokens": max(0, min(self.tokens, MAX_COUNTED_TOKENS)),
        }
        return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace").decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote. Raises Unreadable."""
        record = read_record(text)
        exchange = Exchange.from_record(record_in(record, "exchange")) if record.get("exchange") else None
        outcome = Outcome.from_record(record_in(record, "outcome"))
        return cls(text_in(record, "text"), outcome, exchange, count_in(record, "tokens"))


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A turn that a worker holds, and what an earlier worker left of its reply.

    ``epoch`` is the number of the lease: a worker with an older one can change nothing. ``stored`` are the turns that
    are answered together, the last of them with the reply; ``notes`` are as stored, one for each. ``tries`` counts this
    one. ``posting`` is the number of a message that may have been posted although its name was not written down.
    ``hopeless`` says that it killed a worker which answered nothing beside it, or failed too often: it is given up.
    ``waited`` are the seconds from when it was accepted until it was taken, both by Redis's clock.
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
    hopeless: bool = False
    waited: float = 0.0

    @property
    def id(self) -> str:
        """The id of its last turn, and of the attempt at it."""
        return self.stored[-1].id

    @property
    def turn(self) -> Turn:
        """The turn that gets the reply, as it was stored."""
        return self.stored[-1].turn


def write_refs(refs: Sequence[MessageRef]) -> list[list[str]]:
    """Messages of a reply, ready for JSON."""
    return [[ref.channel, ref.id] for ref in refs]


def read_refs(record: Sequence[Any]) -> tuple[MessageRef, ...]:
    """Read what ``write_refs`` gave. Raises Unreadable."""
    for ref in record:
        if not (isinstance(ref, list) and len(ref) == 2 and all(isinstance(name, str) for name in ref)):
            raise Unreadable("refs are not messages")
    return tuple(MessageRef(channel, name) for channel, name in record)


def _stop_in(record: Mapping[str, Any]) -> Outcome | None:
    """That a turn was stopped; a deletion is one in whatever words it is told."""
    stop = record.get("stop")
    if not isinstance(stop, Mapping):
        return None
    deleted = Outcome(Ending.STOPPED, remember=stop.get("remember") is not False)
    return _known(lambda: Outcome.from_record(stop), deleted)


def _known(read: Callable[[], T], default: T) -> T:
    try:
        return read()
    except Unreadable:
        return default
