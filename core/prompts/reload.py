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
CHECK_SECONDS = 1.0
"""Seconds between two checks for changes: a check is a system call per file."""


class AutoReloaded(Generic[T]):
    """A value parsed from the files at ``path``: one file, or all files of a folder.

    ``parse`` is called at once, and its errors are raised. If it fails after a later change, that is logged and the
    previous value stays in use.

    Example::

        template = AutoReloaded(path, lambda: read_template(path))
        template.get()
    """

    def __init__(self, path: Path | None, parse: Callable[[], T], *, check_seconds: float = CHECK_SECONDS) -> None:
        self._path, self._parse, self._check_seconds = path, parse, check_seconds
        self._seen = _file_stamps(path)
        self._value = parse()
        self._next_check = time.monotonic() + check_seconds

    def get(self) -> T:
        """The value of the files as they were at most ``check_seconds`` ago."""
        if self._path and time.monotonic() >= self._next_check:
            self._next_check = time.monotonic() + self._check_seconds
            if (seen := _file_stamps(self._path)) != self._seen:
                self._seen = seen
                try:
                    self._value = self._parse()
                except SettingsError as error:
                    log.warning("file reload failed", error=str(error), remedy=error.remedy)
                else:
                    log.info("file reloaded", folder=str(self._path))
        return self._value


def _file_stamps(path: Path | None) -> list[tuple[str, int, int]]:
    """Name, time and size of each file, by which a change is noticed."""
    try:
        files = sorted(path.iterdir()) if path and path.is_dir() else [path] if path else []
        return [(file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    except OSError:
        return []
