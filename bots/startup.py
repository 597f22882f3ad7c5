"""What ``parley run`` tells a person at a terminal: that it is starting, ready (and where), or stopping.

If stderr isn't a terminal, it prints nothing: supervisors read the log.
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
"""Seconds after which a step of the start that is still running is named."""
_REMOTE = ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY", "CI")
_IN_TERMINAL = {"www-browser", "links", "elinks", "lynx", "w3m"}
"""Browsers that would take over the terminal."""


class Notices:
    """Prints lines for the person at the terminal."""

    def __init__(self, *, browser: bool = False) -> None:
        """With ``browser``, open the page in one when it is ready, if there is one."""
        self.running: Callable[[], int] = lambda: 0
        """How many answers are being written."""
        self._browser = browser
        self._shown = sys.stderr.isatty()
        self._stopping = 0

    @contextmanager
    def waiting(self, for_what: str) -> Iterator[None]:
        """While inside, a step of the start is running; if it is slow, name it."""
        line = f"Starting Parley {parley_version()}: {for_what} …"
        timer = asyncio.get_running_loop().call_later(SLOW_START_SECONDS, self._say, line)
        try:
            yield
        finally:
            timer.cancel()

    def ready(self, *parts: str, page: str = "") -> None:
        """Say that everything is connected, and open ``page``, the page's address, if it was started."""
        self._say(" · ".join([f"Parley {parley_version()}", *parts, "Ctrl-C to stop"]))
        if page and self._browser and not self._stopping and has_browser():
            open_in_browser(page)

    def stopping(self, grace: float) -> None:
        """Say that Parley is stopping; a second request to stop ends running answers at once."""
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
    """Which model answers, in words and without secrets; ``names`` are those in MODELS_FILE."""
    if named := [name for name in names if name]:
        return f"model{'s' * (len(named) > 1)} {', '.join(named)}"
    if settings.backend == "demo" or not settings.model_url:
        return "demo model"
    called = f"model {settings.model_name}" if settings.model_name else "model"
    return f"{called} at {server(settings.model_url)}"


def has_browser(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a browser can open on the screen of the person at this terminal."""
    if not sys.stderr.isatty() or any(environment.get(name) for name in _REMOTE):
        return False
    return sys.platform != "linux" or bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))


def open_in_browser(address: str) -> None:
    """Open a page in a browser; ignore errors, since its address has been printed."""

    def work() -> None:
        try:
            browser = webbrowser.get()
            if Path(getattr(browser, "name", "")).name not in _IN_TERMINAL:
                browser.open(address)
        except (webbrowser.Error, OSError):
            return

    # Not asyncio.to_thread: the program waits for that at exit, and a browser can take long.
    threading.Thread(target=work, daemon=True).start()
