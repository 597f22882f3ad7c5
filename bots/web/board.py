"""The board of a channel: its questions and answers as the page shows them, kept in Redis.

The memory holds finished answers; a board also shows questions that wait, answers that grow, and errors. The process
that answers writes it, and the process that serves the page reads it; so a reload, a second browser and another worker
find it as it was. Forgetting a conversation deletes its board (``core/memory/forget.lua``).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from redis.asyncio import Redis

from core.store import Keys, Script, redis_errors
from core.stored import choice_in, count_in, flag_in, read_record, readable, record_in, text_in, time_in
from core.types import FORMAT, Author, ConversationKey, Turn

MAX_ENTRIES = 100
"""Entries of one board; when there are a quarter more, the oldest are deleted."""
MAX_QUESTION_CHARACTERS = 20_000
"""Characters of a question up to which a board shows all of it; the model and the memory get the whole question."""


class Stage(StrEnum):
    """How far a reply is."""

    WAITING = "waiting"
    GROWING = "growing"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Entry:
    """One question and the reply to it; ``at`` is when it was asked. ``note`` says how the reply ended."""

    turn: str
    author: Author
    question: str
    at: float
    attempt: int = 0
    stage: Stage = Stage.WAITING
    answer: str = ""
    note: str = ""
    retry: bool = False

    @classmethod
    def of(cls, turn: Turn) -> Self:
        """The entry of a turn that has no answer yet."""
        return cls(turn.id, turn.author, shown(turn.text), turn.at, turn.attempt)

    @property
    def open(self) -> bool:
        """Whether the reply is unfinished."""
        return self.stage is not Stage.DONE

    def to_json(self) -> str:
        """Write it as JSON, as stored in Redis."""
        record = {"v": FORMAT, **asdict(self)}
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace").decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote; unknown fields of a newer version are ignored. Raises Unreadable."""
        record = read_record(text)
        author = record_in(record, "author")
        return cls(
            text_in(record, "turn"),
            Author(text_in(author, "id"), text_in(author, "name")),
            text_in(record, "question"),
            time_in(record, "at"),
            count_in(record, "attempt", 0),
            choice_in(record, "stage", Stage),
            text_in(record, "answer", ""),
            text_in(record, "note", ""),
            flag_in(record, "retry", False),
        )


def shown(text: str) -> str:
    """A question as a board shows it: whole, or the beginning of a very long one and its length."""
    if len(text) <= MAX_QUESTION_CHARACTERS:
        return text
    return f"{text[: MAX_QUESTION_CHARACTERS // 10].rstrip()} … ({len(text):,} characters in all)"


class Boards:
    """All boards of a deployment. Every method raises StorageError when Redis is away."""

    def __init__(self, redis: Redis, *, retention: int) -> None:
        """Keep a board for ``retention`` seconds after it last changed."""
        self._redis = redis
        self._retention = retention
        self._show = Script(
            redis,
            "bots/web/show",
            keys=["board", "state"],
            args={
                "turn": str,
                "entry": str,
                "only_new": bool,
                "ttl": int,
                "most": int,
                "boards": str,
                "epoch": str,
            },
        )

    async def ask(self, key: ConversationKey, entry: Entry) -> None:
        """Show a question, unless its answer is there already."""
        await self._put(key, entry.turn, entry.to_json(), only_new=True)

    async def epoch(self, key: ConversationKey) -> str:
        """The number of times that a conversation was forgotten."""
        with redis_errors("read how often a conversation was forgotten"):
            epoch: Any = await self._redis.hget(Keys.state(key), "epoch")
        return epoch or "0"

    async def show(self, key: ConversationKey, entry: Entry, *, epoch: str = "") -> bool:
        """Show an entry in place of the older one of its turn.

        Returns:
            False, and nothing is shown, if the conversation was forgotten after ``epoch``. With "", it is always shown.
        """
        return await self._put(key, entry.turn, entry.to_json(), epoch=epoch)

    async def remove(self, key: ConversationKey, turn: str) -> None:
        """Take a turn off the board."""
        await self._put(key, turn, "")

    async def find(self, key: ConversationKey, turn: str) -> Entry | None:
        """The entry of a turn; None if there is none."""
        with redis_errors("look at a board"):
            entry: Any = await self._redis.hget(Keys.board(key), turn)
        found, _ = readable(Entry.from_json, [entry] if entry else [])
        return found[0] if found else None

    async def entries(self, key: ConversationKey) -> list[Entry]:
        """All entries, oldest first."""
        with redis_errors("read a board"):
            entries: Any = await self._redis.hvals(Keys.board(key))
        return sorted(readable(Entry.from_json, entries)[0], key=lambda entry: entry.at)

    async def changes(self) -> AsyncIterator[tuple[str, str]]:
        """Yield changes as they happen: the name of a board, and the turn that changed ("" for the whole board).

        ("", "") comes first, and after each new connection: then any board may have changed.
        """
        with redis_errors("follow the boards"):
            async with self._redis.pubsub() as pubsub:
                await pubsub.subscribe(Keys.BOARDS)
                async with aclosing(pubsub.listen()) as messages:
                    async for message in messages:
                        is_change = message["type"] == "message"
                        board, _, turn = str(message["data"]).partition(" ") if is_change else ("", "", "")
                        yield board, turn

    async def _put(
        self, key: ConversationKey, turn: str, entry: str, *, only_new: bool = False, epoch: str = ""
    ) -> bool:
        with redis_errors("write on a board"):
            shown = await self._show(
                board=Keys.board(key),
                state=Keys.state(key),
                turn=turn,
                entry=entry,
                only_new=only_new,
                ttl=self._retention,
                most=MAX_ENTRIES,
                boards=Keys.BOARDS,
                epoch=epoch,
            )
        return int(shown) >= 0
