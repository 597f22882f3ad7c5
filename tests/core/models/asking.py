"""Models with scripted backends, and a question to ask them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from core.errors import (
    GenerationError,
)
from core.model_types import Delta, Done, GenerationRequest, ModelLimits, Streamed, Thinking, Usage
from core.models.generation import Deadlines
from core.models.models import AnswerSettings, Model, Models, fixed_template
from core.prompts import open_template
from core.prompts.window import Fit
from core.types import Conversation, ConversationKey, Message, Role

ANSWER_SETTINGS = AnswerSettings("Be kind.", 0.7, 50, ModelLimits(1000, 1200), Deadlines(5, 5, 20))
NOBODY = ConversationKey("test", "T", "C")
QUESTION = Message(Role.USER, "hi", id="q")


class Says:
    """A backend that says the same each time, or raises one error after another first."""

    def __init__(self, text: str, *errors: GenerationError, after: str = "") -> None:
        self.text, self.errors, self.after = text, list(errors), after
        self.asked: list[GenerationRequest] = []
        self.together = asyncio.Barrier(1)
        self.usage: Callable[[GenerationRequest], Usage] = lambda request: Usage()

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Streamed, None]:
        self.asked.append(request)
        await self.together.wait()
        if self.errors:
            if self.after:
                yield Delta(self.after)
            raise self.errors.pop(0)
        yield Delta(self.text)
        yield Done(usage=self.usage(request))

    async def limits(self) -> ModelLimits | None:
        return None

    async def healthy(self) -> bool:
        return True

    async def aclose(self) -> None:
        return None


def models(*backends: Says) -> Models:
    """Models that are asked in this order."""
    return Models([Model(backend, fixed_template(open_template("falcon")), name=backend.text) for backend in backends])


async def ask(
    models: Models, answer_settings: AnswerSettings = ANSWER_SETTINGS, *said: Message, background: bool = False
) -> tuple[str, list[Fit]]:
    """What comes out, and the windows that were fitted."""
    text, fits = "", []
    async with aclosing(
        models.ask(Conversation(NOBODY, said), QUESTION, answer_settings, background=background)
    ) as stream:
        async for item in stream:
            match item:
                case Fit():
                    fits.append(item)
                case Delta(more):
                    text += more
                case Thinking(retract=True):
                    text = ""
    return text, fits
