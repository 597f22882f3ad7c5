"""What commands print: tables for people, JSON for programs, progress on stderr at a terminal."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any

from core.typos import nearest

if TYPE_CHECKING:
    from rich.table import Table

FILE_COLUMNS = 1_000_000
"""Columns of a table in a file or a pipe, where nothing is wrapped: nobody could search for a wrapped id."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, without tabs and line feeds, and without the joiners of letters and emoji (U+200C, U+200D)."""
UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))


def print_json(value: Any) -> None:
    """Print JSON; characters that stdout's encoding lacks are escaped."""
    ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    sys.stdout.write(json.dumps(value, ensure_ascii=ascii_only, indent=2) + "\n")


def table(*columns: str) -> Table:
    """An empty table."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, show_header=any(columns))
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def show(what: Table) -> None:
    """Print a table; into a file or a pipe, as wide as it needs to be."""
    from rich.console import Console

    if sys.stdout.isatty():
        Console(highlight=False).print(what, markup=False)
        return
    page = StringIO()
    Console(file=page, highlight=False, force_terminal=False, width=FILE_COLUMNS).print(what, markup=False)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in page.getvalue().removesuffix("\n").split("\n"))


def plain(text: str) -> str:
    """Text from elsewhere without what a terminal would obey: control characters, changes of the writing direction."""
    return _CONTROL.sub(" ", text)


def many(count: int, thing: str) -> str:
    """A number and what it counts: ``1 message``, ``2 messages``."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def did_you_mean(typed: str, known: Sequence[str], shown: str = "{}", *, otherwise: str = "") -> str:
    """Ask for the name that was probably meant; if none is close, ``otherwise``, or the list of all names.

    >>> did_you_mean("slak", ["slack", "discord"])
    'Did you mean slack?'
    """
    if near := nearest(typed, known):
        return f"Did you mean {shown.format(near)}?"
    return otherwise or f"Choose from: {', '.join(map(shown.format, known))}."


def span(seconds: float) -> str:
    """A duration in its largest unit: ``3 d``."""
    for size, unit in UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def ago(at: float) -> str:
    """How long ago a moment was; ``at`` in seconds since the epoch."""
    return f"{span(time.time() - at)} ago"


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on stderr, if that is a terminal. Call the result after each of ``total`` steps."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
