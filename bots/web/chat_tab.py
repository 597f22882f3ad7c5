"""The first tab: a channel, its chat window, and everything that can be done there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from bots.web.chat import ChatActions, status_line
from bots.web.people import GENERAL, PRIVATE, Visitor

EXAMPLES = (
    "What can you do?",
    "Write a Python function that says whether a word is a palindrome.",
    "Explain what a token is, in three sentences.",
)
EMPTY = """### Ask something
Everybody who opens this channel sees the conversation. I remember it and use it nowhere else. To open another channel,
type a new name under **Channel**; only you see **Only me**. Enter sends, Shift-Enter starts a new line.
"""


QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Options of events that are answered at once."""
SAYS = {**QUICK, "queue": True}
"""Options of events that may show a message to the person who caused them; without the queue it would not arrive."""


def build_masthead() -> tuple[gr.Dropdown, gr.Textbox]:
    """What stands above all tabs: where one is, and how one is called; to be chosen once that is known."""
    with gr.Row(equal_height=True, elem_id="masthead"):
        gr.HTML("<h1>Parley</h1>", padding=False, elem_id="brand")
        channel = gr.Dropdown(
            choices=_choices([GENERAL]),
            value=None,
            interactive=False,
            label="Channel",
            allow_custom_value=True,
            elem_id="channel",
            scale=3,
        )
        name = gr.Textbox(
            label="Your name",
            interactive=False,
            placeholder="How others see you",
            max_lines=1,
            max_length=40,
            elem_id="name",
            scale=3,
        )
    return channel, name


def build_chat(
    actions: ChatActions, channel: gr.Dropdown, name: gr.Textbox, greeting: str
) -> Callable[[gr.Blocks], None]:
    """Lay the tab out and wire it. Gives what to do with the page as a whole."""
    if greeting:
        gr.Markdown(greeting, elem_classes="hint", elem_id="demo-hint")
    chat = gr.Chatbot(
        label="Conversation",
        show_label=False,
        elem_id="chat",
        buttons=["copy", "copy_all"],
        placeholder=EMPTY,
        examples=[{"text": text} for text in EXAMPLES],
        layout="bubble",
        group_consecutive_messages=False,
        allow_tags=False,
        latex_delimiters=[],  # a formula's commands draw anything anywhere
    )
    line = gr.HTML(status_line(""), elem_id="line-box", padding=False)
    with gr.Row(equal_height=True):
        box = gr.Textbox(
            label="Your message",
            show_label=False,
            placeholder="Ask something …",
            lines=1,
            max_lines=8,
            elem_id="box",
            scale=8,
            container=False,
        )
        send = gr.Button("Submit", variant="primary", elem_id="send", scale=1, min_width=96)
    with gr.Row():
        stop = gr.Button("Stop", interactive=False, elem_id="stop", size="sm", min_width=80)
        retry = gr.Button("Retry", elem_id="retry", size="sm", min_width=80)
        clear = gr.Button("Clear", elem_id="clear", size="sm", min_width=80)
    with gr.Column(visible=False, elem_id="confirm", elem_classes="hint") as confirm:
        question = gr.Markdown("")
        with gr.Row():
            forget = gr.Button("Forget it", variant="stop", elem_id="forget", size="sm")
            keep = gr.Button("Keep it", elem_id="keep", size="sm")

    watching: dict[str, Any] = {
        "fn": actions.watch,
        "inputs": [channel],
        "outputs": [chat, stop, line],
        "show_progress": "hidden",
        "concurrency_limit": None,
        "trigger_mode": "multiple",  # another channel begins a watch, which ends the one before
        "api_visibility": "private",
    }

    async def move(wanted: str, request: gr.Request) -> tuple[Any, Any]:
        place = await actions.move(wanted or GENERAL, request)
        channels = await actions.people.channels()
        return gr.Dropdown(choices=_choices(channels), value=place), gr.Column(visible=False)

    async def forget_it(place: str, request: gr.Request) -> Any:
        await actions.forget(place, request)
        return gr.Column(visible=False)

    async def rename(wanted: str, request: gr.Request) -> Any:
        return _name_box(await actions.name(wanted, request))

    async def example(place: str, picked: gr.SelectData, request: gr.Request) -> None:
        await actions.submit(str(picked.value["text"]), place, request)

    gr.on([send.click, box.submit], actions.send, [box, channel], [box, confirm, question], **SAYS)
    chat.example_select(example, [channel], None, **SAYS)
    stop.click(actions.stop, [channel], None, **SAYS)
    retry.click(actions.retry, [channel], None, **SAYS)
    clear.click(actions.ask_first, [channel], [confirm, question], **SAYS)
    keep.click(lambda: gr.Column(visible=False), None, [confirm], **QUICK)
    forget.click(forget_it, [channel], [confirm], **SAYS)
    gr.on([name.submit, name.blur], rename, [name], [name], **QUICK)
    channel.input(move, [channel], [channel, confirm], **QUICK).then(**watching)

    async def enter(request: gr.Request) -> tuple[Any, Any]:
        visitor = await actions.visitor(request)
        channels = await actions.people.channels()
        found = gr.Dropdown(choices=_choices([*channels, visitor.channel]), value=visitor.channel, interactive=True)
        return found, _name_box(visitor)

    def on_load(blocks: gr.Blocks) -> None:
        blocks.load(enter, None, [channel, name], **QUICK).then(**watching)

    return on_load


def _choices(channels: list[str]) -> list[tuple[str, str]]:
    names = [name for name in dict.fromkeys(channels) if name != PRIVATE]
    return [*((name, name) for name in names), ("Only me", PRIVATE)]


def _name_box(visitor: Visitor) -> gr.Textbox:
    return gr.Textbox(value=visitor.name, interactive=not visitor.given)
