"""Three pages on HTTP_PORT: ``/livez`` and ``/readyz`` for supervisors, ``/metrics`` for Prometheus.

The first two answer 200 or 503, with JSON that says what was looked at, what is wrong, and what to do. Nothing on any
page names a person or a channel, so there is no password.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

from bots.findings import Finding
from bots.health.health import Health
from core.errors import SettingsError
from core.tasks import end_tasks

log = structlog.get_logger()


STATES = {"ok": "ok", "warning": "degraded", "error": "failed"}
"""How a process is, in a supervisor's words, from the best to the worst."""


class Pages:
    """What is served."""

    def __init__(self, health: Health, write: Callable[[str], tuple[bytes, str]]) -> None:
        self._health = health
        self._write = write

    async def index(self, _: web.Request) -> web.Response:
        """What there is."""
        return web.Response(text="Parley: /livez, /readyz, /metrics\n")

    async def live(self, _: web.Request) -> web.Response:
        """503 when a restart would help."""
        return _show(self._health.live())

    async def ready(self, _: web.Request) -> web.Response:
        """503 while the process is of no use."""
        return _show(await self._health.ready())

    async def metrics(self, request: web.Request) -> web.Response:
        """What was measured, in the format that is asked for."""
        await self._health.update_gauges()
        page, content_type = self._write(request.headers.get("Accept", ""))
        return web.Response(body=page, headers={"Content-Type": content_type})


def _show(findings: list[Finding]) -> web.Response:
    """All that was looked at, and the worst of it as the whole."""
    levels = [finding.level for finding in findings]
    state = STATES[max(levels, key=list(STATES).index, default="ok")]
    checks = [
        {"name": one.name, "state": STATES[one.level], "found": one.found, "remedy": one.remedy} for one in findings
    ]
    body = {"status": state, "checks": checks}
    return web.json_response(body, status=503 if state == "failed" else 200, headers={"Cache-Control": "no-store"})


@asynccontextmanager
async def serve_health(health: Health, host: str, port: int | None) -> AsyncIterator[int | None]:
    """Serve the three pages while inside, at the port that is given; nothing if there is none.

    Raises:
        SettingsError: it cannot be had.
    """
    if port is None:
        yield None
        return
    # It takes a tenth of a second, so only where it is served, and before anything else is.
    from bots.health.exposition import write_page

    pages = Pages(health, write_page)
    app = web.Application()
    app.add_routes([web.get("/", pages.index), web.get("/livez", pages.live), web.get("/readyz", pages.ready)])
    app.add_routes([web.get("/metrics", pages.metrics)])
    # No access log: it would say every few seconds that somebody looked. A look that runs on is not worth waiting for.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    watching = asyncio.create_task(health.watch_event_loop())
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise _unavailable(host, port, error) from None
        taken: int = runner.addresses[0][1]
        log.info("serving metrics and health", host=host, port=taken)
        yield taken
    finally:
        await end_tasks([watching])
        await runner.cleanup()


def _unavailable(host: str, port: int, error: OSError) -> SettingsError:
    match error.errno:
        case errno.EADDRINUSE:
            another = port + 1 if port < 65_535 else 9090
            why = f"HTTP_PORT: another program uses {host}:{port}. Choose another port, for example HTTP_PORT={another}"
        case errno.EACCES:
            why = f"HTTP_PORT: this user may not use port {port}. Choose one above 1023, for example HTTP_PORT=9090"
        case _:
            why = f"HTTP_HOST: this machine has no address {host}. Example: HTTP_HOST=127.0.0.1"
    return SettingsError(why)
