"""The Memory tab: what a channel remembers, how much room it takes, and what the model will see of it."""

from __future__ import annotations

import html
import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import gradio as gr

from bots.assembly import Core
from bots.web.chat import ChatActions
from bots.web.chat_tab import QUICK, SAYS
from bots.web.facts_section import build_facts
from bots.web.people import PRIVATE, Visitor
from core.assistant import days
from core.prompts import TokenBudget, fit, plain_words
from core.types import Conversation, Message, Role

NEXT_QUESTION = "(your next question)"
MAX_LISTED_CHARACTERS = 600
"""Characters of one message in the list."""
DOWNLOAD_SCRIPT = """(text, name) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "application/json"}));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}"""


@dataclass(frozen=True, slots=True)
class Recollection:
    """What is remembered of a conversation, and which part of it the model would see now."""

    conversation: Conversation
    seconds_left: int
    budget: TokenBudget
    seen: int
    first_seen: int
    prompt: str


async def recollect(core: Core, visitor: Visitor, channel: str) -> Recollection:
    """Load a conversation and build the prompt for its next question. Raises StorageError."""
    key, assistant = visitor.key(channel), core.assistant
    conversation = await core.memory.load(key)
    kept = await core.memory.describe(key)
    answer_settings = assistant.answer_settings.with_choices(conversation.settings)
    model = core.models.find(answer_settings.model)
    budget = await model.budget(answer_settings)
    budget = replace(budget, prompt=model.calibration.room(budget.prompt))
    question = Message(Role.USER, NEXT_QUESTION, author=visitor.author)
    fitted = fit(conversation, question, answer_settings.system, budget, count=model.count)
    window, seen = fitted.window, fitted.tokens
    ids = {message.id for message in window.messages}
    first = next(
        (i for i, message in enumerate(conversation.messages) if message.id in ids), len(conversation.messages)
    )
    prompt = (await model.template()).render(window).text()
    return Recollection(conversation, kept.seconds_left, budget, seen, first, prompt)


def export(found: Recollection) -> str:
    """Write the conversation as JSON."""
    record = {
        "conversation": str(found.conversation.key),
        "exported": datetime.now().astimezone().isoformat(timespec="seconds"),
        "summary": found.conversation.summary,
        "facts": [asdict(fact) for fact in found.conversation.facts],
        "messages": [json.loads(message.to_json()) for message in found.conversation.messages],
    }
    return json.dumps(record, ensure_ascii=False, indent=2)


def build_memory(core: Core, actions: ChatActions, channel: gr.Dropdown) -> Any:
    """Build the tab. Returns a function that connects it to its opening."""
    figures = gr.HTML("", padding=False)
    connect_facts = build_facts(core, actions, channel)
    with gr.Row():
        search = gr.Textbox(label="Search", placeholder="A word, or a name", max_lines=1, elem_id="search")
    with gr.Row():
        again = gr.Button("Refresh", size="sm", min_width=80)
        save = gr.Button("Export as JSON", size="sm", min_width=80, elem_id="export")
        clear = gr.Button("Forget", size="sm", min_width=80, elem_id="forget-memory")
    with gr.Column(visible=False, elem_classes="hint") as confirm:
        question = gr.Markdown("")
        with gr.Row():
            forget = gr.Button("Forget it", variant="stop", size="sm", elem_id="forget-memory-now")
            keep = gr.Button("Keep it", size="sm", elem_id="keep-memory")
    messages = gr.HTML("", padding=False, elem_id="remembered")
    with gr.Accordion("What the model will see", open=False, elem_id="seen"):
        prompt = gr.Textbox(
            label="Prompt",
            show_label=False,
            lines=12,
            max_lines=30,
            interactive=False,
            buttons=["copy"],
            elem_id="rendered",
        )
    exported, filename = gr.Textbox(visible=False), gr.Textbox(visible=False)

    async def look(place: str, words: str | None, request: gr.Request) -> tuple[str, str, str]:
        visitor = await actions.visitor(request)
        with actions.errors_shown():
            found = await recollect(core, visitor, place)
        return figures_of(found, place or visitor.channel), messages_of(found, words or ""), found.prompt

    async def pack(place: str, request: gr.Request) -> tuple[str, str]:
        visitor = await actions.visitor(request)
        with actions.errors_shown():
            found = await recollect(core, visitor, place)
        return export(found), f"parley-{'private' if place == PRIVATE else place}.json"

    async def forget_it(place: str, request: gr.Request) -> Any:
        await actions.forget(place, request)
        return gr.Column(visible=False)

    shown = [figures, messages, prompt]
    gr.on([again.click, channel.change], look, [channel, search], shown, **QUICK)
    # An event of its own, so that a person who types during a search sees the result of their last letter.
    search.change(look, [channel, search], shown, **QUICK, trigger_mode="always_last")
    save.click(pack, [channel], [exported, filename], **QUICK).then(
        None, [exported, filename], None, js=DOWNLOAD_SCRIPT
    )
    clear.click(actions.ask_first, [channel], [confirm, question], **SAYS)
    keep.click(lambda: gr.Column(visible=False), None, [confirm], **QUICK)
    forget.click(forget_it, [channel], [confirm], **SAYS).then(look, [channel, search], shown, **QUICK)

    def connect(tab: gr.Tab) -> None:
        tab.select(look, [channel, search], shown, **QUICK)
        connect_facts(tab.select, again.click)

    return connect


def figures_of(found: Recollection, place: str) -> str:
    """Say how much is remembered, for how long, and how full the model's window is, as HTML."""
    kept = found.conversation.messages
    where = "Only me" if place == PRIVATE else place
    if not kept:
        return f"<p class='facts'>Nothing is remembered of <b>{html.escape(where)}</b> yet.</p>"
    room, summary = found.budget.prompt, found.conversation.summary
    share_ = min(100, round(100 * found.seen / room)) if room else 100
    unseen = f" The model no longer sees the oldest {found.first_seen}." if found.first_seen > 0 else ""
    return (
        f"<p class='facts'><b>{html.escape(where)}</b>: {len(kept)} messages, about "
        f"{sum(message.tokens for message in kept):,} tokens. Forgotten in {days(found.seconds_left)} if nobody writes "
        f"here, or at once with <b>Forget</b>.{unseen}</p>"
        f"<div class='meter' role='meter' aria-label='Room in the model&#39;s window' aria-valuemin='0' "
        f"aria-valuemax='{room}' aria-valuenow='{found.seen}' aria-valuetext='{found.seen:,} of {room:,} tokens'>"
        f"<span style='width:{share_}%'></span></div>"
        f"<p class='facts'>The next question sends about {found.seen:,} tokens, with the system message; "
        f"{room:,} fit.</p>"
        + (f"<p class='facts'><b>Summary of what came before:</b> {html.escape(summary)}</p>" if summary else "")
    )


def messages_of(found: Recollection, words: str) -> str:
    """The messages that contain ``words``, oldest first, as HTML."""
    wanted = words.strip().casefold()
    rows = [
        _row(message, seen=index >= found.first_seen)
        for index, message in enumerate(found.conversation.messages)
        if wanted in plain_words(message).casefold() or wanted in _who(message).casefold()
    ]
    if not rows:
        return "<p class='facts'>Nothing found.</p>" if wanted and found.conversation.messages else ""
    return f"<ol class='remembered' tabindex='0' aria-label='What is remembered'>{''.join(rows)}</ol>"


def _row(message: Message, *, seen: bool) -> str:
    text = plain_words(message)
    if len(text) > MAX_LISTED_CHARACTERS:
        text = text[:MAX_LISTED_CHARACTERS].rstrip() + " …"
    at = f"{datetime.fromtimestamp(message.at).astimezone():%Y-%m-%d %H:%M}" if message.at else ""
    out = (" · overheard" if message.overheard else "") + ("" if seen else " · no longer seen by the model")
    return (
        f"<li class='{'seen' if seen else 'unseen'}'><div class='who'><b><bdi>{html.escape(_who(message))}</bdi></b> "
        f"<span>{at} · {message.tokens:,} tokens{out}</span></div><div class='said'>{html.escape(text)}</div></li>"
    )


def _who(message: Message) -> str:
    if message.role is Role.ASSISTANT:
        return "Parley"
    return message.author.name if message.author else "Somebody"
