"""One request for all backends, what comes back, and what every error must look like."""

from __future__ import annotations

import traceback
from contextlib import aclosing

from core.errors import (
    GenerationError,
)
from core.model_types import Delta, Done, GenerationRequest, Prompt
from core.models.backends.backend import Backend
from core.types import Message, Role

KEY = "sesame-and-poppy"
SECRET = "the launch code is 0000 and nobody may read it"


def ask(
    text: str, *stops: str, most: int = 1000, temperature: float = 0.7, top_p: float | None = None
) -> GenerationRequest:
    """A request with one message, the same for all backends."""
    message = Message(Role.USER, text)
    prompt = Prompt((message,), stops, lambda: f"User: {text}\nAssistant:", lambda: [(Role.USER, text)])
    return GenerationRequest(prompt, most, temperature, top_p, seed=7)


async def collect(backend: Backend, request: GenerationRequest) -> tuple[str, Done | GenerationError]:
    """The text, and the end or the error that ended it; fails unless exactly one end came, last."""
    pieces: list[str] = []
    ends: list[Done] = []
    try:
        async with aclosing(backend.stream(request)) as stream:
            async for item in stream:
                assert not ends
                if isinstance(item, Done):
                    ends.append(item)
                elif isinstance(item, Delta):
                    pieces.append(item.text)
    except GenerationError as error:
        assert not ends
        return "".join(pieces), error
    (end,) = ends
    return "".join(pieces), end


def check(error: Done | GenerationError, kind: type[GenerationError], url: str) -> GenerationError:
    """The error is of this kind exactly, says what was tried and what to do, and gives nothing away."""
    assert isinstance(error, GenerationError)
    assert type(error) is kind
    assert url in str(error)
    assert error.remedy
    for words in ("".join(traceback.format_exception(error)), error.remedy):
        assert KEY not in words
        assert SECRET not in words
    return error
