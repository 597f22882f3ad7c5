"""The second tab: one completion of one prompt, without memory or template, as the model itself goes on."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import gradio as gr
import structlog

from core.errors import GenerationError
from core.generation import Deadlines, generate
from core.models import Models
from core.types import Delta, Done, Ending, GenerationRequest, Message, Prompt, Role, Thinking

log = structlog.get_logger()

REASONS = {Ending.COMPLETE: "the model came to its end", Ending.LENGTH: "cut off at the most new tokens"}
FRAME = 0.05
"""Seconds between two looks of the text at the least."""


def build_complete(models: Models, deadlines: Deadlines) -> None:
    """Lay the tab out and wire it."""
    names = models.names
    gr.Markdown("The model goes on where your text ends. Nothing is remembered.")
    prompt = gr.Textbox(label="Prompt", placeholder="Once upon a time", lines=4, max_lines=16, elem_id="prompt")
    with gr.Row():
        tokens = gr.Slider(1, 1024, value=20, step=1, label="Most new tokens", elem_id="tokens")
        temperature = gr.Slider(0, 1, value=0.7, step=0.05, label="Temperature (0 is greedy)", elem_id="temperature")
    model = gr.Dropdown(
        choices=list(names),
        value=names[0] if names else None,
        label="Model",
        visible=len(names) > 1,
        elem_id="completing-model",
    )
    with gr.Row():
        go = gr.Button("Complete", variant="primary", elem_id="complete")
        stop = gr.Button("Stop", elem_id="stop-completion")
    text = gr.Textbox(
        label="Completion", lines=6, max_lines=24, buttons=["copy"], interactive=False, elem_id="completion"
    )
    line = gr.HTML(_line(""), padding=False)

    async def complete(
        prompt: str, tokens: float, temperature: float, chosen: str | None
    ) -> AsyncIterator[tuple[Any, str]]:
        if not prompt.strip():
            yield "", _line("Write something to go on from.")
            return
        asked = GenerationRequest(
            Prompt((Message(Role.USER, prompt),), (), lambda: prompt), int(tokens), temperature=float(temperature)
        )
        asks = next((one for one in models.models if one.name == chosen), models.models[0])
        written, began, shown = "", time.monotonic(), 0.0
        yield "", _line("Waiting for the model …")
        try:
            async with aclosing(generate(asks.backend, asked, deadlines)) as stream:
                async for event in stream:
                    match event:
                        case Delta(more):
                            written += more
                            if time.monotonic() - shown > FRAME:
                                shown = time.monotonic()
                                yield written, _line("Writing …")
                        case Thinking(retract):
                            written = "" if retract else written
                            yield written, _line("Thinking …")
                        case Done(ending, usage):
                            count = usage.completion_tokens
                            counted = f"{count} token{'s' * (count != 1)}" if count is not None else "tokens not told"
                            took = time.monotonic() - began
                            yield written, _line(f"Done: {REASONS[ending]}. {counted}, {took:.1f} s.")
        except GenerationError as error:
            log.warning("a completion broke off", error=str(error), remedy=error.remedy)
            yield written, _line(error.plain)

    running = gr.on(
        [go.click],
        complete,
        [prompt, tokens, temperature, model],
        [text, line],
        show_progress="hidden",
        concurrency_limit=None,
        api_visibility="private",
    )
    stop.click(None, cancels=[running], queue=False)
    stop.click(lambda: _line("Stopped."), None, [line], queue=False, show_progress="hidden", api_visibility="private")


def _line(text: str) -> str:
    return f'<div id="completed" role="status" aria-live="polite">{text}</div>'
