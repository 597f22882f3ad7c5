"""Asks and answers turns of a queue, for its contract tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import redis.asyncio

from core.memory.exchange import Exchange
from core.store.keys import Keys
from core.turns.jobs import Job, Seal
from core.turns.queue import TurnQueue
from core.types import Author, ConversationKey, Ending, Message, Outcome, Role, Turn

CHANNEL = ConversationKey("slack", "T1", "C1")
DONE = Outcome(Ending.COMPLETE)
STOP = Outcome(Ending.STOPPED, "Stopped.")
MINUTE = 60.0

Open = Callable[..., TurnQueue]


def ask(name: str, lane: str = "slack:a", *, user: str = "U1", root: str = "", text: str = "") -> Turn:
    """A turn in a lane."""
    return Turn(name, CHANNEL, lane, Author(user, ""), text or f"question {name}", 1.0, root=root)


async def take(queue: TurnQueue, most: int = 16, *, idle: bool = True) -> Sequence[Job]:
    """What there is to be taken."""
    return (await queue.claim(most, idle=idle)).jobs


async def take_one(queue: TurnQueue, name: str) -> Job:
    """The one job that there is to be taken."""
    [job] = await take(queue)
    assert job.turn.id == name
    return job


def answered(job: Job, text: str = "so be it") -> Seal:
    """An answer to a job, with what is remembered of it."""
    turn = job.turn
    question = Message(Role.USER, turn.text, id=turn.id, author=turn.author, at=turn.at)
    answer = Message(Role.ASSISTANT, text, id=f"{turn.id}/answer", at=2.0, reply_to=turn.id)
    return Seal(text, DONE, Exchange(turn.key, 0, turn.id, "", (question, answer)))


async def expire(client: redis.asyncio.Redis, lane: str = "slack:a") -> None:
    """Let the lease on a lane run out."""
    assert await client.zadd(Keys.lanes("held", "slack"), {lane: 1}, xx=True, ch=True)
