"""``parley doctor``: what is set up, what is wrong with it, and what to do about it.

Every part (Redis, the model, each platform) tries what the running bot will do. The parts run at once; what they found
is shown in a fixed order, as soon as it is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from rich.console import Console
from rich.text import Text

from bots.addresses import server
from bots.console.printing import many, print_json
from bots.doctor.envfile import IgnoredLine, env_file, ignored, setting_names
from bots.doctor.machine import examine_machine
from bots.doctor.model import examine_model
from bots.doctor.redis import examine_redis
from bots.findings import BUG, Finding, Level, Say, without_example
from bots.platform import Platform
from bots.platforms import PLATFORMS, all_settings, configured, find_platform, load_all_settings, without_account
from core.causes import cause
from core.errors import SettingsError
from core.settings import Settings
from core.version import parley_version

MARKS: dict[Level, tuple[str, str]] = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "bold red")}

ASCII_MARKS: dict[Level, str] = {"ok": "+", "warning": "!", "error": "x"}
"""The same where those cannot be written."""

OVERVIEW = "settings"
"""The name of the check that sums the settings up; that of a single one is ``settings.TEMPERATURE``."""

ENV_FILE = "env_file"
"""The name of the check that says that .env cannot be read; that of a line in it is ``env_file.2``."""

ENVIRONMENT = "environment"
"""The name of the check that says that a variable is probably a misspelt setting."""

MAX_STEPS = 5
"""Steps that are named at the end; fixing these often settles the rest."""

Part = Callable[[Say], Awaitable[None]]


async def examine(*, as_json: bool = False) -> int:
    """Check everything that is set up, show what was found, and return the exit code: 1 if something is wrong."""
    settings, wrong, noticed = read_settings()
    checks: list[Finding] = []
    console = Console(highlight=False)

    def say(check: Finding) -> None:
        checks.append(check)
        if not as_json:
            _show(console, check)

    for check in noticed:
        say(check)
    parts: dict[str, Part] = {
        "Machine": lambda say: examine_machine(settings, say),
        "Redis": lambda say: examine_redis(settings, wrong, say),
        "Model": lambda say: examine_model(settings, wrong, say),
        **{one.title: partial(_examine_platform, one, settings, wrong) for one in PLATFORMS},
    }
    await _run(parts, say)
    failed = [check for check in checks if not check.ok]
    if as_json:
        whole = {"ok": not failed, "version": parley_version(), "checks": [_as_json(check) for check in checks]}
        whole["next"] = [{"name": check.name, "do": check.remedy} for check in steps(checks)[:MAX_STEPS]]
        print_json(whole)
    else:
        console.print()
        if failed and (todo := steps(checks)):
            console.print("What to do, in this order:")
            for number, check in enumerate(todo[:MAX_STEPS], 1):
                _print(console, Text(f"  {number}. "), Text(_step(check)))
            if len(todo) > MAX_STEPS:
                _print(console, Text("  "), Text(f"… and {len(todo) - MAX_STEPS} more"))
            console.print()
        _print(console, Text(), Text(_summary(settings, checks)))
    return 1 if failed else 0


async def _run(parts: Mapping[str, Part], say: Say) -> None:
    """Run all parts at once; say what each found as soon as it is known, but no part before the one above it."""
    queues: dict[str, asyncio.Queue[Finding | None]] = {name: asyncio.Queue() for name in parts}

    async def run(name: str) -> None:
        try:
            await parts[name](queues[name].put_nowait)
        except Exception as error:
            # Only its name: what an unforeseen error says may repeat an address with a password in it.
            what = f"the check itself failed ({type(error).__name__})"
            queues[name].put_nowait(Finding(name.lower(), "error", name, what, BUG))
        finally:
            queues[name].put_nowait(None)

    # No TaskGroup: what `say` raises where stdout is full would come out of it in a group.
    tasks = [asyncio.create_task(run(name)) for name in parts]
    try:
        for queue in queues.values():
            while check := await queue.get():
                say(check)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def steps(checks: Sequence[Finding]) -> list[Finding]:
    """What to do next: errors before warnings, each remedy once, in the order of parts."""
    remedied = [check for check in checks if check.name != OVERVIEW and check.remedy and check.level != "ok"]
    first: dict[str, Finding] = {}
    for check in sorted(remedied, key=lambda check: check.ok):
        first.setdefault(check.remedy, check)
    return list(first.values())


def _step(check: Finding) -> str:
    return f"{check.tried}: {' '.join(check.remedy.split())}"


def _as_json(check: Finding) -> dict[str, Any]:
    return {"name": check.name, "ok": check.ok, **asdict(check)}


def _show(console: Console, check: Finding) -> None:
    mark, style = MARKS[check.level]
    mark = mark if console.encoding.startswith("utf") else ASCII_MARKS[check.level]
    first, *more = [*f"{check.tried}: {check.found}".splitlines(), *check.remedy.splitlines()]
    _print(console, Text.assemble((mark, style), " "), _harmless(first))
    for line in more:
        _print(console, Text("    "), _harmless(line))


def _harmless(line: str) -> Text:
    """Servers name themselves as they like; on a terminal, that must not become an escape sequence."""
    return Text("".join(c if c.isprintable() else " " for c in line))


def _print(console: Console, beginning: Text, text: Text) -> None:
    """Print a paragraph: wrapped at a terminal's width with a hanging indent, and as one line into a file or a pipe."""
    lines = text.wrap(console, max(20, console.width - beginning.cell_len)) if console.is_terminal else [text]
    for line in lines:
        line.rstrip()
        console.print(beginning + line, soft_wrap=True)
        beginning = Text(" " * beginning.cell_len)


def _summary(settings: Settings, checks: Sequence[Finding]) -> str:
    """The result as a whole, and what to run next."""
    # The overview is as bad as what follows it, and nothing to fix on its own.
    checks = [check for check in checks if check.name != OVERVIEW]
    failed = [check for check in checks if not check.ok]
    if failed:
        todo = steps(checks)  # each remedy once, so that this is as many as are listed
        wrong, begin = sum(not check.ok for check in todo), failed[0].tried
        more = f", {many(len(todo) - wrong, 'warning')}" if len(todo) > wrong else ""
        return (
            f"{many(wrong or len(failed), 'thing')} to fix{more}. Begin with {begin}, then run `parley doctor` again."
        )
    warned = sum(check.level == "warning" for check in checks)
    good = f"No errors, {many(warned, 'warning')}." if warned else "Everything is fine."
    if platforms := configured(settings):
        where = " and ".join(find_platform(name).called for name in platforms)
        demo = " Until MODEL_URL is set, the demo answers." if settings.backend == "demo" else ""
        return f"{good} Next: `parley run` starts Parley in {where}.{demo}"
    opens = "".join(f"`parley run` opens {one.called}, " for one in without_account()[:1] if one.installed())
    return f"{good} Next: {opens}`parley chat` starts a chat in this terminal."


# Settings.


def read_settings() -> tuple[Settings, frozenset[str], list[Finding]]:
    """The settings, the fields that were wrong and have their defaults now, and the checks of all that."""
    defaults: dict[str, Any] = {}
    checks: list[Finding] = []
    while True:
        try:
            settings = load_all_settings(**defaults)
            break
        except (SettingsError, OSError) as error:
            found, fields = _explain(error)
            if fields <= defaults.keys():
                raise
            checks += found
            defaults |= {field: None if field == "_env_file" else _default(field) for field in fields}
    wrong = frozenset(defaults) - {"_env_file"}
    checks += _ids(settings)
    lines = ignored()
    mistakes = len(checks) + sum(line.mistake for line in lines)
    checks += map(_ignored, lines)
    return settings, wrong, [_overview(settings, wrong, checks, mistakes), *checks]


def _explain(error: Exception) -> tuple[list[Finding], set[str]]:
    """A check for every wrong setting, and the fields to leave out so that the others can be loaded."""
    if isinstance(error, OSError):
        said = [f".env: cannot be read ({cause(error)}). Let this user read it"]
    else:
        said = str(error).splitlines()
    checks, fields = [], set[str]()
    for line in said:
        name, _, what = line.partition(": ")
        what, remedy = without_example(what)
        if not remedy:
            what, _, remedy = what.partition(". ")
        field = setting_names().get(name.upper())
        where = f"{OVERVIEW}.{name}" if field else ENV_FILE
        checks.append(Finding(where, "error", name, what, remedy))
        fields |= {field} if field else {"_env_file"}
        # Others are wrong without these two: MODEL_API=tgi, FORGET_BY=admins.
        fields |= {"model_url": {"model_api"}, "admins": {"forget_by", "settings_by"}}.get(field or "", set())
    return checks, fields


def _ids(settings: Settings) -> list[Finding]:
    """A check for each list of ids in which something is none: it would match nobody, and nothing would say so."""
    people = [platform.person for platform in PLATFORMS]
    lists = {field: [pattern] for platform in PLATFORMS for field, pattern in platform.ids.items()}
    checks = []
    for field, patterns in ({"admins": people} | lists).items():
        wrong = [one for one in sorted(getattr(settings, field)) if not any(p.fullmatch(one) for p in patterns)]
        if wrong:
            name, example = field.upper(), (all_settings().model_fields[field].examples or [""])[0]
            found = f"matches nothing with {', '.join(map(repr, wrong))}, because an id is needed, not a name"
            remedy = f"Use ids, for example {name}={example}"
            checks.append(Finding(f"{OVERVIEW}.{name}", "error", name, found, remedy))
    return checks


def _default(field: str) -> Any:
    return all_settings().model_fields[field].get_default(call_default_factory=True)


def _ignored(line: IgnoredLine) -> Finding:
    name = f"{ENV_FILE}.{line.line}" if line.line else ENVIRONMENT
    return Finding(name, "warning", line.where, line.found, line.remedy)


def _overview(settings: Settings, wrong: Collection[str], checks: Sequence[Finding], mistakes: int) -> Finding:
    """Where settings come from and what they choose; its level is the worst of ``checks``, those of single settings."""
    levels: list[Level] = ["ok", *(check.level for check in checks)]
    file, much = env_file(), f", with {many(mistakes, 'mistake')}" if mistakes else ""
    where = f"from {file}" if file.is_file() else f"no .env in {file.parent}, so only the environment is used"
    platforms = ", ".join(one.called for one in PLATFORMS if _is_set_up(one, settings, wrong)) or "none"
    model = "?" if {"model_api", "model_url"} & set(wrong) else _model(settings)
    found = f"{where}{much}; model: {model}; platforms: {platforms}"
    return Finding(OVERVIEW, max(levels, key=list(MARKS).index), "Settings", found)


def _model(settings: Settings) -> str:
    if settings.models_file:
        return f"those in {settings.models_file}"
    return server(settings.model_url) if settings.backend != "demo" and settings.model_url else "demo"


# Platforms.


def _is_set_up(platform: Platform[Any], settings: Settings, wrong: Collection[str]) -> bool:
    """Whether one of its tokens is set, right or wrong."""
    return platform.configured(settings) or any(token.field in wrong for token in platform.tokens)


async def _examine_platform(platform: Platform[Any], settings: Settings, wrong: Collection[str], say: Say) -> None:
    if platform.tokens and not _is_set_up(platform, settings, wrong):
        say(Finding(platform.name, "ok", platform.title, "not set up", platform.hint))
        return
    await platform.examine(settings, wrong, say, not configured(settings))
