"""Puts Parley together: the only place that chooses implementations.

Platforms and backends are imported where they are chosen: each costs from half a second to ten, and a chat in a
terminal needs none of them.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Protocol

import structlog
from redis.asyncio import Redis
from structlog.contextvars import bind_contextvars

from bots.console.printing import did_you_mean
from bots.health.health import Health, model_probe, redis_probe
from bots.health.presence import telling
from bots.startup import Notices, in_words
from bots.web.login import is_local
from core import metrics
from core.archive import prepare
from core.assistant import AnswerSettings, Assistant, Summarizer
from core.delivery import Surface
from core.errors import SettingsError
from core.memory import Choices, Memory, RedisMemory
from core.models import Deadlines, Models
from core.models.table import counter, open_models
from core.pacing import CallBudgets
from core.prompts import Personas, read_persona
from core.settings import Settings
from core.store import open_redis
from core.turns import RedisTurnQueue, Timings, Worker, measure_backlog
from core.types import ModelLimits
from core.version import parley_version

log = structlog.get_logger()

PLATFORMS = ("slack", "discord", "web")
ALL = "all"
"""What ``parley run`` calls every platform whose token is set, and the page."""
WORKER = "worker"
"""What ``parley run`` calls a process that answers, and takes nothing."""
CALLED = {"slack": "Slack", "discord": "Discord", "web": "the page"}
"""Platforms as people call them."""
SECTIONS = {
    "slack": "Slack, step by step",
    "discord": "Discord, step by step",
    WORKER: "More than one process",
}
"""Where README.md explains how each is set up."""


class Stopping:
    """A request to stop the process: the first lets running answers finish, the second stops at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()

    def ask(self) -> None:
        """Ask, or ask once more."""
        (self.hurried if self.asked.is_set() else self.asked).set()


@dataclass(frozen=True, slots=True)
class Core:
    """Everything between a platform and a model, ready to use."""

    settings: Settings
    redis: Redis
    memory: RedisMemory
    models: Models
    assistant: Assistant


@asynccontextmanager
async def open_core(settings: Settings) -> AsyncIterator[Core]:
    """Connect to Redis and the model's server, as the settings say.

    Raises:
        StorageError: Redis is not available, or a newer Parley wrote its data.
    """
    url = settings.redis_url.get_secret_value() if settings.redis_url else None
    async with open_redis(url, settings.data_dir) as redis:
        await prepare(redis)
        models = open_models(settings)

        async def label(chosen: str) -> str:
            return await models.label(chosen) or settings.model_name

        memory = RedisMemory(
            redis,
            retention=settings.retention_seconds,
            count=counter(settings),
            choices=replace(choices(settings, models.names), label=label),
        )
        summarizer = Summarizer(memory, models, answer_settings(settings)) if settings.summary else None
        assistant = Assistant(memory, models, answer_settings(settings), summarizer=summarizer, policy=settings.policy)
        try:
            yield Core(settings, redis, memory, models, assistant)
        finally:
            if summarizer:
                await summarizer.aclose()
            await models.aclose()


def choices(settings: Settings, models: Sequence[str]) -> Choices:
    """What people can choose for a conversation. Raises SettingsError if a persona cannot be read."""
    asked = answer_settings(settings)
    return Choices(
        system=asked.system,
        temperature=asked.temperature,
        top_p=asked.top_p,
        max_new_tokens=asked.max_new_tokens,
        models=tuple(models),
        personas=Personas(settings.personas, settings.persona_variables),
        persona=settings.persona,
    )


def answer_settings(settings: Settings) -> AnswerSettings:
    """How the assistant answers, as the settings say. Raises SettingsError if there is no such persona."""
    system = settings.system_prompt
    if settings.persona:
        system = read_persona(settings.personas, settings.persona, settings.persona_variables)
    return AnswerSettings(
        system=system,
        temperature=settings.temperature,
        max_new_tokens=settings.max_new_tokens,
        limits=ModelLimits(settings.context_tokens, settings.context_tokens),
        deadlines=Deadlines(settings.first_token_timeout, settings.between_tokens_timeout, settings.total_timeout),
        top_p=settings.top_p,
    )


def configured(settings: Settings) -> list[str]:
    """The platforms for which a token is set."""
    tokens = {"slack": settings.slack_bot_token or settings.slack_app_token, "discord": settings.discord_token}
    return [name for name, token in tokens.items() if token]


def has_page() -> bool:
    """Whether what the page needs is installed."""
    return find_spec("gradio") is not None


@dataclass(frozen=True, slots=True)
class Duties:
    """What a process does: it takes the turns of the platforms in ``listens``, and answers those of ``answers``."""

    listens: tuple[str, ...]
    answers: tuple[str, ...]


def duties(settings: Settings, names: Sequence[str], *, worker: bool) -> Duties:
    """What ``parley run`` with these names has to do; all that is configured, where none is named.

    Raises:
        SettingsError: a name that means nothing, a worker that has nothing to do, or tokens that are missing.
    """
    known = (*PLATFORMS, ALL, WORKER)
    for name in names:
        if name not in known:
            raise SettingsError(f"No platform '{name}'. {did_you_mean(name, known)}")
    ready = tuple(configured(settings))
    reachable = (*ready, "web")  # to answer on the page, Redis is enough
    everything = reachable
    if ALL in names and ready and (missing := _page_lacks(settings)):
        log.warning("page not opened", why=missing)
        everything = ready
    named = {*names, *(everything if ALL in names else ())}
    listens = tuple(name for name in PLATFORMS if name in named) or (() if WORKER in names else ready)
    if not worker and WORKER in names:
        raise SettingsError("`worker` and `--no-worker` contradict each other. Leave one of them out")
    answers = reachable if WORKER in names else listens if worker else ()
    _check_tokens(settings, listens, answers)
    return Duties(listens, tuple(dict.fromkeys((*listens, *answers))) if answers else ())


def _page_lacks(settings: Settings) -> str:
    """What the page needs and does not have, where other platforms are set up and `all` can do without; else ""."""
    if not has_page():
        return "Gradio is not installed"
    login = settings.web_user or settings.web_password or settings.web_auth_header
    return (
        ""
        if login or is_local(settings.web_host)
        else "it has no login: set WEB_USER and WEB_PASSWORD, or WEB_AUTH_HEADER"
    )


def _check_tokens(settings: Settings, listens: Sequence[str], answers: Sequence[str]) -> None:
    """Raise SettingsError, with all that is missing to take what people say, or to answer it."""
    bot, app, discord = settings.slack_bot_token, settings.slack_app_token, settings.discord_token
    needed = {
        "slack": [("SLACK_BOT_TOKEN (xoxb-…)", bot), *([("SLACK_APP_TOKEN (xapp-…)", app)] * ("slack" in listens))],
        "discord": [("DISCORD_TOKEN", discord)],
    }
    wrong, sections = [], []
    for name in dict.fromkeys((*listens, *answers)):
        if missing := [setting for setting, token in needed.get(name, ()) if not token]:
            wrong.append(f"{CALLED[name]} is not set up. Missing: {' and '.join(missing)}.")
            sections.append(SECTIONS[name])
    # A worker that shares no Redis with another process would never get a question. A DATA_DIR that is set is shared.
    alone = not settings.redis_url and "data_dir" not in settings.model_fields_set
    if not listens and alone and not configured(settings):
        wrong.append(
            "This worker would have nothing to do: it shares no Redis with the processes that take messages, and no "
            "platform is set up. Missing: REDIS_URL, the same as theirs (on one machine, DATA_DIR is enough); and "
            "SLACK_BOT_TOKEN or DISCORD_TOKEN, unless it only answers on the page."
        )
        sections.append(SECTIONS[WORKER])
    if wrong:
        where = " and ".join(f'"{section}"' for section in sections)
        remedy = f"See {where} in README.md. Put the settings into .env; `parley doctor` checks them."
        raise SettingsError("\n".join(wrong), remedy=remedy)


class Platform(Protocol):
    """Where people are: ``surface`` answers them, and ``listening`` takes what they say into the queue."""

    @property
    def connected(self) -> bool:
        """Whether what people say reaches us, now."""
        ...

    @property
    def place(self) -> str:
        """Where people find us: the page's address, ``Slack (Acme)``."""
        ...

    @property
    def surface(self) -> Surface:
        """Answers turns."""
        ...

    def listening(self, queue: RedisTurnQueue, memory: Memory, redis: Redis) -> AbstractAsyncContextManager[None]:
        """Take turns while inside."""
        ...


def open_platform(
    name: str, core: Core, stopping: Stopping, budgets: CallBudgets, *, listens: bool
) -> AbstractAsyncContextManager[Platform | None]:
    """A platform, as soon as it can be reached; None if we are asked to stop meanwhile."""
    if name == "web":
        from bots.web.platform import open_web

        return open_web(core)
    if name == "discord":
        from bots.discord.platform import open_discord

        return open_discord(core.settings, stopping, budgets)
    from bots.slack.platform import open_slack

    return open_slack(core.settings, stopping, budgets, listens=listens)


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
        stopping.ask()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores it, and means it
            loop.add_signal_handler(number, stop)
    health = Health()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serve_health(health, settings.http_host, settings.http_port))
        with notices.waiting("connecting to Redis" if settings.redis_url else "starting Redis"):
            core = await stack.enter_async_context(open_core(settings))
        health.probe("redis", redis_probe(core.redis))
        health.probe("model", model_probe(core.models))
        health.gauge(partial(measure_backlog, core.redis, list(dict.fromkeys((*todo.listens, *todo.answers)))))
        log.info("starting", version=parley_version(), model=settings.backend, **asdict(todo))
        budgets = CallBudgets(core.redis)
        stack.push_async_callback(budgets.aclose)
        platforms: dict[str, Platform] = {}
        for name in dict.fromkeys((*todo.listens, *todo.answers)):
            opening = open_platform(name, core, stopping, budgets, listens=name in todo.listens)
            with notices.waiting(f"connecting to {CALLED[name]}"):
                platform = await stack.enter_async_context(opening)
            if platform:
                platforms[name] = platform
                if name in todo.listens:
                    health.serves(name, platform)
        if not stopping.asked.is_set():
            await _serve(core, todo, platforms, stopping=stopping, health=health, notices=notices)
    log.info("stopped")


async def _serve(
    core: Core,
    todo: Duties,
    platforms: Mapping[str, Platform],
    *,
    stopping: Stopping,
    health: Health,
    notices: Notices,
) -> None:
    """Take turns and answer them, until we are asked to stop."""
    settings = core.settings
    queue = RedisTurnQueue(
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
                with notices.waiting("loading the page" if name == "web" else f"connecting to {CALLED[name]}"):
                    await listeners.enter_async_context(platforms[name].listening(queue, core.memory, core.redis))
            heard = {name: platforms[name] for name in todo.listens}
            await listeners.enter_async_context(telling(core.redis, queue.worker, heard))
            health.started()
            if todo.answers:
                worker.start()
                health.gauge(partial(_count_leases, worker))
                for loop, last in worker.progress().items():
                    listeners.enter_context(health.progressing(loop, last))
            page = platforms["web"].place if todo.listens == ("web",) else ""
            notices.ready(*_does(core, todo, platforms), page=page)
            await stopping.asked.wait()
            health.stopping()
    finally:
        await worker.drain(settings.grace, stopping.hurried)


def _does(core: Core, todo: Duties, platforms: Mapping[str, Platform]) -> list[str]:
    """What this process does, in words: which model answers, and where people are heard."""
    places = [platforms[name].place for name in todo.listens]
    if not todo.answers:
        return [*places, "takes messages, workers answer them"]
    called = in_words(core.settings, core.models.names)
    if not todo.listens:
        places = [f"worker for {', '.join(CALLED[name] for name in todo.answers)}"]
    return [called, *places]


async def _count_leases(worker: Worker) -> None:
    metrics.LEASES_HELD.set(worker.running)
