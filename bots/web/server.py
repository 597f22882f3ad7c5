"""The page's server: uvicorn in our own event loop, and what every request must get past first."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bots.web.login import is_local
from bots.web.people import COOKIE

MOST_BODY = 8 * 1024 * 1024
"""Bytes of one request; what people write is far below that."""
TOO_LARGE = "That is too large."
YEAR = 365 * 86_400
# Nothing is fetched from anywhere else, whatever an answer says. Svelte sets styles, and Vega compiles its plots.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


@asynccontextmanager
async def serving(app: ASGIApp, listener: socket.socket) -> AsyncIterator[None]:
    """Serve ``app`` while inside."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="on", ws="none", timeout_graceful_shutdown=1
    )
    # It calls the streams that are cut at the end errors.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            if task.done():
                task.result()
                raise RuntimeError("the page's server ended while it started")
            await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await task


class _Server(uvicorn.Server):
    """Leaves signals to ``bots.app``."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Door:
    """What every request must get past: it comes from the page itself, is not huge, and uploads nothing.

    Without a login, the page answers only under names of this machine: a site elsewhere could have its own name lead
    here (DNS rebinding). A browser that comes for the first time gets its cookie with the page.
    """

    def __init__(self, app: ASGIApp, *, local: bool, cookie: bool) -> None:
        self._app = app
        self._local = local
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if refusal := self._refusal(scope, headers):
            await PlainTextResponse(refusal[1], refusal[0])(scope, receive, send)
            return
        counted = _Counted(scope, receive, send)
        cookies = cookie_parser(headers.get("cookie", ""))
        fresh = ""
        if self._cookie and scope["path"] == "/" and COOKIE not in cookies:
            fresh = secrets.token_urlsafe(24)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = MutableHeaders(scope=message)
                said["Content-Security-Policy"] = POLICY
                said["X-Content-Type-Options"] = "nosniff"
                said["Referrer-Policy"] = "same-origin"
                for name in [name for name in said if name.startswith("access-control-")]:
                    del said[name]
                if fresh:
                    secure = "; Secure" if scope["scheme"] == "https" else ""
                    said.append(
                        "Set-Cookie", f"{COOKIE}={fresh}; Max-Age={YEAR}; Path=/; HttpOnly; SameSite=Lax{secure}"
                    )
            await counted.send(message)

        await self._app(scope, counted.receive, answer)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Why a request is refused."""
        host = headers.get("host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if self._local and not is_local(name):
            return 421, "This page answers on this machine only. WEB_USER and WEB_PASSWORD open it for others."
        origin = headers.get("origin", "").partition("://")[2]
        # A link may lead here from anywhere, but not out: that would end the login of everybody who shares it.
        leads_in = headers.get("sec-fetch-mode") == "navigate" and not scope["path"].rstrip("/").endswith("/logout")
        abroad = headers.get("sec-fetch-site") == "cross-site" and not leads_in
        if abroad or (origin and origin not in (host, headers.get("x-forwarded-host"))):
            return 403, "Another site asked for this."
        if scope["path"].endswith("/upload"):
            return 404, "Nothing is uploaded here."
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MOST_BODY:
            return 413, TOO_LARGE
        return None


class _Counted:
    """A request whose body is counted as it comes: a chunked one does not say beforehand how large it will be.

    Beyond ``MOST_BODY`` whoever sends is refused and hung up on, and to the app it is as if they had left.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._bytes = 0
        self._answered = False

    async def receive(self) -> Message:
        """See ASGI."""
        if self._bytes <= MOST_BODY:
            message = await self._receive()
            self._bytes += len(message.get("body", b""))
            if self._bytes <= MOST_BODY:
                return message
            if not self._answered:
                # Without hanging up, the server would go on reading, and throw it away.
                refusal = PlainTextResponse(TOO_LARGE, 413, headers={"Connection": "close"})
                await refusal(self._scope, self._receive, self._send)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """See ASGI; what the app says to somebody who was refused goes nowhere."""
        self._answered = True
        if self._bytes <= MOST_BODY:
            await self._send(message)
