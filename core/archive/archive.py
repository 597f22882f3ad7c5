"""All that is remembered, conversation by conversation: read as it stands in Redis, and put back.

A record is what one conversation is made of, whatever parts that are (messages, state, forks, kept turns …), each with
the moment at which it is forgotten. Each is read at one moment, a channel before its threads. What is put back lives no
longer than it would have, nor longer than new things do here.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, Literal, Self, cast

from redis.asyncio import Redis
from redis.exceptions import WatchError

from core.memory import MAX_CONVERSATION_BYTES, MAX_CONVERSATION_MESSAGES
from core.store import Keys, Script, kind_of, redis_errors
from core.stored import (
    LATEST,
    Unreadable,
    choice_in,
    finite,
    read_record,
    readable,
    record_in,
    text_in,
    time_in,
    whole_number,
)
from core.turns import StoredJob
from core.types import ConversationKey, Message, Role

KNOWN = ("messages", "state", "forks", "retries")
"""Parts that are looked for even where a scan, which sees no single moment, did not meet them."""
NOTES = ("summary", "folded", "voices")
"""Fields of the state that belong together."""
AT_ONCE = 4
"""Conversations that are read in one step: of full ones a few megabytes, which take Redis a few milliseconds."""
PASSING = "doctor"
"""The platform of what `parley doctor` stores for a moment."""

How = Literal["merge", "replace"]
Result = Literal["written", "merged", "unchanged", "expired", "forgotten"]


@dataclass(frozen=True, slots=True)
class Part:
    """One key: ``kind`` is its type in Redis, ``value`` ready for JSON, ``until`` in seconds since the epoch."""

    kind: str
    value: Any
    until: float


@dataclass(frozen=True, slots=True)
class Record:
    """One conversation, with its parts by their names."""

    key: ConversationKey
    parts: Mapping[str, Part] = field(default_factory=dict)

    @property
    def stored(self) -> list[str]:
        """Its messages as they are stored, oldest first."""
        return list(self.parts["messages"].value) if "messages" in self.parts else []

    @property
    def messages(self) -> tuple[Message, ...]:
        """Its messages that can be read, oldest first."""
        return tuple(readable(Message.from_json, self.stored)[0])

    @property
    def state(self) -> dict[str, str]:
        """What is known of them."""
        return dict(self.parts["state"].value) if "state" in self.parts else {}

    def only(self, user: str) -> Record:
        """What one person said in it, with the answers to that, and nothing else."""
        pairs = [(text, Message.from_json(text)) for text in self.stored]
        asked = {m.id for _, m in pairs if m.author and m.author.id == user}
        kept = [text for text, m in pairs if {m.id, m.reply_to} & asked]
        return Record(self.key, {"messages": replace(self.parts["messages"], value=kept)} if kept else {})

    def check(self) -> None:
        """Raise Unreadable, with the reason, unless Parley could have written all of it in this conversation."""
        if not (self.key.platform and self.key.channel):
            raise Unreadable("its conversation has no name")
        for name, part in self.parts.items():
            try:
                _check_part(self.key, name, part)
                for field_, entry in _entries(part):
                    _check_entry(self.key, name, field_, entry)
            except Unreadable as error:
                raise Unreadable(f"{name if re.fullmatch(_NAME, name) else 'a part'}: {error}") from None

    def readable(self) -> Record:
        """The same without what cannot be read: so it can be written down, and put back."""
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
        """Read what ``to_json`` gave, as far as its shape goes: see ``check``. Raises Unreadable for anything else."""
        parts = {}
        for name, part in record_in(record, "parts").items():
            if not isinstance(part, Mapping):
                raise Unreadable("a part is not a JSON object")
            kind = text_in(part, "kind")
            if kind not in _SHAPES or not isinstance(part.get("value"), _SHAPES[kind]):
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


_NAME = "[a-z_]{1,40}"
"""What parts are called."""
_HALF = re.compile("[\ud800-\udfff]")
"""Half a surrogate pair, which no encoding of text has."""


def _entries(part: Part) -> list[tuple[str, Any]]:
    """What a part consists of: names ("" where there are none) and entries."""
    if isinstance(part.value, Mapping):
        return list(part.value.items())
    return [("", entry) for entry in ([part.value] if isinstance(part.value, str) else part.value)]


def _check_part(key: ConversationKey, name: str, part: Part) -> None:
    """Raise Unreadable unless a conversation can have a part of that name and kind."""
    if not re.fullmatch(_NAME, name):
        raise Unreadable("it has no name that a part can have")
    known = kind_of(Keys.part(key, name))
    scores = part.value.values() if part.kind == "zset" else ()
    if any(isinstance(score, str) for score in scores):
        raise Unreadable("a score is not a number")
    if known and known != part.kind:
        raise Unreadable(f"it is a {part.kind}, and should be a {known}")


def _check_entry(key: ConversationKey, name: str, field_: str, entry: Any) -> None:
    """Raise Unreadable unless Parley could have written an entry of a part."""
    if isinstance(entry, str):
        if _HALF.search(field_ + entry):
            raise Unreadable("there is something that is not text")
        _check_text(key, name, field_, entry)
    elif name in KNOWN or isinstance(entry, bool) or not isinstance(entry, int | float) or not abs(entry) <= LATEST:
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
        case "settings" | "board":
            read_record(entry)


def _is_readable(key: ConversationKey, name: str, field_: str, entry: Any) -> bool:
    try:
        _check_entry(key, name, field_, entry)
    except Unreadable:
        return False
    return True


_SHAPES: dict[str, type] = {"string": str, "list": list, "set": list, "hash": dict, "zset": dict}


class Archive:
    """Reads and writes whole conversations. Raises StorageError from every method when Redis is away."""

    def __init__(self, redis: Redis, *, retention: int) -> None:
        """``retention`` in seconds: nothing that is put back lives longer from now on."""
        self._redis: Any = redis
        self._retention = retention
        self._snapshot = Script(redis, "core/archive/snapshot", keys=None)

    async def families(self) -> list[dict[ConversationKey, tuple[str, ...]]]:
        """Every channel with its threads, sorted, each conversation with the names of its parts."""
        found: dict[ConversationKey, set[str]] = {}
        with redis_errors("look through the memory"):
            async for name in self._redis.scan_iter(match=f"{Keys.CONVERSATIONS}*", count=1000):
                try:
                    key, part = Keys.part_of(name)
                except ValueError:
                    continue  # no name of ours
                if key.platform != PASSING and kind_of(name):
                    found.setdefault(key, set(KNOWN)).add(part)
        names = sorted(found, key=str)
        families = groupby(sorted(names, key=_channel), key=_channel)
        return [{key: tuple(sorted(found[key])) for key in family} for _, family in families]

    async def read(self, family: Mapping[ConversationKey, Sequence[str]]) -> list[Record]:
        """These conversations, each as it stands at one moment; without those that are no more."""
        return [record async for record in self.records(family)]

    async def records(self, family: Mapping[ConversationKey, Sequence[str]]) -> AsyncIterator[Record]:
        """The same, a few at a time: a channel can have a thousand threads, and Redis has others to serve as well.

        A channel comes before its threads. What is said or forgotten meanwhile is part of those that are read later.
        """
        names = sorted(family, key=lambda key: bool(key.thread))
        for start in range(0, len(names), AT_ONCE):
            for record in await self._read({key: family[key] for key in names[start : start + AT_ONCE]}):
                yield record

    async def _read(self, family: Mapping[ConversationKey, Sequence[str]]) -> list[Record]:
        """These conversations, all at one moment."""
        wanted = [(key, part) for key, parts in family.items() for part in parts]
        with redis_errors("read conversations"):
            now, *found = await self._snapshot(keys=[Keys.part(key, part) for key, part in wanted])
        parts: dict[ConversationKey, dict[str, Part]] = {}
        for (key, name), (kind, left, values) in zip(wanted, found, strict=True):
            if kind in _SHAPES and (left > 0 or left == -1):
                until = (now + (left if left > 0 else 1000 * self._retention)) / 1000
                parts.setdefault(key, {})[name] = Part(kind, _value(kind, values), until)
        return [Record(key, parts[key]).readable() for key in family if key in parts]

    async def one(self, key: ConversationKey) -> Record:
        """One conversation; without parts if there is none."""
        return next(iter(await self.read({key: KNOWN})), Record(key))

    async def is_empty(self) -> bool:
        """Whether nothing that was said is remembered."""
        with redis_errors("look through the memory"):
            async for _ in self._redis.scan_iter(match=f"{Keys.CONVERSATIONS}*:messages", count=1000):
                return False
        return True

    async def put(self, record: Record, how: How = "replace", *, also: Sequence[str] = ()) -> Result:
        """Put a conversation back, whole or not at all.

        ``replace`` puts it in the place of what is there, parts called as in ``also`` among it; answers that are being
        written to what was there are not remembered. ``merge`` adds what is missing, if anything is, and leaves what
        was forgotten since forgotten.
        """
        names = {part: Keys.part(record.key, part) for part in {*KNOWN, *also, *record.parts}}
        with redis_errors("put a conversation back"):
            while True:
                try:
                    return await self._put(record, how, names)
                except WatchError:
                    continue  # somebody spoke there meanwhile

    async def _put(self, record: Record, how: How, names: Mapping[str, str]) -> Result:
        """Put it back, if nothing of ``names`` changes meanwhile; else raise WatchError."""
        async with self._redis.pipeline(transaction=True) as pipe:
            await pipe.watch(*names.values())
            now, _ = await self._redis.time()
            [here] = await self.read({record.key: tuple(names)}) or [Record(record.key)]
            if how == "merge" and _epoch(here) > _epoch(record):
                return "forgotten"
            parts, result = _alive(record.parts, now, self._retention), "written"
            if not parts:
                return "expired"
            if here.parts and how == "merge":
                parts, result = merge(here, Record(record.key, parts)), "merged"
                if _same(parts, here.parts):
                    return "unchanged"
            elif here.parts:
                parts = _with_epoch(parts, max(_epoch(here), _epoch(record)) + 1, now + self._retention)
            pipe.multi()
            pipe.delete(*names.values())
            for name, part in parts.items():
                _write(pipe, names[name], part)
            if parent := record.key.parent:  # so that forgetting the channel reaches it
                pipe.sadd(Keys.forks(parent), str(record.key))
                pipe.expire(Keys.forks(parent), self._retention)
            await pipe.execute()
            return cast("Result", result)


def merge(here: Record, other: Record) -> dict[str, Part]:
    """The parts of two records of one conversation as one: what stands ``here`` counts where both say something."""
    parts = {**other.parts, **here.parts}
    for name in set(here.parts) & set(other.parts):
        ours, theirs = here.parts[name], other.parts[name]
        until = max(ours.until, theirs.until)
        match ours.kind:
            case "list" if name == "messages":
                parts[name] = Part("list", merge_messages(ours.value, theirs.value), until)
            case "set":
                parts[name] = Part("set", sorted({*ours.value, *theirs.value}), until)
            case "hash":
                more = theirs.value
                if "summary" in ours.value:  # and with it whose words it tells
                    more = {field_: value for field_, value in more.items() if field_ not in NOTES}
                parts[name] = Part("hash", {**more, **ours.value}, until)
    if "messages" in parts:
        messages = parts["messages"]
        size = str(sum(len(text.encode()) for text in messages.value))
        kept = parts.get("state", Part("hash", {}, messages.until))
        parts["state"] = Part("hash", {**kept.value, "bytes": size}, max(kept.until, messages.until))
    return parts


def _same(parts: Mapping[str, Part], here: Mapping[str, Part]) -> bool:
    """Whether nothing is said in ``parts`` that is not said ``here``, and nothing is kept for longer."""
    return parts.keys() == here.keys() and all(
        (part.kind, part.value) == (here[name].kind, here[name].value) and part.until < here[name].until + 1
        for name, part in parts.items()  # what is left of a key's life is read to the millisecond
    )


def merge_messages(here: Sequence[str], other: Sequence[str]) -> list[str]:
    """The messages of both, as stored, each once, in the order in which they were committed; the newest that fit."""
    known = {m.id for m in map(Message.from_json, here)}
    answered = {m.reply_to for m in map(Message.from_json, here) if m.reply_to}
    new = [text for text in other if _is_new(Message.from_json(text), known, answered)]
    merged = [text for _, exchange in heapq.merge(_exchanges(here), _exchanges(new), key=_time) for text in exchange]
    sizes = [len(text.encode()) for text in merged]
    start, size = max(0, len(merged) - MAX_CONVERSATION_MESSAGES), sum(sizes)
    size -= sum(sizes[:start])
    while size > MAX_CONVERSATION_BYTES and start < len(merged) - 2:
        size -= sizes[start]
        start += 1
    return merged[start:]


def _is_new(message: Message, known: set[str], answered: set[str]) -> bool:
    return message.id not in known and message.reply_to not in answered


def _exchanges(stored: Iterable[str]) -> list[tuple[float, list[str]]]:
    """Messages as they were committed, each lot ending with an answer, and when that was."""
    lots: list[tuple[float, list[str]]] = []
    lot: list[str] = []
    for text in stored:
        message = Message.from_json(text)
        lot.append(text)
        if message.role is Role.ASSISTANT:
            lots.append((message.at, lot))
            lot = []
    return [*lots, (Message.from_json(lot[-1]).at, lot)] if lot else lots


def _time(lot: tuple[float, list[str]]) -> float:
    return lot[0]


def _channel(key: ConversationKey) -> str:
    return str(key.parent or key)


def _epoch(record: Record) -> int:
    return whole_number(record.state.get("epoch"))


def _with_epoch(parts: Mapping[str, Part], epoch: int, until: float) -> dict[str, Part]:
    state = parts.get("state", Part("hash", {}, until))
    return {**parts, "state": replace(state, value={**state.value, "epoch": str(epoch)})}


def _alive(parts: Mapping[str, Part], now: float, retention: int) -> dict[str, Part]:
    """The parts that are not to be forgotten by now, none for longer than new ones would be kept."""
    return {
        name: replace(part, until=min(part.until, now + retention)) for name, part in parts.items() if part.until > now
    }


def _value(kind: str, values: Sequence[str]) -> Any:
    """A key's value, ready for JSON."""
    match kind:
        case "string":
            return values[0]
        case "set":
            return sorted(values)
        case "hash" | "zset":
            pairs = dict(zip(values[::2], values[1::2], strict=True))
            return pairs if kind == "hash" else {name: finite(score) for name, score in pairs.items()}
        case _:
            return list(values)


def _write(pipe: Any, name: str, part: Part) -> None:
    """Write one key, to be forgotten when the part says."""
    match part.kind:
        case "string":
            pipe.set(name, part.value)
        case "hash":
            pipe.hset(name, mapping=part.value)
        case "zset":
            pipe.zadd(name, part.value)
        case "list":
            pipe.rpush(name, *part.value)
        case _:
            pipe.sadd(name, *part.value)
    pipe.pexpireat(name, int(1000 * part.until))
