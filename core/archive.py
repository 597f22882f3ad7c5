"""All that is remembered, conversation by conversation: read as it stands in Redis, and put back.

A record is what one conversation is made of, whatever parts that are (messages, state, forks, kept turns …), each with
the moment at which it is forgotten. A channel and its threads are read at one moment; channels know nothing of each
other. What is put back lives no longer than it would have, nor longer than new things do here.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, Literal, Self, cast

from redis.asyncio import Redis
from redis.exceptions import WatchError

from core.keys import Keys
from core.memory import MOST_BYTES, MOST_MESSAGES
from core.redis import redis_errors
from core.scripts import script
from core.stored import readable
from core.types import ConversationKey, Message, Role

KNOWN = ("messages", "state", "forks", "retries")
"""Parts that are looked for even where a scan, which sees no single moment, did not meet them."""
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

    def concerns(self, user: str) -> bool:
        """Whether a person said anything in it, or may ask something again."""
        kept = self.parts["retries"].value.values() if "retries" in self.parts else ()
        return any(m.author and m.author.id == user for m in self.messages) or any(
            json.loads(job)["turn"]["uid"] == user for job in kept
        )

    def only(self, user: str) -> Record:
        """What one person said in it, with the answers to that, and nothing else."""
        asked = {m.id for m in self.messages if m.author and m.author.id == user}
        kept = [text for text, m in zip(self.stored, self.messages, strict=True) if {m.id, m.reply_to} & asked]
        return Record(self.key, {"messages": replace(self.parts["messages"], value=kept)} if kept else {})

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        parts = {name: {"kind": p.kind, "value": p.value, "until": p.until} for name, p in self.parts.items()}
        return {"conversation": str(self.key), "parts": parts}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` gave. Raises KeyError, TypeError or ValueError for anything else."""
        parts = {}
        for name, part in record["parts"].items():
            if not isinstance(part["value"], _SHAPES[part["kind"]]):
                raise TypeError(f"{name} is no {part['kind']}")
            if not part["value"] and part["kind"] != "string":
                raise ValueError(f"{name} is empty")
            parts[str(name)] = Part(part["kind"], part["value"], float(part["until"]))
        made = cls(ConversationKey.parse(record["conversation"]), parts)
        for text in made.stored:
            Message.from_json(text)
        return made


_SHAPES: dict[str, type] = {"string": str, "list": list, "set": list, "hash": dict, "zset": dict}


class Archive:
    """Reads and writes whole conversations. Raises StorageError from every method when Redis is away."""

    def __init__(self, redis: Redis, *, retention: int) -> None:
        """``retention`` in seconds: nothing that is put back lives longer from now on."""
        self._redis: Any = redis
        self._retention = retention
        self._snapshot = redis.register_script(script("snapshot"))

    async def families(self) -> list[dict[ConversationKey, tuple[str, ...]]]:
        """Every channel with its threads, sorted, each conversation with the names of its parts."""
        found: dict[ConversationKey, set[str]] = {}
        with redis_errors("look through the memory"):
            async for name in self._redis.scan_iter(match=f"{Keys.CONVERSATIONS}*", count=1000):
                key, part = Keys.part_of(name)
                if key.platform != PASSING:
                    found.setdefault(key, set(KNOWN)).add(part)
        names = sorted(found, key=str)
        families = groupby(sorted(names, key=_channel), key=_channel)
        return [{key: tuple(sorted(found[key])) for key in family} for _, family in families]

    async def read(self, family: Mapping[ConversationKey, Sequence[str]]) -> list[Record]:
        """These conversations, all at one moment; without those that are no more."""
        wanted = [(key, part) for key, parts in family.items() for part in parts]
        with redis_errors("read conversations"):
            now, *found = await self._snapshot(keys=[Keys.part(key, part) for key, part in wanted])
        parts: dict[ConversationKey, dict[str, Part]] = {}
        for (key, name), (kind, left, values) in zip(wanted, found, strict=True):
            if kind in _SHAPES and (left > 0 or left == -1):
                until = (now + (left if left > 0 else 1000 * self._retention)) / 1000
                parts.setdefault(key, {})[name] = Part(kind, _value(kind, values), until)
        return [Record(key, parts[key]) for key in family if key in parts]

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
                parts[name] = Part("hash", {**theirs.value, **ours.value}, until)
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
    start, size = max(0, len(merged) - MOST_MESSAGES), sum(sizes)
    size -= sum(sizes[:start])
    while size > MOST_BYTES and start < len(merged) - 2:
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
    return int(record.state.get("epoch", 0))


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
            return dict(zip(values[::2], values[1::2], strict=True))
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
