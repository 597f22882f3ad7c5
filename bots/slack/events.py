"""Reads Slack's events: from the payload alone, without I/O.

One mention arrives twice, as ``message`` and as ``app_mention``, with two event ids but one channel and ``ts``; so a
turn's identity is workspace, channel and ``ts``. A mention in a channel belongs to the channel's conversation, and its
reply goes into a thread under it; a message inside a thread belongs to the thread.

Payloads are untrusted: a field of the wrong type counts as missing, and an event without a field that it needs is
dropped with a warning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog

from bots.slack.quotes import Reading, file_names, is_app, read_message
from bots.slack.text import mentions, without_mention
from core.memory import FOLLOWED, OPENED_THREAD
from core.quotes import Quote
from core.store import TURN_TTL
from core.stored import finite
from core.types import Author, ConversationKey, Turn

log = structlog.get_logger()

Event = Mapping[str, Any]

MESSAGE_SUBTYPES = {None, "file_share", "thread_broadcast"}
"""Subtypes of messages that a person wrote; the others are edits, joins, topics and the like."""
HEARD_SUBTYPES = MESSAGE_SUBTYPES | {"bot_message", "huddle_thread", "me_message"}
"""Subtypes of what can be overheard: apps' messages, "/me is late", and the beginning of a huddle's thread, too."""

CHANNEL_DELETED, CHANNEL_LEFT = {"channel_deleted", "group_deleted"}, {"channel_left", "group_left"}
"""Events about a channel that was deleted, and about one that the bot was removed from."""
STRING_FIELDS = {
    "bot_id",
    "channel",
    "channel_type",
    "deleted_ts",
    "event_ts",
    "subtype",
    "text",
    "thread_ts",
    "ts",
    "user",
}
TIMESTAMP_FIELDS = {"deleted_ts", "event_ts", "thread_ts", "ts"}
OBJECT_FIELDS = {"edited", "message", "previous_message"}
"""Fields of an event by their type: strings, timestamps (which are also the ids of messages), and objects."""
TIMESTAMP = re.compile(r"[0-9]{1,12}[.][0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Question:
    """A message to Parley; ``files`` are the names of its attachments."""

    turn: Turn
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MessageChange:
    """An edited message and its new ``text``, or a deleted one (None).

    ``keys`` are the conversations that may hold it: the first message of a thread belongs to its channel, and to the
    thread as well if Parley read it there. ``at`` is the time of the edit by Slack's clock, 0 if unknown. ``direct``
    says that it is a direct message; ``files`` names its attachments, and ``quotes`` are what comes with it now.
    ``app`` says that another app wrote it, so that it is no question.
    """

    keys: tuple[ConversationKey, ...]
    message: str
    text: str | None
    at: float = 0.0
    direct: bool = False
    files: str = ""
    quotes: tuple[Quote, ...] = ()
    app: bool = False

    @property
    def said(self) -> float:
        """When the message was written, by Slack's clock."""
        return float(self.message.rpartition(":")[2])


@dataclass(frozen=True, slots=True)
class Talk:
    """A message that is not to Parley: ``said`` by a person or another app, as Slack has it."""

    key: ConversationKey
    author: str
    app: bool
    said: Event


@dataclass(frozen=True, slots=True)
class Departure:
    """The bot left a workspace or channel, ``for_good`` or until it is invited again. See ``core.memory``."""

    place: str
    for_good: bool


@dataclass(frozen=True, slots=True)
class ButtonPress:
    """A press of a button under message ``ts``; its value is ``key`` followed by ``names``."""

    channel: str
    user: str
    ts: str
    thread: str
    key: ConversationKey
    names: tuple[str, ...]


def identity(workspace: str, channel: str, ts: str) -> str:
    """The permanent id of a message."""
    return f"slack:{workspace}:{channel}:{ts}"


def workspace_of(body: Event) -> str:
    """The workspace, or the organisation, that the event's app is installed in."""
    authorizations = body.get("authorizations")
    first = authorizations[0] if isinstance(authorizations, list) and authorizations else None
    installed = _object(first)
    if installed.get("is_enterprise_install") and installed.get("enterprise_id"):
        return str(installed["enterprise_id"])
    return str(installed.get("team_id") or body.get("team_id") or "")


def conversation(workspace: str, channel: str, event: Event) -> ConversationKey:
    """The conversation of a message: its thread, or the channel if it isn't in one."""
    thread = event.get("thread_ts") or ""
    return ConversationKey("slack", workspace, channel, "" if thread == event.get("ts") else thread)


def read_question(body: Event, bot: str, *, followed: bool = False) -> Question | None:
    """Read the question in a ``message`` or ``app_mention`` event; None if it isn't addressed to ``bot``.

    A message in a thread that is ``followed`` needs no mention.
    """
    event, workspace = event_of(body), workspace_of(body)
    if event is None:
        return None
    by_person = event.get("user") and not event.get("bot_id") and event.get("subtype") in MESSAGE_SUBTYPES
    if not by_person or event["user"] == bot:
        return None
    channel, ts = event["channel"], event["ts"]
    reading = read_message(event, bot)
    if float((event.get("edited") or {}).get("ts") or 0) - float(ts) > TURN_TTL:
        return None  # a late edit repeats the mention, and by now the queue no longer knows the first one
    direct = event.get("channel_type") == "im"
    if not (direct or followed or mentions(reading.text, bot)):
        return None
    key = conversation(workspace, channel, event)
    # A mention in a channel is answered in a thread under it; a direct message where it stands.
    opens = {} if direct or key.thread else {"thread": ts, OPENED_THREAD: ts}
    place = {"channel": channel, "ts": ts, "thread": key.thread} | opens
    author = Author(event["user"], "")
    own_lane = direct or key.thread
    turn = Turn(
        id=identity(workspace, channel, ts),
        key=key,
        lane=str(key) if own_lane else f"{key}/{author.id}",
        author=author,
        text=without_mention(reading.text, bot),
        at=float(ts),
        root=identity(workspace, channel, key.thread) if key.thread else "",
        root_at=float(key.thread or 0),
        place=place | ({FOLLOWED: "1"} if followed else {}),
        quotes=reading.quotes,
    )
    return Question(turn, file_names(event))


def read_talk(body: Event, bot: str) -> Talk | None:
    """Read a message in a channel that is not to Parley; None if it says nothing, or is Parley's own."""
    event = well_typed(body.get("event"))
    channel, ts, author = event.get("channel"), event.get("ts"), event.get("user") or event.get("bot_id")
    if not (channel and ts and author) or author == bot or event.get("channel_type") == "im":
        return None
    if event.get("type") != "message" or not is_talk(event):
        return None
    return Talk(conversation(workspace_of(body), channel, event), author, is_app(event), event)


def is_talk(message: Event) -> bool:
    """Whether somebody says something with a message: not that they joined, nor that there was a message."""
    return message.get("subtype") in HEARD_SUBTYPES and bool(read_message(message) or file_names(message))


def read_change(body: Event, bot: str = "") -> MessageChange | None:
    """Read an edit or a deletion in a ``message`` event; None if it is neither, or of a message of ``bot``."""
    event, workspace = well_typed(body.get("event")), workspace_of(body)
    before = event.get("previous_message") or {}
    if event.get("subtype") == "message_deleted":
        after, gone = before, True
        ts = event.get("deleted_ts") or before.get("ts")
    elif event.get("subtype") == "message_changed":
        after = event.get("message") or {}
        ts = after.get("ts")
        # Slack leaves a "tombstone" where a deleted message has replies.
        gone = after.get("subtype") == "tombstone"
        if not gone and not _is_edited(before, after):
            return None
    else:
        return None
    if not ts or "channel" not in event or (bot and bot in {before.get("user"), after.get("user")}):
        return None
    app = is_app(before) or is_app(after)
    reading = Reading() if gone else read_message(after, bot)
    key = conversation(workspace, event["channel"], before if before.get("ts") else after)
    keys = (key,) if key.thread else (key, replace(key, thread=ts))
    # Slack doesn't mark all edits of apps, but tells of them when they are made.
    at = 0.0 if gone else finite(event.get("event_ts") if app else (after.get("edited") or {}).get("ts"))
    direct, files = event.get("channel_type") == "im", ", ".join(file_names(after))
    text, name = None if gone else reading.text, identity(workspace, event["channel"], ts)
    return MessageChange(keys, name, text, at, direct, files, reading.quotes, app)


def _is_edited(before: Event, after: Event) -> bool:
    """Whether its author changed a message: previews of links come and go on their own.

    Slack marks what a person edited. It doesn't mark all edits of apps, whose words may stand in attachments.
    """
    if is_app(after):
        return read_message(before, previews=False) != read_message(after, previews=False)
    if before.get("text") != after.get("text"):
        return True
    marks = [(message.get("edited") or {}).get("ts") for message in (before, after)]
    return marks[0] != marks[1] and read_message(before, previews=False) != read_message(after, previews=False)


def read_departure(body: Event) -> Departure | None:
    """Read that a channel was deleted or left, or the app uninstalled; None for any other event."""
    event, workspace = well_typed(body.get("event")), workspace_of(body)
    kind, channel = event.get("type"), event.get("channel")
    if not workspace or ":" in workspace:
        return None
    if kind == "app_uninstalled":
        return Departure(workspace, for_good=True)
    if kind == "tokens_revoked":  # only the bot's token matters
        return Departure(workspace, for_good=False) if _object(event.get("tokens")).get("bot") else None
    if kind in CHANNEL_DELETED | CHANNEL_LEFT and channel:
        return Departure(f"{workspace}:{channel}", for_good=kind in CHANNEL_DELETED)
    return None


def is_external(body: Event) -> bool:
    """Whether people of another organisation are in the channel."""
    return bool(body.get("is_ext_shared_channel"))


def event_of(body: Event) -> Event | None:
    """The event in a payload, with only well-typed fields; None if it lacks a channel or a timestamp."""
    event = well_typed(body.get("event"))
    if event.get("channel") and (event.get("ts") or event.get("type") == "member_joined_channel"):
        return event
    log.warning("event dropped", why="no channel or ts")
    return None


def read_press(body: Event, action: Event, names: int) -> ButtonPress | None:
    """Read a press of a button whose value is a conversation and ``names`` more words; None if it is malformed."""
    channel, user = _object(body.get("channel")).get("id"), _object(body.get("user")).get("id")
    message, value = well_typed(body.get("message")), action.get("value")
    key, *named = (value.split() if isinstance(value, str) else ()) or ("",)
    try:
        there = ConversationKey.parse(key)
    except ValueError:
        there = None
    whole = there and there.platform == "slack" and len(named) >= names and message.get("ts")
    if not (whole and there and isinstance(channel, str) and isinstance(user, str)):
        log.warning("button press dropped", why="tampered with, or of another version")
        return None
    return ButtonPress(channel, user, message["ts"], message.get("thread_ts", ""), there, tuple(named[:names]))


def _object(value: Any) -> Event:
    return value if isinstance(value, Mapping) else {}


def well_typed(value: Any) -> dict[str, Any]:
    """An event or a message without its fields of the wrong type."""
    checked = {}
    for name, said in _object(value).items():
        if name in OBJECT_FIELDS:
            checked[name] = well_typed(said)
        elif name not in STRING_FIELDS or (
            isinstance(said, str) and (name not in TIMESTAMP_FIELDS or TIMESTAMP.fullmatch(said))
        ):
            checked[name] = said
    return checked
