"""The Status tab: whether everything works, at a glance."""

from __future__ import annotations

import asyncio
import html
import time
from collections import Counter
from typing import Any

import gradio as gr

from bots.assembly import Core
from bots.findings import Finding, Level
from bots.health.health import models_away
from bots.health.presence import TTL, connections
from bots.platform import Start
from bots.web.people import PLATFORM
from bots.web.settings import WebSettings
from core.errors import ParleyError
from core.store import Keys, redis_errors
from core.turns import MOST_TIMINGS, Timing, Timings

REFRESH_SECONDS = 2.0
"""Seconds between two updates while the tab is open."""
CHECK_TIMEOUT = 3.0
"""Seconds that one check can take."""
SLOW_PING_SECONDS = 0.05
MAX_PLOTTED_ANSWERS = 60
"""Answers in a plot."""
WHERE = {PLATFORM: "on this page"}

_SIGN = {"ok": "✓", "warning": "!", "error": "✗"}
_WORD = {"ok": "all right", "warning": "look at this", "error": "not working"}


async def examine_all(start: Start[WebSettings]) -> list[Finding]:
    """Examine the model, Redis, the queue and the platforms at once."""
    core = start.core
    return list(await asyncio.gather(_model(core), _redis(core), _queue(start), _platforms(start)))


def build_status(start: Start[WebSettings]) -> Any:
    """Build the tab. Returns a function that connects it to the opening of tabs."""
    cards = gr.HTML("", padding=False, elem_id="cards")
    plots = gr.HTML("", padding=False, elem_id="plots")
    timer = gr.Timer(REFRESH_SECONDS, active=False)
    kept = Timings(start.core.redis)

    async def look() -> tuple[str, str]:
        findings = await examine_all(start)
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                timings = await kept.last()
        except (ParleyError, TimeoutError):
            timings = []
        return cards_of(findings), plots_of(timings)

    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    timer.tick(look, None, [cards, plots], **quick)

    def on_select(tab: gr.Tab, others: list[gr.Tab]) -> None:
        tab.select(look, None, [cards, plots], **quick)
        tab.select(lambda: gr.Timer(active=True), None, [timer], **quick)
        for other in others:
            other.select(lambda: gr.Timer(active=False), None, [timer], **quick)

    return on_select


def cards_of(findings: list[Finding]) -> str:
    """The findings as HTML, under a line that names the problems."""
    bad = [finding for finding in findings if finding.level != "ok"]
    head = "All well." if not bad else "Look at: " + ", ".join(finding.name for finding in bad) + "."
    cards = "".join(
        f"<li class='{finding.level}'><b><span aria-hidden='true'>{_SIGN[finding.level]}</span> "
        f"{html.escape(finding.name)}</b> <em>{_WORD[finding.level]}</em><p>{html.escape(finding.found)}</p>"
        + (f"<p class='remedy'>{html.escape(finding.remedy)}</p>" if finding.remedy else "")
        + "</li>"
        for finding in findings
    )
    return f"<p class='head' role='status'>{head}</p><ul class='cards'>{cards}</ul>"


def plots_of(timings: list[Timing]) -> str:
    """Plots about the last answers on all platforms, as HTML: time to first text, tokens a second, edits, refusals."""
    timings = [timing for timing in timings if timing.at > time.time() - 86_400]
    recent = timings[-MAX_PLOTTED_ANSWERS:]
    first = [timing.first for timing in recent if timing.first is not None]
    speed = [timing.speed for timing in recent if timing.speed is not None]
    plots = (
        _plot("Time to first text", first, "s"),
        _plot("Tokens a second", speed, ""),
        _plot("Edits an answer", [float(timing.edits) for timing in recent], ""),
        _plot("Refused edits", [float(timing.refused) for timing in recent], ""),
    )
    return f"<p class='facts' id='covers'>{_covered(timings)}</p><div class='sparks'>{''.join(plots)}</div>"


def _covered(timings: list[Timing]) -> str:
    """Say how many answers were given, and where; those of `parley chat` aren't counted."""
    if not timings:
        return "Last 24 h: no answers yet, on any platform."
    where = Counter(timing.platform for timing in timings).most_common()
    places = [(count, WHERE.get(name, f"in {name.capitalize()}")) for name, count in where]
    (count, place), *others = places
    each = ", ".join([f"{count} of them {place}", *(f"{count} {place}" for count, place in others)])
    more = "+" if len(timings) == MOST_TIMINGS else ""
    answers = f"{len(timings)}{more} answer{'s' * (len(timings) != 1)}"
    refused = sum(timing.refused for timing in timings)
    return f"Last 24 h: {answers}, {each}. {refused} edit{'s' * (refused != 1)} refused."


def _plot(title: str, values: list[float], unit: str) -> str:
    """A line plot, newest value at the right, with the newest and the largest value in words."""
    unit = f" {unit}" if unit else ""
    if not values:
        return f"<figure class='spark'><figcaption>{title}</figcaption><p>No answers yet.</p></figure>"
    most = max(values) or 1.0
    step = 240 / max(len(values) - 1, 1)
    points = " ".join(f"{index * step:.1f},{56 - 52 * value / most:.1f}" for index, value in enumerate(values))
    dot = f"<circle cx='{(len(values) - 1) * step:.1f}' cy='{56 - 52 * values[-1] / most:.1f}' r='3'/>"
    said = f"{title}: {_number(values[-1])}{unit} for the last answer, {_number(max(values))}{unit} at the most"
    return (
        f"<figure class='spark'><figcaption>{title}</figcaption>"
        f"<svg viewBox='-4 0 248 60' preserveAspectRatio='none' role='img' aria-label='{said}'>"
        f"<polyline points='{points}'/>{dot}</svg>"
        f"<p><b>{_number(values[-1])}{unit}</b> last · {_number(max(values))}{unit} most</p></figure>"
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


async def _model(core: Core) -> Finding:
    if core.settings.backend == "demo":
        remedy = "To connect one: MODEL_URL=http://localhost:8080 in .env."
        return Finding("Model", "warning", found="None, so the built-in demo answers.", remedy=remedy)
    models = core.models.models
    said = ". ".join(f"{model.name or 'The model'}: {model.where}" for model in models)
    away = [name or "its server" for name in await models_away(core.models)]
    if not away:
        return Finding("Model", "ok", found=f"{said}.")
    level: Level = "warning" if len(away) < len(models) else "error"
    remedy = "Is it running? Its address is in MODEL_URL or MODELS_FILE."
    return Finding("Model", level, found=f"No answer from {', '.join(away)}. {said}.", remedy=remedy)


async def _redis(core: Core) -> Finding:
    began = time.monotonic()
    redis: Any = core.redis
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            with redis_errors("answer"):
                await redis.ping()
                took = time.monotonic() - began
                memory = (await redis.info("memory"))["used_memory_human"]
    except (ParleyError, TimeoutError):
        remedy = "Until it is back, nothing is accepted or answered. Questions that were accepted are not lost."
        return Finding("Redis", "error", found="It doesn't answer.", remedy=remedy)
    whose = "The one of REDIS_URL" if core.settings.redis_url else "Our own"
    said = f"{whose}: PING in {1000 * took:.1f} ms, {memory} of memory."
    if took > SLOW_PING_SECONDS:
        remedy = "That is slow, and each answer needs several calls: is it far away, or busy?"
        return Finding("Redis", "warning", found=said, remedy=remedy)
    return Finding("Redis", "ok", found=said)


async def _queue(start: Start[WebSettings]) -> Finding:
    redis: Any = start.core.redis
    names = (PLATFORM, *start.configured)
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            with redis_errors("look at the queue"):
                async with redis.pipeline(transaction=False) as pipe:
                    for name in names:
                        pipe.zcard(Keys.lanes("ready", name))
                        pipe.zcard(Keys.lanes("held", name))
                        pipe.zcard(Keys.lanes("suspects", name))
                    pipe.zcard(Keys.WORKERS)
                    pipe.llen(Keys.DEAD)
                    *lanes, workers, dead = await pipe.execute()
    except (ParleyError, TimeoutError):
        return Finding("Queue", "error", found="Unknown, because Redis doesn't answer.")
    waiting, answered = sum(lanes[0::3]) + sum(lanes[2::3]), sum(lanes[1::3])
    said = f"{waiting} waiting, {answered} being answered, {workers} worker{'s' * (workers != 1)}."
    if not workers:
        return Finding("Queue", "error", found=said, remedy="Nothing is answered: start `parley run worker`.")
    if dead:
        said = f"{said} {dead} in the dead letters."
        return Finding("Queue", "warning", found=said, remedy="`parley queue dead` lists them.")
    if waiting > 10 * workers:
        remedy = "More `parley run worker`, or a faster model, would help."
        return Finding("Queue", "warning", found=said, remedy=remedy)
    return Finding("Queue", "ok", found=said)


async def _platforms(start: Start[WebSettings]) -> Finding:
    """Check which platforms are connected, as the processes that listen to them report."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            found = await connections(start.core.redis)
    except (ParleyError, TimeoutError):
        return Finding("Platforms", "error", found="Unknown, because Redis doesn't answer.")
    others = {name: called for name, called in start.platforms.items() if name != PLATFORM}
    names = [name for name in others if name in start.configured or name in found]
    said = [_connection(others[name], *found.get(name, (0, 0))) for name in names]
    disconnected = [name for name in names if not found.get(name, (0, 0))[0]]
    alone = "" if names else f" {' and '.join(others.values())} are not set up."
    words = f"The page: open. {' '.join(said)}{alone}".strip()
    if not disconnected:
        return Finding("Platforms", "ok", found=words)
    missing = [name for name in disconnected if name not in found]
    begin = f"Start `parley run {' '.join(missing)}`. " if missing else ""
    remedy = f"{begin}A lost connection comes back on its own; if this lasts, `parley doctor` finds the cause."
    return Finding("Platforms", "error", found=words, remedy=remedy)


def _connection(name: str, up: int, down: int) -> str:
    """Say how many of the processes that listen to a platform are connected."""
    if up and down:
        return f"{name}: connected in {up} of {up + down} processes."
    if up:
        return f"{name}: connected{f' in {up} processes' if up > 1 else ''}."
    return (
        f"{name}: not connected, trying again."
        if down
        else f"{name}: no process has reported a connection in the last {TTL} s."
    )
