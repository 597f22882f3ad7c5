"""``parley run``: opens the platforms, takes and answers turns, and stops in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from functools import partial

import structlog
from structlog.contextvars import bind_contextvars

from bots.assembly import Core, open_core
from bots.duties import Duties
from bots.health.health import Health, model_probe, redis_probe
from bots.health.presence import publishing_status
from bots.platform import OpenPlatform, Start
from bots.platforms import PLATFORMS, configured, find_platform
from bots.startup import Notices, model_in_words
from bots.stopping import Stopping
from core import metrics
from core.pacing import CallBudgets
from core.settings import Settings
from core.store import declare
from core.turns import Timings, TurnQueue, Worker, measure_backlog
from core.version import parley_version

log = structlog.get_logger()


async def run(settings: Settings, todo: Duties, *, browser: bool = False) -> None:
    """Do what there is to do until SIGTERM or SIGINT, then let running answers end.

    Intake ends first, then answers get their time, and the rest is handed over. With ``browser``, the page is opened
    for the person who started it, where there is one.

    Raises:
        ParleyError: a platform, Redis or a setting makes it impossible to begin.
    """
    from bots.health.http import serve_health

    stopping, notices = Stopping(), Notices(browser=browser)

    def stop() -> None:
        notices.stopping(settings.grace)
        stopping.request()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores it, and means it
            loop.add_signal_handler(number, stop)
    health = Health()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serve_health(health, settings.http_host, settings.http_port))
        for platform in PLATFORMS:
            declare(platform.stored_keys())
        with notices.waiting("connecting to Redis" if settings.redis_url else "starting Redis"):
            core = await stack.enter_async_context(open_core(settings))
        health.add_probe("redis", redis_probe(core.redis))
        health.add_probe("model", model_probe(core.models))
        health.add_gauge(partial(measure_backlog, core.redis, list(todo.platforms)))
        log.info("starting", version=parley_version(), model=settings.backend, **asdict(todo))
        budgets = CallBudgets(core.redis)
        stack.push_async_callback(budgets.aclose)
        start = Start(
            settings,
            core,
            budgets,
            stopping,
            listens=True,
            platforms={platform.name: platform.called for platform in PLATFORMS},
            configured=configured(settings),
        )
        platforms: dict[str, OpenPlatform] = {}
        for name in todo.platforms:
            platform = find_platform(name)
            with notices.waiting(f"connecting to {platform.called}"):
                opening = platform.open(replace(start, listens=name in todo.listens))
                opened = await stack.enter_async_context(opening)
            if opened:
                platforms[name] = opened
                if name in todo.listens:
                    health.add_platform(name, opened)
        if not stopping.requested.is_set():
            await _serve(core, todo, platforms, stopping=stopping, health=health, notices=notices)
    log.info("stopped")


async def _serve(
    core: Core,
    todo: Duties,
    platforms: Mapping[str, OpenPlatform],
    *,
    stopping: Stopping,
    health: Health,
    notices: Notices,
) -> None:
    """Take turns and answer them, until we are asked to stop."""
    settings = core.settings
    queue = TurnQueue(
        core.redis,
        core.memory,
        platforms=todo.answers,
        lease=settings.lease_seconds,
        follow_up=settings.follow_up,
        quotas=settings.quotas,
    )
    bind_contextvars(worker=queue.worker)  # in every log line from here on
    surfaces = {name: platforms[name].surface for name in todo.answers}
    slots, timings = settings.worker_slots, Timings(core.redis)
    worker = Worker(queue, core.assistant, surfaces, slots=slots, timings=timings)
    notices.running = lambda: worker.running
    try:
        async with AsyncExitStack() as listeners:
            for name in todo.listens:
                with notices.waiting(f"connecting to {find_platform(name).called}"):
                    await listeners.enter_async_context(platforms[name].listening(queue, core.memory, core.redis))
            heard = {name: platforms[name] for name in todo.listens}
            await listeners.enter_async_context(publishing_status(core.redis, queue.worker, heard))
            health.started()
            if todo.answers:
                worker.start()
                health.add_gauge(partial(_count_leases, worker))
                for loop, last in worker.progress().items():
                    listeners.enter_context(health.watch_loop(loop, last))
            notices.ready(*_does(core, todo, platforms), page=_page(todo, platforms))
            await stopping.requested.wait()
            health.stopping()
    finally:
        await worker.drain(settings.grace, stopping.at_once)


def _does(core: Core, todo: Duties, platforms: Mapping[str, OpenPlatform]) -> list[str]:
    """What this process does, in words: which model answers, and where people are heard."""
    places = [platforms[name].place for name in todo.listens]
    if not todo.answers:
        return [*places, "takes messages, workers answer them"]
    called = model_in_words(core.settings, core.models.names)
    if not todo.listens:
        places = [f"worker for {', '.join(find_platform(name).called for name in todo.answers)}"]
    return [called, *places]


def _page(todo: Duties, platforms: Mapping[str, OpenPlatform]) -> str:
    """The address to open in a browser: of a page that is all that was started; else ""."""
    match todo.listens:
        case [only] if find_platform(only).in_browser:
            return platforms[only].place
        case _:
            return ""


async def _count_leases(worker: Worker) -> None:
    metrics.LEASES_HELD.set(worker.running)
