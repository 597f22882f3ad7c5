"""What was said, per conversation, in Redis: one round trip to load, one to append.

A conversation is a list of messages in the order in which they were committed, question and answer as a pair, bounded
in number and bytes, with a time to live that every append renews. A thread branches off its channel the
first time it is loaded, and from then on the two go their own ways; forgetting, correcting and withdrawing reach
the copies too. Each operation on a conversation is one Lua script, so it happens whole or not at all,
and may be repeated: the client sends a call again when a connection breaks.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self

import structlog
from redis.asyncio import Redis
from redis.exceptions import WatchError

from core.memory.choices import Choices
from core.memory.scripts import MemoryScripts
from core.metrics import tag
from core.prompts import TokenCounter, estimate_tokens, message_tokens
from core.store import Keys, redis_errors
from core.stored import (
    Unreadable,
    choice_in,
    count_in,
    list_in,
    read_record,
    readable,
    record_in,
    text_in,
    whole_number,
)
from core.types import ANYBODY, Conversation, ConversationKey, ConversationSettings, Message, Role

log = structlog.get_logger()

MOST_MESSAGES = 200
MOST_BYTES = 256 * 1024
_NAMED = re.compile(r"(?=\b([a-z]+:[\w%@.~-]*:[\w%@.~-]+(?::[\w%@.~-]+)?))")
"""What looks like the name of a conversation."""
AT_ONCE = 50
"""Threads that are looked through in one round trip."""
MOST_VOICES = 500
"""People whose words notes are known to tell; if there are more, they may be anybody's."""


@dataclass(frozen=True, slots=True)
class Thread:
    """On which message a thread hangs, and when that was said (seconds since the epoch)."""

    root: str
    root_at: float


Reword = Callable[[str], str]
"""Makes of what a message said what it says now."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What one turn adds to a conversation: question and answer, and what was heard before them.

    ``epoch`` is the conversation's when it was loaded, ``question`` the turn's id, and ``cut`` where the window began.
    """

    key: ConversationKey
    epoch: int
    question: str
    cut: str
    messages: tuple[Message, ...]

    def record(self) -> dict[str, Any]:
        """As kept in Redis, ready for JSON."""
        return {
            "key": str(self.key),
            "epoch": self.epoch,
            "question": self.question,
            "cut": self.cut,
            "messages": [message.to_json() for message in self.messages],
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read what ``record`` gave. Raises Unreadable."""
        messages = tuple(Message.from_json(message) for message in list_in(record, "messages"))
        key = choice_in({"key": text_in(record, "key")}, "key", ConversationKey.parse)
        return cls(key, count_in(record, "epoch"), text_in(record, "question"), text_in(record, "cut"), messages)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a person wants to know of a conversation's memory."""

    questions: int
    answers: int
    tokens: int
    seconds_left: int
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Extent:
    """What forgetting a conversation takes away: its messages and those of its threads, and who wrote them.

    ``people`` has their ids, and "" for those whose messages only a summary tells of. ``epoch`` counts how often the
    conversation was forgotten before.
    """

    messages: int
    people: frozenset[str]
    epoch: int


class Memory:
    """The memory that all processes of a deployment share.

    Raises StorageError from every method when Redis is away.
    """

    def __init__(
        self, redis: Redis, *, retention: int, count: TokenCounter = estimate_tokens, choices: Choices | None = None
    ) -> None:
        """Keep conversations for ``retention`` seconds after the last append; ``choices`` bound their settings."""
        self._redis = redis
        self._retention = retention
        self._count = count
        self._scripts = MemoryScripts(redis)
        self._choices = choices or Choices()

    async def load(self, key: ConversationKey, thread: Thread | None = None) -> Conversation:
        """All that is remembered, oldest first. A thread seen for the first time starts from its channel."""
        parent = key.parent if thread else None
        branch = parent or key
        root, root_at = (thread.root, thread.root_at) if thread else ("", 0.0)
        with redis_errors("load a conversation"):
            entries, cut, epoch, stranger, chosen, summary, folded, changes, voices = await self._scripts.load(
                messages=Keys.messages(key),
                state=Keys.state(key),
                settings=Keys.settings(key),
                parent=Keys.messages(branch),
                parent_state=Keys.state(branch),
                forks=Keys.forks(branch),
                parent_settings=Keys.settings(key.home),
                has_parent=parent is not None,
                root=root,
                root_at=root_at,
                ttl=self._retention,
                name=str(key),
            )
        messages, unreadable = readable(Message.from_json, entries)
        if unreadable:
            log.warning("unreadable messages passed over", conv=tag(str(key)), messages=unreadable)
        settings = self._choices.resolved(ConversationSettings.from_json(chosen))
        kept = Conversation(key, tuple(messages), cut=cut, stranger=stranger == "1", settings=settings)
        kept = replace(kept, epoch=whole_number(epoch), changes=whole_number(changes))
        return replace(kept, summary=summary, folded=folded, voices=_voices(voices) if summary else frozenset())

    async def append(self, exchange: Exchange) -> bool:
        """Add what was said to a conversation as it was loaded, and store the window's cut.

        What is stored already for the same question is replaced, so a call may be repeated. False, and nothing is
        stored, if the conversation was forgotten since it was loaded.
        """
        with redis_errors("store a turn"):
            return bool(await self._scripts.append(**self.keys(exchange.key), exchange=self.arguments(exchange)))

    @staticmethod
    def keys(key: ConversationKey) -> dict[str, str]:
        """The keys that ``exchange.lua`` touches."""
        return {"messages": Keys.messages(key), "memory": Keys.state(key), "forks": Keys.forks(key.parent or key)}

    def arguments(self, exchange: Exchange) -> dict[str, Any]:
        """What ``exchange.lua`` takes. Counts tokens that were not counted yet."""
        key = exchange.key
        counted = [m if m.tokens else replace(m, tokens=message_tokens(m, self._count)) for m in exchange.messages]
        return {
            "epoch": str(exchange.epoch),
            "cut": exchange.cut,
            "ttl": self._retention,
            "most": MOST_MESSAGES,
            "most_bytes": MOST_BYTES,
            "question": exchange.question,
            "newest": min(len(counted), 2),
            "thread": str(key) if key.parent else "",
            "said": [message.to_json() for message in counted],
        }

    async def correct(
        self, key: ConversationKey, message: str, text: str | Reword, *, at: float = 0.0, said: float = 0.0
    ) -> bool:
        """Put ``text`` in the place of what that message said, in threads that copied it too. False if not found.

        Where what it says now can be told only from what it said, ``text`` makes the one of the other.
        ``at`` is when it was edited, by the platform's clock: an edit that is older than the last one changes nothing.
        ``said`` is when the message was written: where it is no longer stored, notes that may tell it are dropped.
        """

        def correct(old: Message) -> Message | None:
            if old.id != message or 0 < at < old.edited:
                return old
            words = text if isinstance(text, str) else text(old.text)
            if old.text == words and at <= old.edited:
                return old
            new = replace(old, text=words, tokens=0, edited=max(at, old.edited))
            return replace(new, tokens=message_tokens(new, self._count))

        return bool(await self._change(key, _quoted(message), said, correct))

    async def withdraw(self, key: ConversationKey, message: str, *, said: float = 0.0) -> bool:
        """Take a message out, and the answer to it, in threads that copied them too. False if not found.

        ``said`` is as in ``correct``.
        """

        def withdraw(old: Message) -> Message | None:
            return None if message in (old.id, old.reply_to) else old

        return bool(await self._change(key, _quoted(message), said, withdraw))

    async def withdraw_author(self, key: ConversationKey, user: str) -> set[str]:
        """Take out all that one person said in this conversation: see ``unsay.lua``. Returns the messages' ids."""
        with redis_errors("forget a person"):
            withdrawn = await self._scripts.unsay(
                messages=Keys.messages(key),
                state=Keys.state(key),
                retries=Keys.retries(key),
                board=Keys.board(key),
                user=user,
                quoted=_quoted(user),
                boards=Keys.BOARDS,
            )
        return set(withdrawn)

    async def forget(self, key: ConversationKey, *, asker: str = "") -> int:
        """Forget a conversation and the threads that branched off it, with the dead letters of them.

        What ``asker`` asked there apart from the others goes, too; nobody else's does. Returns how many messages that
        were.
        """
        with redis_errors("forget a conversation"):
            forgotten = await self._forget_some([key])  # first: a thread that branches off now copies nothing
            async for forks in self._forks(key):
                forgotten += await self._forget_some(forks)
            if asker:
                forgotten += await self._forget_some([key.apart(asker)])
            await self._forget_letters(lambda where: key in (where, where.parent) or where == key.apart(asker))
        return forgotten

    async def erase(self, place: ConversationKey) -> int:
        """Forget a place that Parley is in no more: what is left there by everybody, and what was chosen there.

        Without a channel it is a whole workspace. Returns how many messages that were.
        """
        forgotten = 0
        with redis_errors("forget a place"):
            found: dict[ConversationKey, set[str]] = {}
            pattern = f"{Keys.CONVERSATIONS}{place.home if place.channel else str(place).rstrip(':')}:*"
            async for name in self._redis.scan_iter(match=pattern, count=1000):
                with suppress(ValueError):
                    key, _ = Keys.part_of(name)
                    if _within(key, place):
                        found.setdefault(key, set()).add(name)
            # Channels before their threads, as in ``forget``.
            keys = sorted(found, key=lambda key: (bool(key.thread), str(key)))
            for start in range(0, len(keys), AT_ONCE):
                some = keys[start : start + AT_ONCE]
                forgotten += await self._forget_some(some, whole=True)
            await self._forget_letters(lambda where: _within(where, place))
        return forgotten

    async def _forget_some(self, conversations: Sequence[ConversationKey], *, whole: bool = False) -> int:
        """Forget some conversations; with ``whole``, what was chosen for them as well."""
        calls = [
            {
                "messages": Keys.messages(one),
                "state": Keys.state(one),
                "retries": Keys.retries(one),
                "board": Keys.board(one),
                "forks": Keys.forks(one.home),
                "chosen": Keys.settings(one),
                "own_forks": Keys.forks(one),
                "ttl": self._retention,
                "boards": Keys.BOARDS,
                "thread": str(one) if one.thread else "",
                "whole": whole,
            }
            for one in conversations
        ]
        return sum(map(int, await self._scripts.forget.each(calls)))

    async def _forget_letters(self, concerned: Callable[[ConversationKey], bool]) -> None:
        """Drop the dead letters of some conversations, and those that cannot be read and may be of them."""
        if await self._redis.type(Keys.DEAD) != "list":
            return
        letters: Any = await self._redis.lrange(Keys.DEAD, 0, -1)
        for start in range(0, len(letters), AT_ONCE):
            async with self._redis.pipeline(transaction=False) as pipe:
                for letter in letters[start : start + AT_ONCE]:
                    if any(map(concerned, _conversations_in(letter))):
                        pipe.lrem(Keys.DEAD, 1, letter)
                await pipe.execute()

    async def _forks(self, key: ConversationKey) -> AsyncIterator[list[ConversationKey]]:
        """The threads that branched off a conversation, a few at a time."""
        names: Any = await self._redis.smembers(Keys.forks(key))
        forks, _ = readable(_key, names)
        for start in range(0, len(forks), AT_ONCE):
            yield forks[start : start + AT_ONCE]

    async def describe(self, key: ConversationKey) -> Remembered:
        """What is remembered, in numbers, and the summary of what was said earlier."""
        with redis_errors("look at a conversation"):
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.lrange(Keys.messages(key), 0, -1)
                pipe.ttl(Keys.messages(key))
                pipe.hget(Keys.state(key), "summary")
                entries, seconds, summary = await pipe.execute()
        messages, _ = readable(Message.from_json, entries)
        answers = sum(message.role is Role.ASSISTANT for message in messages)
        tokens = sum(message.tokens for message in messages)
        return Remembered(len(messages) - answers, answers, tokens, max(int(seconds), 0), summary or "")

    async def extent(self, key: ConversationKey) -> Extent:
        """What forgetting a conversation would take away."""
        with redis_errors("look at what would be forgotten"):
            forks: Any = await self._redis.smembers(Keys.forks(key))
            conversations = [key, *map(ConversationKey.parse, sorted(forks))]
            count, people = 0, set()
            for start in range(0, len(conversations), AT_ONCE):
                async with self._redis.pipeline(transaction=False) as pipe:
                    for one in conversations[start : start + AT_ONCE]:
                        pipe.lrange(Keys.messages(one), 0, -1)
                        pipe.hexists(Keys.state(one), "summary")
                    found = await pipe.execute()
                for entries, summed_up in zip(found[::2], found[1::2], strict=True):
                    messages = [Message.from_json(entry) for entry in entries]
                    count += len(messages)
                    people |= {message.author.id for message in messages if message.author} | (
                        {""} if summed_up else set()
                    )
            epoch: Any = await self._redis.hget(Keys.state(key), "epoch")
        return Extent(count, frozenset(people), int(epoch or 0))

    async def settings(self, key: ConversationKey) -> tuple[ConversationSettings, Choices]:
        """What people chose for a conversation, and what there is to choose from."""
        with redis_errors("read a conversation's settings"):
            found = await self._redis.get(Keys.settings(key))
            if not found and key.thread:
                found = await self._redis.get(Keys.settings(key.home))
        return ConversationSettings.from_json(found or ""), self._choices

    async def choose(self, key: ConversationKey, name: str, value: str) -> ConversationSettings:
        """Change one setting of a conversation; "" is its default, and without a ``name`` all get theirs.

        Raises WrongChoice, which says in plain words what is wrong.
        """
        while True:
            with redis_errors("store a conversation's settings"):
                async with self._redis.pipeline(transaction=True) as pipe:
                    # Two changes at once, from a form or two browsers, are both kept.
                    await pipe.watch(Keys.settings(key))
                    before, choices = await self.settings(key)
                    chosen = choices.change(before, name, value) if name else ConversationSettings()
                    pipe.multi()  # type: ignore[no-untyped-call]
                    if chosen == ConversationSettings() and not key.thread:
                        pipe.delete(Keys.settings(key))
                    else:  # a thread that chose the defaults keeps them, whatever its channel has
                        pipe.set(Keys.settings(key), chosen.to_json() or "{}", ex=self._retention)
                    try:
                        await pipe.execute()
                    except WatchError:
                        continue
            return chosen

    async def begin_folding(self, key: ConversationKey, seconds: int) -> bool:
        """Whether nobody else is writing the summary; nobody will for so many seconds."""
        with redis_errors("begin a summary"):
            return bool(await self._redis.set(Keys.folding(key), "1", nx=True, ex=seconds))

    async def end_folding(self, key: ConversationKey) -> None:
        """Let others write the summary."""
        with redis_errors("end a summary"):
            await self._redis.delete(Keys.folding(key))

    async def fold(self, conversation: Conversation, summary: str, folded: str) -> bool:
        """Store the summary of a conversation, up to the message called ``folded``, with the words of its ``voices``.

        False, and nothing is stored, if it was forgotten or anything in it was changed since it was loaded.
        """
        voices = sorted(conversation.voices)
        known = voices if len(voices) <= MOST_VOICES else [ANYBODY]
        with redis_errors("store a summary"):
            stored = await self._scripts.fold(
                state=Keys.state(conversation.key),
                epoch=conversation.epoch,
                changes=conversation.changes,
                summary=summary,
                folded=folded,
                voices=json.dumps(known),
            )
        return bool(stored)

    async def _change(
        self, key: ConversationKey, mark: str, said: float, change: Callable[[Message], Message | None]
    ) -> set[str]:
        """Change the messages that hold ``mark``, or take out those for which there is None. Returns their ids.

        Where there is none, notes that may tell what was ``said`` then are dropped: see ``find.lua``.

        The conversation comes first, then the threads that branched off it: one that does so meanwhile copies what is
        changed already. Each is looked through by itself: there may be hundreds, and Redis has others to serve as well.
        """
        with redis_errors("change a conversation"):
            changed = await self._change_some([key], mark, said, change)
            async for forks in self._forks(key):
                changed |= await self._change_some(forks, mark, said, change)
        return changed

    async def _change_some(
        self,
        conversations: Sequence[ConversationKey],
        mark: str,
        said: float,
        change: Callable[[Message], Message | None],
    ) -> set[str]:
        """Change some conversations, and again those in which somebody else changed the same message meanwhile."""
        changed: set[str] = set()
        left = list(conversations)
        while left:
            pairs = await self._find_pairs(left, mark, said, change)
            calls = [
                {"messages": Keys.messages(one), "state": Keys.state(one), "swaps": swaps}
                for one, swaps in pairs.items()
            ]
            done = await self._scripts.swap.each(calls)
            changed |= {Message.from_json(old).id for swaps in pairs.values() for old, _ in swaps}
            left = [one for (one, swaps), count in zip(pairs.items(), done, strict=True) if int(count) < len(swaps)]
        return changed

    async def _find_pairs(
        self,
        conversations: Sequence[ConversationKey],
        mark: str,
        said: float,
        change: Callable[[Message], Message | None],
    ) -> dict[ConversationKey, list[tuple[str, str]]]:
        """Messages as stored, each with what is to stand there instead ("" for nothing), by their conversations."""
        calls = [
            {
                "messages": Keys.messages(one),
                "state": Keys.state(one),
                "forks": Keys.forks(one.home),
                "text": mark,
                "name": str(one),
                "said": said,
            }
            for one in conversations
        ]
        found = await self._scripts.find.each(calls)
        pairs: dict[ConversationKey, list[tuple[str, str]]] = {}
        for one, entries in zip(conversations, found, strict=True):
            for entry in dict.fromkeys(entries):
                try:
                    old = Message.from_json(entry)
                except Unreadable:
                    continue
                if (new := change(old)) != old:
                    pairs.setdefault(one, []).append((entry, new.to_json() if new else ""))
        return pairs


def _voices(text: str) -> frozenset[str]:
    """Whose words notes may tell, as ``fold`` stored them; ANYBODY where that cannot be read."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    whole = isinstance(found, list) and all(isinstance(voice, str) for voice in found)
    return frozenset(found) if whole else frozenset([ANYBODY])


def _within(key: ConversationKey, place: ConversationKey) -> bool:
    """Whether a conversation is part of a place: of a thread, a channel or a workspace."""
    if (key.platform, key.workspace) != (place.platform, place.workspace):
        return False
    return place.channel in ("", key.channel) and place.thread in ("", key.thread)


def _conversations_in(letter: str) -> Iterator[ConversationKey]:
    """The conversation of a dead letter; where it cannot be read, all that it may name."""
    try:
        yield choice_in(record_in(record_in(read_record(letter), "job"), "turn"), "key", ConversationKey.parse)
    except Unreadable:
        yield from map(ConversationKey.parse, _NAMED.findall(letter))


def _key(name: str) -> ConversationKey:
    return choice_in({"a thread": name}, "a thread", ConversationKey.parse)


def _quoted(name: str) -> str:
    """A name as it stands in stored messages."""
    return json.dumps(name, ensure_ascii=False)
