"""The second tab: the model continues one text, without memory or template."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

import gradio as gr

from bots.web.chat import ChatActions
from bots.web.completion import Completion
from bots.web.markup import escape
from bots.web.people import PRIVATE
from core.model_types import GenerationRequest, Prompt
from core.models import Deadlines, Models


def build_complete(models: Models, deadlines: Deadlines, actions: ChatActions) -> None:
    """Lay the tab out and wire it. What is completed counts for quotas as if it was asked in private."""
    names = models.names
    gr.Markdown("The model continues your text. Nothing is remembered.")
    prompt = gr.Textbox(label="Prompt", placeholder="Once upon a time", lines=4, max_lines=16, elem_id="prompt")
    with gr.Row():
        tokens = gr.Slider(1, 1024, value=20, step=1, label="Maximum new tokens", elem_id="tokens")
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

    under_way: dict[str, Completion] = {}

    async def complete(
        prompt: str, tokens: float, temperature: float, chosen: str | None, request: gr.Request
    ) -> AsyncIterator[tuple[str, str]]:
        if not prompt.strip():
            yield "", _line("Write a prompt first.")
            return
        stop_it(request)
        visitor = await actions.visitor(request)
        key = visitor.key(PRIVATE)
        with actions.errors_shown():
            receipt = await actions.queue.admit(key, visitor.id, f"completion:{uuid.uuid4().hex}")
        if receipt.refused:
            yield "", _line(actions.tell(receipt.note))
            return
        asked = GenerationRequest(Prompt.raw(prompt), int(tokens), temperature=float(temperature))
        session, charge = str(request.session_hash), partial(actions.queue.charge, key, visitor.id)
        completion = under_way[session] = Completion(models.find(chosen).backend, asked, deadlines, charge)
        try:
            async with aclosing(completion.watch()) as looks:
                async for written, standing in looks:
                    yield written, _line(actions.tell(standing))
        finally:
            if under_way.get(session) is completion:
                del under_way[session]

    def stop_it(request: gr.Request) -> None:
        if completion := under_way.get(str(request.session_hash)):
            completion.stop()

    gr.on(
        [go.click],
        complete,
        [prompt, tokens, temperature, model],
        [text, line],
        show_progress="hidden",
        concurrency_limit=None,
        api_visibility="private",
    )
    stop.click(stop_it, None, None, queue=False, show_progress="hidden", api_visibility="private")


def _line(text: str) -> str:
    return f'<div id="completed" role="status" aria-live="polite">{escape(text)}</div>'
