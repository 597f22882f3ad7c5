"""Slash commands, and "Ask about this message" in a message's menu.

A question is stored within 1.5 s and then deferred, so that Discord shows "thinking …". If that fails, the first
response is a plain line that only the asker sees: the answer can't be more visible than the first response was.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import discord
import structlog
from discord import InteractionResponseType as Response
from discord import app_commands
from discord.ui import Label, TextInput

from bots.discord import choices as settings
from bots.discord import forms
from bots.discord.buttons import ButtonTarget, confirming
from bots.discord.calls import EPHEMERAL, Calls, quiet_message
from bots.discord.events import Place, make_turn, post_of, reader_of
from bots.discord.forms import Form
from bots.discord.listener import DiscordListener
from bots.discord.messenger import REFUSED
from bots.discord.payloads import payload_of
from bots.discord.text import SIZE, cut, shown
from bots.discord.venue import SHARED
from bots.listening import NOTHING_TO_STOP, stop_answer
from core import metrics
from core.assistant import CommandReply, commands
from core.errors import ParleyError, StorageError
from core.memory import HEARS_CHANNEL
from core.policy import Venue
from core.quotes import Quote, QuoteKind
from core.turns import WITHDRAWN, in_time
from core.types import Turn

log = structlog.get_logger()

CONTEXTS = app_commands.AppCommandContext(guild=True, dm_channel=True, private_channel=True)
INSTALLS = app_commands.AppInstallationType(guild=True, user=True)
MAX_PROMPT_CHARACTERS = 6000
"""Characters in a command's option (docs.discord.com, interactions/application-commands)."""
MAX_NUMBER = 999_999_999
"""The highest number of a thing to remember that the commands read."""
ASK_ABOUT = "Ask about this message"
PERMISSIONS = discord.Permissions(
    view_channel=True,
    send_messages=True,
    send_messages_in_threads=True,
    create_public_threads=True,
    read_message_history=True,
    attach_files=True,
)
"""The permissions that Parley needs, and no more."""
QUOTE_EXPIRED = "I no longer have the message you asked about. Please choose it again."


@app_commands.command(name="ask", description="Ask Parley something")
@app_commands.describe(
    prompt="What you want to know", private="Only you see the answer, and it stays out of the channel's memory"
)
async def _ask(
    interaction: discord.Interaction, prompt: app_commands.Range[str, 1, MAX_PROMPT_CHARACTERS], private: bool = False
) -> None:
    await _commands_of(interaction).ask(interaction, prompt, private=private)


@app_commands.command(name="forget", description="Forget this conversation and its threads")
@app_commands.describe(
    now="Don't ask me first whether others still need it",
    number="Only this one of the things that Parley was told to remember",
)
async def _forget(
    interaction: discord.Interaction, now: bool = False, number: app_commands.Range[int, 1, MAX_NUMBER] | None = None
) -> None:
    word = f"forget {number}" if number else "forget now" if now else "forget"
    await _commands_of(interaction).obey(interaction, word, private=False)


@app_commands.command(name="remember", description="Tell Parley what it should always know in this channel")
@app_commands.describe(text="For example: standup is at 9:15")
async def _remember(interaction: discord.Interaction, text: app_commands.Range[str, 1, MAX_PROMPT_CHARACTERS]) -> None:
    await _commands_of(interaction).obey(interaction, f"remember: {text}", private=False)


@app_commands.command(name="memory", description="What Parley remembers here, and for how long")
async def _memory(interaction: discord.Interaction) -> None:
    await _commands_of(interaction).obey(interaction, "memory")


async def _personas(interaction: discord.Interaction, typed: str) -> list[app_commands.Choice[str]]:
    return await settings.suggest(_listener(interaction), interaction, "persona", typed)


async def _models(interaction: discord.Interaction, typed: str) -> list[app_commands.Choice[str]]:
    return await settings.suggest(_listener(interaction), interaction, "model", typed)


@app_commands.command(name="settings", description="How Parley answers here: system prompt, temperature, length, model")
@app_commands.describe(persona="A prepared system prompt", model="The model to ask first")
@app_commands.autocomplete(persona=_personas, model=_models)
async def _settings(interaction: discord.Interaction, persona: str | None = None, model: str | None = None) -> None:
    values = {name: value for name, value in (("persona", persona), ("model", model)) if value is not None}
    if values:
        await settings.change(_listener(interaction), interaction, values)
    else:
        await settings.open_form(_listener(interaction), interaction)


@app_commands.command(name="stop", description="Stop the answer that Parley is writing for you here")
async def _stop(interaction: discord.Interaction) -> None:
    await _commands_of(interaction).stop(interaction)


@app_commands.command(name="mute", description="In a thread: answer there only when mentioned")
async def _mute(interaction: discord.Interaction) -> None:
    await _commands_of(interaction).obey(interaction, "mute", private=False)


@app_commands.command(name="unmute", description="In a thread: take /mute back")
async def _unmute(interaction: discord.Interaction) -> None:
    await _commands_of(interaction).obey(interaction, "unmute", private=False)


@app_commands.command(name="help", description="What Parley can do")
async def _help(interaction: discord.Interaction) -> None:
    await _commands_of(interaction).obey(interaction, "help")


@app_commands.context_menu(name=ASK_ABOUT)
async def _about(interaction: discord.Interaction, message: discord.Message) -> None:
    await _commands_of(interaction).ask_about(interaction, message)


class Tree(app_commands.CommandTree):
    """All commands of Parley. The client that uses it must have a ``listener``."""

    def __init__(self, client: discord.Client) -> None:
        super().__init__(client, allowed_contexts=CONTEXTS, allowed_installs=INSTALLS)
        entries: tuple[Any, ...] = (_ask, _forget, _memory, _remember, _settings, _stop, _mute, _unmute, _help, _about)
        for entry in entries:
            self.add_command(entry)

    async def on_error(self, interaction: discord.Interaction, error: app_commands.AppCommandError) -> None:
        """Tell the person who used the command that it failed."""
        name = interaction.command.name if interaction.command else ""
        log.error("command failed", command=name, kind=type(error.__cause__ or error).__name__)
        await _listener(interaction).whisper(interaction, ParleyError.plain)


async def take_form(interaction: discord.Interaction) -> None:
    """Handle a submitted form of ours; ignore any other interaction."""
    await _commands_of(interaction).take(interaction)


def _listener(interaction: discord.Interaction) -> DiscordListener:
    listener: DiscordListener = interaction.client.listener  # type: ignore[attr-defined]
    return listener


def _commands_of(interaction: discord.Interaction) -> Commands:
    return Commands(_listener(interaction))


class Commands:
    """Runs the commands, with what the listener has."""

    def __init__(self, listener: DiscordListener) -> None:
        self._listener = listener

    async def ask(
        self, interaction: discord.Interaction, prompt: str, *, private: bool, quotes: tuple[Quote, ...] = ()
    ) -> None:
        """Answer a question; a ``private`` one is shown to the asker alone, and remembered apart from the channel."""
        settings = self._listener.settings
        turn = question(interaction, prompt, private=private, seconds=settings.discord_token_seconds)
        heard = {HEARS_CHANNEL: "1"} if settings.discord_message_content else {}
        turn = replace(turn, place={**turn.place, **heard}, quotes=quotes)
        await self._submit(interaction, turn, private=private)

    async def ask_about(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """Open a form for a question about a message."""
        if why := self._listener.refused(interaction):
            await self._listener.whisper(interaction, REFUSED[why])
            return
        payload = payload_of(message)
        reader = reader_of([payload], self._listener.me, message.guild)
        if not (said := reader.whole(payload)):
            await self._listener.whisper(interaction, "That message has no text that I can read.")
            return
        quote = Quote(QuoteKind.REPLY, said, reader.name(payload))
        if not await self._in_time(self._listener.store.keep_quote(interaction.id, quote)):
            await self._listener.whisper(interaction, StorageError.plain)
            return
        text = TextInput[Any](
            style=discord.TextStyle.paragraph, max_length=4000, placeholder="What does this mean?", custom_id="question"
        )
        fields = [Label(text="Your question", component=text)]
        form = Form("about", str(interaction.id), title=ASK_ABOUT, fields=fields)
        await self._listener.respond(interaction, Response.modal, form.to_dict())

    async def take(self, interaction: discord.Interaction) -> None:
        """Handle a submitted form, whichever process opened it."""
        match forms.sent(interaction):
            case settings.KIND, about, written:
                await settings.take(self._listener, interaction, about, written)
            case "about", message, written:
                found = await self._in_time(self._listener.store.find_quote(message))
                if found is None:
                    await self._listener.whisper(interaction, StorageError.plain)
                elif not found:
                    await self._listener.whisper(interaction, QUOTE_EXPIRED)
                else:
                    await self.ask(interaction, written.get("question", ""), private=False, quotes=found)

    async def obey(self, interaction: discord.Interaction, word: str, *, private: bool = True) -> None:
        """Run a command that people can also write: help, memory, remember or forget."""
        if why := self._listener.refused(interaction):
            await self._listener.whisper(interaction, REFUSED[why])
            return
        listener = self._listener
        turn = question(interaction, word, private=False, seconds=0)
        said: CommandReply | None = await self._in_time(self._do(turn, listener.venue(interaction)))
        if not said:
            await self._listener.whisper(interaction, StorageError.plain)
            return
        view = confirming(ButtonTarget.of(turn, int(said.confirm))) if said.confirm else None
        flags = EPHEMERAL if private or said.private else 0
        data = quiet_message(cut(shown(said.text), SIZE), view, flags=flags)
        await self._listener.respond(interaction, Response.channel_message, data)

    async def _do(self, turn: Turn, venue: Venue) -> CommandReply:
        listener, command = self._listener, commands.find(turn.text)
        assert command  # noqa: S101 - the words of core.assistant.commands
        said = await command(turn, listener.memory, venue, listener.settings.policy)
        if said.confirm:
            await listener.queue.first(commands.Confirmation.of(turn, said.confirm).name)
        return said

    async def stop(self, interaction: discord.Interaction) -> None:
        """Stop the person's answers that are being written in this place: the public one, and the private one."""
        asked = [question(interaction, "stop", private=private, seconds=0) for private in (False, True)]

        async def end() -> str:
            stopped = [await stop_answer(self._listener.queue, turn) for turn in asked]
            return "Stopped." if any(stopped) else NOTHING_TO_STOP

        said = await self._in_time(end())
        await self._listener.whisper(interaction, said or StorageError.plain)

    async def _submit(self, interaction: discord.Interaction, turn: Turn, *, private: bool) -> None:
        """Store a question, then show that Parley is thinking; or tell the asker alone why it can't."""
        listener = self._listener
        if why := listener.refused(interaction):
            await listener.whisper(interaction, REFUSED[why])
            return
        receipt = await self._in_time(self._store(turn))
        if receipt is None:
            await listener.whisper(interaction, StorageError.plain)
            return
        if receipt.refused:
            await listener.whisper(interaction, receipt.note)
            return
        # The place in line isn't said: a message after a deferral would take the answer's place.
        flags = EPHEMERAL if private else 0
        if await listener.respond(interaction, Response.deferred_channel_message, {"flags": flags}):
            metrics.INGRESS_ACK.observe(time.time() - turn.at, platform="discord")
        elif receipt.accepted:  # Discord has told the asker that the command failed
            listener.run_in_background(listener.queue.stop(turn.id, WITHDRAWN))

    async def _store(self, turn: Turn) -> Any:
        """Put a question into the queue. Returns the receipt."""
        await self._listener.listening.settle()
        return await self._listener.queue.submit(turn)

    async def _in_time(self, work: Awaitable[Any]) -> Any:
        """The result of ``work``; None if Redis is away or too slow."""
        try:
            async with in_time():
                return await work
        except StorageError as error:
            log.warning("command dropped", error=str(error))
            return None


def question(interaction: discord.Interaction, text: str, *, private: bool, seconds: float) -> Turn:
    """The turn of a command, whose answer can be written with the interaction's token for ``seconds``."""
    channel, user = interaction.channel, interaction.user
    where = Place.of(interaction.guild_id, channel or discord.Object(interaction.channel_id or 0))
    at = interaction.created_at.timestamp()
    place = {
        "channel": where.id,
        "app": str(interaction.application_id),
        "token": interaction.token,
        "until": f"{time.time() + seconds:.3f}",  # by our own clock, which is compared with it later
        "bot": "1" if not private and _bot_may_write(interaction) else "",
        "private": "1" if private else "",
        SHARED: "1" if interaction.context.private_channel is True and not private else "",
        **post_of(channel),
    }
    if private:  # its own conversation, which the channel's memory never sees
        where = Place(where.guild, where.id, f"@{user.id}")
    return make_turn(where, str(interaction.id), user, text, at=at, place=place)


def payload(tree: Tree) -> list[dict[str, Any]]:
    """The commands as they are registered with Discord."""
    return [command.to_dict(tree) for command in tree.get_commands()]


def digest(tree: Tree) -> str:
    """A hash of the commands: it changes when they have to be registered again."""
    return hashlib.sha256(json.dumps(payload(tree), sort_keys=True).encode()).hexdigest()


def shape(entries: list[dict[str, Any]]) -> list[Any]:
    """The part of commands that people see, to compare with what Discord returns, which has more fields."""
    seen = [
        (one["name"], one.get("type", 1), one.get("description", ""), sorted(o["name"] for o in one.get("options", [])))
        for one in entries
    ]
    return sorted(seen)


async def register(calls: Calls, tree: Tree) -> int:
    """Register all commands with Discord, for all servers at once. Returns their number."""
    commands_ = payload(tree)
    application = calls.client.application_id
    assert application  # noqa: S101 - known since the login
    begun = time.monotonic()
    await calls("register commands", "PUT", f"/applications/{application}/commands", commands_)
    log.info("commands registered", commands=len(commands_), dur_ms=round(1000 * (time.monotonic() - begun)))
    return len(commands_)


def _bot_may_write(interaction: discord.Interaction) -> bool:
    """Whether the bot itself can write in the place: on a server that it is on, or in its own direct message."""
    if not interaction.is_guild_integration():
        return False
    if interaction.guild_id is None:
        return interaction.context.dm_channel is True
    allowed = interaction.app_permissions
    thread = isinstance(interaction.channel, discord.Thread)
    return allowed.view_channel and (allowed.send_messages_in_threads if thread else allowed.send_messages)
