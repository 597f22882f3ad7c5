"""What people told Parley to remember about a channel: numbered sentences, kept until somebody removes them.

They belong to the channel, and its threads see them too. A direct message and a private conversation have their own.
Unlike messages, they are never summarized and never leave the list on their own; so there are few, and they are short.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import WatchError

from core.memory.fact_commands import told_in
from core.store import Keys, redis_errors
from core.stored import Unreadable, flag_in, read_record, text_in, time_in, whole_number
from core.types import FORMAT, Author, ConversationKey, Fact, Turn

T = TypeVar("T")

MAX_FACTS = 100
MAX_FACT_CHARACTERS = 500
LAST_NUMBER = "last"
"""The field that holds the highest number so far, so that none is given twice."""

Fields = dict[str, str]
"""The hash as it is stored: numbers to JSON, and ``LAST_NUMBER``."""


class FactRefused(ValueError):
    """A fact can't be remembered; the message tells the person why, and what they can do."""


class Facts:
    """What people told Parley to remember. Every method raises StorageError if Redis is away.

    A turn that is carried out again, as by the heir of a worker that died, changes nothing more.

    Example:
        >>> fact = await facts.tell(turn, "standup is at 9:15")
        >>> fact.number
        1
    """

    def __init__(self, redis: Redis, *, retention: int) -> None:
        """``retention`` is in seconds: facts are kept for so long after their channel was last used."""
        self._redis = redis
        self._retention = retention

    async def all(self, key: ConversationKey) -> tuple[Fact, ...]:
        """The facts that a conversation sees, in the order of their numbers."""
        with redis_errors("read what to remember"):
            found: Any = await self._redis.hgetall(facts_key(key))
        return facts_in(found)

    async def last_number(self, key: ConversationKey) -> int:
        """The highest number that was given there; 0 for none."""
        with redis_errors("read what to remember"):
            found: Any = await self._redis.hget(facts_key(key), LAST_NUMBER)
        return whole_number(found)

    async def tell(self, turn: Turn, text: str, *, corrected: bool = False) -> Fact:
        """Remember ``text`` as its author told it in ``turn``. Raises FactRefused."""
        text = checked(text)

        def add(fields: Fields) -> Fact:
            if number := _told_by(fields, turn.id, first=True):
                return fact_in(number, fields[number])
            if len(facts_in(fields)) >= MAX_FACTS:
                raise FactRefused(
                    f"I remember {MAX_FACTS} things here already, the most I can. {{/memory}} lists them, and "
                    "{/forget 3} removes one."
                )
            fact = Fact(_next_number(fields), text, turn.author, turn.at, corrected)
            _put(fields, fact, turn.id)
            return fact

        return await self._change(turn.key, add)

    async def replace(self, turn: Turn, number: int, text: str) -> tuple[Fact, Fact] | None:
        """Correct a fact, as the author of ``turn`` told it.

        Returns:
            The fact before and after; None if there is none of that number.

        Raises:
            FactRefused: the text can't be remembered.
        """
        text = checked(text)

        def correct(fields: Fields) -> tuple[Fact, Fact] | None:
            before = {fact.number: fact for fact in facts_in(fields)}.get(number)
            if not before:
                return None
            after = Fact(number, text, turn.author, turn.at, corrected=True)
            _put(fields, after, turn.id)
            return before, after

        return await self._change(turn.key, correct)

    async def remove(self, key: ConversationKey, number: int) -> Fact | None:
        """Forget one fact. Returns it; None if there is none of that number."""

        def remove(fields: Fields) -> Fact | None:
            fact = {fact.number: fact for fact in facts_in(fields)}.get(number)
            fields.pop(str(number), None)
            return fact

        return await self._change(key, remove)

    async def reword(self, key: ConversationKey, message: str, text: str) -> bool:
        """Follow an edit of the message that told a fact. False if it told none, or does not read as one now."""
        try:
            text = checked(told_in(text))
        except FactRefused:
            return False

        def reword(fields: Fields) -> bool:
            number = _told_by(fields, message)
            if not number:
                return False
            fact = fact_in(number, fields[number])
            _put(fields, replace(fact, text=text), message)
            return fact.text != text

        return await self._change(key, reword)

    async def withdraw(self, key: ConversationKey, message: str) -> bool:
        """Follow the deletion of the message that told a fact. False if it told none."""
        return await self._change(key, lambda fields: bool(fields.pop(_told_by(fields, message), "")))

    async def _change(self, key: ConversationKey, change: Callable[[Fields], T]) -> T:
        """Apply ``change`` to the stored fields in one atomic step, again if somebody changed them meanwhile."""
        name = facts_key(key)
        while True:
            with redis_errors("store what to remember"):
                async with self._redis.pipeline(transaction=True) as pipe:
                    await pipe.watch(name)
                    before: Any = await pipe.hgetall(name)
                    after = dict(before)
                    result = change(after)
                    if after == before:
                        return result
                    pipe.multi()  # type: ignore[no-untyped-call]
                    if gone := before.keys() - after.keys():
                        pipe.hdel(name, *gone)
                    if new := {field: text for field, text in after.items() if before.get(field) != text}:
                        pipe.hset(name, mapping=new)
                    pipe.expire(name, self._retention)
                    try:
                        await pipe.execute()
                    except WatchError:
                        continue
            return result


def facts_key(key: ConversationKey) -> str:
    """The Redis key of the facts that a conversation sees: its channel's, or its own if it is private."""
    return Keys.facts(key if key.owner else key.home)


def checked(text: str) -> str:
    """A fact as it is stored: one line. Raises FactRefused if it is too long, or says nothing."""
    line = " ".join(text.split())
    if not line:
        raise FactRefused("Tell me what to remember, as in {/remember: standup is at 9:15}.")
    if len(line) > MAX_FACT_CHARACTERS:
        raise FactRefused(
            f"That's {len(line):,} characters, and I can keep {MAX_FACT_CHARACTERS} of each thing I'm told to "
            "remember. Shorten it, or tell me in several parts."
        )
    return line


def facts_in(fields: Mapping[str, str]) -> tuple[Fact, ...]:
    """The readable facts in a stored hash, in the order of their numbers; the newest, if there are too many."""
    found = []
    for number, entry in fields.items():
        if number != LAST_NUMBER:
            try:
                found.append(fact_in(number, entry))
            except Unreadable:
                continue
    return tuple(sorted(found, key=lambda fact: fact.number)[-MAX_FACTS:])


def fact_in(number: str, entry: str) -> Fact:
    """One stored fact. Raises Unreadable."""
    record = read_record(entry)
    which, text = whole_number(number), " ".join(text_in(record, "text").split())
    if not which or str(which) != number:
        raise Unreadable("it has no number")
    if not 0 < len(text) <= MAX_FACT_CHARACTERS:
        raise Unreadable("it is empty, or too long")
    author = Author(text_in(record, "uid"), text_in(record, "name", ""))
    return Fact(which, text, author, time_in(record, "at", 0.0), flag_in(record, "corrected", False))


def check_fact_field(number: str, entry: str) -> None:
    """Raise Unreadable if a stored field is neither a fact nor the highest number that was given."""
    if number != LAST_NUMBER:
        fact_in(number, entry)
    elif not whole_number(entry):
        raise Unreadable("the last number is none")


def merge_facts(here: Mapping[str, str], other: Mapping[str, str]) -> Fields:
    """Merge two stored hashes of one channel; what was removed ``here`` since the other was written stays removed.

    A number below the last one here that is gone was removed. One that tells something else in both was given twice,
    as by two deployments: the other's fact gets a new number.
    """
    merged, last = dict(here), whole_number(here.get(LAST_NUMBER))
    for fact in facts_in(other):
        number = str(fact.number)
        known = here.get(number)
        if (known is None and fact.number <= last) or len(facts_in(merged)) >= MAX_FACTS:
            continue
        if known is None:
            merged[number] = other[number]
        elif _messages(known)[0] != _messages(other[number])[0]:
            merged[str(_next_number(merged))] = other[number]
        merged[LAST_NUMBER] = str(_next_number(merged) - 1)
    return merged


def _next_number(fields: Mapping[str, str]) -> int:
    return 1 + max([whole_number(fields.get(LAST_NUMBER)), *(fact.number for fact in facts_in(fields))])


def _put(fields: Fields, fact: Fact, message: str) -> None:
    """Store a fact with the ids of the message that told it as it is now, and of the first one that told it."""
    first = _messages(fields.get(str(fact.number), ""))[0] or message
    record: dict[str, Any] = {"v": FORMAT, "text": fact.text, "uid": fact.author.id, "name": fact.author.name}
    record |= {"at": fact.at, "message": message} | ({"first": first} if first != message else {})
    record |= {"corrected": True} if fact.corrected else {}
    stored = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace").decode()
    fields[str(fact.number)] = stored
    fields[LAST_NUMBER] = str(_next_number(fields) - 1)


def _messages(entry: str) -> tuple[str, str]:
    """The ids of the messages that told a stored fact, first and last; "" where that is not known."""
    try:
        record = read_record(entry)
        last = text_in(record, "message", "")
        return text_in(record, "first", last), last
    except Unreadable:
        return "", ""


def _told_by(fields: Mapping[str, str], message: str, *, first: bool = False) -> str:
    """The number of the fact that a message told as it is now or, if asked, told ``first``; "" for none."""
    for fact in facts_in(fields):
        told_first, told_last = _messages(fields[str(fact.number)])
        if message and (message == told_last or (first and message == told_first)):
            return str(fact.number)
    return ""
