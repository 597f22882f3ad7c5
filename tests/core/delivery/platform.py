"""A small platform in this process, and budgets for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from core.delivery.delivery import deliver
from core.delivery.draft import Draft
from core.delivery.surface import Pace
from core.errors import PlatformError
from core.pacing.budget import CallBudget
from core.types import Ending, MessageLimits, MessageRef, Outcome

DONE = Outcome(Ending.COMPLETE)
SMALL = MessageLimits(size=100, interval=0.0)


@dataclass
class Platform:
    """A small platform: keeps what each message showed over time, and can be slow or refuse."""

    limits: MessageLimits = SMALL
    history: dict[str, list[str]] = field(default_factory=dict)
    outcome: Outcome | None = None
    removed: list[str] = field(default_factory=list)
    growing: dict[str, bool] = field(default_factory=dict)
    errors: list[PlatformError] = field(default_factory=list)
    never: str = ""
    """What it takes no text with."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    at_work: bool | None = None
    in_flight: int = 0
    calls: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def shown(self) -> list[str]:
        """What each message shows now."""
        return [versions[-1] for versions in self.history.values()]

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        self.at_work = True
        yield
        self.at_work = False

    async def post(self, text: str, part: int, *, growing: bool) -> MessageRef:
        await self._call("post", text)
        ref = MessageRef("C1", str(len(self.history)))
        self.history[ref.id] = [text]
        self.growing[ref.id] = growing
        return ref

    async def edit(self, ref: MessageRef, text: str, *, growing: bool) -> None:
        await self._call("edit", text)
        self.history[ref.id].append(text)
        self.growing[ref.id] = growing

    async def finish(
        self, refs: Sequence[MessageRef], parts: Sequence[str], outcome: Outcome, *, whole: str = ""
    ) -> tuple[MessageRef, ...]:
        text = parts[-1] if parts else outcome.note
        if len(refs) < max(len(parts), 1):
            refs = (*refs, await self.post(text, len(refs), growing=False))
        else:
            await self.edit(refs[max(len(parts), 1) - 1], text, growing=False)
        self.outcome = outcome
        return tuple(refs)

    async def remove(self, ref: MessageRef) -> None:
        await self._call("remove")
        self.removed.append(ref.id)

    async def find(self, part: int) -> MessageRef | None:
        refs = [MessageRef("C1", name) for name in self.history]
        return refs[part] if part < len(refs) else None

    async def _call(self, name: str, text: str = "") -> None:
        self.calls[name] += 1
        assert not self.in_flight, "two calls for one reply at the same time"
        self.in_flight += 1
        try:
            await self.gate.wait()
            if self.errors:
                raise self.errors.pop(0)
            if self.never and self.never in text:
                raise PlatformError("invalid_blocks", code="invalid_blocks")
        finally:
            self.in_flight -= 1


def pace(*, posts: float = 1000, edits: float = 1000, refill: float = 1000, first_words: float = 0.0) -> Pace:
    """Budgets that never bind, unless a test says so."""
    return Pace(CallBudget(posts, refill), CallBudget(edits, refill), first_words)


def start(
    draft: Draft, platform: Platform, how: Pace | None = None, refs: Sequence[MessageRef] = ()
) -> asyncio.Task[tuple[MessageRef, ...]]:
    """Deliver in the background."""
    return asyncio.create_task(deliver(draft, platform, how or pace(), refs=refs))
