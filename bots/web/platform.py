"""The page as a platform: where its turns are answered, and the server that takes them."""

from __future__ import annotations

import asyncio
import importlib
import os
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from redis.asyncio import Redis

from bots.platform import Start
from bots.web.board import Boards
from bots.web.login import check_login
from bots.web.people import contact_in
from bots.web.port import listen
from bots.web.settings import WebSettings
from bots.web.surface import WebSurface
from core.errors import SettingsError
from core.memory import Memory
from core.turns import TurnQueue
from core.version import how_to_install

log = structlog.get_logger()


class Web:
    """The page, for processes that answer there, and for the one that serves it."""

    def __init__(self, start: Start[WebSettings]) -> None:
        self._start = start
        self._boards = Boards(start.core.redis, retention=start.settings.retention_seconds)
        self.surface = WebSurface(self._boards, contact_in(start.settings))
        self.connected = False
        """Whether the page is being served."""
        self.place = "the page"
        """Its address, while it is served."""

    @asynccontextmanager
    async def listening(self, queue: TurnQueue, memory: Memory, redis: Redis) -> AsyncIterator[None]:
        """Serve the page while inside.

        Raises:
            SettingsError: Gradio is not installed, anybody could come in, or the port is taken.
        """
        del memory, redis  # they are in the core
        settings = self._start.settings
        check_login(settings)
        await asyncio.to_thread(import_gradio)
        from bots.web.live import LiveBoards
        from bots.web.page import Page
        from bots.web.server import serving

        with listen(settings) as listener:
            live_boards = LiveBoards(self._boards)
            page = Page(self._start, queue, live_boards)
            async with live_boards.open(), serving(page.app(), listener):
                address = _address(settings, listener.getsockname()[1])
                log.info("page open", address=address)
                self.place = address.rstrip("/")
                self.connected = True
                try:
                    yield
                finally:
                    self.connected = False
                    page.close()


@asynccontextmanager
async def open_web(start: Start[WebSettings]) -> AsyncIterator[Web]:
    """The page; it needs nothing but Redis."""
    yield Web(start)


def import_gradio() -> None:
    """Import Gradio, which takes seconds, and have it call nobody.

    Raises:
        SettingsError: it is not installed.
    """
    # Read at import: it would ask its makers for a newer version at each start, and tell them of ours.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # About deprecated names inside Gradio and its libraries: nothing that an operator could change.
    warnings.filterwarnings("ignore", module=r"gradio\b")
    try:
        importlib.import_module("gradio")
    except ImportError:
        raise SettingsError("The page needs a package that is not installed", remedy=how_to_install("web")) from None


def _address(settings: WebSettings, port: int) -> str:
    """Where a person on this machine finds the page."""
    host = settings.web_host if settings.web_host not in ("0.0.0.0", "::") else "localhost"  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
