"""Answers for a terminal: a backend that says what it is told, and any text that a model might write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from hypothesis import strategies as st

from core.delivery.delivery import deliver
from core.delivery.draft import Draft
from core.delivery.surface import MessageEditor, Pace
from core.model_types import Delta, Done, GenerationRequest, ModelLimits, Prompt
from core.models.backends.backend import Backend
from core.models.generation import Deadlines, generate
from core.pacing.budget import CallBudget
from core.types import Ending, Outcome

MARKED = st.lists(
    st.sampled_from(
        [*"ab .*_`~[]()!#>|-1\n", "\n\n", "```", "**", "](", "http://x", "é漢👩‍👩‍👧", "\x1b[31m", "\r\n", "\x00"]
    ),
    max_size=40,
).map("".join)


class Says:
    """A backend that says these pieces, and then fails if it was given an error."""

    def __init__(self, *pieces: str, error: Exception | None = None) -> None:
        self.pieces = pieces
        self.error = error
        self.asked: list[GenerationRequest] = []

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Delta | Done, None]:
        self.asked.append(request)
        for piece in self.pieces:
            await asyncio.sleep(0)
            yield Delta(piece)
        if self.error:
            raise self.error
        yield Done()

    async def limits(self) -> ModelLimits | None:
        return None

    async def healthy(self) -> bool:
        return True

    async def aclose(self) -> None:
        return None


async def shown_by(editor: MessageEditor, backend: Backend, *, stops: tuple[str, ...] = ()) -> str:
    """Have an answer shown as it is generated; returns it whole."""
    draft = Draft()
    unlimited = CallBudget(1e9, 1e9)
    showing = asyncio.create_task(deliver(draft, editor, Pace(unlimited, unlimited, first_words=0)))
    request = GenerationRequest(Prompt((), stops, str), max_new_tokens=10)
    async for event in generate(backend, request, Deadlines()):
        if isinstance(event, Delta):
            draft.append(event.text)
        await asyncio.sleep(0)
    draft.close(Outcome(Ending.COMPLETE))
    await showing
    return draft.text
