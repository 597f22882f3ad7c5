"""``parley prompt``: the prompt that a model gets for a conversation."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from bots.commands.memory import Name, one_name
from bots.commands.store import AsJson
from bots.console.printing import plain, print_json
from bots.console.usage import Command
from bots.platforms import load_all_settings
from core.errors import ParleyError
from core.settings import Settings
from core.types import Author, Conversation, Message, Role, Turn

if TYPE_CHECKING:
    from bots.assembly import Core
    from core.model_types import Prompt


@dataclass(frozen=True, slots=True)
class Seen:
    """A prompt for ``model`` at ``where``, written by ``template``; ``tokens`` are estimated."""

    model: str
    where: str
    template: str
    tokens: int
    prompt: Prompt


class NothingAsked(ParleyError):
    """Nobody has asked anything in a conversation."""


def attach(prompt: typer.Typer) -> None:
    """Register the commands."""
    prompt.command("show", cls=Command)(show)


def show(
    conversation: Name,
    say: Annotated[str, typer.Option(metavar="TEXT", help="Use this question instead of the last one.")] = "",
    as_json: AsJson = False,
) -> None:
    """Print the prompt that the model gets for the last question of a conversation. The model is not asked.

    It is one text if Parley applies the chat template, and a list of messages if the model's server does.
    """
    from bots.log import configure_logging

    configure_logging("error")
    seen = asyncio.run(_look(load_all_settings(), conversation, say))
    chat = seen.prompt.chat() if seen.prompt.chat else None
    if as_json:
        messages = [{"role": role, "content": text} for role, text in chat] if chat else None
        print_json(
            {"model": seen.model, "where": seen.where, "template": seen.template, "tokens": seen.tokens}
            | {"stops": list(seen.prompt.stops), "messages": messages, "text": None if chat else seen.prompt.text()}
        )
        return
    stops = ", ".join(map(repr, seen.prompt.stops)) or "none"
    about = f"For {seen.where}, template {seen.template}: about {seen.tokens:,} tokens; stop sequences: {stops}"
    sys.stderr.write(f"{plain(about)}\n")
    text = "\n".join(f"── {role} ──\n{said}" for role, said in chat) if chat else seen.prompt.text()
    sys.stdout.write(plain(text) if sys.stdout.isatty() else text)
    sys.stdout.write("\n" if sys.stdout.isatty() or chat else "")


async def _look(settings: Settings, wanted: str, say: str) -> Seen:
    from bots.assembly import open_core
    from core.archive import Archive
    from core.assistant import hear_room

    async with open_core(settings) as core:
        archive = Archive(core.redis, retention=settings.retention_seconds)
        names = {str(key): key for family in await archive.families() for key in family}
        loaded = await core.memory.load(names[one_name(list(names), wanted)])
        conversation, question = _asked(loaded, say)
        room: tuple[Message, ...] = ()
        if settings.hear == "room" and not conversation.key.thread:
            author = question.author or Author("", "")
            turn = Turn(question.id, conversation.key, "", author, question.text, question.at)
            room = await hear_room(turn, conversation, None)
        return await _seen(core, replace(conversation, room=room), question)


def _asked(conversation: Conversation, say: str) -> tuple[Conversation, Message]:
    """The last question, or the one to ``say``, and the conversation before it. Raises NothingAsked."""
    said = enumerate(conversation.messages)
    questions = [number for number, message in said if message.role is Role.USER and not message.overheard]
    last = conversation.messages[questions[-1]] if questions else None
    if say:
        return conversation, Message(Role.USER, say, id="now", author=last.author if last else None, at=time.time())
    if not last:
        raise NothingAsked(
            "Nobody has asked anything there yet.", remedy="`--say TEXT` shows the prompt for a question of yours."
        )
    return replace(conversation, messages=conversation.messages[: questions[-1]]), last


async def _seen(core: Core, conversation: Conversation, question: Message) -> Seen:
    """The prompt for the model that would be asked first."""
    from core.prompts import Fit

    asked = core.assistant.answer_settings.with_choices(conversation.settings)
    model = min(core.models.models, key=lambda model: model.name != asked.model)
    async with aclosing(core.models.ask(conversation, question, asked)) as stream:
        async for fitted in stream:
            if isinstance(fitted, Fit):  # comes before any model is asked
                template = await model.template()
                return Seen(model.name, model.where, template.name, fitted.tokens, template.render(fitted.window))
    raise AssertionError("the prompt is fitted before a model is asked")
