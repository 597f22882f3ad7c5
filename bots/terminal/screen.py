"""The full-screen chat in a terminal: line editing, and an answer in Markdown that grows.

Finished paragraphs are printed for good. Only the last one is redrawn, and only as much of it as fits on the screen. So
an answer of any length ends up whole in the terminal's own scrollback.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from markdown_it import MarkdownIt
from markdown_it.token import Token
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import Output
from prompt_toolkit.shortcuts import CompleteStyle
from rich.console import Console, JustifyMethod
from rich.markdown import Heading, Markdown, MarkdownElement
from rich.theme import Theme

from bots.terminal.chat import COMMANDS, LIMITS, Chat, answer_ref, slashed, visible
from core.assistant import Stop
from core.errors import ParleyError
from core.markdown import heal
from core.types import Ending, MessageRef, Outcome

MAX_COLUMNS = 100
"""Columns of text; longer lines are hard to read."""
STOPPED = Outcome(Ending.STOPPED, "Stopped.")
THEME = Theme({"markdown.code": "bold cyan", "markdown.h1": "bold underline", "markdown.h2": "bold underline"})

_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
# Terminals that can show a frame all at once. Lines are cut off at the margin, not wrapped: a wrapped line would put
# everything drawn later in the wrong place.
_FRAME = "\x1b[?2026h\x1b[?25l\x1b[?7l{}\x1b[?7h\x1b[?25h\x1b[?2026l"


async def talk(chat: Chat, history: Path) -> int:
    """Chat with the person at the terminal until they leave. Returns the exit code, which is always 0."""
    # Where the locale's encoding lacks a character, print a question mark.
    if reconfigure := getattr(sys.stdout, "reconfigure", None):
        reconfigure(errors="replace")
    console = Console(theme=THEME)
    prompt = open_prompt(history)
    with _no_echo(), _interrupts() as interrupts:
        _say(console, chat.greeting)
        while True:
            try:
                line = await prompt.prompt_async(set_exception_handler=False, handle_sigint=False)
            except KeyboardInterrupt:
                if not prompt.default_buffer.text:
                    _say(console, "Ctrl-D or `/quit` to leave.")
                continue
            except EOFError:
                return 0
            line = line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            try:
                if line.strip() and not await _exchange(chat, line, console, interrupts):
                    return 0
            except ParleyError as error:
                _say(console, f"{error} {error.remedy}", style="yellow")


async def _exchange(chat: Chat, line: str, console: Console, interrupts: Interrupts) -> bool:
    """Handle one line, and show the reply. False if the person wants to leave."""
    result = await chat.handle_line(line)
    if isinstance(result, str):
        _say(console, result)
    elif result:
        interrupts.stop = asyncio.get_running_loop().create_future()
        await chat.answer(result, ScreenEditor(console), interrupts.stop)
    return result is not None


@dataclass
class Interrupts:
    """What Ctrl-C stops: the answer that is being written, if there is one."""

    stop: Stop | None = None

    def interrupt(self) -> None:
        """Ctrl-C was pressed outside of the prompt."""
        if self.stop and not self.stop.done():
            self.stop.set_result(STOPPED)


class ScreenEditor:
    """Draws one answer as it is written. See ``core.delivery.MessageEditor``."""

    limits = LIMITS

    def __init__(self, console: Console) -> None:
        self._console = console
        self._region = Region(_writer(console))
        self._kept = 0

    def working(self) -> AbstractAsyncContextManager[None]:
        """Show that the answer is on its way; the first words replace this."""
        self._region.draw([""], render(self._console, "…", style="dim"))
        return nullcontext()

    async def post(self, text: str, part: int, *, growing: bool) -> MessageRef:
        """Show the first words."""
        self._grow(text)
        return answer_ref()

    async def edit(self, ref: MessageRef, text: str, *, growing: bool) -> None:
        """Show what is new."""
        del ref
        self._grow(text)

    async def finish(
        self, refs: Sequence[MessageRef], parts: Sequence[str], outcome: Outcome, *, whole: str = ""
    ) -> tuple[MessageRef, ...]:
        """Print the rest for good, and the note under it."""
        lines = render(self._console, visible("".join(parts))[self._kept :]) if parts else []
        if outcome.note:
            hint = " `/retry` asks again, `parley doctor` looks for the cause." if outcome.retry else ""
            style = "yellow" if outcome.retry else "dim"
            lines += [*([""] if lines else []), *render(self._console, slashed(outcome.note) + hint, style=style)]
        self._region.draw([*lines, ""], [])
        return tuple(refs) or ((answer_ref(),) if parts else ())

    async def remove(self, ref: MessageRef) -> None:
        """Do nothing: no earlier reply is written over here."""

    async def find(self, part: int) -> MessageRef | None:
        """None: a reply ends with its process, so there is never one to continue."""
        return None

    def _grow(self, text: str) -> None:
        """Print the blocks that are done, and draw the last one again."""
        text = visible(text)[self._kept :]
        cut = last_block(text)
        done = [*render(self._console, text[:cut]), ""] if cut else []
        self._kept += cut
        room = max(1, self._console.height - 2)
        self._region.draw(done, render(self._console, heal(newest(text[cut:], room)))[-room:])


class Region:
    """The last lines on a terminal, which are redrawn when they change; the cursor is below them."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._shown: list[str] = []

    def draw(self, done: Sequence[str], growing: Sequence[str]) -> None:
        """Replace the region by ``done``, which stays on the screen for good, and ``growing``, the new region.

        ``growing`` must fit on the screen, with a line to spare.
        """
        same = 0
        if not done:
            pairs = zip(self._shown, growing, strict=False)
            same = next((i for i, (old, new) in enumerate(pairs) if old != new), min(len(self._shown), len(growing)))
        up = len(self._shown) - same
        new = "".join(f"{line}\n" for line in [*done, *growing][same:])
        self._shown = list(growing)
        if up or new:
            self._write(_FRAME.format((f"\x1b[{up}A\x1b[J" if up else "") + new))


class _Heading(Heading):
    LEVEL_ALIGN: ClassVar[dict[str, JustifyMethod]] = {}


class Prose(Markdown):
    """Markdown as it was written: line breaks stay, what looks like HTML is text, and addresses can be read."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {**Markdown.elements, "heading_open": _Heading}

    def __init__(self, text: str, style: str = "none") -> None:
        super().__init__("", hyperlinks=False, style=style)
        self.parsed = _PARSER.parse(text)
        for token in self.parsed:
            token.children = [child for child in map(_plain, token.children or []) if child]


def render(console: Console, markdown: str, *, style: str = "none") -> list[str]:
    """Render ``markdown`` as lines for the terminal, without blank lines before and after."""
    with console.capture() as captured:
        console.print(Prose(markdown, style), width=min(MAX_COLUMNS, console.width))
    lines = [line.rstrip(" ") for line in captured.get().split("\n")]
    while lines and not lines[0]:
        del lines[0]
    while lines and not lines[-1]:
        del lines[-1]
    return lines


def last_block(text: str) -> int:
    """Find where the last block of ``text`` (a paragraph, list or table) begins; everything before it is finished."""
    tops = [token.map[0] for token in _PARSER.parse(text) if not token.level and token.map]
    lines = text.split("\n")
    return sum(len(line) for line in lines[: tops[-1]]) + tops[-1] if tops else 0


def newest(block: str, lines: int) -> str:
    """Shorten a long code block to its last ``lines``: highlighting all of it in every frame is too slow."""
    first, *code = block.split("\n")
    fence = [token.type for token in _PARSER.parse(first)] == ["fence"]
    return "\n".join([first, *code[-lines:]]) if fence else block


def _plain(token: Token) -> Token | None:
    """How to show one inline token; None to leave it out."""
    if token.type == "softbreak":
        token.type = "hardbreak"
    elif token.type == "image":
        return Token("text", "", 0, content=f"{token.content} ({token.attrs.get('src', '')})")
    elif token.markup == "autolink" and token.type != "text":
        return None
    return token


def _say(console: Console, text: str, *, style: str = "dim") -> None:
    """Print something that isn't an answer."""
    _writer(console)("".join(f"{line}\n" for line in ["", *render(console, visible(text), style=style), ""]))


def _writer(console: Console) -> Callable[[str], None]:
    def write(text: str) -> None:
        console.file.write(text)
        console.file.flush()

    return write


def open_prompt(history: Path, keyboard: Input | None = None, output: Output | None = None) -> PromptSession[str]:
    """A prompt in which Enter sends, and Alt-Enter or a backslash before Enter begins a new line."""
    keys = KeyBindings()
    typing = has_focus(DEFAULT_BUFFER)

    @keys.add("enter", filter=typing)
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.is_cursor_at_the_end and buffer.text.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter", filter=typing)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return PromptSession(
        "> ",
        multiline=True,
        prompt_continuation="  ",
        key_bindings=keys,
        history=_history(history),
        input=keyboard,
        output=output,
        completer=WordCompleter([f"/{word}" for word in COMMANDS], sentence=True),
        complete_while_typing=False,
        complete_style=CompleteStyle.READLINE_LIKE,
    )


class _FileHistory(FileHistory):
    """A history that stays in memory if its file can't be written."""

    def store_string(self, string: str) -> None:
        with suppress(OSError):
            super().store_string(string)


def _history(file: Path) -> History:
    """Open the history of typed lines, in a file that only its owner can read."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
        file.chmod(0o600)
    except OSError:
        return InMemoryHistory()
    return _FileHistory(file)


@contextmanager
def _interrupts() -> Iterator[Interrupts]:
    """Keep Ctrl-C from ending the program, also a second one that comes when the answer has just ended."""
    loop = asyncio.get_running_loop()
    interrupts = Interrupts()
    before = signal.getsignal(signal.SIGINT)
    loop.add_signal_handler(signal.SIGINT, interrupts.interrupt)
    try:
        yield interrupts
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)


@contextmanager
def _no_echo() -> Iterator[None]:
    """While inside, don't echo typed characters into the answer; they wait for the next prompt. Ctrl-C still works."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    quiet = termios.tcgetattr(terminal)
    quiet[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(terminal, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        with suppress(termios.error):  # the terminal may be gone
            termios.tcsetattr(terminal, termios.TCSANOW, before)
