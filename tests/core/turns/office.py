"""Workers in this process, and a platform with a message for each turn."""

from __future__ import annotations

from collections.abc import Sequence

import redis.asyncio

from core.assistant.assistant import AnswerSettings, Assistant
from core.delivery.surface import Pace
from core.memory.conversations import Memory
from core.model_types import ModelLimits
from core.models.backends.tgi import TgiBackend
from core.models.models import single_model
from core.policy import Venue
from core.prompts import open_template
from core.turns.intake import FollowUp
from core.turns.queue import TurnQueue
from core.turns.worker import Worker
from core.types import Author, ConversationKey, Ending, Message, Turn
from tests.core.delivery.platform import Platform, pace
from tests.doubles.tgi import TgiDouble

CHANNEL = ConversationKey("slack", "T1", "C1")
LONG = "word " * 400
LEASE = 1.0


class Town:
    """A platform with a message for each turn."""

    regenerates = False

    def __init__(self) -> None:
        self.platforms: dict[str, Platform] = {}

    async def understand(self, turn: Turn) -> Turn:
        return turn

    async def read_thread(self, turn: Turn, after: str = "") -> Sequence[Message]:
        return []

    async def read_room(self, turn: Turn) -> Sequence[Message]:
        """See ``core.delivery.Surface``."""
        return ()

    async def venue(self, turn: Turn) -> Venue:
        return Venue()

    def open_editor(self, turn: Turn) -> Platform:
        return self.platforms.setdefault(turn.id, Platform())

    def pace(self, turn: Turn) -> Pace:
        return pace()

    def shown(self, turn: str) -> str:
        """What the reply to a turn shows."""
        platform = self.platforms.get(turn)
        return "".join(platform.shown) if platform else ""

    def ending(self, turn: str) -> Ending | None:
        """How the reply to a turn ended."""
        platform = self.platforms.get(turn)
        return platform.outcome.ending if platform and platform.outcome else None


def town() -> Town:
    """What people see."""
    return Town()


class Office:
    """Any number of workers on one Redis, one model and one platform."""

    def __init__(self, client: redis.asyncio.Redis, tgi: TgiDouble, town: Town) -> None:
        self.client, self.town = client, town
        self.memory = Memory(client, retention=3600)
        answer_settings = AnswerSettings("", 0.7, 500, ModelLimits(4000, 4096))
        self.assistant = Assistant(
            self.memory, single_model(TgiBackend(tgi.url), open_template("falcon")), answer_settings
        )
        self.workers: list[Worker] = []
        self.queue = self.open_queue()

    def open_queue(self, follow_up: FollowUp = "queue") -> TurnQueue:
        """The queue, as one process sees it."""
        return TurnQueue(self.client, self.memory, platforms=["slack"], lease=LEASE, follow_up=follow_up)

    def hire(self, follow_up: FollowUp = "queue", slots: int = 8) -> Worker:
        """One more worker."""
        queue = self.queue = self.open_queue(follow_up)
        worker = Worker(queue, self.assistant, {"slack": self.town}, slots=slots)
        worker.start()
        self.workers.append(worker)
        return worker

    async def submit(self, *turns: Turn) -> None:
        """Ask, one after the other."""
        for turn in turns:
            assert (await self.queue.submit(turn)).accepted

    async def said(self, key: ConversationKey = CHANNEL) -> list[str]:
        """What is remembered, questions and answers."""
        return [message.text for message in (await self.memory.load(key)).messages]


def ask(name: str, lane: str = "slack:a", key: ConversationKey = CHANNEL, root: str = "", user: str = "U1") -> Turn:
    """A turn in a lane."""
    return Turn(name, key, lane, Author(user, user), f"question {name}", 1.0, root=root)
