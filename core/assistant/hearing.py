"""What a question is asked in the middle of: what was said around it, in its thread or its channel, and not to Parley.

What is said in a thread is remembered with it. Events bring it while a listener hears everything; where something may
have been missed, the thread is read from the platform, from the last question on. What is said in a channel is in the
prompt while it is fresh, and is not remembered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from core.errors import PlatformError
from core.memory import HEARS_CHANNEL, ROOM_MESSAGES, ROOM_SECONDS, heard_since
from core.types import Conversation, Message, Role, Turn

log = structlog.get_logger()

ReadThread = Callable[[Turn, str], Awaitable[Sequence[Message]]]
"""Reads what was said in a turn's thread after the message of an id: see ``Surface.read_thread``."""
ReadRoom = Callable[[Turn], Awaitable[Sequence[Message]]]
"""Reads what was said in a turn's channel: see ``Surface.read_room``."""

READ_TIMEOUT_SECONDS = 10.0
"""Seconds that a question waits for what was said around it."""
LOOKED_AT_AGAIN = 30
"""Messages of remembered talk that are read again with what is new in a thread: people edit and delete them."""
LEFT_OUT_FROM = 40
"""Messages read from the beginning of a thread on, from which on some in its middle may be left out."""

JOINED_NOTE = "You were asked into this thread just now. {count} before this line {was} written in it earlier."
UNREAD_NOTE = "You were asked into this thread just now, and what was said in it before could not be read."
GAP_NOTE = "What people said in this thread since its last question to you could not be read."
ROOM_UNREAD_NOTE = "What people said in this channel just before could not be read."
JOINED_ID, UNREAD_ID = "/joined", "/unread"
"""Suffixes of the ids of these notes."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What was read of a thread for a question.

    Args:
        before: what was said before the question, and perhaps a note about that.
        later: what was said since; it is remembered, and the question is answered without it.
        complete: whether all of the thread is known now.
        edited: remembered talk that reads otherwise now, as it reads now.
        deleted: remembered talk that is no longer there.
    """

    before: tuple[Message, ...] = ()
    later: tuple[Message, ...] = ()
    complete: bool = False
    edited: tuple[Message, ...] = ()
    deleted: tuple[Message, ...] = ()

    @property
    def can_change(self) -> bool:
        """Whether anything was read that people may edit or delete before it is stored."""
        return any(message.role is Role.USER for message in (*self.before, *self.later))


async def hear_thread(
    turn: Turn,
    conversation: Conversation,
    read: ReadThread | None,
    *,
    earlier: Sequence[Turn] = (),
    alone: bool = False,
) -> Heard:
    """What was said in the turn's thread that is not remembered yet.

    Nothing is read if events brought everything. If the thread cannot be read, a note says so once, and the next
    question reads it from the same message on.

    Args:
        turn: the question.
        conversation: what is remembered.
        read: reads the thread; None if nobody can.
        earlier: questions that are answered together with it.
        alone: whether its author is alone with Parley there: then all that they say is a question.
    """
    note = _last_note(conversation)
    joining = conversation.stranger or bool(note and not conversation.until)
    if not joining and (alone or (conversation.caught_up and turn.place.get(HEARS_CHANNEL))):
        return Heard(complete=True)
    if not read:
        return Heard()
    since = min(one.at for one in (*earlier, turn))
    last = conversation.until or _last_question(conversation)
    after = "" if joining else _read_from(turn, conversation, last)
    try:
        found = await _in_time(read(turn, after))
    except PlatformError as error:
        log.warning("thread not read", code=error.code, remedy=error.remedy)
        if note.endswith(UNREAD_ID):
            return Heard()
        text = UNREAD_NOTE if conversation.stranger else GAP_NOTE
        return Heard((Message(Role.SYSTEM, text, id=f"{turn.id}{UNREAD_ID}", at=since),))
    questions = {one.id for one in earlier}
    known_until = 0.0 if joining else next((m.at for m in conversation.messages if m.id == last), 0.0)
    new = [m for m in _unknown(turn, conversation, found) if m.id not in questions and m.at > known_until]
    before = tuple(message for message in new if message.at <= turn.at)
    later = tuple(message for message in new if message.at > turn.at and message.overheard)  # others have their turns
    count = sum(message.role is not Role.SYSTEM and message.at <= since for message in before)
    if count and (conversation.stranger or (joining and note.endswith(UNREAD_ID))):
        said = JOINED_NOTE.format(count=_count(count, "message"), was="was" if count == 1 else "were")
        before += (Message(Role.SYSTEM, said, id=f"{turn.id}{JOINED_ID}", at=since),)
    edited, deleted = ((), ()) if joining else _changed(turn, conversation, found, whole=not after)
    return Heard(before, later, complete=True, edited=edited, deleted=deleted)


async def hear_room(turn: Turn, conversation: Conversation, read: ReadRoom | None) -> tuple[Message, ...]:
    """The newest messages of the turn's channel before it, oldest first; with a note if they could not be read.

    They are read from the platform if fewer are known than are wanted, and events may have missed some.
    """
    since = max(turn.at - ROOM_SECONDS, conversation.forgotten)
    known = {turn.id, *(message.id for message in conversation.messages)}

    def fresh(messages: Sequence[Message]) -> dict[str, Message]:
        return {
            message.id: replace(message, overheard=True)
            for message in messages
            if message.role is Role.USER and since < message.at <= turn.at and message.id not in known
        }

    heard, note = fresh(conversation.room), list[Message]()
    all_heard = turn.place.get(HEARS_CHANNEL) and 0 < heard_since(conversation.token, "room") <= since
    if read and len(heard) < ROOM_MESSAGES and not all_heard:
        try:
            heard = {**fresh(await _in_time(read(turn))), **heard}
        except PlatformError as error:
            log.warning("channel not read", code=error.code, remedy=error.remedy)
            note = [Message(Role.SYSTEM, ROOM_UNREAD_NOTE, id=f"{turn.id}{UNREAD_ID}", at=turn.at)]
    return (*sorted(heard.values(), key=lambda message: message.at)[-ROOM_MESSAGES:], *note)


async def _in_time(reading: Awaitable[Sequence[Message]]) -> Sequence[Message]:
    """What is read, if that takes no longer than a question can wait. Raises PlatformError."""
    try:
        async with asyncio.timeout(READ_TIMEOUT_SECONDS):
            return await reading
    except TimeoutError:
        raise PlatformError("The platform did not answer in time.", code="timeout") from None


def _unknown(turn: Turn, conversation: Conversation, found: Sequence[Message]) -> list[Message]:
    """What is new of what was read: not known, not forgotten, and not said by Parley since it was asked there first.

    After a forgetting, nothing that Parley said: an answer that was being written then was shown later.
    """
    known = {turn.id, *(message.id for message in conversation.messages)}
    questions = (
        m.at for m in conversation.messages if m.role is Role.USER and not m.overheard and m.at >= turn.root_at
    )
    first = min(turn.at, *questions, turn.at)
    new: list[Message] = []
    for message in found:
        # An answer is known by the platform's own id of its first message, which ours ends with.
        is_known = message.id in known or message.id.rpartition(":")[2] in known
        repeated = message.role is Role.ASSISTANT and (message.at >= first or conversation.forgotten > 0)
        if not (is_known or repeated or message.at <= conversation.forgotten):
            new.append(message)
    return new


def _read_from(turn: Turn, conversation: Conversation, last: str) -> str:
    """The id after which a thread is read: early enough to see what became of the newest talk that is remembered.

    That is before the question before it, so that talk which is missing stands between messages that are there; "" is
    the beginning of the thread. No later than ``last``, the last question.
    """
    said = [m for m in conversation.messages if m.role is Role.USER and m.id and m.at >= turn.root_at]
    talk = [message for message in said if message.overheard][-LOOKED_AT_AGAIN:]
    if not talk or conversation.forgotten:
        return last
    until = next((m.at for m in said if m.id == last), 0.0)
    earlier = sorted((m for m in said if m.at < talk[0].at), key=lambda message: message.at)
    if len(earlier) < 2:
        return ""
    return earlier[-2].id if earlier[-2].at < until else last


def _changed(
    turn: Turn, conversation: Conversation, found: Sequence[Message], *, whole: bool
) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """The remembered talk that was edited, as it reads now, and the talk that was deleted, by what was read.

    Args:
        turn: the question.
        conversation: what is remembered.
        found: what was read, oldest first; a note in it says that not all could be.
        whole: whether the beginning was read as well: then something may have been left out after it.
    """
    if not found or any(message.role is Role.SYSTEM for message in found):
        return (), ()
    now = {message.id: message for message in found}
    since = found[1 if whole and len(found) >= LEFT_OUT_FROM else 0].at
    edited, deleted = list[Message](), list[Message]()
    for message in conversation.messages:
        if not message.overheard or message.role is not Role.USER or not since <= message.at <= turn.at:
            continue
        reads = now.get(message.id)
        if reads is None:
            deleted.append(message)
        elif reads.overheard and (
            reads.edited > message.edited
            or (_is_app(reads) and (reads.text, reads.quotes) != (message.text, message.quotes))
        ):
            edited.append(reads)
    return tuple(edited), tuple(deleted)


def _is_app(message: Message) -> bool:
    """Whether an app wrote a message: not all platforms say when that was edited."""
    return bool(message.author and message.author.app)


def _last_question(conversation: Conversation) -> str:
    """The id of the last question that was remembered; "" for none."""
    asked = (m.id for m in reversed(conversation.messages) if m.role is Role.USER and not m.overheard)
    return next(asked, "")


def _last_note(conversation: Conversation) -> str:
    """The id of the last note about reading, since all of the thread was known; "" for none."""
    for message in reversed(conversation.messages):
        if message.id and message.id == conversation.until:
            return ""
        if message.role is Role.SYSTEM and message.id.endswith((JOINED_ID, UNREAD_ID)):
            return message.id
    return ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
