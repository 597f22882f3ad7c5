"""Personas: system prompts as Markdown files, with named variables, such as ``{{team}}``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from core.errors import SettingsError
from core.prompts.reload import CHECK_SECONDS, AutoReloaded

MAX_PERSONA_BYTES = 64_000
"""Bytes of a persona; a longer one would leave the model no room to answer."""

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")
_NAME = re.compile(r"[\w-]{1,64}")


def list_personas(folder: Path | None) -> list[str]:
    """The names of all personas in a folder: its Markdown files without their ending, sorted."""
    return sorted(path.stem for path in folder.glob("*.md") if _NAME.fullmatch(path.stem)) if folder else []


def read_personas(folder: Path | None, variables: Mapping[str, str]) -> dict[str, str]:
    """All personas of a folder, by name. Raises SettingsError as ``read_persona`` does, and if there is no folder."""
    if folder and not folder.is_dir():
        raise SettingsError(f"PERSONAS: there is no folder '{folder}'. Example: PERSONAS=personas")
    return {name: read_persona(folder, name, variables) for name in list_personas(folder)}


class Personas(Mapping[str, str]):
    """All personas of a folder, by name; an edited file takes effect with the next question.

    Raises SettingsError when it is made, as ``read_personas`` does.
    """

    def __init__(
        self, folder: Path | None, variables: Mapping[str, str], *, check_seconds: float = CHECK_SECONDS
    ) -> None:
        self._reloaded = AutoReloaded(folder, lambda: read_personas(folder, variables), check_seconds=check_seconds)

    def __getitem__(self, name: str) -> str:
        return self._reloaded.get()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._reloaded.get())

    def __len__(self) -> int:
        return len(self._reloaded.get())


def read_persona(folder: Path | None, name: str, variables: Mapping[str, str]) -> str:
    """The system prompt of one persona, with ``variables`` in their places.

    Raises:
        SettingsError: there is no such persona, it cannot be read, or it needs a variable that is not set.
    """
    known = list_personas(folder)
    if name not in known or folder is None:
        there = f"there are {', '.join(known)}" if known else "there are none"
        raise SettingsError(
            f"no persona {name[:64]!r}; {there}",
            remedy="A persona is a Markdown file in the folder that PERSONAS names.",
        )
    path = folder / f"{name}.md"
    try:
        if path.stat().st_size > MAX_PERSONA_BYTES:
            raise SettingsError(
                f"the persona '{name}' is larger than {MAX_PERSONA_BYTES:,} bytes", remedy="Make it shorter."
            )
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the persona '{name}' cannot be read ({type(error).__name__})") from None
    return fill_variables(text, variables, what=f"the persona {name}")


def fill_variables(text: str, variables: Mapping[str, str], *, what: str) -> str:
    """``text`` with each ``{{name}}`` replaced. Raises SettingsError that names all variables that are missing."""
    missing = sorted({name for name in _VARIABLE.findall(text) if name not in variables})
    if missing:
        named = ", ".join(missing)
        example = f"PERSONA_VARIABLES={missing[0]}=…"
        raise SettingsError(f"{what} needs the variable{'s' * (len(missing) > 1)} {named}", remedy=f"Set {example}")
    return _VARIABLE.sub(lambda found: variables[found[1]], text)
