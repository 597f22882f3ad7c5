"""The page's server: uvicorn in our own event loop, and what every request must get past first."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import socket
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog
import uvicorn
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bots.addresses import is_local
from bots.web.attempts import LoginAttempts
from bots.web.logout import log_out
from bots.web.people import COOKIE

log = structlog.get_logger()

FIRST_ERROR = 400
"""The lowest HTTP status that is an error."""
MOST_BODY = 8 * 1024 * 1024
"""Bytes of one request; what people write is far below that."""
TOO_LARGE = "That is too large."
COOKIE_SECONDS = 365 * 86_400
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
    """Leaves signals to ``bots.run``."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class RequestGuard:
    """Refuses requests that other sites made, that are too large, or that upload files.

    Without a login, the page answers only under names of this machine: a site elsewhere could have its own name lead
    here (DNS rebinding). A browser that comes for the first time gets its cookie with the page. With a ``password``,
    guessing it is slowed down and logged, and logging out takes a form. Nothing redirects to another site. Where
    a proxy says in a ``header`` who somebody is, nobody comes in without it.
    """

    def __init__(self, app: ASGIApp, *, local: bool, cookie: bool, password: bool, header: str = "") -> None:
        self._app = app
        self._header = header
        self._local = local
        self._cookie = cookie
        self._password = password
        self._attempts = LoginAttempts()

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
                protect(MutableHeaders(scope=message), headers)
                if fresh:
                    secure = "; Secure" if scope["scheme"] == "https" else ""
                    MutableHeaders(scope=message).append(
                        "Set-Cookie",
                        f"{COOKIE}={fresh}; Max-Age={COOKIE_SECONDS}; Path=/; HttpOnly; SameSite=Lax{secure}",
                    )
            await counted.send(message)

        path = scope["path"].rstrip("/")
        if self._password and path.endswith("/logout"):
            await log_out(self._app, scope, counted.receive, answer)
        elif self._password and path.endswith("/login") and scope["method"] == "POST":
            await self._log_in(scope, counted.receive, answer)
        else:
            await self._app(scope, counted.receive, answer)

    async def _log_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a login when its address may try again, and note whether it succeeded."""
        address = scope["client"][0] if scope.get("client") else ""
        if not await self._attempts.admit(address):
            await PlainTextResponse("Too many wrong passwords. Try again in a minute.", 429)(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] < FIRST_ERROR:
                    self._attempts.succeeded(address)
                else:
                    log.warning("page login failed", tries=self._attempts.failed(address))
            await send(message)

        await self._app(scope, receive, answer)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Why a request is refused."""
        host = headers.get("host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if self._local and not is_local(name):
            return 421, "This page answers on this machine only. WEB_USER and WEB_PASSWORD open it for others."
        origin = headers.get("origin", "").partition("://")[2]
        followed = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
        abroad = headers.get("sec-fetch-site") == "cross-site" and not followed
        if abroad or (origin and origin not in (host, headers.get("x-forwarded-host"))):
            return 403, "Another site asked for this."
        if self._header and not headers.get(self._header, "").strip():
            return 401, (
                f"Nobody said who you are: the reverse proxy in front of this page sent no {self._header}. "
                "Open the page at the proxy's address, and log in there."
            )
        if scope["path"].endswith("/upload"):
            return 404, "Nothing is uploaded here."
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MOST_BODY:
            return 413, TOO_LARGE
        return None


def protect(answer: MutableHeaders, asked: Headers) -> None:
    """Let an answer fetch from and lead to nowhere else, whatever the app says."""
    answer["Content-Security-Policy"] = POLICY
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Referrer-Policy"] = "same-origin"
    for name in [name for name in answer if name.startswith("access-control-")]:
        del answer[name]
    if leads_elsewhere(answer.get("location", ""), (asked.get("host"), asked.get("x-forwarded-host"))):
        answer["location"] = "/"


def leads_elsewhere(location: str, hosts: Collection[str | None]) -> bool:
    """Whether a redirect leaves these ``hosts``, as browsers read it: they pass over tabs and turn backslashes."""
    plain = re.sub(r"[\x00-\x20]", "", location).replace("\\", "/")
    if not plain.startswith("//") and not re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", plain):
        return False
    scheme, _, rest = plain.partition("//")
    return scheme not in ("", "http:", "https:") or re.split(r"[/?#]", rest)[0] not in hosts


class _Counted:
    """A request whose body is counted as it comes: a chunked one does not say beforehand how large it will be.

    Beyond ``MOST_BODY`` the sender is refused and disconnected, and the app sees a client that left.
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
                # Without closing the connection, the server would continue to read, and discard it.
                refusal = PlainTextResponse(TOO_LARGE, 413, headers={"Connection": "close"})
                await refusal(self._scope, self._receive, self._send)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """See ASGI; what the app says to somebody who was refused goes nowhere."""
        self._answered = True
        if self._bytes <= MOST_BODY:
            await self._send(message)
