"""A chat through pipes and files: each line of stdin is a message, and stdout gets the answers and nothing else.

Both are plain text in UTF-8, whatever the locale is. Notes and errors go to stderr.
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
    """Answer each line of stdin on stdout. Returns the exit code: 1 if any answer is incomplete, else 0.

    Args:
        chat: Handles the lines.
        if_empty: What to say if piped input was empty; the exit code is 2 then. A person can leave without a word.
    """
    person = bool(sys.stdin and sys.stdin.isatty())
    if person:
        note(chat.greeting)
    got_input = False

    async def source() -> AsyncGenerator[str]:
        nonlocal got_input
        async with aclosing(lines(sys.stdin)) as said:
            async for line in said:
                got_input = got_input or bool(line.strip())
                yield line

    code = await answer_lines(chat, source(), partial(write, sys.stdout))
    if got_input or person or not if_empty:
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
        """Show nothing: only the answer is printed."""
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
        """Do nothing: no earlier reply is written over here."""

    async def find(self, part: int) -> MessageRef | None:
        """None: a reply ends with its process, so there is never one to continue."""
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
                result = await chat.handle_line(line)
                if result is None:
                    break
                if isinstance(result, str):
                    note(result)
                    continue
                answer = await chat.answer(result, PlainEditor(write_separated))
            except ParleyError as error:
                note(f"{error} {error.remedy}".rstrip())
                whole = False
                continue
            except BrokenPipeError:
                break
            except OSError as error:
                note(f"Can't write the answer: {error.strerror}.")
                return 1
            whole = whole and answer.outcome.ending not in (Ending.FAILED, Ending.INTERRUPTED)
            separator = "\n" if answer.text else separator
    return 0 if whole else 1


async def lines(stream: TextIO | None) -> AsyncGenerator[str]:
    """Yield the lines of a stream as they arrive, none if it is closed; bytes that aren't UTF-8 become U+FFFD."""
    pieces: list[bytes] = []
    while stream and (chunk := await _in_a_thread(partial(_read, stream.fileno()))):
        first, *more = chunk.split(b"\n")
        pieces.append(first)
        for piece in more:
            yield _decode(pieces)
            pieces = [piece]
    yield _decode(pieces)


def note(text: str) -> None:
    """Print something that isn't an answer, on stderr."""
    with suppress(OSError):
        write(sys.stderr, visible(text) + "\n")


def write(stream: TextIO | None, text: str) -> None:
    """Write to a stream unbuffered: a buffer would be flushed into a closed pipe at exit."""
    data = text.encode("utf-8", "replace") if stream else b""
    while stream and data:
        try:
            data = data[os.write(stream.fileno(), data) :]
        except BlockingIOError:
            select.select([], [stream], [])


async def _in_a_thread(read: Callable[[], bytes]) -> bytes:
    """Run ``read`` in a thread that doesn't keep the program from ending.

    ``asyncio.to_thread`` would: at exit, it waits for its threads, and this one can wait for a person.
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
    """Read the next bytes of a file descriptor; b"" at the end, or if the terminal is gone."""
    while True:
        try:
            return os.read(source, 65_536)
        except BlockingIOError:
            select.select([source], [], [])
        except OSError:
            return b""


def _decode(pieces: list[bytes]) -> str:
    return b"".join(pieces).decode("utf-8", "replace").removeprefix("\ufeff").rstrip("\r")
