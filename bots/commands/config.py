"""``parley config``: the settings in effect, and where each comes from; secrets are masked."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

import typer
from pydantic import SecretStr

from bots.console.printing import plain, print_json, show, table
from bots.console.usage import SET_UP, Command
from bots.doctor.envfile import env_file, setting_names, settings_in_env_file
from bots.platforms import all_settings
from core.settings import Settings

MASK = "…"
MAX_VALUE_LENGTH = 100
"""Characters of a value in the table; ``--json`` has all of it."""


@dataclass(frozen=True, slots=True)
class Effective:
    """One setting in effect, under the ``name`` by which it was set; masked if it is secret."""

    name: str
    value: Any
    source: str
    changed: bool
    """Whether it differs from its default, or would if its value weren't wrong."""


def attach(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command("config", cls=Command, rich_help_panel=SET_UP)(config)


def config(
    changed: Annotated[bool, typer.Option("--changed", help="Only settings that differ from their default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the settings in effect, and where each comes from. Secrets are masked.

    .env.example explains each setting. Exit code 1 if a setting is wrong, and then its default is shown; or if .env
    cannot be read, and then only the environment is used. `parley doctor` says what is wrong.
    """
    from bots.doctor.examine import ENV_FILE, read_settings

    settings, wrong, noticed = read_settings()
    unread = [check for check in noticed if check.name == ENV_FILE]
    rows = [row for row in effective(settings, wrong) if row.changed or not changed]
    if as_json:
        print_json([{"name": row.name, "value": row.value, "source": row.source} for row in rows])
    elif not rows:
        print("No setting differs from its default.")  # noqa: T201
    else:
        shown = table("setting", "value", "from")
        for row in rows:
            shown.add_row(row.name, _short(row.value), row.source)
        show(shown)
    for check in unread:
        typer.echo(f"{check.tried}: {check.found}. {check.remedy}", err=True)
    raise typer.Exit(1 if wrong or unread else 0)


def effective(settings: Settings, wrong: frozenset[str] = frozenset()) -> list[Effective]:
    """Every setting in the order of ``Settings``; those that are ``wrong`` have their defaults."""
    environment = {name.upper() for name, value in os.environ.items() if value}
    in_file = settings_in_env_file()
    names: dict[str, list[str]] = {}
    for name, field in setting_names().items():
        names.setdefault(field, []).append(name)
    rows = []
    for field, called in names.items():
        value, info = getattr(settings, field), all_settings().model_fields[field]
        set_here = next((name for name in called if name in environment), "")
        set_there = next((name for name in called if name in in_file), "")
        source = (
            "environment" if set_here else f"{env_file().name}, line {in_file[set_there]}" if set_there else "default"
        )
        if field in wrong:
            source += ", wrong: default used"
        changed = field in wrong or value != info.get_default(call_default_factory=True)
        rows.append(Effective(set_here or set_there or called[0], _masked(value), source, changed))
    return rows


def _masked(value: Any) -> Any:
    """A value with its secrets masked, ready for JSON."""
    match value:
        case SecretStr():
            secret = value.get_secret_value()
            return _without_secret(secret) if "://" in secret else MASK
        case str() if "://" in value:
            return _without_secret(value)
        case frozenset() | tuple():
            return sorted(value) if isinstance(value, frozenset) else list(value)
        case Path():
            return str(value)
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {name: one for name, one in asdict(value).items() if one is not None}
        case _:
            return value


def _without_secret(url: str) -> str:
    """An address without its user, password and query."""
    try:
        parts = urlsplit(url)
        host = f"{MASK}@{parts.netloc.rpartition('@')[2]}" if "@" in parts.netloc else parts.netloc
    except ValueError:
        return MASK
    # With an unquoted / ? or # in a password, part of it would stand in the path.
    if "@" in parts.path + parts.query + parts.fragment:
        return f"{parts.scheme}://{MASK}"
    return urlunsplit((parts.scheme, host, parts.path, MASK if parts.query else "", ""))


def _short(value: Any) -> str:
    """A value on one line."""
    match value:
        case None | "" | [] | {}:
            return ""
        case list():
            text = ", ".join(map(str, value))
        case dict():
            text = ", ".join(f"{name}={one}" for name, one in value.items())
        case bool():
            text = str(value).lower()
        case _:
            text = str(value)
    text = plain(text).replace("\n", " ").replace("\t", " ")
    return text if len(text) <= MAX_VALUE_LENGTH else text[: MAX_VALUE_LENGTH - 1] + MASK
