"""``/settings``: how Parley answers in a conversation, as a form that shows what holds now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import discord
from discord import InteractionResponseType as Response
from discord import app_commands
from discord.ui import Label, TextInput

from bots.discord.events import Place
from bots.discord.forms import Form
from bots.discord.listener import DiscordListener
from bots.discord.text import SIZE, cut, shown
from core.errors import StorageError
from core.memory import Choices, WrongChoice, fingerprint
from core.turns import in_time
from core.types import ConversationKey, ConversationSettings

MAX_INPUT_CHARACTERS = 4000
"""Characters of a field (docs.discord.com, components/reference, "Text Input")."""
MOST_CHOICES = 25
KIND = "settings"
"""Of form."""
FIELDS = ("system", "persona", "temperature", "max", "model")


async def open_form(listener: DiscordListener, interaction: discord.Interaction) -> None:
    """Show the form, filled with what is chosen here."""
    if why := listener.refuses_settings(interaction):
        await listener.whisper(interaction, why)
        return
    key = _key(interaction)
    try:
        async with in_time():
            chosen, choices = await listener.memory.settings(key)
    except StorageError as error:
        await listener.whisper(interaction, error.plain)
        return
    await listener.respond(interaction, Response.modal, form(chosen, choices).to_dict())


async def change(listener: DiscordListener, interaction: discord.Interaction, values: dict[str, str]) -> None:
    """Change what is named, and say what holds now; what cannot be is said, and the rest is changed."""
    if why := listener.refuses_settings(interaction):
        await listener.whisper(interaction, why)
        return
    key, wrong = _key(interaction), []
    try:
        async with in_time():
            for name, value in values.items():
                try:
                    await listener.memory.choose(key, name, value)
                except WrongChoice as error:
                    wrong.append(str(error))
            chosen, choices = await listener.memory.settings(key)
    except StorageError as error:
        await listener.whisper(interaction, error.plain)
        return
    about = choices.describe(chosen, listener.venue(interaction))
    text = "\n".join([*wrong, "", about]) if wrong else about
    await listener.whisper(interaction, cut(shown(text.strip()), SIZE))


async def suggest(listener: DiscordListener, interaction: discord.Interaction, what: str, typed: str) -> list[Any]:
    """Personas or models whose names hold what was typed; none where they cannot be had."""
    try:
        async with in_time():
            _, choices = await listener.memory.settings(_key(interaction))
    except StorageError:
        return []
    names = choices.personas if what == "persona" else choices.models
    fitting = [name for name in names if typed.casefold() in name.casefold()]
    return [app_commands.Choice(name=name[:100], value=name[:100]) for name in fitting[:MOST_CHOICES]]


def form(chosen: ConversationSettings, choices: Choices) -> Form:
    """Who Parley is here, how lively, how long, and on which model. An empty field is its default."""
    inputs = {
        "system": _field(
            "system", chosen.system, choices.system, style=discord.TextStyle.paragraph, most=MAX_INPUT_CHARACTERS
        ),
        "persona": _field("persona", chosen.persona, choices.persona or "none"),
        "temperature": _field("temperature", chosen.temperature, choices.temperature),
        "max": _field("max", chosen.max_new_tokens, choices.max_new_tokens),
        "model": _field("model", chosen.model, choices.models[0] if choices.models else ""),
    }
    labels = {
        "system": ("System prompt", "Who I am here and how I should answer"),
        "persona": ("Persona", f"Replaces the system prompt. Choose: {', '.join(choices.personas)}"),
        "temperature": ("Temperature", "0 gives the same answer each time, 0.7 varies it; up to 2"),
        "max": ("Longest answer, in tokens", ""),
        "model": ("Model", f"Choose: {', '.join(choices.models)}"),
    }
    if not choices.personas:
        del labels["persona"]
    if len(choices.models) < 2:
        del labels["model"]
    fields = [
        Label(text=title, description=hint[:100] or None, component=inputs[name])
        for name, (title, hint) in labels.items()
    ]
    about = ".".join(fingerprint(inputs[name].default or "") for name in FIELDS)
    return Form(KIND, about, title="Settings of this conversation", fields=fields)


async def take(
    listener: DiscordListener, interaction: discord.Interaction, about: str, written: Mapping[str, str]
) -> None:
    """Change what is not as it was when the form was opened: somebody else may have changed the rest since."""
    before = dict(zip(FIELDS, about.split("."), strict=False))
    changed = {name: value for name, value in written.items() if fingerprint(value) != before.get(name)}
    await change(listener, interaction, changed)


def _field(
    name: str, chosen: Any, default: Any, *, style: discord.TextStyle = discord.TextStyle.short, most: int = 100
) -> TextInput[Any]:
    return TextInput(
        custom_id=name,
        style=style,
        required=False,
        max_length=most,
        default=None if chosen is None else str(chosen)[:most],
        placeholder=cut(" ".join(str(default).split()), 100) or None,
    )


def _key(interaction: discord.Interaction) -> ConversationKey:
    return Place.of(interaction.guild_id, interaction.channel or discord.Object(interaction.channel_id or 0)).key
