"""What people say and where: messages, conversations, turns and how they end.

All classes are immutable values without behaviour of their own; none knows a platform. Stored ones are written by
``to_json`` and read by ``from_json``; they carry the version ``v`` of their format, so that a newer Parley can read
what an older one wrote. What a model is asked and streams is in ``core.model_types``.

Units: ``at`` is in seconds since the epoch, ``tokens`` are the model's, sizes are in the units that a platform counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal, Self, get_args
from urllib.parse import quote, unquote

from core.quotes import Quote, quotes_in
from core.stored import Unreadable, choice_in, count_in, flag_in, read_record, text_in, texts_in, time_in

FORMAT = 1
"""Version ``v`` of every stored record."""


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class Ending(StrEnum):
    """How an answer ended."""

    COMPLETE = "complete"
    """The model finished its answer."""
    LENGTH = "length"
    """The answer reached the token limit."""
    STOPPED = "stopped"
    """A person stopped it; the text so far is kept."""
    INTERRUPTED = "interrupted"
    """Something failed while it was written; the text so far is kept."""
    FAILED = "failed"
    """It failed before there was any text."""


@dataclass(frozen=True, slots=True)
class Author:
    """A person or an app on a platform: a stable ``id`` and a display ``name``."""

    id: str
    name: str
    app: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation, from a person or from the model.

    Args:
        id: the platform's id of a person's message; for an answer, that of its first posted message.
        tokens: its length, counted once, when it is stored; 0 before.
        reply_to: for an answer, the id of its question.
        edited: when its author last edited it, by the platform's clock; 0 for never.
        quotes: what comes with it. An edit of the text leaves them.
        overheard: whether it was said in the room, and not to Parley.
    """

    role: Role
    text: str
    id: str = ""
    author: Author | None = None
    at: float = 0.0
    tokens: int = 0
    reply_to: str = ""
    ending: Ending = Ending.COMPLETE
    edited: float = 0.0
    quotes: tuple[Quote, ...] = ()
    overheard: bool = False

    def to_json(self) -> str:
        """Compact JSON, as stored in Redis; fields with their default are left out."""
        record: dict[str, Any] = {
            "v": FORMAT,
            "id": self.id,
            "role": self.role,
            "text": self.text,
            "at": self.at,
        }
        if self.author:
            record["uid"], record["name"] = self.author.id, self.author.name
            if self.author.app:
                record["app"] = True
        if self.tokens:
            record["tokens"] = self.tokens
        if self.reply_to:
            record["reply_to"] = self.reply_to
        if self.ending is not Ending.COMPLETE:
            record["ending"] = self.ending
        if self.edited:
            record["edited"] = self.edited
        if self.quotes:
            record["quotes"] = [quote.record() for quote in self.quotes]
        if self.overheard:
            record["overheard"] = True
        # JSON can contain half a surrogate pair, which can't be encoded: it is replaced.
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace").decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what ``to_json`` wrote; ignore fields of a newer version. Raises Unreadable."""
        record = read_record(text)
        author = None
        if "uid" in record:
            author = Author(text_in(record, "uid"), text_in(record, "name", ""), flag_in(record, "app", False))
        return cls(
            role=choice_in(record, "role", Role),
            text=text_in(record, "text"),
            id=text_in(record, "id", ""),
            author=author,
            at=time_in(record, "at", 0.0),
            tokens=count_in(record, "tokens", 0),
            reply_to=text_in(record, "reply_to", ""),
            ending=choice_in(record, "ending", Ending, Ending.COMPLETE),
            edited=time_in(record, "edited", 0.0),
            quotes=quotes_in(record),
            overheard=flag_in(record, "overheard", False),
        )


@dataclass(frozen=True, slots=True)
class ConversationKey:
    """The place of a conversation. What was said under one key is never read under another.

    ``thread`` is empty for a channel or a direct message. A private conversation of one person in a channel has
    ``@`` and their id instead of the thread; on the page, instead of the channel.

    >>> str(ConversationKey("slack", "T1", "C1", "1700.1"))
    'slack:T1:C1:1700.1'
    """

    platform: str
    workspace: str
    channel: str
    thread: str = ""

    def __str__(self) -> str:
        """``slack:T1:C1`` or ``slack:T1:C1:1700.1``; parts are percent-encoded, so that no name forges another key."""
        parts = [self.platform, self.workspace, self.channel]
        if self.thread:
            parts.append(self.thread)
        return ":".join(quote(part, safe="@.-_") for part in parts)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what ``str`` wrote. Raises ValueError for anything else."""
        parts = [unquote(part) for part in text.split(":")]
        if len(parts) not in (3, 4):
            raise ValueError(f"not a conversation key: {text!r}")
        return cls(*parts)

    @property
    def home(self) -> ConversationKey:
        """Its channel; a channel is its own."""
        return replace(self, thread="")

    @property
    def parent(self) -> ConversationKey | None:
        """The channel that a thread branched off; None for a channel and for a private conversation."""
        return self.home if self.thread and not self.owner else None

    @property
    def owner(self) -> str:
        """The person whose private conversation it is; "" if it is everybody's."""
        name = self.thread or self.channel
        return name[1:] if name.startswith("@") else ""

    def apart(self, person: str) -> ConversationKey:
        """The private conversation of one person in this place."""
        return ConversationKey(self.platform, self.workspace, self.thread or self.channel, f"@{person}")


Follow = Literal["mention", "auto", "always"]
"""When a message in a thread needs no mention: never, while one person talks with Parley there, or always."""
Hear = Literal["room", "thread", "mention"]
"""What is read of what isn't said to Parley: see ``Settings.hear``."""


@dataclass(frozen=True, slots=True)
class ConversationSettings:
    """What people chose for one conversation; None means the operator's default.

    ``persona`` names one of the operator's system prompts, ``system`` is one that people wrote; never both.
    """

    system: str | None = None
    persona: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None
    model: str | None = None
    follow: Follow | None = None

    def to_json(self) -> str:
        """Compact JSON, as stored in Redis; "" if nothing was chosen."""
        chosen = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps({"v": FORMAT} | chosen, ensure_ascii=False, separators=(",", ":")) if chosen else ""

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what ``to_json`` wrote; ignore unknown fields and values that can't be valid."""
        try:
            record = read_record(text) if text else {}
        except Unreadable:
            record = {}
        return cls(
            **{name: record[name] for name, fits in _VALID_CHOICES.items() if name in record and fits(record[name])}
        )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(least: float, most: float) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


_VALID_CHOICES: Mapping[str, Callable[[object], bool]] = {
    "system": _is_text,
    "persona": _is_text,
    "temperature": _is_number(0, 2),
    "top_p": _is_number(0.001, 1),
    "max_new_tokens": lambda value: isinstance(value, int) and _is_number(1, 1_000_000)(value),
    "model": _is_text,
    "follow": lambda value: value in get_args(Follow),
}
"""For each field of ``ConversationSettings``: whether a stored value is valid."""


ANYBODY = "*"
"""Stands for people whose ids were not recorded."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that people told Parley to remember about a channel: ``remember: standup is at 9:15``.

    Args:
        number: by which people name it; never used again in its channel.
        text: what they told.
        author: who told it, or corrected it last.
        at: when, in seconds since the epoch.
        corrected: whether it replaced what was told before.
    """

    number: int
    text: str
    author: Author
    at: float
    corrected: bool = False


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is remembered under one key.

    Args:
        messages: oldest first.
        cut: id of the oldest message that the model still sees; "" for all.
        epoch: how often the conversation was forgotten. What was loaded in an older epoch is no longer stored.
        stranger: whether this is a thread whose beginning Parley never saw.
        summary: replaces all messages up to and including the one with the id ``folded``.
        voices: people whose words the summary may contain; ``ANYBODY`` where that is not known.
        changes: number of edits and deletions so far.
        room: what was said in the channel lately, not to Parley, oldest first. It is in the prompt, and not remembered
            with the answer.
        facts: what people told Parley to remember about the channel, in the order of their numbers.
        caught_up: whether everything said in the thread since Parley last looked is among the messages.
        token: the listening token: see ``core.memory.Listening``; "" while nobody listens.
        until: id of the question up to which all of the thread is known; "" if it never was.
        noted: number of edits and deletions noted so far for messages that were not stored.
        forgotten: when it, or its channel, was forgotten; nothing older is read from the platform again.
    """

    key: ConversationKey
    messages: tuple[Message, ...] = ()
    cut: str = ""
    epoch: int = 0
    stranger: bool = False
    settings: ConversationSettings = ConversationSettings()
    summary: str = ""
    folded: str = ""
    voices: frozenset[str] = frozenset()
    changes: int = 0
    room: tuple[Message, ...] = ()
    facts: tuple[Fact, ...] = ()
    caught_up: bool = False
    token: str = ""
    until: str = ""
    noted: int = 0
    forgotten: float = 0.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One message that gets one reply.

    Args:
        id: made from the platform's id of the message, so that a redelivery is the same turn.
        lane: turns of one lane are answered in order: a thread, a direct message, or one person in a channel.
        root: id of the message that started the thread; "" outside threads.
        root_at: when that message was written.
        place: what the platform's adapter needs to reply there.
        attempt: how often a person asked to try again.
        edited: when its author last edited it, by the platform's clock; 0 for never.
        quotes: what comes with the text. An edit of the text leaves them.
    """

    id: str
    key: ConversationKey
    lane: str
    author: Author
    text: str
    at: float
    root: str = ""
    root_at: float = 0.0
    place: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 0
    edited: float = 0.0
    quotes: tuple[Quote, ...] = ()

    def record(self) -> dict[str, Any]:
        """As stored in Redis, ready for JSON."""
        return {
            "id": self.id,
            "key": str(self.key),
            "lane": self.lane,
            "uid": self.author.id,
            "name": self.author.name,
            "text": self.text,
            "at": self.at,
            "root": self.root,
            "root_at": self.root_at,
            "place": dict(self.place),
            "attempt": self.attempt,
            **({"app": True} if self.author.app else {}),
            **({"edited": self.edited} if self.edited else {}),
            **({"quotes": [quote.record() for quote in self.quotes]} if self.quotes else {}),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read what ``record`` gave; ignore fields of a newer version. Raises Unreadable."""
        return cls(
            id=text_in(record, "id"),
            key=choice_in({"key": text_in(record, "key")}, "key", ConversationKey.parse),
            lane=text_in(record, "lane"),
            author=Author(text_in(record, "uid"), text_in(record, "name"), flag_in(record, "app", False)),
            text=text_in(record, "text"),
            at=time_in(record, "at"),
            root=text_in(record, "root", ""),
            root_at=time_in(record, "root_at", 0.0),
            place=texts_in(record, "place"),
            attempt=count_in(record, "attempt", 0),
            edited=time_in(record, "edited", 0.0),
            quotes=quotes_in(record),
        )


@dataclass(frozen=True, slots=True)
class MessageRef:
    """A posted message: its channel, and its id on the platform."""

    channel: str
    id: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a reply ended, and what its asker sees under it.

    Args:
        note: a sentence under the reply; "" for none.
        retry: whether there is a Retry button.
        remember: False if question and answer are forgotten because the question was deleted.
        hand_on: remember the question although it was not answered, so that the next answer in its lane knows it.
        confirm: what a Forget button under the reply confirms (see ``core.assistant.Confirmation``); "" for no button.
    """

    ending: Ending
    note: str = ""
    retry: bool = False
    remember: bool = True
    hand_on: bool = False
    confirm: str = ""

    def record(self) -> dict[str, Any]:
        """As stored in Redis, ready for JSON."""
        record = {"ending": self.ending, "note": self.note, "retry": self.retry, "remember": self.remember}
        more = {"hand_on": True} if self.hand_on else {}
        return record | more | ({"confirm": self.confirm} if self.confirm else {})

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read what ``record`` gave. Raises Unreadable."""
        return cls(
            choice_in(record, "ending", Ending),
            text_in(record, "note"),
            flag_in(record, "retry"),
            flag_in(record, "remember"),
            flag_in(record, "hand_on", False),
            text_in(record, "confirm", ""),
        )


def code_points(text: str) -> int:
    """Length in Unicode code points, as Python and most platforms count it."""
    return len(text)


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """What one platform's messages can hold, and how often they can be edited.

    Args:
        size: of one message at most, in the units that ``measure`` counts.
        measure: the length of a text.
        interval: seconds between two edits of one message, at least.
        heals: whether previews show healed Markdown; False where shown text can't be taken back, so that previews show
            the text as generated.
        messages: of one reply at most, 0 for any number; a longer text is attached as a file.
        until: when a reply must have ended, in seconds since the epoch; 0 for no limit.
        thinking: what a reply shows while the model reasons for long; "" if the platform shows that another way.
    """

    size: int
    measure: Callable[[str], int] = code_points
    interval: float = 1.0
    heals: bool = True
    messages: int = 0
    until: float = 0.0
    thinking: str = ""
