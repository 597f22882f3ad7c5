"""A platform that shows nothing and a model that says one word, at once: what is left is the cost of Parley itself.

``python -m tests.bench.nowhere`` is a worker for it, on the Redis that REDIS_URL names, until SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

from core.assistant.assistant import AnswerSettings, Assistant
from core.delivery.surface import MessageEditor, Pace
from core.memory.conversations import Memory
from core.model_types import Delta, Done, GenerationRequest, ModelLimits
from core.models.models import single_model
from core.pacing.budget import CallBudget
from core.policy import Venue
from core.prompts import open_template
from core.store.connection import connect
from core.turns.queue import TurnQueue
from core.turns.worker import Worker
from core.types import Author, ConversationKey, Message, MessageLimits, MessageRef, Outcome, Turn

UNLIMITED = 1e9


class NoModel:
    """See ``core.backends.Backend``; ``asked`` is called when somebody asks."""

    def __init__(self, asked: Callable[[float], object] = lambda at: None) -> None:
        self.asked = asked

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Delta | Done, None]:
        """One word."""
        del request
        self.asked(time.perf_counter())
        yield Delta("Yes.")
        yield Done()

    async def limits(self) -> ModelLimits | None:
        return ModelLimits(4000, 4096)

    async def healthy(self) -> bool:
        return True

    async def aclose(self) -> None:
        return None


class NoEditor:
    """See ``core.delivery.surface.MessageEditor``."""

    limits = MessageLimits(size=10_000)

    def __init__(self, turn: Turn) -> None:
        self._ref = MessageRef(turn.key.channel, f"{turn.id}/answer")

    def working(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def post(self, text: str, part: int, *, growing: bool) -> MessageRef:
        return self._ref

    async def edit(self, ref: MessageRef, text: str, *, growing: bool) -> None:
        return None

    async def finish(
        self, refs: Sequence[MessageRef], parts: Sequence[str], outcome: Outcome, *, whole: str = ""
    ) -> tuple[MessageRef, ...]:
        return tuple(refs) or (self._ref,)

    async def remove(self, ref: MessageRef) -> None:
        return None

    async def find(self, part: int) -> MessageRef | None:
        return None


class Nowhere:
    """See ``core.delivery.surface.Surface``."""

    regenerates = False

    async def understand(self, turn: Turn) -> Turn:
        return turn

    async def read_thread(self, turn: Turn, after: str = "") -> Sequence[Message]:
        return ()

    async def read_room(self, turn: Turn) -> Sequence[Message]:
        """See ``core.delivery.Surface``."""
        return ()

    async def venue(self, turn: Turn) -> Venue:
        return Venue()

    def open_editor(self, turn: Turn) -> MessageEditor:
        return NoEditor(turn)

    def pace(self, turn: Turn) -> Pace:
        return Pace(CallBudget(UNLIMITED, UNLIMITED), CallBudget(UNLIMITED, UNLIMITED), first_words=0)


def assistant(memory: Memory, model: NoModel) -> Assistant:
    """One that asks that model."""
    return Assistant(
        memory, single_model(model, open_template("falcon")), AnswerSettings("", 0.7, 100, ModelLimits(4000, 4096))
    )


def turn(number: int, lanes: int, text: str = "hello") -> Turn:
    """One of many turns, in one of so many lanes."""
    key = ConversationKey("nowhere", "T1", f"C{number % lanes}")
    return Turn(f"nowhere:T1:{number}", key, str(key), Author(f"U{number % lanes}", "Ada"), text, time.time())


async def main() -> None:
    """Answer until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    redis = await connect(os.environ["REDIS_URL"])
    memory = Memory(redis, retention=3600)
    queue = TurnQueue(redis, memory, platforms=["nowhere"])
    worker = Worker(queue, assistant(memory, NoModel()), {"nowhere": Nowhere()})
    worker.start()
    await stop.wait()
    await worker.drain(5)
    await redis.aclose()


if __name__ == "__main__":
    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asyncio.run(main())
