"""Who may come in: what the settings of the page say together."""

from __future__ import annotations

import os

from bots.addresses import is_local
from bots.web.settings import WebSettings
from core.errors import SettingsError


def check_login(settings: WebSettings) -> None:
    """Raise SettingsError where anybody could come in, or nobody."""
    if bool(settings.web_user) != bool(settings.web_password):
        missing = "WEB_PASSWORD" if settings.web_user else "WEB_USER"
        raise SettingsError(f"{missing}: is needed, too. Example: WEB_USER=team and WEB_PASSWORD=a-long-one")
    if settings.web_user and settings.web_auth_header:
        raise SettingsError("WEB_AUTH_HEADER: a proxy that knows people and WEB_USER contradict each other; choose one")
    if not (settings.web_user or settings.web_auth_header or is_local(settings.web_host)):
        # In a container, nobody could reach it then.
        alone = "" if os.environ.get("container") else ", or WEB_HOST=127.0.0.1"  # noqa: SIM112
        raise SettingsError(
            f"WEB_HOST: {settings.web_host} would let in everybody who can reach this machine. Set WEB_USER and "
            f"WEB_PASSWORD, or WEB_AUTH_HEADER for a reverse proxy that knows people{alone}"
        )
