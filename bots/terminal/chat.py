"""A chat in a terminal: the same assistant as on every platform, for one person."""

from __future__ import annotations

import os
import platform
import pwd
import re
import time
import uuid
from dataclasses import replace

from bots.addresses import server
from bots.assembly import Core
from bots.console.printing import did_you_mean
from core.assistant import Answer, Command, CommandCall, Stop, commands, remembering
from core.delivery import MessageEditor, Pace
from core.pacing import CallBudget
from core.policy import Venue
from core.settings import Settings
from core.types import Author, ConversationKey, MessageLimits, MessageRef, Role, Turn

LIMITS = MessageLimits(size=10**9, interval=0.05, heals=False)
"""A terminal takes all of an answer as one message, a person sees no more than 20 frames per second, and what was
printed cannot be taken back."""
VENUE = Venue(prefix="/")
"""A private conversation, in which commands begin with a slash."""
COMMANDS = {
    "help": "this list",
    "memory": "what I remember of this conversation",
    "remember": "something for good: `/remember standup is at 9:15`; `/forget 3` removes number 3",
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
_BARE = re.compile(r"`(forget|help|memory|remember|settings)\b(?=[^`\n]*`)")
# All control characters but tab and line feed: an answer must not be able to command a terminal.
_CONTROL = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)))
_UNLIMITED = 1e9
_AS_MESSAGE = "To send this as a message, put a space before the slash."


class Chat:
    """One person's chat: handles each line that they type. Prints nothing itself."""

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

    async def handle_line(self, line: str) -> Turn | str | None:
        """Handle one line of input; a line that begins with ``/word`` is a command.

        Returns:
            A turn to be answered, a text to be shown at once, or None to leave.

        Raises:
            StorageError: Redis is not available.
        """
        if line.startswith("/") and (about := remembering.find(line) or remembering.find(line[1:])):
            return (await about.obey(self._call(line))).text
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
        return await self._run(word, text)

    async def answer(self, turn: Turn, editor: MessageEditor, stop: Stop | None = None) -> Answer:
        """Write the answer to a turn with ``editor``. Raises what the editor raises."""
        return await self._assistant.answer(turn, editor, self._pace, stop=stop, venue=self._venue)

    async def _run(self, word: str, text: str) -> Turn | str | None:
        match word:
            case "quit":
                return None
            case "retry":
                return await self._last_question() or "There is no question to ask again."
            case _ if word in _SETTINGS:
                return await self._set(word, text)
            case "help":
                return await self._help()
            case _:
                return await self._run_shared(word)

    def _turn(self, text: str) -> Turn:
        return Turn(f"terminal:{uuid.uuid4().hex}", self.key, str(self.key), self._author, text, time.time())

    async def _last_question(self) -> Turn | None:
        """The last question as a new attempt, from the memory after a restart; None if there is none."""
        if not self._last:
            kept = await self._memory.load(self.key)
            asked = next((message for message in reversed(kept.messages) if message.role is Role.USER), None)
            self._last = replace(self._turn(asked.text), id=asked.id) if asked else None
        if self._last:
            self._last = replace(self._last, at=time.time(), attempt=self._last.attempt + 1)
        return self._last

    async def _set(self, word: str, text: str) -> str:
        """Show or change a setting of this conversation, as on every platform."""
        if word == "system" and not text:
            chosen, _ = await self._memory.settings(self.key)
            return chosen.system or self._assistant.answer_settings.system or "There is no system prompt."
        said = f"{word} {text}" if text and word != "settings" else text
        command = commands.find(f"settings {said}".strip())
        if not command:
            return f"No such setting. Choose from: {', '.join(f'`/{known}`' for known in _SETTINGS[1:])}."
        return await self._say(command, word)

    async def _run_shared(self, word: str) -> str:
        """Run a command that works as on every platform. Returns its reply."""
        command = commands.find(word)
        assert command  # noqa: S101 - `memory` and `forget` are there
        said = await self._say(command, word)
        if word == "forget":
            self._last = None
        return said

    async def _say(self, command: Command, word: str) -> str:
        return (await command.obey(self._call(word))).text

    def _call(self, word: str) -> CommandCall:
        return CommandCall(self._turn(word), self._memory, self._venue, self._assistant.policy)

    async def _help(self) -> str:
        lines = [
            "Write a message, and I answer it.",
            "",
            *(f"- `/{word}`: {what}" for word, what in COMMANDS.items()),
            "",
            "Alt-Enter begins a new line, and so does Enter after a backslash. Ctrl-C stops an answer.",
            await commands.about(self._call("help")),
        ]
        return "\n".join(lines)


def visible(text: str) -> str:
    """``text`` without the control characters that a terminal would obey."""
    return text.translate(_CONTROL)


def slashed(text: str) -> str:
    """Put a slash before commands that the core names, since they need one here."""
    return _BARE.sub(r"`/\1", text)


def answer_ref() -> MessageRef:
    """Make up a reference for an answer, since a terminal has none."""
    return MessageRef("terminal", f"terminal:{uuid.uuid4().hex}")


def _model(settings: Settings) -> str:
    """Which model answers, in words, without secrets."""
    if settings.backend == "several":
        return f"the models in `{settings.models_file}`"
    if settings.backend == "demo" or not settings.model_url:
        return "the demo model (`MODEL_URL` in `.env` connects a real one)"
    return f"the model at `{server(settings.model_url)}`"


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container can run as a user without an entry in /etc/passwd
        return str(os.getuid())
