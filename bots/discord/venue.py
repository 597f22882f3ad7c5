"""Discord as a place where people give commands: mentions on servers, slash commands everywhere."""

from __future__ import annotations

from bots.discord.buttons import DMS
from bots.discord.settings import ID
from core.policy import Venue
from core.settings import Settings
from core.types import Turn

SHARED = "shared"
"""In a turn's place: it was asked in a direct message of several people, or of two others."""
SLASH_COMMANDS = {
    "help": "/help",
    "memory": "/memory",
    "forget": "/forget",
    "forget now": "/forget now:True",
    "forget …": "/forget number:",
    "remember": "/remember",
    "remember: …": "/remember text:",
    "settings": "/settings",
    "stop": "/stop",
    "mute": "/mute",
    "unmute": "/unmute",
}
"""How commands are written that are registered with Discord; the others are messages."""


def contact_in(settings: Settings) -> str:
    """Whom people can ask: a mention, which pings nobody, since all of our calls forbid that; or any text."""
    contact = settings.contact_among(ID)
    return f"<@{contact}>" if ID.fullmatch(contact) else contact


def open_venue(bot: str, contact: str, *, server: bool, shared: bool, heard: bool) -> Venue:
    """A place on a server or a direct message.

    Args:
        bot: What we are called.
        contact: Whom people can ask.
        server: Whether it is on a server.
        shared: Whether several people are there.
        heard: Whether what doesn't mention us reaches us on servers.
    """
    if not server:
        asking = "Ask me anything: write your question here, or use `/ask`."
        return Venue(spelled=SLASH_COMMANDS, shared=shared, buttons=True, contact=contact, asking=asking)
    mention = f"@{bot} "
    asking = f"Ask me anything: mention me, as in `{mention}what is a lease?`, or use `/ask`."
    return Venue(mention, SLASH_COMMANDS, shared=shared, buttons=True, threads=heard, contact=contact, asking=asking)


def venue_of(turn: Turn, bot: str, contact: str, *, heard: bool) -> Venue:
    """The place where a turn was asked."""
    server = turn.key.workspace != DMS
    shared = SHARED in turn.place or (server and not turn.place.get("private"))
    return open_venue(bot, contact, server=server, shared=shared, heard=heard)
