"""Values parsed from files, re-parsed when the files change: editing a persona or a template needs no restart."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from core.errors import SettingsError

log = structlog.get_logger()

T = TypeVar("T")
PAUSE = 1.0
"""Seconds between two looks at the files: a look is a system call for each."""


class AutoReloaded(Generic[T]):
    """A value parsed from the files at ``path``: one file, or all files of a folder.

    ``make`` is called at once, and its errors are raised. If it fails after a later change, the failure is logged and
    the previous value stays in use.
    """

    def __init__(self, path: Path | None, make: Callable[[], T], *, pause: float = PAUSE) -> None:
        self._path, self._make, self._pause = path, make, pause
        self._seen = _stamps(path)
        self._value = make()
        self._next = time.monotonic() + pause

    def get(self) -> T:
        """The value as the files are now, or were a moment ago."""
        if self._path and time.monotonic() >= self._next:
            self._next = time.monotonic() + self._pause
            if (seen := _stamps(self._path)) != self._seen:
                self._seen = seen
                try:
                    self._value = self._make()
                except SettingsError as error:
                    log.warning("file reload failed", error=str(error), remedy=error.remedy)
                else:
                    log.info("file reloaded", folder=str(self._path))
        return self._value


def _stamps(path: Path | None) -> list[tuple[str, int, int]]:
    """What tells a change: of each file its name, time and size."""
    try:
        files = sorted(path.iterdir()) if path and path.is_dir() else [path] if path else []
        return [(file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    except OSError:
        return []
