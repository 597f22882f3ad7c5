"""Where the page listens."""

from __future__ import annotations

import errno
import os
import socket

from bots.web.settings import WebSettings
from core.errors import SettingsError


def listen(settings: WebSettings) -> socket.socket:
    """The socket of the page.

    Raises:
        SettingsError: the port is taken, or the host is none of this machine's.
    """
    host, port = settings.web_host.strip("[]"), settings.web_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        cannot = f"the page cannot have {host}:{port} ({os.strerror(error.errno) if error.errno else error})"
        if error.errno == errno.EADDRNOTAVAIL:
            raise SettingsError(f"WEB_HOST: {cannot}. Choose an address of this machine: WEB_HOST=127.0.0.1") from error
        another = port + 1 if 0 < port < 65_535 else 7861
        raise SettingsError(f"WEB_PORT: {cannot}. Is it running already? Another one: WEB_PORT={another}") from error
