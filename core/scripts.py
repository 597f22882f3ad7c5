"""The Lua scripts of ``core/lua``, each one atomic step in Redis."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).with_name("lua")


@cache
def script(name: str, *libraries: str) -> str:
    """The source of a script, after the libraries of functions that it uses; ``stored`` is one of all scripts."""
    parts = ("stored", *libraries, name)
    return "\n".join(_FOLDER.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in parts)
