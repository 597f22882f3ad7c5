"""What listeners of chat platforms share: sentences, presses in time, stopping an answer, following edits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from core.errors import StorageError
from core.memory import FOLLOWED, Listening, Memory
from core.quotes import Quote
from core.turns import STOPPED, WITHDRAWN, TurnQueue, in_time
from core.types import ConversationKey, Ending, Message, Outcome, Turn

log = structlog.get_logger()

UNREAD_FILES = "I can't read files yet, only text, so I haven't looked at {files}."
NOTHING_TO_STOP = "I'm not writing an answer for you right now."
QUESTION_GONE = "I no longer have that question. Please ask it again."
NOT_IN_CHANNEL = "I'm not enabled in this channel. Ask {contact} to add it."
NOT_FOR_PERSON = "I'm not enabled for you here. Ask {contact} to add you."
FOR_OTHERS = Outcome(Ending.STOPPED, "Stopped, because the question is meant for somebody else now.", remember=False)
RENEW_SECONDS = 10
"""Seconds after which a connected listener says again that it hears everything."""


async def keep_listening(listening: Listening, connected: Callable[[], bool]) -> None:
    """Keep the listening token of a platform alive while ``connected``, until this is cancelled."""
    while True:
        if connected():
            try:
                await listening.keep()
            except StorageError as error:
                log.warning("listening token not renewed", error=str(error))
        await asyncio.sleep(RENEW_SECONDS)


async def overhear(memory: Memory, listening: Listening, key: ConversationKey, message: Message) -> bool:
    """Store what was said in a thread or channel, and not to Parley. False if it is not stored.

    What cannot be stored counts as a gap: the next question there reads it from the platform.
    """
    try:
        async with in_time():
            return await memory.overhear(key, message)
    except StorageError as error:
        listening.missed()
        log.warning("overheard message not stored", error=str(error))
        return False


async def press(work: Awaitable[str]) -> str:
    """Do what a button is for, in time. Returns what the person who pressed it is told; "" for nothing."""
    try:
        async with in_time():
            return await work
    except StorageError as error:
        log.warning("button press failed", error=str(error))
        return StorageError.plain


async def stop_answer(queue: TurnQueue, asked: Turn) -> bool:
    """Stop the answer that is being written for a person where they ask for that. False if there is none.

    Raises:
        StorageError: Redis is away.
    """
    running = await queue.running(asked.lane)
    if not running and asked.root:
        running = await queue.find(asked.root)
    if not running or running.author.id != asked.author.id:
        return False
    return await queue.stop(running.id, STOPPED)


async def take_back(queue: TurnQueue, message: str) -> Turn | None:
    """Take a question back that needed no mention: as it was edited, it is meant for somebody else.

    Returns:
        The question; None if the message is none, or is answered already.

    Raises:
        StorageError: Redis is away.
    """
    asked = await queue.find(message)
    return asked if asked and FOLLOWED in asked.place and await queue.stop(message, FOR_OTHERS) else None


class Change(Protocol):
    """An edited or deleted message."""

    @property
    def keys(self) -> tuple[ConversationKey, ...]:
        """The conversations that may hold it."""
        ...

    @property
    def message(self) -> str:
        """Its turn."""
        ...

    @property
    def text(self) -> str | None:
        """What it says now; None if it was deleted."""
        ...

    @property
    def at(self) -> float:
        """When it was edited, by the platform's clock; 0 where that is unknown."""
        ...

    @property
    def said(self) -> float:
        """When it was written."""
        ...


async def follow_change(
    queue: TurnQueue | None,
    memory: Memory,
    change: Change,
    reads: str = "",
    *,
    typed: tuple[Quote, ...] = (),
    quotes: tuple[Quote, ...] | None = None,
    early: bool = False,
) -> None:
    """Change a question, and what is remembered of it, as its message was changed. Can be repeated.

    Args:
        queue: Where the question may wait or be answered; None if the message is no question.
        memory: Where it may be remembered.
        change: The message.
        reads: Its text with names, files and quotes in words, as it is remembered, or what makes that of what it said.
        typed: What comes with it now, as the adapter read it.
        quotes: The same as it is remembered; None if that stays as it was.
        early: Whether the message is for us, so that an edit is kept that comes before it.

    Raises:
        StorageError: Redis is away.
    """
    message, text = change.message, change.text
    if text is None:
        if queue:
            await queue.stop(message, WITHDRAWN)
        remembered = [memory.withdraw(key, message, said=change.said) for key in change.keys]
    else:
        if queue:
            await queue.amend(message, text=text, quotes=typed, at=change.at, early=early)
        remembered = [
            memory.correct(key, message, reads, quotes=quotes, at=change.at, said=change.said) for key in change.keys
        ]
    kept = [queue.correct_kept(key, message, text, at=change.at) for key in change.keys] if queue else []
    await asyncio.gather(*remembered, *kept)
