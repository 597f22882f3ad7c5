"""What ``.env`` says in vain: the settings pass over it in silence.

``parley doctor`` shows all of it; ``parley run`` and ``parley chat`` show at their start what is a mistake. They start
at once, so nothing heavy is imported here.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from dotenv.parser import Binding, parse_stream
from pydantic import AliasChoices

from core.settings import Settings


@dataclass(frozen=True, slots=True)
class Vain:
    """A line of ``.env`` that has no effect: what it is, and what to do. Only a ``mistake`` is never meant so."""

    line: int
    found: str
    remedy: str
    mistake: bool = True


def env_file() -> Path:
    """The ``.env`` that settings are read from, whether there is one or not."""
    return Path(str(Settings.model_config.get("env_file") or ".env")).absolute()


def setting_names() -> dict[str, str]:
    """Every name that a setting has in the environment, and its field."""
    names: dict[str, str] = {}
    for field, info in Settings.model_fields.items():
        aliases = info.validation_alias.choices if isinstance(info.validation_alias, AliasChoices) else [field]
        names |= {str(alias).upper(): field for alias in aliases}
    return names


def settings_in_env_file() -> dict[str, int]:
    """The names that have a value in ``.env``, in capitals, and the line in which each is set: the last one counts."""
    try:
        with env_file().open(encoding="utf-8") as file:
            return {
                binding.key.upper(): _line(binding) for binding in parse_stream(file) if binding.key and binding.value
            }
    except (OSError, UnicodeDecodeError):
        return {}


def look_into_env_file() -> list[Vain]:
    """Lines that are no settings, misspelt names, what is overruled or perhaps cut off; no values."""
    try:
        with env_file().open(encoding="utf-8") as file:
            bindings = list(parse_stream(file))
    except (OSError, UnicodeDecodeError):
        return []
    known = setting_names()
    environment = {name.upper(): value for name, value in os.environ.items()}
    vain = []
    for binding in bindings:
        line, name = _line(binding), (binding.key or "").upper()
        if binding.error:
            vain.append(Vain(line, f"line {line} is no setting", "Write it as NAME=value, or remove it."))
        elif name and name not in known and (near := _nearest(name, known)):
            vain.append(Vain(line, f"there is no setting called {name}", f"Is it {near}?"))
        elif name in known and binding.value and environment.get(name) not in (None, "", binding.value):
            what = f"{name} is set to something else in the environment, and that counts"
            vain.append(Vain(line, what, f"For the value in .env: unset {binding.key}", mistake=False))
        if name in known and _is_cut(binding):
            what = f"in line {line}, the value of {name} ends before its #, where a comment begins"
            vain.append(Vain(line, what, "If that belongs to the value, put the value in quotes.", mistake=False))
    return vain


def _line(binding: Binding) -> int:
    """The line in which it is written; the parser counts from the blank lines above it."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _is_cut(binding: Binding) -> bool:
    """Whether a value without quotes ends before ``#general`` or the like: a comment mostly has a space there."""
    _, _, written = binding.original.string.strip().partition("=")
    return not written.lstrip().startswith(("'", '"')) and bool(re.search(r"\s#\w", written))


def _nearest(name: str, known: dict[str, str]) -> str:
    """The setting that was probably meant, if any."""
    # Only where there is a name to compare: most start-ups do without it.
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, known, n=1, cutoff=0.85)), "")
