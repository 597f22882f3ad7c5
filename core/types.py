"""The words of Parley, as values.

Nothing here acts, waits or knows a platform. A value never changes once made; identity belongs to the
platform that named a message and to Redis, which keeps it. What is stored goes through ``to_json`` and
``from_json`` and carries the version ``v`` of its format, so that a newer Parley can read an older one's.

Shapes and units: ``at`` is seconds since the epoch, ``tokens`` are the model's, sizes are in the units of
the platform that counts them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Self
from urllib.parse import quote, unquote

from core.stored import Unreadable, choice_in, count_in, flag_in, read_record, text_in, texts_in, time_in

FORMAT = 1
"""Version ``v`` of every stored record."""


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class Ending(StrEnum):
    """How an answer came to its end."""

    COMPLETE = "complete"
    """The model said all that it wanted to say."""
    LENGTH = "length"
    """The model was cut off at the most tokens it may write."""
    STOPPED = "stopped"
    """A person stopped it; the text so far stands."""
    INTERRUPTED = "interrupted"
    """Something broke on the way; the text so far stands."""
    FAILED = "failed"
    """There is no text."""


@dataclass(frozen=True, slots=True)
class Author:
    """A person, as the platform names them: a stable ``id`` and a ``name`` to show."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Message:
    """One thing that was said.

    ``id`` is the platform's identity of a person's message; an answer has the id of its first posted
    message, and ``reply_to`` names the question. ``tokens`` is counted once, when it is stored. ``edited`` is when its
    author last edited it, by the platform's clock, 0 for never.
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

    def to_json(self) -> str:
        """Compact JSON, as kept in Redis; what has its default is left out."""
        record: dict[str, Any] = {
            "v": FORMAT,
            "id": self.id,
            "role": self.role,
            "text": self.text,
            "at": self.at,
        }
        if self.author:
            record["uid"], record["name"] = self.author.id, self.author.name
        if self.tokens:
            record["tokens"] = self.tokens
        if self.reply_to:
            record["reply_to"] = self.reply_to
        if self.ending is not Ending.COMPLETE:
            record["ending"] = self.ending
        if self.edited:
            record["edited"] = self.edited
        # Half a surrogate pair, which JSON can bring in, is no text that could be stored.
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace").decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what ``to_json`` wrote; fields of a newer version are passed over. Raises Unreadable."""
        record = read_record(text)
        author = Author(text_in(record, "uid"), text_in(record, "name", "")) if "uid" in record else None
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
        )


@dataclass(frozen=True, slots=True)
class ConversationKey:
    """Where a conversation stands: what was said under one key is never read under another.

    ``thread`` is empty for the channel itself (or a direct message). What one person asks apart from the others has
    ``@`` and their id in the place of the thread, or of the channel on the page.
    """

    platform: str
    workspace: str
    channel: str
    thread: str = ""

    def __str__(self) -> str:
        """``slack:T1:C1`` or ``slack:T1:C1:1700.1``; parts are quoted, so that no name forges a scope."""
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
        """The channel in which it stands: itself, for a channel."""
        return replace(self, thread="")

    @property
    def parent(self) -> ConversationKey | None:
        """The channel that a thread branched off; None for a channel, and for what is one person's alone."""
        return self.home if self.thread and not self.owner else None

    @property
    def owner(self) -> str:
        """The person whose alone it is; "" where it is everybody's."""
        name = self.thread or self.channel
        return name[1:] if name.startswith("@") else ""

    def apart(self, person: str) -> ConversationKey:
        """What one person asks in that place apart from the others."""
        return ConversationKey(self.platform, self.workspace, self.thread or self.channel, f"@{person}")


@dataclass(frozen=True, slots=True)
class ConversationSettings:
    """What people chose for one conversation; None is as Parley's own settings say.

    ``persona`` names a system prompt of whoever runs Parley, ``system`` is one of their own; not both.
    """

    system: str | None = None
    persona: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None
    model: str | None = None

    def to_json(self) -> str:
        """Compact JSON, as kept in Redis; "" if nothing was chosen."""
        chosen = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps({"v": FORMAT} | chosen, ensure_ascii=False, separators=(",", ":")) if chosen else ""

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what ``to_json`` wrote; fields of a newer version are passed over, and so are values of other types."""
        try:
            record = read_record(text) if text else {}
        except Unreadable:
            record = {}
        return cls(**{name: record[name] for name, fits in _CHOSEN.items() if name in record and fits(record[name])})


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(least: float, most: float) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


_CHOSEN: Mapping[str, Callable[[object], bool]] = {
    "system": _is_text,
    "persona": _is_text,
    "temperature": _is_number(0, 2),
    "top_p": _is_number(0.001, 1),
    "max_new_tokens": lambda value: isinstance(value, int) and _is_number(1, 1_000_000)(value),
    "model": _is_text,
}
"""What a conversation's settings can be."""


ANYBODY = "*"
"""In the place of people whom nobody wrote down."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is remembered under one key, oldest first.

    ``cut`` is the id of the oldest message that the model still sees ("" for all). ``epoch`` counts how often
    the conversation was forgotten: what was loaded under an older epoch is not stored any more.
    ``stranger`` says that this is a thread whose beginning Parley never saw. ``summary`` stands for all that was said
    up to and including the message called ``folded``, and ``voices`` are the people whose words it may tell
    (``ANYBODY`` where that is not known); ``changes`` counts the edits and deletions of what is stored.
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


@dataclass(frozen=True, slots=True)
class Turn:
    """One message that is owed one reply.

    ``id`` is made of the platform's own identity of the message, so that a redelivery is the same turn.
    ``lane`` is what is answered in order: a thread, a direct message, or one person in a channel.
    ``root`` and ``root_at`` name the message on which a thread hangs. ``place`` is the platform's business:
    whatever its adapter needs to reply there. ``attempt`` counts the times a person asked to try again. ``edited`` is
    when its author last edited it, by the platform's clock, 0 for never.
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

    def record(self) -> dict[str, Any]:
        """As kept in Redis, ready for JSON."""
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
            **({"edited": self.edited} if self.edited else {}),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read what ``record`` gave; fields of a newer version are passed over. Raises Unreadable."""
        return cls(
            id=text_in(record, "id"),
            key=choice_in({"key": text_in(record, "key")}, "key", ConversationKey.parse),
            lane=text_in(record, "lane"),
            author=Author(text_in(record, "uid"), text_in(record, "name")),
            text=text_in(record, "text"),
            at=time_in(record, "at"),
            root=text_in(record, "root", ""),
            root_at=time_in(record, "root_at", 0.0),
            place=texts_in(record, "place"),
            attempt=count_in(record, "attempt", 0),
            edited=time_in(record, "edited", 0.0),
        )


@dataclass(frozen=True, slots=True)
class MessageRef:
    """A posted message: where it stands, and what the platform calls it."""

    channel: str
    id: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a person is told under a finished reply: a plain ``note`` ("" for none), and whether Retry is offered.

    ``remember`` is False where question and answer are to be forgotten with the message that asked. ``hand_on`` has the
    question remembered although it was not answered: the next answer in its lane knows it. ``confirm`` is what a Forget
    button under the reply is bound to (see ``core.assistant.Confirmation``), "" for no such button.
    """

    ending: Ending
    note: str = ""
    retry: bool = False
    remember: bool = True
    hand_on: bool = False
    confirm: str = ""

    def record(self) -> dict[str, Any]:
        """As kept in Redis, ready for JSON."""
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
    """Length as Python and most platforms count it."""
    return len(text)


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one platform's messages: ``size`` in the units that ``measure`` counts.

    ``interval`` is the least number of seconds between two edits of one message. ``heals`` says that previews show
    healed Markdown; where what was shown cannot be taken back, they show the text as it was generated. A reply has
    ``messages`` at the most (0: any number), and the whole text as a file where they do not hold it. It must have ended
    ``until`` then, in seconds since the epoch (0: whenever). ``thinking`` is what a reply shows while the model reasons
    for long before its first word; "" where something else says that it is at work.
    """

    size: int
    measure: Callable[[str], int] = code_points
    interval: float = 1.0
    heals: bool = True
    messages: int = 0
    until: float = 0.0
    thinking: str = ""


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """Of one model, as its server tells them, in tokens."""

    max_input_tokens: int
    max_total_tokens: int
    model: str = ""


@dataclass(frozen=True, slots=True)
class PromptWindow:
    """What the model sees of a conversation: the system prompt, then messages, the question last."""

    system: str
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A window, rendered for one family of models.

    Raw servers take ``text()``; those that template by themselves take ``chat()``, roles and guarded words, or
    ``text()`` where there is none. Both are made when asked for. ``messages`` is what was said, as it was said.
    ``stops`` end the answer and are never part of it; nor does it show any of the template's own ``control_tokens``.
    """

    messages: tuple[Message, ...]
    stops: tuple[str, ...]
    text: Callable[[], str]
    chat: Callable[[], Sequence[tuple[Role, str]]] | None = None
    control_tokens: tuple[str, ...] = ()

    @classmethod
    def raw(cls, text: str, stops: Sequence[str] = ()) -> Self:
        """A text that the model continues as it stands: no memory, no template."""
        return cls((Message(Role.USER, text),), tuple(stops), lambda: text)


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What a backend is asked for. A ``temperature`` of 0 is greedy."""

    prompt: Prompt
    max_new_tokens: int
    temperature: float = 0.7
    top_p: float | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """More visible text."""

    text: str


@dataclass(frozen=True, slots=True)
class Thinking:
    """The model reasons before it answers. What it reasons is shown to nobody; that it does is a sign of life.

    With ``retract``, the text so far was reasoning that nobody could tell from an answer: it does not count. ``text``
    is what a backend heard of it: the answer, if nothing else comes.
    """

    retract: bool = False
    text: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the server counted them; None where it did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The end of a stream: how it ended (``COMPLETE`` or ``LENGTH``), and what it cost.

    ``began_inside`` says that the text began in the middle of reasoning, which only a lone end tag told.
    """

    ending: Ending = Ending.COMPLETE
    usage: Usage = Usage()
    began_inside: bool = False


Streamed = Delta | Thinking | Done
"""What comes out of a model, piece by piece."""
