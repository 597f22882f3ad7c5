"""``parley chat``: full screen for a person at a terminal, plain text for pipes and files."""

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
    """Chat until the input ends. Returns the exit code: 1 if an answer to piped input is incomplete, else 0.

    Args:
        settings: Where the model and Redis are.
        if_empty: What to say if piped input was empty; the exit code is 2 then. With "", it is 0.

    Raises:
        StorageError: Redis is not available.
    """
    signals: list[int] = []
    _end_on_signals(signals)
    try:
        async with open_core(settings) as core:
            chat = Chat(core)
            if _drawable(sys.stdin) and _drawable(sys.stdout):
                from bots.terminal.screen import talk

                return await talk(chat, settings.data_dir / "history")
            from bots.terminal.plain import answer_input

            return await answer_input(chat, if_empty=if_empty)
    except asyncio.CancelledError:
        if signals:
            return 128 + signals[0]
        raise


def _drawable(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def _end_on_signals(signals: list[int]) -> None:
    """Let SIGTERM and SIGHUP cancel this task, so that the embedded Redis ends with it; ``signals`` collects them."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task  # noqa: S101 - called from a coroutine

    def end(number: int) -> None:
        signals.append(number)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # under nohup, SIGHUP stays ignored
            loop.add_signal_handler(number, end, number)
