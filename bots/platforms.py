"""The platforms that Parley runs on, and the settings of all of them together."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import create_model

from bots import discord, slack, web
from bots.platform import Platform
from core.settings import Settings, load_settings

PLATFORMS: list[Platform[Any]] = [
    slack.PLATFORM,
    discord.PLATFORM,
    web.PLATFORM,
]
"""In the order in which they are opened and shown."""


def platform_names() -> list[str]:
    """Their names, in order."""
    return [platform.name for platform in PLATFORMS]


def find_platform(name: str) -> Platform[Any]:
    """The platform of that name. Raises KeyError if there is none."""
    return {platform.name: platform for platform in PLATFORMS}[name]


def configured(settings: Settings) -> list[str]:
    """The names of the platforms for which a token is set."""
    return [platform.name for platform in PLATFORMS if platform.configured(settings)]


def without_account() -> list[Platform[Any]]:
    """The platforms that need no token: Redis is enough to answer there."""
    return [platform for platform in PLATFORMS if not platform.tokens]


def all_settings() -> type[Settings]:
    """The model of all settings: those of the core, and those of every platform."""
    return _combined(tuple(platform.settings for platform in PLATFORMS))


def load_all_settings(**values: Any) -> Settings:
    """Read all settings; ``values`` go before the environment and ``.env``.

    Raises:
        SettingsError: with one line for each wrong setting.
    """
    return load_settings(all_settings(), **values)


@cache
def _combined(models: tuple[type[Settings], ...]) -> type[Settings]:
    return create_model("AllSettings", __base__=models[::-1])  # its fields are in the order of ``models``
