"""A completion of the page counts the tokens that it took, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from bots.web.completion import Completion
from core.errors import GenerationError, StorageError, StreamBroken
from core.model_types import Delta, Done, GenerationRequest, ModelLimits, Prompt, Usage
from core.models.generation import Deadlines
from core.types import Ending, Message, Role
from tests.waiting import wait_until

PROMPT = "Once upon a time there was " * 10
ASKED = GenerationRequest(Prompt((Message(Role.USER, PROMPT),), (), lambda: PROMPT), 100)


class Model:
    """Says some words, and then ends in its way."""

    def __init__(self, words: int, end: Done | GenerationError | None) -> None:
        self.words, self.end = words, end

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Delta | Done, None]:
        del request
        for _ in range(self.words):
            yield Delta("word ")
        if isinstance(self.end, GenerationError):
            raise self.end
        if not self.end:
            await asyncio.Event().wait()
        else:
            yield self.end

    async def limits(self) -> ModelLimits | None:
        return None

    async def healthy(self) -> bool:
        return True

    async def aclose(self) -> None:
        return None


@pytest.mark.parametrize(
    ("words", "end", "counted"),
    [
        (20, Done(Ending.COMPLETE, Usage(60, 20)), (80, 80)),
        (20, Done(Ending.COMPLETE, Usage()), (60, 200)),
        (20, None, (60, 200)),
        (20, StreamBroken("it broke"), (60, 200)),
        (0, StreamBroken("it never answered"), (0, 0)),
    ],
)
@pytest.mark.parametrize("leaves", ["stop", "watch"])
async def test_a_completion_counts_what_it_took(
    words: int, end: Done | GenerationError | None, counted: tuple[int, int], leaves: str
) -> None:
    """As its server says or, of what is stopped, broken or left by its browser, as we count; once."""
    charged: list[int] = []

    async def charge(tokens: int) -> None:
        await asyncio.sleep(0)
        charged.append(tokens)

    completion = Completion(Model(words, end), ASKED, Deadlines(), charge)
    looks = completion.watch()
    async for text, _ in looks:
        if end is None and text:
            if leaves == "watch":
                await looks.aclose()
                break
            completion.stop()
            completion.stop()
    if counted[1]:
        await wait_until(lambda: charged, description="the tokens")
    assert len(charged) == bool(counted[1])
    assert counted[0] <= sum(charged) <= counted[1]


async def test_a_completion_ends_although_its_tokens_cannot_be_counted() -> None:
    """Redis is away."""

    async def charge(tokens: int) -> None:
        del tokens
        raise StorageError("away")

    completion = Completion(Model(3, Done()), ASKED, Deadlines(), charge)
    lines = [line async for _, line in completion.watch()]
    assert lines[-1].startswith("Done: the model finished.")
