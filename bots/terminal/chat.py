"""A chat in a terminal: the same core as everywhere, for one person.

Somebody who sits at a terminal gets the window of ``bots.terminal.screen``; pipes and files get the plain text of
``bots.terminal.plain``.
"""

from __future__ import annotations

import asyncio
import os
import platform
import pwd
import re
import signal
import sys
import time
import uuid
from dataclasses import replace
from typing import TextIO

from bots.app import Core, open_core
from bots.console.printing import did_you_mean
from bots.startup import server
from core.assistant import Answer, Stop, commands
from core.delivery import MessageEditor, Pace
from core.pacing import CallBudget
from core.policy import Venue
from core.settings import Settings
from core.types import Author, ConversationKey, Limits, MessageRef, Role, Turn

LIMITS = Limits(size=10**9, interval=0.05, heals=False)
"""A terminal takes all of an answer as one message, a person sees no more than 20 frames per second, and what was
printed cannot be taken back."""
VENUE = Venue(prefix="/")
"""One person is alone with Parley here, and begins a command with a slash."""
COMMANDS = {
    "help": "this list",
    "memory": "what I remember of this conversation",
    "forget": "forget this conversation",
    "settings": "how I answer here; `/settings reset` restores the defaults",
    "system": "the system prompt; `/system <text>` replaces it here, `/system reset` restores it",
    "temperature": "how much answers vary: `/temperature 0` (not at all) to 2",
    "max": "how long answers can be: `/max 500` tokens",
    "model": "which model answers: `/model <name>`",
    "retry": "ask the last question again",
    "quit": "leave, as Ctrl-D does",
}
_COMMAND = re.compile(r"/([a-z]*)(?:\s+(.*))?", re.DOTALL | re.IGNORECASE)
_SETTINGS = ("settings", "system", "temperature", "max", "model")
"""Commands that may be followed by a value."""
_BARE = re.compile(r"`(forget|help|memory|settings)\b(?=[^`\n]*`)")
# All control characters but tab and line feed: an answer must not be able to command a terminal.
_CONTROL = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)))
_UNLIMITED = 1e9
_AS_MESSAGE = "To send this as a message, put a space before the slash."


async def chat_in_terminal(settings: Settings, *, silence: str = "") -> int:
    """Chat until the input ends. The exit code: 1 if piped input got no whole answer, else 0.

    ``silence`` is what to say if piped input was empty, and then the exit code is 2; "" for nothing, and 0.

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

            return await answer_input(chat, silence=silence)
    except asyncio.CancelledError:
        if told:
            return 128 + told[0]
        raise


class Chat:
    """What one person says to Parley here, and what is done about it."""

    def __init__(self, core: Core, person: str = "") -> None:
        """Chat as ``person``, by default the user that this process runs as."""
        self.key = ConversationKey("terminal", platform.node() or "local", person or _user())
        self.greeting = f"Parley, with {_model(core.settings)}. `/help` lists the commands."
        self._author = Author(self.key.channel, "")
        self._assistant = core.assistant
        self._memory = core.memory
        self._venue = replace(VENUE, contact=core.settings.contact)
        self._pace = Pace(CallBudget(_UNLIMITED, _UNLIMITED), CallBudget(_UNLIMITED, _UNLIMITED), first_words=0)
        self._last: Turn | None = None

    async def hear(self, line: str) -> Turn | str | None:
        """What a line asks for: a turn to be answered, something to be said at once, or None to leave.

        Only ``/words`` are commands here.

        Raises:
            StorageError: the memory is away.
        """
        command = _COMMAND.fullmatch(line.rstrip())
        if not command:
            self._last = self._turn(line)
            return self._last
        word, text = command[1].lower(), (command[2] or "").strip()
        if word not in COMMANDS:
            known = did_you_mean(word, list(COMMANDS), "`/{}`", otherwise="`/help` lists the commands.")
            return f"No command `/{word}`. {known} {_AS_MESSAGE}"
        if text and word not in _SETTINGS:
            return f"`/{word}` takes nothing after it. {_AS_MESSAGE}"
        return await self._obey(word, text)

    async def answer(self, turn: Turn, editor: MessageEditor, stop: Stop | None = None) -> Answer:
        """Answer a turn in ``editor``. Raises what the editor raises."""
        return await self._assistant.answer(turn, editor, self._pace, stop=stop, venue=self._venue)

    async def _obey(self, word: str, text: str) -> Turn | str | None:
        match word:
            case "quit":
                return None
            case "retry":
                return await self._again() or "There is no question to ask again."
            case _ if word in _SETTINGS:
                return await self._set(word, text)
            case "help":
                return await self._help()
            case _:
                return await self._remembered(word)

    def _turn(self, text: str) -> Turn:
        return Turn(f"terminal:{uuid.uuid4().hex}", self.key, str(self.key), self._author, text, time.time())

    async def _again(self) -> Turn | None:
        """The last question; after a new start, the last one that is remembered."""
        if not self._last:
            kept = await self._memory.load(self.key)
            asked = next((message for message in reversed(kept.messages) if message.role is Role.USER), None)
            self._last = replace(self._turn(asked.text), id=asked.id) if asked else None
        if self._last:
            self._last = replace(self._last, at=time.time(), attempt=self._last.attempt + 1)
        return self._last

    async def _set(self, word: str, text: str) -> str:
        """Show or change what was chosen for this conversation, as the same words do on every platform."""
        if word == "system" and not text:
            chosen, _ = await self._memory.settings(self.key)
            return chosen.system or self._assistant.answer_settings.system or "There is no system prompt."
        said = f"{word} {text}" if text and word != "settings" else text
        command = commands.find(f"settings {said}".strip())
        if not command:
            return f"No such setting. Choose from: {', '.join(f'`/{known}`' for known in _SETTINGS[1:])}."
        return await self._say(command, word)

    async def _remembered(self, word: str) -> str:
        """Do what the same word does on every platform."""
        command = commands.find(word)
        assert command  # noqa: S101 - `memory` and `forget` are there
        said = await self._say(command, word)
        if word == "forget":
            self._last = None
        return said

    async def _say(self, command: commands.Command, word: str) -> str:
        return (await command.obey(self._order(word))).text

    def _order(self, word: str) -> commands.Order:
        return commands.Order(self._turn(word), self._memory, self._venue, self._assistant.policy)

    async def _help(self) -> str:
        lines = [
            "Write a message, and I answer it.",
            "",
            *(f"- `/{word}`: {what}" for word, what in COMMANDS.items()),
            "",
            "Alt-Enter begins a new line, and so does Enter after a backslash. Ctrl-C stops an answer.",
            await commands.about(self._order("help")),
        ]
        return "\n".join(lines)


def visible(text: str) -> str:
    """``text`` without what a terminal would obey instead of show."""
    return text.translate(_CONTROL)


def slashed(text: str) -> str:
    """What the core says of a command, with the slash that the command needs here."""
    return _BARE.sub(r"`/\1", text)


def answer_ref() -> MessageRef:
    """A name for an answer, since a terminal gives it none."""
    return MessageRef("terminal", f"terminal:{uuid.uuid4().hex}")


def _model(settings: Settings) -> str:
    """What answers, without a secret."""
    if settings.backend == "several":
        return f"the models in `{settings.models_file}`"
    if settings.backend == "demo" or not settings.model_url:
        return "the demo model (`MODEL_URL` in `.env` connects a real one)"
    return f"the model at `{server(settings.model_url)}`"


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a user that nobody wrote down
        return str(os.getuid())


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
