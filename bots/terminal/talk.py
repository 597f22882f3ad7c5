"""``parley chat``: a person at a terminal gets a window, pipes and files get plain text."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TextIO

from bots.assembly import open_core
from bots.terminal.chat import Chat
from core.settings import Settings


async def chat_in_terminal(settings: Settings, *, if_empty: str = "") -> int:
    """Chat until the input ends. The exit code: 1 if piped input got no whole answer, else 0.

    ``if_empty`` is what to say if piped input was empty, and then the exit code is 2; "" for nothing, and 0.

    Raises:
        StorageError: Redis is not available.
    """
    told: list[int] = []
    _end_on_signals(told)
    try:
        async with open_core(settings) as core:
            chat = Chat(core)
            if _drawable(sys.stdin) and _drawable(sys.stdout):
                from bots.terminal.screen import talk

                return await talk(chat, settings.data_dir / "history")
            from bots.terminal.plain import answer_input

            return await answer_input(chat, if_empty=if_empty)
    except asyncio.CancelledError:
        if told:
            return 128 + told[0]
        raise


def _drawable(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def _end_on_signals(told: list[int]) -> None:
    """Let SIGTERM and SIGHUP end this task, so that the embedded Redis ends with it; ``told`` gets their number."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task  # noqa: S101 - called from a coroutine

    def end(number: int) -> None:
        told.append(number)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP, and means it
            loop.add_signal_handler(number, end, number)
