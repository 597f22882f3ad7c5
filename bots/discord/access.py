"""The rules of who can ask, and where. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bots.discord.settings import DiscordSettings


@dataclass(frozen=True, slots=True)
class Asker:
    """The author of a question, and where it was asked, as ids. ``channels`` are the channel and a thread's parent."""

    user: str
    guild: str = ""
    channels: Collection[str] = ()
    roles: Collection[str] = ()


def refusal(settings: DiscordSettings, asker: Asker, *, bot: bool = False) -> str:
    """Why an asker is not answered here; "" if they are. Deny always beats allow.

    ``bot``: another bot, which is answered only if it is named among those that are.
    """
    s, roles = settings, set(asker.roles)
    if why := _closed(settings, asker):
        return why
    if _denied(settings, asker):
        return "you"
    if bot:
        allowed = asker.user in s.discord_allow_bots
    elif s.discord_allow_users or s.discord_allow_roles:
        allowed = asker.user in s.discord_allow_users or bool(roles & s.discord_allow_roles)
    else:
        allowed = True
    return "" if allowed else "you"


def is_heard(settings: DiscordSettings, speaker: Asker, *, app: bool) -> bool:
    """Whether what somebody says to others is heard there: of people who may ask, and of apps that are not denied."""
    if app:
        return not _closed(settings, speaker) and not _denied(settings, speaker)
    return not refusal(settings, speaker)


def _closed(s: DiscordSettings, asker: Asker) -> str:
    """Why nobody is answered in a place; "" if people are."""
    channels = set(asker.channels)
    if not asker.guild:
        return "" if s.discord_allow_dms else "in direct messages"
    if asker.guild in s.discord_deny_guilds or (s.discord_allow_guilds and asker.guild not in s.discord_allow_guilds):
        return "on this server"
    if channels & s.discord_deny_channels or (s.discord_allow_channels and not channels & s.discord_allow_channels):
        return "in this channel"
    return ""


def _denied(s: DiscordSettings, asker: Asker) -> bool:
    """Whether somebody is denied by name, or by a role."""
    return asker.user in s.discord_deny_users or bool(set(asker.roles) & s.discord_deny_roles)
