"""The advanced options of a channel: how Parley answers there, for everybody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr

from bots.assembly import Core
from bots.assembly import choices as available
from bots.web.chat import ChatActions, warn
from bots.web.chat_tab import QUICK, SAYS
from core.memory import Choices, WrongChoice
from core.types import ConversationSettings

MAX_SLIDER_TOKENS = 1024
"""The slider's maximum, unless the model's context is smaller or a command chose more."""
LOCK_SCRIPT = "place => { document.body.classList.add('reading'); return [place]; }"
UNLOCK_SCRIPT = "() => { document.body.classList.remove('reading'); }"
"""While options are being read, none can be changed (``page.css``), or the result would undo the change."""
GREEDY_TEMPERATURE = 0.0
DEFAULT_TEMPERATURE = 0.7


def build_options(core: Core, actions: ChatActions, channel: gr.Dropdown) -> None:
    """Build the accordion, and store what people change in it."""
    choices = available(core.settings, core.models.names)
    with gr.Accordion("Advanced options", open=False, elem_id="options") as accordion:
        persona = gr.Dropdown(
            choices=[("None", ""), *((name, name) for name in choices.personas)],
            value="",
            label="Persona",
            visible=bool(choices.personas),
            elem_id="persona",
        )
        system = gr.Textbox(
            label="System message",
            info="Who the assistant is here. Empty: the default.",
            placeholder=choices.system,
            lines=2,
            max_lines=8,
            elem_id="system",
        )
        with gr.Row():
            temperature = gr.Slider(0.1, 1, value=DEFAULT_TEMPERATURE, step=0.05, label="Temperature", elem_id="warmth")
            greedy = gr.Checkbox(label="Greedy: always the likeliest word", elem_id="greedy")
        with gr.Row():
            most = gr.Slider(
                1, MAX_SLIDER_TOKENS, value=MAX_SLIDER_TOKENS, step=1, label="Maximum new tokens", elem_id="most"
            )
            top_p = gr.Slider(0.05, 1, value=1, step=0.05, label="Top-p", elem_id="top-p")
        model = gr.Dropdown(
            choices=list(choices.models),
            value=choices.models[0] if choices.models else None,
            label="Model",
            visible=len(choices.models) > 1,
            elem_id="model",
        )
        reset = gr.Button("Reset to defaults", size="sm", elem_id="reset")
    controls = [persona, system, temperature, greedy, most, top_p, model]

    async def read(place: str, request: gr.Request) -> list[Any]:
        visitor = await actions.visitor(request)
        with actions.errors_shown():
            chosen, _ = await core.memory.settings(visitor.key(place))
        return await _shown(core, chosen, choices)

    async def choose(place: str, setting: str, value: str, request: gr.Request) -> list[Any]:
        visitor = await actions.visitor(request)
        key, why = visitor.key(place), actions.refusal("settings", visitor, place)
        with actions.errors_shown():
            try:
                if why:
                    raise WrongChoice(why)
                chosen = await core.memory.choose(key, setting, value)
            except WrongChoice as error:
                warn(str(error))
                chosen, _ = await core.memory.settings(key)
                setting = ""  # the control shows a value that was not stored
        return _after(setting, await _shown(core, chosen, choices))

    def keep(setting: str) -> Callable[..., Any]:
        async def kept(place: str, value: str | float | None, request: gr.Request) -> list[Any]:
            return await choose(place, setting, f"{value:g}" if isinstance(value, float) else str(value or ""), request)

        return kept

    async def keep_heat(place: str, heat: float, likeliest: bool, request: gr.Request) -> list[Any]:
        return await choose(
            place, "temperature", f"{GREEDY_TEMPERATURE if likeliest else heat or DEFAULT_TEMPERATURE:g}", request
        )

    async def keep_nothing(place: str, request: gr.Request) -> list[Any]:
        return await choose(place, "", "", request)

    says: dict[str, Any] = {**SAYS, "trigger_mode": "always_last"}
    system.blur(keep("system"), [channel, system], controls, **says)
    persona.input(keep("persona"), [channel, persona], controls, **says)
    gr.on([temperature.input, greedy.input], keep_heat, [channel, temperature, greedy], controls, **says)
    most.input(keep("max"), [channel, most], controls, **says)
    top_p.input(keep("top_p"), [channel, top_p], controls, **says)
    model.input(keep("model"), [channel, model], controls, **says)
    reset.click(keep_nothing, [channel], controls, **says)
    causes = [channel.change, accordion.expand]
    reading = gr.on(causes, read, [channel], controls, js=LOCK_SCRIPT, **QUICK, trigger_mode="always_last")
    reading.then(None, None, None, js=UNLOCK_SCRIPT)


async def _shown(core: Core, chosen: ConversationSettings, choices: Choices) -> list[Any]:
    """The value of each control. Where a command chose more than a slider's maximum, the slider is extended."""
    heat = choices.temperature if chosen.temperature is None else chosen.temperature
    most, top_p = chosen.max_new_tokens or choices.max_new_tokens, chosen.top_p or choices.top_p or 1
    room = await _room(core, max(most, MAX_SLIDER_TOKENS))
    most = min(most, room)
    return [
        chosen.persona or "",
        chosen.system or "",
        gr.Slider(
            value=heat or DEFAULT_TEMPERATURE,
            minimum=min(heat or 0.1, 0.1),
            maximum=max(heat, 1),
            interactive=heat > GREEDY_TEMPERATURE,
        ),
        heat == GREEDY_TEMPERATURE,
        gr.Slider(value=most, maximum=min(room, max(most, MAX_SLIDER_TOKENS))),
        gr.Slider(value=top_p, minimum=min(top_p, 0.05)),
        chosen.model or (choices.models[0] if choices.models else None),
    ]


def _after(setting: str, shown: list[Any]) -> list[Any]:
    """Update only the controls that depend on the changed ``setting``; all of them if it is "".

    An update of the others would undo what somebody changed while this change was being stored.
    """
    if not setting:
        return shown
    persona, system, _, greedy, *_ = shown
    nothing = [gr.skip() for _ in shown]
    match setting:
        case "system":
            return [persona, *nothing[1:]]
        case "persona":
            return [nothing[0], system, *nothing[2:]]
        case "temperature":
            return [*nothing[:2], gr.Slider(interactive=not greedy), *nothing[3:]]
    return nothing


async def _room(core: Core, wanted: int) -> int:
    """The most tokens that an answer can have: ``wanted``, or half of the model's context if that is less."""
    budget = await core.models.models[0].budget(replace(core.assistant.answer_settings, max_new_tokens=wanted))
    return budget.answer
