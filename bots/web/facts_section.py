"""The part of the Memory tab for what people told to remember: listed, added, corrected and removed.

Everybody who can open a channel can do all of it, as with the commands.
"""

from __future__ import annotations

import html
import time
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import gradio as gr

from bots.assembly import Core
from bots.web.chat import ChatActions, inform, warn
from bots.web.chat_tab import QUICK, SAYS
from bots.web.people import venue_of
from core.memory import FactRefused
from core.types import Fact, Turn

NEW = ""
"""The choice that adds an entry instead of correcting one."""
MAX_CHOICE_CHARACTERS = 60
EMPTY = "Nothing yet. Whatever you add here, I'll keep in mind at every question in this channel."


def build_facts(core: Core, actions: ChatActions, channel: gr.Dropdown) -> Any:
    """Build the section. Returns a function that connects it to what shows it again."""
    with gr.Accordion("What I was told to remember", open=True, elem_id="facts"):
        listed = gr.HTML("", padding=False, elem_id="fact-list")
        with gr.Row(equal_height=True):
            entry = gr.Dropdown(choices=_choices(()), value=NEW, label="Entry", elem_id="fact-entry", scale=2)
            text = gr.Textbox(label="Text", placeholder="standup is at 9:15", max_lines=3, elem_id="fact-text", scale=5)
        with gr.Row():
            save = gr.Button("Save", size="sm", min_width=80, elem_id="save-fact")
            remove = gr.Button("Remove", size="sm", min_width=80, elem_id="remove-fact")
    shown = [listed, entry, text]

    async def read(place: str, request: gr.Request) -> tuple[Fact, ...]:
        visitor = await actions.visitor(request)
        with actions.errors_shown():
            return await core.memory.facts.all(visitor.key(place))

    async def look(place: str, request: gr.Request) -> list[Any]:
        """What somebody is writing stays."""
        facts = await read(place, request)
        return [facts_list(facts), gr.Dropdown(choices=_choices(facts))]

    async def begin(place: str, request: gr.Request) -> list[Any]:
        facts = await read(place, request)
        return [facts_list(facts), gr.Dropdown(choices=_choices(facts), value=NEW), ""]

    async def choose(place: str, number: str, request: gr.Request) -> str:
        return next((fact.text for fact in await read(place, request) if str(fact.number) == number), "")

    async def keep(place: str, number: str, words: str, request: gr.Request) -> list[Any]:
        visitor = await actions.visitor(request)
        key = visitor.key(place)
        name, lane = f"web:{uuid.uuid4().hex}", visitor.lane(key, visitor.id)
        turn = Turn(name, key, lane, visitor.author, words, time.time())
        with actions.errors_shown():
            try:
                await _save(core, turn, number)
            except FactRefused as refused:
                warn(venue_of(key, "").tell(str(refused)))
                return [gr.skip() for _ in shown]
        return await begin(place, request)

    async def drop(place: str, number: str, request: gr.Request) -> list[Any]:
        if number == NEW:
            inform("Choose the entry to remove first.")
            return [gr.skip() for _ in shown]
        visitor = await actions.visitor(request)
        with actions.errors_shown():
            await core.memory.facts.remove(visitor.key(place), _number(number))
        return await begin(place, request)

    entry.input(choose, [channel, entry], [text], **QUICK)
    gr.on([save.click, text.submit], keep, [channel, entry, text], shown, **SAYS)
    remove.click(drop, [channel, entry], shown, **SAYS)

    channel.change(begin, [channel], shown, **QUICK)
    return lambda *causes: gr.on(list(causes), look, [channel], [listed, entry], **QUICK)


def facts_list(facts: Sequence[Fact]) -> str:
    """The facts with their numbers, who told them and when, as HTML."""
    if not facts:
        return f"<p class='facts'>{EMPTY}</p>"
    return f"<ul class='remembered' tabindex='0' aria-label='Told to remember'>{''.join(map(_row, facts))}</ul>"


async def _save(core: Core, turn: Turn, number: str) -> None:
    """Add what a turn says, or correct an entry. Raises FactRefused."""
    if number == NEW:
        await core.memory.facts.tell(turn, turn.text)
    elif not await core.memory.facts.replace(turn, _number(number), turn.text):
        inform(f"Number {_number(number)} was removed meanwhile.")


def _row(fact: Fact) -> str:
    at = f"{datetime.fromtimestamp(fact.at).astimezone():%Y-%m-%d %H:%M}" if fact.at else ""
    by = html.escape(fact.author.name or "Somebody")
    origin = f"{'corrected by ' if fact.corrected else ''}<bdi>{by}</bdi> · {at}"
    return (
        f"<li><div class='who'><b>{fact.number}</b> <span>{origin}</span></div>"
        f"<div class='said'>{html.escape(fact.text)}</div></li>"
    )


def _choices(facts: Sequence[Fact]) -> list[tuple[str, str]]:
    return [("A new one", NEW), *((_choice(fact), str(fact.number)) for fact in facts)]


def _choice(fact: Fact) -> str:
    short = fact.text if len(fact.text) <= MAX_CHOICE_CHARACTERS else f"{fact.text[:MAX_CHOICE_CHARACTERS].rstrip()} …"
    return f"{fact.number}: {short}"


def _number(text: str) -> int:
    """The number that a browser sent; 0, which no entry has, for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
