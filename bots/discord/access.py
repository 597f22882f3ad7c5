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
    s, channels, roles = settings, set(asker.channels), set(asker.roles)
    if not asker.guild and not s.discord_allow_dms:
        return "in direct messages"
    if asker.guild and (
        asker.guild in s.discord_deny_guilds or (s.discord_allow_guilds and asker.guild not in s.discord_allow_guilds)
    ):
        return "on this server"
    if asker.guild and (
        channels & s.discord_deny_channels or (s.discord_allow_channels and not channels & s.discord_allow_channels)
    ):
        return "in this channel"
    if asker.user in s.discord_deny_users or roles & s.discord_deny_roles:
        return "you"
    if bot:
        allowed = asker.user in s.discord_allow_bots
    elif s.discord_allow_users or s.discord_allow_roles:
        allowed = asker.user in s.discord_allow_users or bool(roles & s.discord_allow_roles)
    else:
        allowed = True
    return "" if allowed else "you"
