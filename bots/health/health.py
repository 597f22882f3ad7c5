"""Whether a process is alive and ready, in words for operators; ``bots.health.http`` serves it.

It is not alive when a restart would help: the event loop is blocked, or one of its loops makes no progress. Without
Redis it is alive, but not ready. Without its model it is ready but "degraded": it accepts messages, and tells people.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import structlog
from redis.asyncio import Redis

from bots.findings import Finding, Level
from bots.health.presence import Connected
from core import metrics
from core.errors import GenerationError, ParleyError
from core.models import Model, Models
from core.store import Keys, redis_errors

log = structlog.get_logger()

STUCK_SECONDS = 30.0
"""Seconds without progress after which a loop counts as stuck."""
MAX_LAG_SECONDS = 5.0
"""Seconds that the event loop may be late before the process counts as stuck."""
LAG_CHECK_SECONDS = 0.5
"""Seconds between two measurements of how late the event loop is."""
PROBE_TIMEOUT = 2.0
"""Seconds that a probe can take. Supervisors give up soon after."""
PROBE_CACHE_SECONDS = 1.0
"""Seconds that the results of probes are reused, however often somebody asks."""

Probe = Callable[[], Awaitable[Finding]]
"""Looks at one thing; may raise, and may take too long."""
GaugeUpdate = Callable[[], Awaitable[None]]
"""Brings gauges up to date before they are shown."""


class Health:
    """What the parts of a process report to."""

    def __init__(self, *, stuck_after: float = STUCK_SECONDS, max_lag: float = MAX_LAG_SECONDS) -> None:
        self._stuck_after = stuck_after
        self._max_lag = max_lag
        self._loops: dict[str, Callable[[], float]] = {}
        self._platforms: dict[str, Connected] = {}
        self._probes: dict[str, Probe] = {}
        self._gauge_updates: list[GaugeUpdate] = []
        self._starting = True
        self._stopping = False
        self._ticked = time.monotonic()
        self._lag = 0.0
        self._found: tuple[float, list[Finding]] = (-PROBE_CACHE_SECONDS, [])
        self._asking = asyncio.Lock()

    # What others report.

    @contextmanager
    def watch_loop(self, name: str, last: Callable[[], float]) -> Iterator[None]:
        """While inside, a loop runs; ``last`` returns when it last did something, on the monotonic clock.

        For a loop that has ended, that is minus infinity.
        """
        self._loops[name] = last
        try:
            yield
        finally:
            del self._loops[name]

    def add_platform(self, name: str, platform: Connected) -> None:
        """Register a platform whose messages are taken by this process."""
        self._platforms[name] = platform

    def add_probe(self, name: str, probe: Probe) -> None:
        """Register something that has to work for this process to be ready."""
        self._probes[name] = probe

    def add_gauge(self, update: GaugeUpdate) -> None:
        """Register an update of gauges, to be made before they are shown."""
        self._gauge_updates.append(update)

    def started(self) -> None:
        """Everything is set up."""
        self._starting = False

    def stopping(self) -> None:
        """Nothing new is taken from now on."""
        self._stopping = True

    # What is shown.

    def live(self) -> list[Finding]:
        """Whether the process is alive: if something failed, a restart would help."""
        now = time.monotonic()
        # A tick that is due and did not come counts as well.
        lag = max(self._lag, now - self._ticked - LAG_CHECK_SECONDS)
        late = lag >= self._max_lag
        findings = [
            Finding(
                "event loop",
                "error" if late else "ok",
                found=f"blocked for {lag:.1f} s" if late else "",
                remedy="Restart the process: something blocks it, or the machine is overloaded." if late else "",
            )
        ]
        for name, last in self._loops.items():
            silence = now - last()
            stuck = silence >= self._stuck_after
            what = f"no progress for {silence:.0f} s" if silence < math.inf else "it has ended"
            findings.append(
                Finding(
                    name,
                    "error" if stuck else "ok",
                    found=what if stuck else "",
                    remedy="Restart the process; another one continues its answers." if stuck else "",
                )
            )
        return findings

    async def ready(self) -> list[Finding]:
        """Whether the process is ready for work; the result is reused for a second."""
        async with self._asking:
            at, findings = self._found
            if time.monotonic() - at >= PROBE_CACHE_SECONDS:
                findings = list(await asyncio.gather(*(self._try(name) for name in self._probes)))
                self._found = time.monotonic(), findings
        return [*self._phase(), *findings, *self._connections()]

    async def update_gauges(self) -> None:
        """Bring all gauges up to date; what cannot be measured is left out."""
        for name, platform in self._platforms.items():
            metrics.SOCKET_CONNECTED.set(float(platform.connected), platform=name)
        metrics.LOOP_LAG.set(max(0.0, self._lag))
        await asyncio.gather(*(self._update(update) for update in self._gauge_updates))

    async def watch_event_loop(self) -> None:
        """Measure how late the event loop is, until cancelled."""
        while True:
            self._ticked = time.monotonic()
            await asyncio.sleep(LAG_CHECK_SECONDS)
            self._lag = time.monotonic() - self._ticked - LAG_CHECK_SECONDS

    def _phase(self) -> list[Finding]:
        if self._stopping:
            remedy = "Nothing to do: running answers are being finished."
            return [Finding("process", "error", found="stopping", remedy=remedy)]
        if self._starting:
            remedy = "Wait. If this lasts, its log says why."
            return [Finding("process", "error", found="starting", remedy=remedy)]
        return []

    def _connections(self) -> list[Finding]:
        """Each platform; one that is connected is enough to be ready."""
        connected = {name: platform.connected for name, platform in self._platforms.items()}
        missing: Level = "warning" if any(connected.values()) else "error"
        remedy = "It reconnects on its own. If this lasts, `parley doctor` says what is wrong."
        return [
            Finding(name, "ok") if there else Finding(name, missing, found="not connected", remedy=remedy)
            for name, there in connected.items()
        ]

    async def _try(self, name: str) -> Finding:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                return await self._probes[name]()
        except TimeoutError:
            said = f"no answer within {PROBE_TIMEOUT:g} s"
            return Finding(name, "error", found=said, remedy="`parley doctor` says more.")
        except ParleyError as error:
            return Finding(name, "error", found=str(error), remedy=error.remedy)

    async def _update(self, update: GaugeUpdate) -> None:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                await update()
        except (ParleyError, TimeoutError) as error:
            log.info("metric not measured", error=str(error) or "no answer in time")


def redis_probe(redis: Redis) -> Probe:
    """Whether Redis takes what is written: one that only reads stores no message."""

    async def probe() -> Finding:
        with redis_errors("be written to"):
            await redis.set(Keys.PROBE, "1", ex=60)
        return Finding("redis", "ok")

    return probe


def model_probe(models: Models) -> Probe:
    """Whether every model's server answers; messages are taken without it as well, and people are told."""

    async def probe() -> Finding:
        away = await models_away(models)
        if not away:
            return Finding("model", "ok")
        server = f"the server of {', '.join(away)}" if all(away) else "the model's server"
        remedy = "Check that it runs, and its address in the settings; `parley doctor` says more."
        return Finding("model", "warning", found=f"{server} does not answer", remedy=remedy)

    return probe


async def models_away(models: Models) -> list[str]:
    """The names of the models whose servers do not answer; the only model may have none."""

    async def answers(model: Model) -> bool:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT / 2):
                return await model.backend.healthy()
        except (GenerationError, TimeoutError):
            return False

    there = await asyncio.gather(*map(answers, models.models))
    return [model.name for model, healthy in zip(models.models, there, strict=True) if not healthy]
