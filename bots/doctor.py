"""``parley doctor``: what is set up, what is wrong with it, and what to do about it.

Every part (Redis, the model, each platform) tries what the running bot will do. The parts run at once; what they found
is shown in a fixed order, as soon as it is known.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream
from pydantic import AliasChoices
from rich.console import Console
from rich.text import Text

from bots.app import configured
from bots.checks import BUG, Check, Level, Say, examine_model, examine_redis
from core.errors import SettingsError
from core.settings import Settings, load_settings

MARKS: dict[Level, tuple[str, str]] = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "bold red")}

Part = Callable[[Say], Awaitable[None]]


async def examine(*, as_json: bool = False) -> int:
    """Check everything that is set up, show what was found, and return the exit code: 1 if something is wrong."""
    settings, wrong, noticed = read_settings()
    checks: list[Check] = []
    console = Console(highlight=False)

    def say(check: Check) -> None:
        checks.append(check)
        if not as_json:
            _show(console, check)

    for check in noticed:
        say(check)
    parts: dict[str, Part] = {
        "Redis": lambda say: examine_redis(settings, say),
        "Model": lambda say: examine_model(settings, wrong, say),
        "Slack": lambda say: _examine_slack(settings, wrong, say),
    }
    await _run(parts, say)
    failed = [check for check in checks if not check.ok]
    if as_json:
        whole = {"ok": not failed, "version": version("parley"), "checks": [_as_json(check) for check in checks]}
        sys.stdout.write(json.dumps(whole, ensure_ascii=False, indent=2) + "\n")
    else:
        console.print(f"\n{_summary(settings, checks)}", markup=False, soft_wrap=True)
    return 1 if failed else 0


async def _run(parts: Mapping[str, Part], say: Say) -> None:
    """Run all parts at once; say what each found as soon as it is known, but no part before the one above it."""
    queues: dict[str, asyncio.Queue[Check | None]] = {name: asyncio.Queue() for name in parts}

    async def run(name: str) -> None:
        try:
            await parts[name](queues[name].put_nowait)
        except Exception as error:
            # Only its name: what an unforeseen error says may repeat an address with a password in it.
            what = f"the check itself failed ({type(error).__name__})"
            queues[name].put_nowait(Check(name.lower(), "error", name, what, BUG))
        finally:
            queues[name].put_nowait(None)

    async with asyncio.TaskGroup() as group:
        for name in parts:
            group.create_task(run(name))
        for queue in queues.values():
            while check := await queue.get():
                say(check)


def _as_json(check: Check) -> dict[str, Any]:
    return {"name": check.name, "ok": check.ok, **asdict(check)}


def _show(console: Console, check: Check) -> None:
    mark, style = MARKS[check.level]
    lines = [*f"{check.tried}: {check.found}".splitlines(), *check.remedy.splitlines()]
    # Servers name themselves as they like; on a terminal, that must not become an escape sequence.
    shown = ("".join(c if c.isprintable() else " " for c in line) for line in lines)
    console.print(Text.assemble((mark, style), " ", "\n    ".join(shown)), soft_wrap=True)


def _summary(settings: Settings, checks: Sequence[Check]) -> str:
    failed = [check for check in checks if not check.ok]
    if failed:
        count = "1 thing to fix" if len(failed) == 1 else f"{len(failed)} things to fix"
        return f"{count}. Begin with {failed[0].tried}, then run `parley doctor` again."
    warned = sum(check.level == "warning" for check in checks)
    but = f" ({warned} warning{'s' if warned > 1 else ''} above)" if warned else ""
    if configured(settings):
        return f"All well{but}. Start it: `parley run`"
    return f"All well{but}. Talk to it in this terminal: `parley chat`"


# Settings.


def read_settings() -> tuple[Settings, frozenset[str], list[Check]]:
    """The settings, the fields that were wrong and have their defaults now, and what is to be said about it all."""
    defaults: dict[str, Any] = {}
    checks: list[Check] = []
    while True:
        try:
            settings = load_settings(**defaults)
            break
        except (SettingsError, OSError) as error:
            found, fields = _explain(error)
            if fields <= defaults.keys():
                raise
            checks += found
            defaults |= {field: None if field == "_env_file" else _default(field) for field in fields}
    wrong = frozenset(defaults) - {"_env_file"}
    return settings, wrong, [_overview(settings, wrong), *checks, *_look_into_env_file()]


def _explain(error: Exception) -> tuple[list[Check], set[str]]:
    """A check for every wrong setting, and the fields to leave out so that the others can be read."""
    if isinstance(error, OSError):
        said = [f".env: cannot be read ({type(error).__name__}). Let this user read it"]
    else:
        said = str(error).splitlines()
    checks, fields = [], set[str]()
    for line in said:
        name, _, what = line.partition(": ")
        what, separator, example = what.partition(". Example: ")
        if not separator:
            what, _, example = what.partition(". ")
        checks.append(Check("settings", "error", name, what, f"For example: {example}" if separator else example))
        field = _names().get(name.upper())
        fields |= {field} if field else {"_env_file"}
        if field == "model_url":
            # MODEL_API=tgi would be wrong without it.
            fields.add("model_api")
    return checks, fields


def _default(field: str) -> Any:
    return Settings.model_fields[field].get_default(call_default_factory=True)


def _names() -> dict[str, str]:
    """Every name that a setting has in the environment, and its field."""
    names: dict[str, str] = {}
    for field, info in Settings.model_fields.items():
        aliases = info.validation_alias.choices if isinstance(info.validation_alias, AliasChoices) else [field]
        names |= {str(alias).upper(): field for alias in aliases}
    return names


def _overview(settings: Settings, wrong: Collection[str]) -> Check:
    where = ".env is read" if _env_file().is_file() else "there is no .env here, so only the environment counts"
    model = "?" if {"model_api", "model_url"} & set(wrong) else settings.backend
    platforms = "slack" if _has_slack(settings, wrong) else "none, the terminal"
    return Check("settings", "ok", "Settings", f"{where}; model: {model}; platforms: {platforms}")


def _env_file() -> Path:
    return Path(str(Settings.model_config.get("env_file") or ".env"))


def _look_into_env_file() -> list[Check]:
    """What is passed over in silence when settings are read: lines that are none, misspelt names, names set twice."""
    try:
        with _env_file().open(encoding="utf-8") as file:
            bindings = list(parse_stream(file))
    except (OSError, UnicodeDecodeError):
        return []
    checks, known = [], _names()
    environment = {name.upper(): value for name, value in os.environ.items()}
    for binding in bindings:
        name = (binding.key or "").upper()
        if binding.error:
            what, remedy = f"line {binding.original.line} is no setting", "Write it as NAME=value, or remove it."
        elif name and name not in known and (near := get_close_matches(name, known, n=1, cutoff=0.85)):
            what, remedy = f"there is no setting called {name}", f"Is it {near[0]}?"
        elif name in known and binding.value and environment.get(name) not in (None, "", binding.value):
            what = f"{name} is set to something else in the environment, and that counts"
            remedy = f"For the value in .env: unset {binding.key}"
        else:
            continue
        checks.append(Check("settings", "warning", ".env", what, remedy))
    return checks


# Platforms.


def _has_slack(settings: Settings, wrong: Collection[str]) -> bool:
    return "slack" in configured(settings) or bool({"slack_bot_token", "slack_app_token"} & set(wrong))


async def _examine_slack(settings: Settings, wrong: Collection[str], say: Say) -> None:
    if not _has_slack(settings, wrong):
        hint = "To set it up, paste what `parley slack manifest` prints at api.slack.com/apps > Create New App."
        say(Check("slack", "ok", "Slack", "not set up", hint))
        return
    from bots.slack.checks import examine_slack

    await examine_slack(settings, wrong, say)
