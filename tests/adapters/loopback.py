"""A platform in one file: a chat over TCP on this machine, line by line. It has all that an adapter needs.

Whoever connects sends LOOPBACK_TOKEN as the first line, and then one question a line. An answer comes when it is whole,
and a line with a full stop ends it.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from pydantic import Field, SecretStr
from redis.asyncio import Redis

from bots.findings import Finding, Say
from bots.platform import WORD_START, Platform, Start, Token
from core.delivery import Pace
from core.errors import PlatformUnavailable, SettingsError
from core.memory import Memory
from core.pacing import CallBudget
from core.policy import Venue
from core.settings import Settings
from core.turns import TurnQueue
from core.types import Author, ConversationKey, Message, MessageLimits, MessageRef, Outcome, Turn

EXAMPLE = "loop-1234"


class LoopbackSettings(Settings):
    """The settings of this platform."""

    loopback_token: SecretStr | None = Field(None, examples=[EXAMPLE])
    loopback_port: int = Field(7007, ge=1, le=65_535, examples=["7007"])


class LoopbackEditor:
    """Writes one reply. See ``core.delivery.MessageEditor``."""

    limits = MessageLimits(size=10**9, interval=0.05, heals=False)

    def __init__(self, line: asyncio.StreamWriter | None) -> None:
        self._line = line

    def working(self) -> AbstractAsyncContextManager[None]:
        """Nothing shows it."""
        return nullcontext()

    async def post(self, text: str, part: int, *, growing: bool) -> MessageRef:
        """Name the answer."""
        return MessageRef("loopback", f"loopback:{uuid.uuid4().hex}")

    async def edit(self, ref: MessageRef, text: str, *, growing: bool) -> None:
        """Nobody sees it grow."""

    async def finish(
        self, refs: Sequence[MessageRef], parts: Sequence[str], outcome: Outcome, *, whole: str = ""
    ) -> tuple[MessageRef, ...]:
        """Write the answer and the note."""
        if not self._line or self._line.is_closing():
            raise PlatformUnavailable("the line is closed", code="closed")
        self._line.write("\n".join(filter(None, (*parts, outcome.note, ".\n"))).encode())
        return tuple(refs) or (MessageRef("loopback", f"loopback:{uuid.uuid4().hex}"),)

    async def remove(self, ref: MessageRef) -> None:
        """A reply is one message."""

    async def find(self, part: int) -> MessageRef | None:
        """A reply ends with the process that writes it."""


class Loopback:
    """See ``bots.platform.OpenPlatform``; it is its own ``core.delivery.Surface``."""

    regenerates = False

    def __init__(self, settings: LoopbackSettings) -> None:
        self.surface = self
        self.connected = False
        self.place = f"the loopback (port {settings.loopback_port})"
        self._settings = settings
        self._lines: dict[str, asyncio.StreamWriter] = {}
        self._pace = Pace(CallBudget(1e9, 1e9), CallBudget(1e9, 1e9), first_words=0)

    @asynccontextmanager
    async def listening(self, queue: TurnQueue, memory: Memory, redis: Redis) -> AsyncIterator[None]:
        """Take lines while inside."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._talk(queue, reader, writer)

        try:
            server = await asyncio.start_server(serve, "127.0.0.1", self._settings.loopback_port)
        except OSError:
            raise SettingsError("LOOPBACK_PORT: another program uses it. Example: LOOPBACK_PORT=7008") from None
        self.connected = True
        try:
            yield
        finally:
            self.connected = False
            server.close()

    async def _talk(self, queue: TurnQueue, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        token = self._settings.loopback_token
        if token and (await reader.readline()).decode().strip() == token.get_secret_value():
            key = ConversationKey("loopback", "local", uuid.uuid4().hex)
            self._lines[key.channel] = writer
            while line := (await reader.readline()).decode("utf-8", "replace").strip():
                name = f"loopback:{uuid.uuid4().hex}"
                await queue.submit(Turn(name, key, str(key), Author("guest", "Guest"), line, time.time()))
            del self._lines[key.channel]
        writer.close()

    async def understand(self, turn: Turn) -> Turn:
        """Lines are plain text."""
        return turn

    async def read_thread(self, turn: Turn, after: str = "") -> Sequence[Message]:
        """There are no threads."""
        return ()

    async def read_room(self, turn: Turn) -> Sequence[Message]:
        """See ``core.delivery.Surface``."""
        return ()

    async def venue(self, turn: Turn) -> Venue:
        """One person is alone with Parley."""
        return Venue()

    def open_editor(self, turn: Turn) -> LoopbackEditor:
        """On the line that the question came from."""
        return LoopbackEditor(self._lines.get(turn.key.channel))

    def pace(self, turn: Turn) -> Pace:
        """Nobody counts."""
        return self._pace


@asynccontextmanager
async def _open(start: Start[LoopbackSettings]) -> AsyncIterator[Any]:
    yield Loopback(start.settings)


async def _examine(settings: LoopbackSettings, wrong: Collection[str], say: Say, alone: bool) -> None:
    if "loopback_port" in wrong or not settings.loopback_token:
        say(Finding("loopback", "warning", "Loopback", "not checked, because a setting is wrong"))
    else:
        say(Finding("loopback", "ok", "Loopback", f"listens on port {settings.loopback_port}"))


PLATFORM = Platform(
    name="loopback",
    called="the loopback",
    settings=LoopbackSettings,
    open=_open,
    examine=_examine,
    person=re.compile("guest"),
    tokens=(Token("loopback_token", "loop-…"),),
    secrets=(re.compile(WORD_START + r"(loop-)[\w-]+"),),
)
