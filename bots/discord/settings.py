"""The settings of Discord."""

from __future__ import annotations

import re

from pydantic import Field, SecretStr

from core.settings import HttpUrl, Names, Seconds, Settings

ID = re.compile(r"\d{15,20}")
"""The id of a server, a channel, a role or a person."""


class DiscordSettings(Settings):
    """All that can be set for Discord."""

    discord_token: SecretStr | None = Field(None, examples=["MTA5.abc.def"])
    discord_message_content: bool = Field(False, examples=["true"])
    discord_auto_thread: bool = Field(False, examples=["true"])
    discord_allow_guilds: Names = Field(frozenset(), examples=["1234567890123456789"])
    discord_allow_channels: Names = Field(frozenset(), examples=["1234567890123456789"])
    discord_allow_roles: Names = Field(frozenset(), examples=["1234567890123456789"])
    discord_allow_users: Names = Field(frozenset(), examples=["1234567890123456789"])
    discord_allow_bots: Names = Field(frozenset(), examples=["1234567890123456789"])
    discord_allow_dms: bool = Field(True, examples=["false"])
    discord_deny_guilds: Names = Field(frozenset(), examples=["1234567890123456789"])
    discord_deny_channels: Names = Field(frozenset(), examples=["1234567890123456789"])
    discord_deny_roles: Names = Field(frozenset(), examples=["1234567890123456789"])
    discord_deny_users: Names = Field(frozenset(), examples=["1234567890123456789"])
    discord_token_seconds: float = Field(840, gt=0, le=890, examples=["840"])
    discord_silence_seconds: Seconds = Field(300, examples=["300"])
    discord_calls_per_second: int = Field(50, ge=1, le=10_000, examples=["25"])
    discord_leave_days: float = Field(7, ge=0, le=3650, examples=["7"])
    discord_shard_count: int = Field(1, ge=1, le=10_000, examples=["4"])
    discord_shard_ids: Names = Field(frozenset(), examples=["0,1"])
    discord_api_url: HttpUrl | None = Field(None, examples=["http://localhost:8080/api/v10"])
    discord_gateway_url: str | None = Field(None, examples=["ws://localhost:8080/gateway/"])
