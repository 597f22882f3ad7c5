"""What every backend promises; each kind of server has one file beside this one.

A backend streams text as the model writes it and ends with exactly one ``Done``; every failure is a
``GenerationError``. Deadlines, stop strings and leading white space are handled by ``core.models.generation``, for all
backends alike.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from core.model_types import GenerationRequest, ModelLimits, Streamed


class Backend(Protocol):
    """A server that a model runs on, or something that acts like one.

    Example::

        backend = OpenAIBackend("http://gpu1:8000/v1")
        async with aclosing(backend.stream(request)) as stream:
            async for item in stream:
                if isinstance(item, Delta):
                    print(item.text, end="")
        await backend.aclose()
    """

    def stream(self, request: GenerationRequest) -> AsyncGenerator[Streamed, None]:
        """Answer one request.

        Yields any number of ``Delta`` and ``Thinking``, then exactly one ``Done``. Iterate under
        ``contextlib.aclosing``: closing the generator early closes the connection, so that the server stops working.

        Raises:
            GenerationError: anything went wrong; what was yielded before stands.
        """
        ...

    async def limits(self) -> ModelLimits | None:
        """Context length and name of the model as the server tells them; None where it does not.

        Raises:
            GenerationError: the server is away, or refuses.
        """
        ...

    async def healthy(self) -> bool:
        """Whether the server says that it is ready. Never raises."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...
