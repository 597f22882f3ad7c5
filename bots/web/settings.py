"""The settings of the page."""

from __future__ import annotations

import re

from pydantic import Field, SecretStr

from core.settings import Settings

PERSON = re.compile(r"p-.+")
"""The id of a person whom a reverse proxy names."""


class WebSettings(Settings):
    """All that can be set for the page."""

    web_host: str = Field("127.0.0.1", min_length=1, examples=["192.168.1.20"])
    web_port: int = Field(7860, ge=0, le=65_535, examples=["7860"])
    web_user: str = Field("", examples=["team"])
    web_password: SecretStr | None = Field(None, examples=["a long one"])
    web_auth_header: str = Field("", examples=["X-Forwarded-User"])
