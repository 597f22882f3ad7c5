"""Socket Mode: every envelope acknowledged, a socket that comes back, and an end that cuts nothing off."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import structlog
from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.adapter.socket_mode.async_internals import run_async_bolt_app, send_async_response
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest

from bots.slack.errors import slack_errors
from core import metrics
from core.errors import PlatformUnauthorized

log = structlog.get_logger()

PING_SECONDS = 3
"""Seconds between two pings of the socket: a broken one is noticed after one of them, a silent one after four."""
CLOSE_TIMEOUT = 3.0
"""Seconds to acknowledge the envelopes that came before the end, and again to close the socket."""


class Socket(AsyncSocketModeHandler):
    """Socket Mode that acknowledges everything that was not refused on purpose.

    Bolt answers 404 to what no listener is registered for (a button of an older version, a new kind of envelope), and
    Socket Mode then sends no acknowledgement, so Slack would deliver it again and again.
    """

    def __init__(self, app: AsyncApp, app_token: str) -> None:
        super().__init__(app, app_token, ping_interval=PING_SECONDS)
        self._closing = False
        self._handling: set[asyncio.Task[None] | None] = set()
        self._watching: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether envelopes can come."""
        session = self.client.current_session
        return not self._closing and session is not None and not session.closed

    async def open(self) -> bool:
        """Connect; from then on the client keeps the socket open on its own. True when it is open.

        Raises:
            PlatformUnauthorized: Slack does not accept the app-level token.
            PlatformError: Slack cannot be reached.
        """
        try:
            with slack_errors("apps.connections.open"):
                self.client.wss_uri = await self.client.issue_new_wss_url()
        except PlatformUnauthorized as error:
            raise PlatformUnauthorized(
                str(error),
                code=error.code,
                remedy="Check SLACK_APP_TOKEN: an app-level token (xapp-…) with the scope connections:write.",
            ) from None
        self._watching = self._watching or asyncio.create_task(self._watch())
        await self.client.connect()
        return True

    async def close(self) -> None:
        """Take nothing new, acknowledge what is being accepted, hang up. Slack sends elsewhere what comes meanwhile."""
        self._closing = True
        if handling := {task for task in self._handling if task}:
            await asyncio.wait(handling, timeout=CLOSE_TIMEOUT)
        if self._watching:
            self._watching.cancel()
        with suppress(TimeoutError):  # a Slack that is frozen says no goodbye
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.client.close()

    async def handle(self, client: SocketModeClient, req: SocketModeRequest) -> None:  # type: ignore[override]
        """Run one envelope through Bolt and acknowledge it."""
        if self._closing:
            return
        task = asyncio.current_task()
        self._handling.add(task)
        came_at = time.monotonic()
        try:
            response = await run_async_bolt_app(self.app, req)
            if response.status == 404:
                response.status, response.body = 200, ""
            await send_async_response(client, req, response, 0.0)
            if response.status == 200:
                metrics.INGRESS_ACK.observe(time.monotonic() - came_at, platform="slack")
        except ConnectionError:
            log.info("event not acknowledged; Slack will redeliver it")
        finally:
            self._handling.discard(task)

    async def _watch(self) -> None:
        """Give a client that cannot connect a new address.

        An address of apps.connections.open is good for one connection and a short while. The client asks for one when
        the socket breaks, and tries that one for ever if the connection fails after it was used up.
        """
        while True:
            await asyncio.sleep(2 * PING_SECONDS)
            session = self.client.current_session
            if session is None or session.closed:
                log.warning("socket disconnected; reconnecting")
                self.client.wss_uri = None
