"""What ``parley run`` says to a person: that it is starting, that it is ready and where, and that it is stopping.

Where stderr is no terminal, it says nothing: supervisors read the log.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bots.addresses import server
from bots.console.streams import say
from core.settings import Settings
from core.version import parley_version

SLOW_START_SECONDS = 0.5
"""Seconds that a step of the start may take before a person is told what is being waited for."""
_REMOTE = ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY", "CI")
_IN_TERMINAL = {"www-browser", "links", "elinks", "lynx", "w3m"}
"""Browsers that would take over the terminal."""


class Notices:
    """Lines for the person at the terminal."""

    def __init__(self, *, browser: bool = False) -> None:
        """With ``browser``, a page that is ready opens in one, if there is one."""
        self.running: Callable[[], int] = lambda: 0
        """How many answers are being written."""
        self._browser = browser
        self._shown = sys.stderr.isatty()
        self._stopping = 0

    @contextmanager
    def waiting(self, for_what: str) -> Iterator[None]:
        """While inside, a step of the start is under way; a slow one is named."""
        line = f"Starting Parley {parley_version()}: {for_what} …"
        timer = asyncio.get_running_loop().call_later(SLOW_START_SECONDS, self._say, line)
        try:
            yield
        finally:
            timer.cancel()

    def ready(self, *parts: str, page: str = "") -> None:
        """All is connected, and the page answers: at the address ``page``, if it is what was started."""
        self._say(" · ".join([f"Parley {parley_version()}", *parts, "Ctrl-C to stop"]))
        if page and self._browser and not self._stopping and has_browser():
            open_in_browser(page)

    def stopping(self, grace: float) -> None:
        """Somebody asked to stop; asked once more, running answers end at once."""
        self._stopping += 1
        running = self.running()
        line = "\nStopping."
        if running and self._stopping == 1:
            answers = "1 answer has" if running == 1 else f"{running} answers have"
            line = (
                f"\nStopping: {answers} {grace:g} s to finish. Press Ctrl-C again to stop at once; "
                "what isn't finished then continues in another worker or after the next start."
            )
        if self._stopping == 1 or running:
            self._print(line)

    def _say(self, line: str) -> None:
        if not self._stopping:
            self._print(line)

    def _print(self, line: str) -> None:
        if self._shown:
            say(line)


def model_in_words(settings: Settings, names: Sequence[str] = ()) -> str:
    """Which model answers, with nothing secret; ``names`` are those in the table of models."""
    if named := [name for name in names if name]:
        return f"model{'s' * (len(named) > 1)} {', '.join(named)}"
    if settings.backend == "demo" or not settings.model_url:
        return "demo model"
    called = f"model {settings.model_name}" if settings.model_name else "model"
    return f"{called} at {server(settings.model_url)}"


def has_browser(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether there is a screen before the person at this terminal on which a browser can open."""
    if not sys.stderr.isatty() or any(environment.get(name) for name in _REMOTE):
        return False
    return sys.platform != "linux" or bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))


def open_in_browser(address: str) -> None:
    """Open a page; where that fails, the person has its address."""

    def work() -> None:
        try:
            browser = webbrowser.get()
            if Path(getattr(browser, "name", "")).name not in _IN_TERMINAL:
                browser.open(address)
        except (webbrowser.Error, OSError):
            return

    # Not asyncio.to_thread: the end of the program waits for that, and a browser may take long.
    threading.Thread(target=work, daemon=True).start()
