"""Keeps each chat window up to date, and lets its browser find out whether it still is."""

from __future__ import annotations

import asyncio
import html
import secrets
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import gradio as gr

from bots.web.chat import ChatActions
from bots.web.live import LiveBoards
from bots.web.text import chat_messages, progress
from core.errors import StorageError
from core.tasks import end_tasks

MIN_REFRESH_SECONDS = 0.08
"""Seconds between two updates of a chat window, at least."""
BROWSER_CHECK_SECONDS = 20.0
"""Seconds between two checks whether a browser is still there."""
RUN = secrets.token_hex(8)
"""This run of the process. A browser that finds another one loads the page again."""


class Pulse:
    """A number in a browser's page that grows as long as its window is kept up to date; ``page.js`` looks at it.

    A browser whose connection broke without a word asks whether its window is still watched (see ``Watches.alive``),
    which makes the number grow: if it doesn't in the page, nothing reaches the browser any more.
    """

    def __init__(self, session: str) -> None:
        self.session = session
        self.name = secrets.token_hex(8)
        self._beats = 0
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Have it grow now."""
        self._asked.set()

    async def asked(self) -> None:
        """Wait until the browser wants it to grow."""
        await self._asked.wait()

    def beat(self) -> str:
        """The next number, as HTML."""
        self._asked.clear()
        self._beats += 1
        return f'<i id="pulse" data-run="{RUN}" data-watch="{self.name}" data-beat="{self._beats}"></i>'

    def end(self) -> str:
        """As HTML: nothing will follow."""
        return f'<i id="pulse" data-run="{RUN}" data-watch="" data-beat="{self._beats + 1}"></i>'


class Watches:
    """The chat windows that are kept up to date by this process, one for each browser tab."""

    def __init__(self, actions: ChatActions, live_boards: LiveBoards) -> None:
        self._actions = actions
        self._live_boards = live_boards
        self._sessions: dict[str, Pulse] = {}
        self._closing = False

    async def watch(self, channel: str, request: gr.Request) -> AsyncIterator[Any]:
        """Keep a chat window up to date, until its browser goes away or looks at another channel."""
        visitor = await self._actions.visitor(request)
        pulse = Pulse(request.session_hash or "")
        if before := self._sessions.get(pulse.session):
            before.ask()  # it ends now
        self._sessions[pulse.session] = pulse
        try:
            async with self._live_boards.watching(visitor.key(channel)) as board:
                version = 0
                while self._watches(pulse):
                    await _first(board.changed(version), pulse.asked(), seconds=BROWSER_CHECK_SECONDS)
                    if not self._watches(pulse):
                        break
                    if board.version == version:
                        yield gr.skip(), gr.skip(), gr.skip(), pulse.beat()
                        continue
                    version, entries = board.version, board.entries
                    reachable = self._live_boards.reachable
                    line = progress(entries) if reachable else self._actions.tell(StorageError.plain)
                    busy = any(entry.open for entry in entries)
                    # In a thread, since a long text takes its time.
                    messages = await asyncio.to_thread(chat_messages, entries, visitor.id)
                    yield messages, gr.Button("Stop", interactive=busy), status_line(line), pulse.beat()
                    await asyncio.sleep(MIN_REFRESH_SECONDS)
            # As this ends, Gradio sends what it yielded last once more, perhaps after what the next watch has shown.
            yield gr.skip(), gr.skip(), gr.skip(), pulse.end() if self._closing else gr.skip()
        finally:
            if self._sessions.get(pulse.session) is pulse:
                del self._sessions[pulse.session]

    def alive(self, name: str) -> bool:
        """Whether the window with that pulse is kept up to date; its pulse grows now."""
        for pulse in self._sessions.values():
            if pulse.name == name:
                pulse.ask()
                return True
        return False

    def close(self) -> None:
        """End all calls of ``watch``."""
        self._closing = True
        self._live_boards.wake()

    def _watches(self, pulse: Pulse) -> bool:
        return not self._closing and self._sessions.get(pulse.session) is pulse


async def _first(*waits: Coroutine[Any, Any, None], seconds: float) -> None:
    """Wait for the first of several, for ``seconds`` at most."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_tasks(tasks)


def status_line(text: str) -> str:
    """A line of HTML that a screen reader reads out when it changes."""
    return f'<div id="line" role="status" aria-live="polite">{html.escape(text)}</div>'
