"""One stored conversation as a value: read from JSON, checked, and written as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Self

from core.memory import check_fact_field, facts_in
from core.store import Keys, kind_of
from core.stored import (
    LATEST,
    Unreadable,
    choice_in,
    read_record,
    readable,
    record_in,
    text_in,
    time_in,
    whole_number,
)
from core.turns import StoredJob
from core.types import ConversationKey, Fact, Message

KNOWN_PARTS = ("messages", "state", "forks", "retries")
"""Parts that are read even if a scan, which is no snapshot, did not find them."""
PASSING_PARTS = ("room", "changed")
"""Parts that are neither exported nor backed up: what was said in a channel, and not to Parley, within two hours, and
edits of the last day for messages that are not stored yet. Both would be out of date when they are restored."""


@dataclass(frozen=True, slots=True)
class Part:
    """One Redis key of a conversation.

    Args:
        kind: its type in Redis.
        value: its value, ready for JSON.
        until: when it expires, in seconds since the epoch.
    """

    kind: str
    value: Any
    until: float


@dataclass(frozen=True, slots=True)
class Record:
    """One stored conversation: its parts (messages, state, forks, retries …) by name."""

    key: ConversationKey
    parts: Mapping[str, Part] = field(default_factory=dict)

    @property
    def stored(self) -> list[str]:
        """Its messages as stored, oldest first."""
        return list(self.parts["messages"].value) if "messages" in self.parts else []

    @property
    def messages(self) -> tuple[Message, ...]:
        """Its readable messages, oldest first."""
        return tuple(readable(Message.from_json, self.stored)[0])

    @property
    def facts(self) -> tuple[Fact, ...]:
        """The readable facts that people told to remember."""
        return facts_in(self.parts["facts"].value) if "facts" in self.parts else ()

    @property
    def state(self) -> dict[str, str]:
        """The fields of its state."""
        return dict(self.parts["state"].value) if "state" in self.parts else {}

    def only(self, user: str) -> Record:
        """Only what one person said in it, with the answers, and what they told to remember."""
        pairs = [(text, Message.from_json(text)) for text in self.stored]
        asked = {m.id for _, m in pairs if m.author and m.author.id == user}
        kept = [text for text, m in pairs if {m.id, m.reply_to} & asked]
        parts = {"messages": replace(self.parts["messages"], value=kept)} if kept else {}
        if told := {str(fact.number) for fact in self.facts if fact.author.id == user}:
            facts = self.parts["facts"]
            parts["facts"] = replace(facts, value={number: facts.value[number] for number in told})
        return Record(self.key, parts)

    def check(self) -> None:
        """Raise Unreadable, with the reason, if Parley can't have written this record."""
        if not (self.key.platform and self.key.channel):
            raise Unreadable("its conversation has no name")
        for name, part in self.parts.items():
            try:
                _check_part(self.key, name, part)
                for field_, entry in _entries(part):
                    _check_entry(self.key, name, field_, entry)
            except Unreadable as error:
                raise Unreadable(f"{name if re.fullmatch(_PART_NAME, name) else 'a part'}: {error}") from None

    def readable(self) -> Record:
        """A copy without unreadable entries, which can be backed up and restored."""
        parts = {}
        for name, part in self.parts.items():
            with suppress(Unreadable):
                _check_part(self.key, name, part)
                kept = [pair for pair in _entries(part) if _is_readable(self.key, name, *pair)]
                value: Any = part.value
                if part.kind in ("hash", "zset"):
                    value = dict(kept)
                elif part.kind != "string":
                    value = [entry for _, entry in kept]
                if kept and value:
                    parts[name] = replace(part, value=value)
        return Record(self.key, parts)

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        parts = {name: {"kind": p.kind, "value": p.value, "until": p.until} for name, p in self.parts.items()}
        return {"conversation": str(self.key), "parts": parts}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` returned; ``check`` looks into its contents. Raises Unreadable."""
        parts = {}
        for name, part in record_in(record, "parts").items():
            if not isinstance(part, Mapping):
                raise Unreadable("a part is not a JSON object")
            kind = text_in(part, "kind")
            if kind not in SHAPES or not isinstance(part.get("value"), SHAPES[kind]):
                raise Unreadable("a part is of no kind that Redis has, or its value of another")
            if not part["value"] and kind != "string":
                raise Unreadable("a part is empty")
            parts[name] = Part(kind, part["value"], time_in(part, "until"))
        name = text_in(record, "conversation")
        key = choice_in({"conversation": name}, "conversation", ConversationKey.parse)
        if str(key) != name:
            raise Unreadable("its conversation has another name than it would have here")
        made = cls(key, parts)
        for text in made.stored:
            Message.from_json(text)
        return made


_PART_NAME = "[a-z_]{1,40}"
"""Matches the name of a part."""
_HALF_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a surrogate pair, which can't be encoded."""


def _entries(part: Part) -> list[tuple[str, Any]]:
    """The entries of a part, each with its name in a hash or sorted set; "" in other types."""
    if isinstance(part.value, Mapping):
        return list(part.value.items())
    return [("", entry) for entry in ([part.value] if isinstance(part.value, str) else part.value)]


def _check_part(key: ConversationKey, name: str, part: Part) -> None:
    """Raise Unreadable if a conversation can't have a part of that name and type."""
    if not re.fullmatch(_PART_NAME, name):
        raise Unreadable("it has no name that a part can have")
    known = kind_of(Keys.part(key, name))
    scores = part.value.values() if part.kind == "zset" else ()
    if any(isinstance(score, str) for score in scores):
        raise Unreadable("a score is not a number")
    if known and known != part.kind:
        raise Unreadable(f"it is a {part.kind}, and should be a {known}")


def _check_entry(key: ConversationKey, name: str, field_: str, entry: Any) -> None:
    """Raise Unreadable if Parley can't have written an entry of a part."""
    if isinstance(entry, str):
        if _HALF_SURROGATE.search(field_ + entry):
            raise Unreadable("there is something that is not text")
        _check_text(key, name, field_, entry)
    elif (
        name in KNOWN_PARTS or isinstance(entry, bool) or not isinstance(entry, int | float) or not abs(entry) <= LATEST
    ):
        raise Unreadable("there is neither text nor a number")


def _check_text(key: ConversationKey, name: str, field_: str, entry: str) -> None:
    match name:
        case "messages":
            Message.from_json(entry)
        case "retries":
            job = StoredJob.from_json(entry)
            if job.turn.key != key or job.turn.id != field_:
                raise Unreadable("a turn belongs to another conversation")
        case "forks":
            fork = choice_in({"a thread": entry}, "a thread", ConversationKey.parse)
            if fork.parent != key or str(fork) != entry:
                raise Unreadable("a thread belongs to another channel")
        case "state" if field_ in ("epoch", "changes", "bytes") and whole_number(entry, -1) < 0:
            raise Unreadable(f"{field_} is not a number of things")
        case "facts":
            check_fact_field(field_, entry)
        case "settings" | "board":
            read_record(entry)


def _is_readable(key: ConversationKey, name: str, field_: str, entry: Any) -> bool:
    try:
        _check_entry(key, name, field_, entry)
    except Unreadable:
        return False
    return True


SHAPES: dict[str, type] = {"string": str, "list": list, "set": list, "hash": dict, "zset": dict}
"""The type of a part's value in Python, by its type in Redis."""
