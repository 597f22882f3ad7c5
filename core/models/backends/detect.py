"""Detects once which API a server has: TGI's own, or OpenAI's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Literal

import aiohttp
import structlog

from core.errors import GenerationError, ModelUnavailable
from core.model_types import GenerationRequest, ModelLimits, Streamed
from core.models.backends.backend import Backend
from core.models.backends.server import Server
from core.models.backends.untrusted import TooLarge, parse_json

log = structlog.get_logger()

Api = Literal["tgi", "openai"]

PAGE_TIMEOUT = 5.0
"""Seconds that each page has to arrive."""


async def detect(server: Server) -> Api:
    """Ask a server which API it has; an address that ends in ``/v1`` is OpenAI's.

    TGI has both, and its own tells more. A server that shows neither counts as TGI behind a proxy that hides the rest.

    Raises:
        ModelUnavailable: it cannot be reached.
        ModelRefused: it sends requests elsewhere.
    """
    path = server.url.path.rstrip("/")
    if path.endswith("/v1"):
        return "openai"
    try:
        _, body = await server.get("info", timeout=PAGE_TIMEOUT)
        if _is_tgi(body):
            return "tgi"
        status, _ = await server.get(f"{path}/v1/models", timeout=PAGE_TIMEOUT)
    except (aiohttp.ClientError, OSError) as error:
        raise server.unreachable(error) from None
    except TooLarge as error:
        raise server.error(ModelUnavailable, f"sent {error} where it should say what it is") from None
    return "tgi" if status in (404, 405) else "openai"


def _is_tgi(body: bytes) -> bool:
    try:
        info = parse_json(body)
    except ValueError:
        return False
    return isinstance(info, dict) and ("max_total_tokens" in info or "model_sha" in info)


class DetectedBackend:
    """A backend whose API is detected before the first request; ``api`` is None until then.

    All requests that wait for it share one detection.
    """

    def __init__(self, server: Server, open_as: Callable[[Api], Backend]) -> None:
        self.api: Api | None = None
        self._server, self._open_as = server, open_as
        self._backend: Backend | None = None
        self._detecting: asyncio.Task[Backend] | None = None

    async def known(self) -> Backend:
        """The backend for the detected API. Raises GenerationError while the server can't be reached."""
        if self._backend:
            return self._backend
        if self._detecting is None:
            self._detecting = asyncio.create_task(self._detect())
            self._detecting.add_done_callback(self._detected)
        return await asyncio.shield(self._detecting)

    async def _detect(self) -> Backend:
        self.api = await detect(self._server)
        self._backend = self._open_as(self.api)
        log.info("model API detected", model_api=self.api, server=self._server.where)
        return self._backend

    def _detected(self, task: asyncio.Task[Backend]) -> None:
        self._detecting = None
        if not task.cancelled():
            task.exception()  # read here, so that asyncio does not complain where no asker is left

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Streamed, None]:
        """See ``Backend.stream``."""
        async with aclosing((await self.known()).stream(request)) as stream:
            async for item in stream:
                yield item

    async def limits(self) -> ModelLimits | None:
        """See ``Backend.limits``."""
        return await (await self.known()).limits()

    async def healthy(self) -> bool:
        """See ``Backend.healthy``."""
        try:
            return await (await self.known()).healthy()
        except GenerationError:
            return False

    async def aclose(self) -> None:
        """Close all connections."""
        if self._detecting:
            self._detecting.cancel()
        if self._backend:
            await self._backend.aclose()
