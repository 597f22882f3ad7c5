"""Parley's version, and what its optional parts need, as the installed package says.

The package is called ``parley-assistant``: on the package index, ``parley`` is another project.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import requires, version

DISTRIBUTION = "parley-assistant"


def parley_version() -> str:
    """Parley's version, for example ``0.2.0``."""
    return version(DISTRIBUTION)


def how_to_install(extra: str) -> str:
    """How to add what an optional part needs to the environment that Parley runs in.

    >>> how_to_install("web")
    "In a clone, run `make setup`. Elsewhere: /opt/parley/bin/python -m pip install 'gradio<7,>=6.17'"
    """
    marked = re.compile(rf"""(.*?)\s*;.*\bextra\s*==\s*["']{extra}["']""")
    needed = [found[1] for line in requires(DISTRIBUTION) or () if (found := marked.fullmatch(line))]
    command = " ".join([sys.executable, "-m pip install", *(f"'{name}'" for name in needed)])
    return f"In a clone, run `make setup`. Elsewhere: {command}"
