"""Where answers come from: one protocol, one file for each kind of server.

A backend is one asynchronous generator. It yields text as the model makes it and ends with exactly one ``Done``;
everything that goes wrong is a ``GenerationError``. Deadlines, stop strings and leading white space are not its
business: ``core.models.generation`` puts them around every backend alike.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from core.types import GenerationRequest, ModelLimits, Streamed


class Backend(Protocol):
    """A server that a model runs on, or something that acts like one."""

    def stream(self, request: GenerationRequest) -> AsyncGenerator[Streamed, None]:
        """Answer one request.

        Iterate under ``contextlib.aclosing``: closing the generator early closes the connection, so that the server
        stops working for it. Yields any number of ``Delta`` and ``Thinking`` and then exactly one ``Done``.

        Raises:
            GenerationError: one of its kinds, for whatever goes wrong; what was yielded before stands.
        """
        ...

    async def limits(self) -> ModelLimits | None:
        """Context length as the server tells it; None where it does not. Raises GenerationError if it is away."""
        ...

    async def healthy(self) -> bool:
        """Whether the server says that it is ready. Never raises."""
        ...

    async def aclose(self) -> None:
        """Let go of connections."""
        ...
