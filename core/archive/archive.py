"""Reads whole conversations from Redis, and restores them.

A record is a snapshot of one conversation with all its parts and their expiry. A channel is read before its threads.
What is restored expires when it would have, and no later than a new conversation would.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Literal, cast

from redis.asyncio import Redis
from redis.exceptions import WatchError

from core.archive.record import KNOWN_PARTS, PASSING_PARTS, SHAPES, Part, Record
from core.memory import MAX_CONVERSATION_BYTES, MAX_CONVERSATION_MESSAGES, merge_facts
from core.store import Keys, Script, kind_of, redis_errors
from core.stored import (
    finite,
    whole_number,
)
from core.types import ConversationKey, Message, Role

SUMMARY_FIELDS = ("summary", "folded", "voices")
"""Fields of the state that are only valid together."""
CONVERSATIONS_PER_READ = 4
"""Conversations that one script reads: full ones are a few megabytes, which take Redis a few milliseconds."""
DOCTOR_PLATFORM = "doctor"
"""The platform of conversations that `parley doctor` stores for its checks."""

RestoreMode = Literal["merge", "replace"]
RestoreResult = Literal["written", "merged", "unchanged", "expired", "forgotten"]


class Archive:
    """Reads and writes whole conversations. Every method raises StorageError if Redis is away."""

    def __init__(self, redis: Redis, *, retention: int) -> None:
        """``retention`` is in seconds: restored conversations expire after it at the latest."""
        self._redis: Any = redis
        self._retention = retention
        self._snapshot = Script(redis, "core/archive/snapshot", keys=None)

    async def families(self) -> list[dict[ConversationKey, tuple[str, ...]]]:
        """Every channel with its threads, sorted; each conversation with the names of its parts."""
        found: dict[ConversationKey, set[str]] = {}
        with redis_errors("look through the memory"):
            async for name in self._redis.scan_iter(match=f"{Keys.CONVERSATIONS}*", count=1000):
                try:
                    key, part = Keys.part_of(name)
                except ValueError:
                    continue  # no name of ours
                if key.platform != DOCTOR_PLATFORM and kind_of(name):
                    found.setdefault(key, set(KNOWN_PARTS)).update({part} - {*PASSING_PARTS})
        names = sorted(found, key=str)
        families = groupby(sorted(names, key=_channel), key=_channel)
        return [{key: tuple(sorted(found[key])) for key in family} for _, family in families]

    async def read(self, family: Mapping[ConversationKey, Sequence[str]]) -> list[Record]:
        """Read conversations, each as a snapshot; without those that no longer exist."""
        return [record async for record in self.records(family)]

    async def records(self, family: Mapping[ConversationKey, Sequence[str]]) -> AsyncIterator[Record]:
        """The same, a few at a time, because a channel can have a thousand threads.

        A channel comes before its threads. Conversations that are read later include what was said meanwhile.
        """
        names = sorted(family, key=lambda key: bool(key.thread))
        for start in range(0, len(names), CONVERSATIONS_PER_READ):
            for record in await self._read({key: family[key] for key in names[start : start + CONVERSATIONS_PER_READ]}):
                yield record

    async def _read(self, family: Mapping[ConversationKey, Sequence[str]]) -> list[Record]:
        """Read conversations in one snapshot."""
        wanted = [(key, part) for key, parts in family.items() for part in parts]
        with redis_errors("read conversations"):
            now, *found = await self._snapshot(keys=[Keys.part(key, part) for key, part in wanted])
        parts: dict[ConversationKey, dict[str, Part]] = {}
        for (key, name), (kind, left, values) in zip(wanted, found, strict=True):
            if kind in SHAPES and (left > 0 or left == -1):
                until = (now + (left if left > 0 else 1000 * self._retention)) / 1000
                parts.setdefault(key, {})[name] = Part(kind, _value(kind, values), until)
        return [Record(key, parts[key]).readable() for key in family if key in parts]

    async def one(self, key: ConversationKey) -> Record:
        """Read one conversation; a record without parts if there is none."""
        return next(iter(await self.read({key: KNOWN_PARTS})), Record(key))

    async def is_empty(self) -> bool:
        """Whether no message and no fact is stored."""
        with redis_errors("look through the memory"):
            async for name in self._redis.scan_iter(match=f"{Keys.CONVERSATIONS}*", count=1000):
                if name.endswith((":messages", ":facts")):
                    return False
        return True

    async def put(self, record: Record, how: RestoreMode = "replace", *, also: Sequence[str] = ()) -> RestoreResult:
        """Restore a conversation, in one atomic step.

        Args:
            record: the conversation.
            how: ``replace`` overwrites what is there, and answers in progress are not remembered; ``merge`` adds what
                is missing, and does not bring back what was forgotten since.
            also: names of further parts to delete.
        """
        names = {part: Keys.part(record.key, part) for part in {*KNOWN_PARTS, *also, *record.parts}}
        with redis_errors("put a conversation back"):
            while True:
                try:
                    return await self._put(record, how, names)
                except WatchError:
                    continue  # somebody spoke there meanwhile

    async def _put(self, record: Record, how: RestoreMode, names: Mapping[str, str]) -> RestoreResult:
        """Put it back, if nothing of ``names`` changes meanwhile; else raise WatchError."""
        async with self._redis.pipeline(transaction=True) as pipe:
            await pipe.watch(*names.values())
            now, _ = await self._redis.time()
            [here] = await self.read({record.key: tuple(names)}) or [Record(record.key)]
            if how == "merge" and _epoch(here) > _epoch(record):
                return "forgotten"
            parts, result = _with_a_gap(_alive(record.parts, now, self._retention)), "written"
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
            return cast("RestoreResult", result)


def merge(here: Record, other: Record) -> dict[str, Part]:
    """Merge two records of one conversation; where they differ, ``here`` wins."""
    parts = {**other.parts, **here.parts}
    for name in set(here.parts) & set(other.parts):
        ours, theirs = here.parts[name], other.parts[name]
        until = max(ours.until, theirs.until)
        match ours.kind:
            case "list" if name == "messages":
                parts[name] = Part("list", merge_messages(ours.value, theirs.value), until)
            case "set":
                parts[name] = Part("set", sorted({*ours.value, *theirs.value}), until)
            case "hash" if name == "facts":
                parts[name] = Part("hash", merge_facts(ours.value, theirs.value), until)
            case "hash":
                more = theirs.value
                if "summary" in ours.value:  # and with it whose words it tells
                    more = {field_: value for field_, value in more.items() if field_ not in SUMMARY_FIELDS}
                parts[name] = Part("hash", {**more, **ours.value}, until)
    if "messages" in parts:
        messages = parts["messages"]
        size = str(sum(len(text.encode()) for text in messages.value))
        kept = parts.get("state", Part("hash", {}, messages.until))
        parts["state"] = Part("hash", {**kept.value, "bytes": size}, max(kept.until, messages.until))
    return parts


def _same(parts: Mapping[str, Part], here: Mapping[str, Part]) -> bool:
    """Whether ``parts`` adds nothing to ``here``, and does not expire later."""
    return parts.keys() == here.keys() and all(
        (part.kind, part.value) == (here[name].kind, here[name].value) and part.until < here[name].until + 1
        for name, part in parts.items()  # what is left of a key's life is read to the millisecond
    )


def merge_messages(here: Sequence[str], other: Sequence[str]) -> list[str]:
    """Merge stored messages in the order in which they were committed, each once; the newest that fit."""
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
    """Group messages by exchange, each ending with an answer, with the time of its last message."""
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


def _with_a_gap(parts: Mapping[str, Part]) -> dict[str, Part]:
    """The parts, of which nobody says that all of a thread is known: something may have been said since."""
    state = parts.get("state")
    if not state:
        return dict(parts)
    kept = {name: value for name, value in state.value.items() if name != "heard"}
    rest = {name: part for name, part in parts.items() if name != "state"}
    return {**rest, "state": replace(state, value=kept)} if kept else rest


def _alive(parts: Mapping[str, Part], now: float, retention: int) -> dict[str, Part]:
    """The parts that have not expired, with an expiry of ``retention`` from now at the latest."""
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
    """Write one key with its expiry."""
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
