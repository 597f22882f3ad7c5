"""What the double of Slack writes down: values for tests to read, and what a person sees of a message.

Two texts are told apart everywhere. ``text`` is what stands on a person's screen; ``fallback`` is the ``text``
argument of a call, which Slack shows only where a message has no blocks (and in notifications).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

ENTITY = re.compile(r"<(?:@[UW][A-Z0-9]+|#C[A-Z0-9]+|![a-z^A-Z0-9]+|https?://[^\s<>|]+|mailto:[^\s<>|]+)(?:\|[^<>]*)?>")
"""What a person's client writes between angle brackets: a mention, a channel, a broadcast, a link."""

NOTIFIES = re.compile(r"<!(?i:channel|here|everyone)(?:\|[^<>]*)?>|<!subteam\^[^<>]*>|<@[UW][A-Z0-9]+(?:\|[^<>]*)?>")
"""What makes somebody's phone ring when it reaches Slack unescaped."""

URL = re.compile(r"https?://[^\s<>|)\]\"'`]+")


def escape(text: str) -> str:
    """As a person's client sends text: ``&``, ``<`` and ``>`` are escaped, mentions and links are entities."""
    parts, end = [], 0
    for entity in ENTITY.finditer(text):
        parts += [_escaped(text[end : entity.start()]), entity.group()]
        end = entity.end()
    return "".join([*parts, _escaped(text[end:])])


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def unescape(text: str) -> str:
    """As mrkdwn is shown."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def texts(node: Any) -> Iterator[tuple[str, str]]:
    """Each text that blocks show, as (dialect, source); what stands on buttons is not text."""
    if isinstance(node, list):
        for item in node:
            yield from texts(item)
    elif isinstance(node, dict) and node.get("type") not in {"button", "feedback_buttons", "icon_button"}:
        if isinstance(node.get("text"), str):
            yield str(node.get("type", "plain_text")), node["text"]
        for key, value in node.items():
            if key != "text" or not isinstance(value, str):
                yield from texts(value)


@dataclass(frozen=True, slots=True)
class Button:
    """A button as a person sees it, and what its press says."""

    action_id: str
    label: str
    value: str


def elements(blocks: Sequence[Json]) -> Iterator[tuple[str, Json]]:
    """Every interactive element anywhere in blocks, with the ``block_id`` it stands in."""
    for block in blocks:
        yield from ((block.get("block_id", ""), element) for element in _elements(block))


def _elements(node: Any) -> Iterator[Json]:
    if isinstance(node, list):
        for item in node:
            yield from _elements(item)
    elif isinstance(node, dict):
        if "action_id" in node:
            yield node
        else:
            for value in node.values():
                yield from _elements(value)


def buttons(blocks: Sequence[Json]) -> list[Button]:
    """All buttons, in reading order; a pair of feedback buttons is two with one ``action_id``."""
    found: list[Button] = []
    for _, element in elements(blocks):
        pair = [element[key] for key in ("positive_button", "negative_button") if key in element]
        found += [
            Button(element["action_id"], one.get("text", {}).get("text", ""), one.get("value", ""))
            for one in pair or [element]
        ]
    return found


@dataclass(frozen=True, slots=True)
class Version:
    """A message as it stood from ``at`` (monotonic seconds) on."""

    at: float
    fallback: str
    blocks: list[Json]
    metadata: Json

    @property
    def text(self) -> str:
        """What a person sees, buttons apart."""
        if not self.blocks:
            return unescape(self.fallback)
        return "\n".join(unescape(text) if kind == "mrkdwn" else text for kind, text in texts(self.blocks))

    @property
    def markdown(self) -> str:
        """The source of the markdown blocks alone."""
        return "\n".join(text for kind, text in texts(self.blocks) if kind == "markdown")

    @property
    def notifies(self) -> list[str]:
        """Tokens that ring.

        Slack's documentation does not say whether a markdown block resolves them, nor whether code protects them;
        the double takes the view that hurts: it does, and it does not.
        """
        if not self.blocks:
            return NOTIFIES.findall(self.fallback)
        return [token for kind, text in texts(self.blocks) if kind != "plain_text" for token in NOTIFIES.findall(text)]

    @property
    def urls(self) -> list[str]:
        """The addresses that Slack would fetch to show a preview."""
        return URL.findall("\n".join([self.fallback, *(text for _, text in texts(self.blocks))]))


@dataclass(slots=True, eq=False)
class Posted:
    """A message and all that it ever was, oldest version first; a deleted one is still here."""

    channel: str
    ts: str
    user: str
    thread_ts: str | None
    versions: list[Version]
    by_bot: bool = False
    deleted: bool = False
    tombstone: bool = False
    """Deleted, but it has replies: its place in the thread says that it was deleted."""
    edited: str = ""
    """When it was marked "(edited)"; an update through blocks does not mark."""
    reactions: list[tuple[str, str]] = field(default_factory=list)
    extra: Json = field(default_factory=dict)
    """Further fields of a person's message: files, a subtype."""

    @property
    def at(self) -> float:
        """When it was posted, in monotonic seconds."""
        return self.versions[0].at

    @property
    def now(self) -> Version:
        """The newest version."""
        return self.versions[-1]

    @property
    def text(self) -> str:
        """What a person sees now."""
        return self.now.text

    @property
    def shown(self) -> list[str]:
        """What a person saw, one after the other."""
        return [version.text for version in self.versions]

    @property
    def markdown(self) -> str:
        """The source of the markdown blocks alone."""
        return self.now.markdown

    @property
    def fallback(self) -> str:
        """The ``text`` argument of the newest version."""
        return self.now.fallback

    @property
    def buttons(self) -> list[Button]:
        """The buttons under it now."""
        return buttons(self.now.blocks)


@dataclass(slots=True)
class User:
    """A person, or an app's user."""

    id: str
    name: str
    display_name: str
    is_bot: bool = False


@dataclass(slots=True)
class Channel:
    """A channel, or a direct message with ``user``."""

    id: str
    name: str
    external: bool = False
    private: bool = False
    user: str = ""
    archived: bool = False
    members: set[str] = field(default_factory=set)
    messages: dict[str, Posted] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """As events name it in ``channel_type``."""
        return "im" if self.user else "group" if self.private else "channel"

    @property
    def scope(self) -> str:
        """As scopes name it: ``channels:history``, ``im:history``."""
        return "im" if self.user else "groups" if self.private else "channels"

    def replies(self, ts: str) -> list[Posted]:
        """What hangs under a message, oldest first."""
        return [message for message in self.messages.values() if message.thread_ts == ts and not message.deleted]


@dataclass(slots=True)
class Call:
    """One call of the Web API, from the moment it arrived; ``finished_at`` is None while it is not answered."""

    method: str
    args: Json
    token: str
    at: float
    finished_at: float | None = None
    status: int = 200
    error: str = ""
    agent: str = ""
    """What the caller calls itself: its ``User-Agent``."""

    @property
    def refused(self) -> bool:
        """Whether Slack said no, of whatever kind."""
        return bool(self.error) or self.status != 200


@dataclass(slots=True, eq=False)
class Envelope:
    """One delivery over Socket Mode. A redelivery is another envelope with the same payload."""

    id: str
    type: str
    payload: Json
    attempt: int = 0
    reason: str = ""
    socket: int | None = None
    sent_at: float | None = None
    acked_at: float | None = None
    response: Json = field(default_factory=dict)
    acked: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def event(self) -> Json:
        """The event of an ``events_api`` envelope."""
        return dict(self.payload.get("event", {}))


@dataclass(frozen=True, slots=True)
class Ephemeral:
    """What only ``user`` saw, until they reloaded."""

    channel: str
    user: str
    text: str
    thread_ts: str | None
    at: float
    blocks: list[Json]


@dataclass(frozen=True, slots=True)
class Status:
    """What stands under a thread while an app works, and through which method it was set."""

    method: str
    channel: str
    thread_ts: str
    status: str
    at: float


@dataclass(frozen=True, slots=True)
class Ping:
    """Somebody was notified by what the app wrote."""

    channel: str
    ts: str
    token: str
    at: float


@dataclass(frozen=True, slots=True)
class Unfurl:
    """Slack fetched an address that the app wrote."""

    channel: str
    ts: str
    url: str
