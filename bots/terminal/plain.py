"""A chat in pipes and files: each line that comes in is a message, what goes out on stdout is the answers alone.

Plain text, as UTF-8, whatever the locale says. What else there is to say goes to stderr.
"""

from __future__ import annotations

import asyncio
import os
import select
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext, suppress
from functools import partial
from typing import TextIO

from bots.terminal.chat import LIMITS, Chat, answer_ref, slashed, visible
from core.errors import ParleyError
from core.types import Ending, MessageRef, Outcome


async def answer_input(chat: Chat, *, if_empty: str = "") -> int:
    """Answer what comes from stdin, on stdout. The exit code: 1 if anything got no whole answer, else 0.

    ``if_empty`` is what to say if nothing came in, and then the exit code is 2; a person may well say nothing.
    """
    person = bool(sys.stdin and sys.stdin.isatty())
    if person:
        note(chat.greeting)
    heard = False

    async def source() -> AsyncGenerator[str]:
        nonlocal heard
        async with aclosing(lines(sys.stdin)) as said:
            async for line in said:
                heard = heard or bool(line.strip())
                yield line

    code = await answer_lines(chat, source(), partial(write, sys.stdout))
    if heard or person or not if_empty:
        return code
    note(if_empty)
    return 2


class PlainEditor:
    """Prints one answer as it is written, and takes nothing back. See ``core.delivery.MessageEditor``."""

    limits = LIMITS

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._printed = 0

    def working(self) -> AbstractAsyncContextManager[None]:
        """Nothing but the answer is printed."""
        return nullcontext()

    async def post(self, text: str, part: int, *, growing: bool) -> MessageRef:
        """Print the first words."""
        self._print(text)
        return answer_ref()

    async def edit(self, ref: MessageRef, text: str, *, growing: bool) -> None:
        """Print what is new."""
        del ref
        self._print(text)

    async def finish(
        self, refs: Sequence[MessageRef], parts: Sequence[str], outcome: Outcome, *, whole: str = ""
    ) -> tuple[MessageRef, ...]:
        """Print the rest, and end the line."""
        if parts:
            self._print("".join(parts))
            self._write("\n")
        if outcome.note:
            hint = " `parley doctor` looks for the cause." if outcome.retry else ""
            note(slashed(outcome.note) + hint)
        return tuple(refs) or ((answer_ref(),) if parts else ())

    async def remove(self, ref: MessageRef) -> None:
        """Nothing was left behind: no reply is written over."""

    async def find(self, part: int) -> MessageRef | None:
        """A reply ends with the process that writes it, so there is never one to continue."""
        return None

    def _print(self, text: str) -> None:
        text = text.rstrip()  # at the end of an answer it would spoil the blank line after it
        new = visible(text[self._printed :])
        self._printed = max(self._printed, len(text))
        if new:
            self._write(new)


async def answer_lines(chat: Chat, source: AsyncGenerator[str], out: Callable[[str], None]) -> int:
    """Answer line after line, with a blank line between two answers. Returns the exit code.

    Ends quietly when nobody reads the answers any more.
    """
    whole, separator = True, ""

    def write_separated(text: str) -> None:
        nonlocal separator
        out(separator + text)
        separator = ""

    async with aclosing(source):
        async for line in source:
            if not line.strip():
                continue
            try:
                heard = await chat.handle_line(line)
                if heard is None:
                    break
                if isinstance(heard, str):
                    note(heard)
                    continue
                answer = await chat.answer(heard, PlainEditor(write_separated))
            except ParleyError as error:
                note(f"{error} {error.remedy}".rstrip())
                whole = False
                continue
            except BrokenPipeError:
                break
            except OSError as error:
                note(f"The answer cannot be written: {error.strerror}.")
                return 1
            whole = whole and answer.outcome.ending not in (Ending.FAILED, Ending.INTERRUPTED)
            separator = "\n" if answer.text else separator
    return 0 if whole else 1


async def lines(stream: TextIO | None) -> AsyncGenerator[str]:
    """The lines of a stream, as they come; bytes that are no UTF-8 become U+FFFD. None for a stream that is closed."""
    pieces: list[bytes] = []
    while stream and (chunk := await _in_a_thread(partial(_read, stream.fileno()))):
        first, *more = chunk.split(b"\n")
        pieces.append(first)
        for piece in more:
            yield _decode(pieces)
            pieces = [piece]
    yield _decode(pieces)


def note(text: str) -> None:
    """Say something that is not an answer."""
    with suppress(OSError):
        write(sys.stderr, visible(text) + "\n")


def write(stream: TextIO | None, text: str) -> None:
    """Write at once, past buffers that would be flushed into a closed pipe at the end of the program."""
    data = text.encode("utf-8", "replace") if stream else b""
    while stream and data:
        try:
            data = data[os.write(stream.fileno(), data) :]
        except BlockingIOError:
            select.select([], [stream], [])


async def _in_a_thread(read: Callable[[], bytes]) -> bytes:
    """Wait for input without holding the program back.

    Not ``asyncio.to_thread``: at the end of the program, that waits for threads that wait for a person.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[bytes] = loop.create_future()

    def settle(data: bytes) -> None:
        if not result.done():
            result.set_result(data)

    def work() -> None:
        data = read()
        with suppress(RuntimeError):  # the program is gone already
            loop.call_soon_threadsafe(settle, data)

    threading.Thread(target=work, daemon=True).start()
    return await result


def _read(source: int) -> bytes:
    """The next bytes; none at the end, and none if the terminal is gone."""
    while True:
        try:
            return os.read(source, 65_536)
        except BlockingIOError:
            select.select([source], [], [])
        except OSError:
            return b""


def _decode(pieces: list[bytes]) -> str:
    return b"".join(pieces).decode("utf-8", "replace").removeprefix("\ufeff").rstrip("\r")
