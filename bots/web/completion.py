"""One completion as it is written: what there is so far, and how it stands. Stopping it lets the model go at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import structlog

from core.errors import GenerationError, StorageError
from core.model_types import Delta, Done, GenerationRequest, Thinking, Usage
from core.models import Deadlines, generate
from core.models.backends.backend import Backend
from core.prompts import estimate_tokens
from core.stored import whole_number
from core.types import Ending

log = structlog.get_logger()

REASONS = {Ending.COMPLETE: "the model finished", Ending.LENGTH: "cut off at the maximum of new tokens"}
REFRESH_SECONDS = 0.05
"""Seconds between two looks."""


Charge = Callable[[int], Awaitable[None]]


class Completion:
    """What a model makes of one prompt: ``text`` so far, and a ``line`` that says how it stands.

    At its end, whatever that is, ``charge`` gets the tokens that it took.
    """

    def __init__(self, backend: Backend, asked: GenerationRequest, deadlines: Deadlines, charge: Charge) -> None:
        self.text, self.line = "", "Waiting for the model …"
        self._charge = charge
        self._usage, self._began, self._stopped = Usage(), False, False
        self._writer = asyncio.create_task(self._run(backend, asked, deadlines))

    async def watch(self) -> AsyncGenerator[tuple[str, str], None]:
        """Text and line, as often as they change; ending the iteration stops it."""
        seen = ("", "")
        try:
            while True:
                over = self._writer.done()
                if seen != (seen := (self.text, self.line)):
                    yield seen
                if over:
                    return
                await asyncio.wait({self._writer}, timeout=REFRESH_SECONDS)
        finally:
            self.stop()

    def stop(self) -> None:
        """End it; what there is stays."""
        if not self._writer.done() and not self._stopped:
            self._stopped = True
            self._writer.cancel()
            self.line = "Stopped."

    async def _run(self, backend: Backend, asked: GenerationRequest, deadlines: Deadlines) -> None:
        try:
            await self._write(backend, asked, deadlines)
        finally:
            if self._began:
                usage = self._usage
                # Of what was stopped, or not told of, as many as we count.
                tokens = whole_number(usage.prompt_tokens) or estimate_tokens(asked.prompt.text())
                try:
                    await self._charge(tokens + (whole_number(usage.completion_tokens) or estimate_tokens(self.text)))
                except StorageError as error:
                    log.warning("tokens not counted", error=str(error), remedy=error.remedy)

    async def _write(self, backend: Backend, asked: GenerationRequest, deadlines: Deadlines) -> None:
        began = time.monotonic()
        try:
            async with aclosing(generate(backend, asked, deadlines)) as stream:
                async for event in stream:
                    self._began = True
                    match event:
                        case Delta(more):
                            self.text, self.line = self.text + more, "Writing …"
                        case Thinking(retract):
                            self.text, self.line = "" if retract else self.text, "Thinking …"
                        case Done(ending, usage):
                            self._usage = usage
                            count = usage.completion_tokens
                            counted = f"{count} token{'s' * (count != 1)}" if count is not None else "tokens unknown"
                            self.line = f"Done: {REASONS[ending]}. {counted}, {time.monotonic() - began:.1f} s."
        except GenerationError as error:
            log.warning("completion interrupted", error=str(error), remedy=error.remedy)
            self.line = error.plain
