"""Lines of ``.env``, and variables of the environment, that have no effect: loading the settings says nothing of them.

``parley doctor`` shows all of them; ``parley run`` and ``parley chat`` show those that are mistakes when they start.
That has to be fast, so nothing heavy is imported here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from bots.platforms import all_settings
from core.settings import Settings, names_of


@dataclass(frozen=True, slots=True)
class IgnoredLine:
    """A line of ``.env`` that has no effect: what is wrong, and what to do. It is a ``mistake``, or could be meant.

    ``line`` is 0 for a variable of the environment.
    """

    line: int
    found: str
    remedy: str
    mistake: bool = True

    @property
    def where(self) -> str:
        """Where it is written, for people."""
        return f".env, line {self.line}" if self.line else "Environment"


def env_file() -> Path:
    """The ``.env`` that settings are read from, whether there is one or not."""
    return Path(str(Settings.model_config.get("env_file") or ".env")).absolute()


def setting_names() -> dict[str, str]:
    """Every name that a setting has in the environment, and its field."""
    model = all_settings()
    return {name: field for field in model.model_fields for name in names_of(model, field)}


def settings_in_env_file() -> dict[str, int]:
    """The names that have a value in ``.env``, in capitals, and the line in which each is set: the last one counts."""
    try:
        with env_file().open(encoding="utf-8") as file:
            return {
                binding.key.upper(): _line(binding) for binding in parse_stream(file) if binding.key and binding.value
            }
    except (OSError, UnicodeDecodeError):
        return {}


def ignored() -> list[IgnoredLine]:
    """All that has no effect, in ``.env`` and in the environment; never a value."""
    return [*ignored_lines(), *ignored_variables()]


def ignored_variables() -> list[IgnoredLine]:
    """Misspelt settings in the environment. Other programs are set there, too, so only what is hardly anything else."""
    known = setting_names()
    strangers = (name for name in sorted(os.environ) if name.upper() not in known)
    return [
        IgnoredLine(0, f"no setting '{name}'", f"Did you mean {near}?")
        for name in strangers
        if (near := _nearest(name.upper(), known, cutoff=0.92))
    ]


def ignored_lines() -> list[IgnoredLine]:
    """Lines that are not settings, misspelt names, overridden values, and values that a # cut off; never a value."""
    try:
        with env_file().open(encoding="utf-8") as file:
            bindings = list(parse_stream(file))
    except (OSError, UnicodeDecodeError):
        return []
    known = setting_names()
    environment = {name.upper(): value for name, value in os.environ.items()}
    ignored = []
    for binding in bindings:
        line, name = _line(binding), (binding.key or "").upper()
        if binding.error:
            ignored.append(IgnoredLine(line, "this is not a setting", "Write it as NAME=value, or remove it."))
        elif name and name not in known and (near := _nearest(name, known)):
            ignored.append(IgnoredLine(line, f"no setting '{binding.key}'", f"Did you mean {near}?"))
        elif name in known and binding.value and environment.get(name) not in (None, "", binding.value):
            what = f"{name} is set to another value in the environment, and that one is used"
            ignored.append(IgnoredLine(line, what, f"To use the value in .env: unset {binding.key}", mistake=False))
        if name in known and _is_cut(binding):
            what = f"the value of {name} ends at the #, because a comment begins there"
            remedy = "If the rest belongs to the value, put the value in quotes."
            ignored.append(IgnoredLine(line, what, remedy, mistake=False))
    return ignored


def _line(binding: Binding) -> int:
    """The line in which it is written; the parser counts from the blank lines above it."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _is_cut(binding: Binding) -> bool:
    """Whether a value without quotes ends before ``#general`` or the like: a comment mostly has a space there."""
    _, _, written = binding.original.string.strip().partition("=")
    return not written.lstrip().startswith(("'", '"')) and bool(re.search(r"\s#\w", written))


def _nearest(name: str, known: Collection[str], *, cutoff: float = 0.0) -> str:
    """The setting that was probably meant, if any: other programs keep their settings in the same places.

    Args:
        name: What was written, in capitals.
        known: The names of all settings.
        cutoff: How alike they must be at least, from 0 to 1.
    """
    # Only where there is a name to compare: most start-ups do without it.
    from difflib import get_close_matches

    first, separator, _ = name.partition("_")
    kin = [one for one in known if one.partition("_")[0] == first]
    near = get_close_matches(name, kin, n=1, cutoff=max(0.8, cutoff))
    if not near and not (cutoff and separator):
        near = get_close_matches(name, known, n=1, cutoff=max(0.85, cutoff))
    return near[0] if near else ""
