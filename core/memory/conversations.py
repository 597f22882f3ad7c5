"""The memory: what was said in each conversation, in Redis. One round trip to load, one to append.

A conversation is a list of messages in the order in which they were committed, question and answer as a pair. It is
bounded in number and bytes, and expires unless an append renews it. A thread branches off its channel when it is first
loaded: it starts with a copy of what the channel knew, and is independent afterwards; forgetting, correcting and
withdrawing reach the copies too. Each operation on a conversation is one Lua script, so it is atomic. All of them are
idempotent, because the client repeats a call when a connection breaks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import WatchError

from core.memory.changes import Changes
from core.memory.choices import Choices
from core.memory.chronology import in_order
from core.memory.exchange import MAX_CONVERSATION_BYTES, MAX_CONVERSATION_MESSAGES, Exchange, Thread
from core.memory.facts import Facts, facts_in, facts_key
from core.memory.following import Following
from core.memory.forgetting import Extent, Forgetting
from core.memory.overhearing import Overhearing
from core.memory.scripts import MemoryScripts
from core.metrics import tag
from core.prompts import TokenCounter, estimate_tokens, message_tokens
from core.quotes import Quote
from core.store import Keys, redis_errors
from core.stored import finite, readable, whole_number
from core.types import ANYBODY, Conversation, ConversationKey, ConversationSettings, Message, Role

log = structlog.get_logger()

UNKNOWN_CHANGES = 2
"""What ``exchange.lua`` returns if what was read may have been edited or deleted since."""
STATE_FIELDS = ("cut", "epoch", "stranger", "summary", "folded", "changes", "voices", "heard", "until", "noted")
"""Fields of a conversation's state that are loaded."""
MAX_VOICES = 500
"""People that are recorded as contributors to a summary; if there are more, anybody may be one."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A conversation's memory in numbers. ``seconds_left`` is its time to live.

    ``overheard`` counts what people said in it, and not to Parley; ``questions`` does not.
    """

    questions: int
    answers: int
    tokens: int
    seconds_left: int
    summary: str = ""
    overheard: int = 0


class Memory:
    """What was said in each conversation, shared by all processes of a deployment.

    Nothing that was said under one key is read under another. Every method raises StorageError if Redis is away.

    Example:
        >>> memory = Memory(redis, retention=30 * 86_400)
        >>> conversation = await memory.load(turn.key)
        >>> said = (Message(Role.USER, "Hi", turn.id, turn.author), Message(Role.ASSISTANT, "Hello!", reply_to=turn.id))
        >>> await memory.append(Exchange(turn.key, conversation.epoch, turn.id, conversation.cut, said))
        True
    """

    def __init__(
        self, redis: Redis, *, retention: int, count: TokenCounter = estimate_tokens, choices: Choices | None = None
    ) -> None:
        """Connect a memory to Redis.

        Args:
            redis: the client.
            retention: seconds that a conversation is kept after its last append.
            count: counts the tokens of a text.
            choices: what people can choose for a conversation.
        """
        self._redis = redis
        self._retention = retention
        self._count = count
        self._scripts = MemoryScripts(redis)
        self._choices = choices or Choices()
        self._overhearing = Overhearing(self._scripts, count, retention=retention)
        self._changes = Changes(redis, self._scripts, count)
        self._forgetting = Forgetting(redis, self._scripts, retention=retention)
        self.facts = Facts(redis, retention=retention)
        self.following = Following(redis, retention=retention, default=self._choices.follow)

    async def load(self, key: ConversationKey, thread: Thread | None = None) -> Conversation:
        """All that is remembered of a conversation, oldest message first.

        Args:
            key: of the conversation.
            thread: the message that started it, if it is a thread: loaded for the first time, it starts with a copy of
                what its channel knew then.
        """
        parent = key.parent if thread else None
        branch = parent or key
        root, root_at = (thread.root, thread.root_at) if thread else ("", 0.0)
        with redis_errors("load a conversation"):
            entries, chosen, room, facts, token, forgotten, known = await self._scripts.load(
                messages=Keys.messages(key),
                state=Keys.state(key),
                settings=Keys.settings(key),
                room=Keys.room(key),
                parent=Keys.messages(branch),
                parent_state=Keys.state(branch),
                forks=Keys.forks(branch),
                parent_settings=Keys.settings(key.home),
                facts=facts_key(key),
                listening=Keys.listening(key.platform),
                has_parent=parent is not None,
                root=root,
                root_at=root_at,
                ttl=self._retention,
                name=str(key),
                fields=STATE_FIELDS,
            )
        messages, unreadable = readable(Message.from_json, entries)
        if unreadable:
            log.warning("unreadable messages skipped", conv=tag(str(key)), messages=unreadable)
        state = {name: value or "" for name, value in zip(STATE_FIELDS, known, strict=True)}
        return Conversation(
            key,
            in_order(messages),
            cut=state["cut"],
            epoch=whole_number(state["epoch"]),
            stranger=state["stranger"] == "1",
            settings=self._choices.resolved(ConversationSettings.from_json(chosen)),
            summary=state["summary"],
            folded=state["folded"],
            voices=_voices(state["voices"]) if state["summary"] else frozenset(),
            changes=whole_number(state["changes"]),
            facts=facts_in(dict(zip(facts[::2], facts[1::2], strict=True))),
            room=tuple(readable(Message.from_json, room)[0]),
            caught_up=bool(token) and token == state["heard"],
            token=token,
            until=state["until"],
            noted=whole_number(state["noted"]),
            forgotten=finite(forgotten),
        )

    async def overhear(self, key: ConversationKey, message: Message) -> bool:
        """Store what was said in a thread or channel, and not to Parley, once, in one round trip.

        In a thread it is stored with the conversation, if Parley was asked there before; in a channel for two hours,
        apart from the conversation.

        Args:
            key: of the thread or channel.
            message: with the id that its edits and deletions will have.

        Returns:
            Whether it is stored, now or before.
        """
        return await self._overhearing.overhear(key, message)

    async def after_changes(self, exchange: Exchange) -> Exchange:
        """An exchange that was refused because of edits or deletions, as it is after them.

        The question itself stays: see ``core.turns``. If it is not known any more what changed, nothing of what was
        read stays; the next question reads it again.
        """
        return await self._overhearing.after_changes(exchange)

    async def append(self, exchange: Exchange) -> bool:
        """Add an exchange to its conversation, in place of an earlier one of the same question.

        Returns:
            False, with nothing stored, if the conversation was forgotten since it was loaded.
        """
        with redis_errors("store a turn"):
            while True:
                added = await self._scripts.append(**self.keys(exchange.key), exchange=self.arguments(exchange))
                if added != UNKNOWN_CHANGES:
                    return bool(added)
                exchange = await self.after_changes(exchange)

    @staticmethod
    def keys(key: ConversationKey) -> dict[str, str]:
        """The keys that ``exchange.lua`` reads and writes."""
        return {
            "messages": Keys.messages(key),
            "memory": Keys.state(key),
            "forks": Keys.forks(key.parent or key),
            "following": Keys.following(key),
        }

    def arguments(self, exchange: Exchange) -> dict[str, Any]:
        """The arguments of ``exchange.lua``. Counts the tokens of messages whose tokens were not counted yet."""
        key = exchange.key
        counted = [m if m.tokens else replace(m, tokens=message_tokens(m, self._count)) for m in exchange.messages]
        return {
            "epoch": str(exchange.epoch),
            "cut": exchange.cut,
            "ttl": self._retention,
            "most": MAX_CONVERSATION_MESSAGES,
            "most_bytes": MAX_CONVERSATION_BYTES,
            "question": exchange.question,
            "newest": min(len(counted), 2),
            "thread": str(key) if key.parent else "",
            "said": [message.to_json() for message in counted],
            "heard": exchange.heard,
            "until": exchange.until,
            **({} if exchange.noted is None else {"noted": exchange.noted}),
        }

    async def correct(
        self,
        key: ConversationKey,
        message: str,
        text: str,
        *,
        quotes: Sequence[Quote] | None = None,
        at: float = 0.0,
        said: float = 0.0,
    ) -> bool:
        """Replace the text of a message, also in threads that copied it and where it was overheard; and its fact.

        Args:
            key: of the conversation.
            message: its id.
            text: the new text.
            quotes: what comes with it now; None if that stays as it was. What it replies to stays unless it is told.
            at: when it was edited, by the platform's clock; an edit older than the last one changes nothing. 0 if not
                known.
            said: when the message was written: if it is no longer stored, a summary that may contain it is dropped. 0
                if not known.

        Returns:
            False if the message was not found, or nothing changed.
        """
        found = await self._changes.correct(key, message, text, quotes=quotes, at=at, said=said)
        told = found.told and await self.facts.reword(key, message, text)
        return found.changed or told

    async def withdraw(self, key: ConversationKey, message: str, *, said: float = 0.0) -> bool:
        """Remove a message and the answer to it, also in threads that copied them, and the fact that it told.

        Returns False if nothing of it was found.

        ``said`` is as in ``correct``.
        """
        found = await self._changes.withdraw(key, message, said=said)
        told = found.told and await self.facts.withdraw(key, message)
        return found.changed or told

    async def withdraw_author(self, key: ConversationKey, user: str) -> set[str]:
        """Remove all that one person said or told in a conversation, with the answers and what else may contain it.

        Returns:
            The ids of the removed messages.
        """
        return await self._forgetting.withdraw_author(key, user)

    async def forget(self, key: ConversationKey, *, asker: str = "") -> int:
        """Forget a conversation, the threads that branched off it, and their dead letters.

        Of a channel, also what people told to remember about it; a thread leaves that.

        Args:
            key: of the conversation.
            asker: also forget this person's private conversation there; nobody else's.

        Returns:
            How many messages that were.
        """
        return await self._forgetting.forget(key, asker=asker)

    async def erase(self, place: ConversationKey) -> int:
        """Forget everything about a place that Parley has left, with the settings that people chose.

        Args:
            place: a channel, or a whole workspace if its ``channel`` is "".

        Returns:
            How many messages that were.
        """
        return await self._forgetting.erase(place)

    async def extent(self, key: ConversationKey) -> Extent:
        """What ``forget`` would remove."""
        return await self._forgetting.extent(key)

    async def describe(self, key: ConversationKey) -> Remembered:
        """What is remembered of a conversation, in numbers, and its summary."""
        with redis_errors("look at a conversation"):
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.lrange(Keys.messages(key), 0, -1)
                pipe.ttl(Keys.messages(key))
                pipe.hget(Keys.state(key), "summary")
                entries, seconds, summary = await pipe.execute()
        messages, _ = readable(Message.from_json, entries)
        overheard = sum(message.overheard for message in messages)
        answers = sum(message.role is Role.ASSISTANT and not message.overheard for message in messages)
        tokens = sum(message.tokens for message in messages)
        questions = len(messages) - answers - overheard
        return Remembered(questions, answers, tokens, max(int(seconds), 0), summary or "", overheard)

    async def settings(self, key: ConversationKey) -> tuple[ConversationSettings, Choices]:
        """What people chose for a conversation, and what they can choose. A thread's default is its channel's."""
        with redis_errors("read a conversation's settings"):
            found = await self._redis.get(Keys.settings(key))
            if not found and key.thread:
                found = await self._redis.get(Keys.settings(key.home))
        return ConversationSettings.from_json(found or ""), self._choices

    async def choose(self, key: ConversationKey, name: str, value: str) -> ConversationSettings:
        """Change one setting of a conversation; without a ``name``, reset all of them.

        Args:
            key: of the conversation.
            name: of the setting; "" for all.
            value: as people write it; "" for the default.

        Raises:
            WrongChoice: the value can't be chosen; the message says why to the person who chose it.
        """
        while True:
            with redis_errors("store a conversation's settings"):
                async with self._redis.pipeline(transaction=True) as pipe:
                    # WATCH, so that two changes at the same time, from a form or two browsers, are both kept.
                    await pipe.watch(Keys.settings(key))
                    before, choices = await self.settings(key)
                    chosen = choices.change(before, name, value) if name else ConversationSettings()
                    pipe.multi()  # type: ignore[no-untyped-call]
                    if chosen == ConversationSettings() and not key.thread:
                        pipe.delete(Keys.settings(key))
                    else:  # a thread that chose the defaults keeps them, whatever its channel chose
                        pipe.set(Keys.settings(key), chosen.to_json() or "{}", ex=self._retention)
                    try:
                        await pipe.execute()
                    except WatchError:
                        continue
            return chosen

    async def begin_folding(self, key: ConversationKey, seconds: int) -> bool:
        """Reserve the summary for ``seconds``: whether nobody else is writing it."""
        with redis_errors("begin a summary"):
            return bool(await self._redis.set(Keys.folding(key), "1", nx=True, ex=seconds))

    async def end_folding(self, key: ConversationKey) -> None:
        """Release the summary, so that others can write it."""
        with redis_errors("end a summary"):
            await self._redis.delete(Keys.folding(key))

    async def fold(self, conversation: Conversation, summary: str, folded: str) -> bool:
        """Store a summary of a conversation as it was loaded.

        Args:
            conversation: with the ``voices`` whose words the summary may contain.
            summary: the text.
            folded: id of the last message in the summary.

        Returns:
            False, with nothing stored, if the conversation was forgotten or changed since it was loaded.
        """
        voices = sorted(conversation.voices)
        known = voices if len(voices) <= MAX_VOICES else [ANYBODY]
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


def _voices(text: str) -> frozenset[str]:
    """Whose words a summary may contain, as ``fold`` stored it; ANYBODY if that can't be read."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    whole = isinstance(found, list) and all(isinstance(voice, str) for voice in found)
    return frozenset(found) if whole else frozenset([ANYBODY])
