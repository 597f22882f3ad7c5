"""The settings of Slack."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from core.settings import HttpUrl, Names, Settings, check_prefix

PERSON = re.compile(r"[UW][A-Z0-9]+")
"""The id of a person."""
CHANNEL = re.compile(r"[CDG][A-Z0-9]+")
"""The id of a channel."""


def _not_the_other(prefix: str, kind: str, other: str) -> AfterValidator:
    """Name tokens that were swapped as such."""

    def check(secret: SecretStr) -> SecretStr:
        if secret.get_secret_value().startswith(prefix):
            raise ValueError(f"holds {kind} token ({prefix}…), which belongs in {other}")
        return secret

    return AfterValidator(check)


def _end_with_slash(value: str) -> str:
    return value if value.endswith("/") else value + "/"


BotToken = Annotated[SecretStr, _not_the_other("xapp-", "an app-level", "SLACK_APP_TOKEN"), check_prefix("xoxb-")]
AppToken = Annotated[SecretStr, _not_the_other("xoxb-", "a bot", "SLACK_BOT_TOKEN"), check_prefix("xapp-")]


class SlackSettings(Settings):
    """All that can be set for Slack."""

    slack_bot_token: BotToken | None = Field(None, examples=["xoxb-1-2-abc"])
    slack_app_token: AppToken | None = Field(None, examples=["xapp-1-A1-2-abc"])
    slack_api_url: Annotated[HttpUrl, AfterValidator(_end_with_slash)] = Field(
        "https://slack.com/api/", examples=["https://slack-gov.com/api/"]
    )
    slack_allow_channels: Names = Field(frozenset(), examples=["C0123,C0456"])
    slack_allow_users: Names = Field(frozenset(), examples=["U0123,U0456"])
    slack_allow_external: bool = Field(False, examples=["true"])
    slack_leave_days: float = Field(7, ge=0, le=3650, examples=["7"])
