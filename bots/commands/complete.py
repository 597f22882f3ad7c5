"""``parley complete``: the model continues one text, on stdout. No memory, no chat template, no Redis."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from bots.assembly import answer_settings
from bots.console.printing import did_you_mean
from bots.terminal.chat import visible
from bots.terminal.plain import write
from core.errors import GenerationError, SettingsError
from core.model_types import Delta, Done, GenerationRequest, Prompt, Usage
from core.models import generate
from core.models.table import open_models
from core.settings import Settings
from core.types import Ending

MAX_PROMPT_CHARACTERS = 4_000_000
"""Characters of a prompt; more than any model can read."""
FINISH_REASONS = {Ending.COMPLETE: "stop", Ending.LENGTH: "length"}


@dataclass(frozen=True, slots=True)
class Order:
    """What to complete, and how; None means as in the settings."""

    text: str
    max_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stops: Sequence[str] = ()
    seed: int | None = None
    model: str = ""


async def complete(settings: Settings, order: Order, *, as_json: bool = False) -> None:
    """Let a model continue a text; print it as it grows or, with ``as_json``, as one JSON object at the end.

    Raises:
        GenerationError: the answer is incomplete. The text so far has been printed, but no JSON.
        SettingsError: there is no such model, or a setting is wrong.
        BrokenPipeError: the reader of stdout is gone.
    """
    asked, models = answer_settings(settings), open_models(settings)
    try:
        if order.model and order.model not in models.names:
            known = [name for name in models.names if name]
            near = did_you_mean(order.model, known) if known else "MODELS_FILE is not set, so leave --model out."
            raise SettingsError(f"No model '{order.model}'. {near}")
        request = GenerationRequest(
            Prompt.raw(order.text, order.stops),
            order.max_new_tokens or asked.max_new_tokens,
            asked.temperature if order.temperature is None else order.temperature,
            order.top_p or asked.top_p,
            order.seed,
        )
        pieces: list[str] = []
        ending, usage = Ending.COMPLETE, Usage()
        try:
            async with aclosing(generate(models.find(order.model).backend, request, asked.deadlines)) as stream:
                async for item in stream:
                    if isinstance(item, Delta):
                        pieces.append(item.text)
                        if not as_json:
                            write(sys.stdout, visible(item.text) if sys.stdout.isatty() else item.text)
                    elif isinstance(item, Done):
                        ending, usage = item.ending, item.usage
        except GenerationError:
            if pieces and not as_json:
                write(sys.stdout, "\n")
            raise
    finally:
        await models.aclose()
    if as_json:
        found = {
            "text": "".join(pieces),
            "finish_reason": FINISH_REASONS.get(ending, "stop"),
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
        }
        write(sys.stdout, json.dumps(found, ensure_ascii=False) + "\n")
    else:
        write(sys.stdout, "\n")


def read_prompt(argument: str) -> str:
    """The text to complete: the argument, or all of stdin if that is ``-``.

    Raises:
        SettingsError: there is nothing to complete, or too much.
    """
    text = sys.stdin.buffer.read(MAX_PROMPT_CHARACTERS + 1).decode("utf-8", "replace") if argument == "-" else argument
    if not text.strip():
        raise SettingsError('There is no text to complete. Example: parley complete "Once upon a time"')
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise SettingsError(f"The text is too long: more than {MAX_PROMPT_CHARACTERS:,} characters")
    return text
