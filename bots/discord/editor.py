"""One reply in Discord: posted under its question, edited while it grows, finished with its buttons.

A reply to an interaction is written with the interaction's token while that is good, and then with the bot's
(``bots.discord.writers``). Where the bot's cannot write (an answer that one person sees, an app that only its user
installed) the reply is one message, with the rest as a file, and ends in time.

Nothing that is sent can ring anybody or show a preview of a link.

What Discord refuses for good is written plainer: without links, and then as a file; without a file, where none is
allowed; without a reference to the question, where we may not read it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from enum import IntEnum

from discord.ui import View

from bots.discord.buttons import ButtonTarget, confirming, finished, growing
from bots.discord.calls import Answer, CallPriority, Calls
from bots.discord.errors import UNKNOWN_MESSAGE
from bots.discord.text import SIZE, cut, shown, shown_units, without_links
from bots.discord.typing import Typing, Typists
from bots.discord.writers import DEAD_TOKEN, ChannelWriter, Content, ResponseWriter
from core.assistant import commands
from core.errors import MessageGone, NotAllowed, PlatformError
from core.pacing import CallBudget
from core.types import Ending, MessageLimits, MessageRef, Outcome, Turn

NOTE_SIZE = 200
"""Units that stay free in a message, for the note under an answer."""
EDIT_INTERVAL = 1.25
"""Seconds between two edits of a message: four in five seconds, so that the fifth is there when the answer ends."""
MOST_MESSAGES = 5
"""A longer answer would bury the channel: the rest of it is a file."""
LIMITS = MessageLimits(
    size=SIZE - NOTE_SIZE,
    measure=shown_units,
    interval=EDIT_INTERVAL,
    messages=MOST_MESSAGES,
    thinking="-# Thinking …",
)
OLD_SECONDS = 3300.0
"""Seconds after which a message is not written over: edits of those older than an hour are counted apart."""
WHOLE = "The whole answer is in the file."
NO_FILE = "The rest of the answer would be in a file, and I'm not allowed to attach files here."
IN_FILE = "Discord didn't take this answer as a message, so it's in the file."


class Form(IntEnum):
    """How a reply is written, from what reads best to what is taken if nothing else is."""

    MARKDOWN = 0
    WITHOUT_LINKS = 1
    FILE = 2


class DiscordEditor:
    """Writes the reply to one turn. See ``core.delivery.MessageEditor``."""

    def __init__(self, calls: Calls, turn: Turn, posts: CallBudget, edits: CallBudget, *, typists: Typists) -> None:
        self._calls = calls
        self._turn = turn
        self._typists = typists
        self._bot = turn.place.get("bot") == "1"
        """Whether the bot's token can write where the question was asked."""
        self._in_channel = ChannelWriter(calls, turn, posts, edits)
        self._response = ResponseWriter(calls, turn, edits, bot=self._bot)
        self._command = commands.find_in(turn) is not None
        self._typing: Typing | None = None
        self._begun = False
        self._paid = False
        self._form = Form.MARKDOWN
        self._anew = False
        self._may_attach = True
        self._posted_at: dict[str, float] = {}
        self.limits = LIMITS if self._bot else replace(LIMITS, messages=1, until=self._response.until)

    def fall_back(self, *, anew: bool = False) -> bool:
        """See ``core.delivery.FallbackEditor``."""
        if anew:
            self._anew = self._bot
            self._in_channel.begin_anew()
            return self._bot
        if self._in_channel.attachment_refused:
            self._in_channel.attachment_refused, self._may_attach = False, False
            self._form = min(self._form, Form.WITHOUT_LINKS)
            self.limits = replace(self.limits, messages=0 if self._bot else 1)
            return True
        if self._form is (Form.FILE if self._may_attach else Form.WITHOUT_LINKS):
            return False
        self._form = Form(self._form + 1)
        return True

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Typing, until the first words; an interaction shows on its own that the bot is thinking."""
        if not self._response.alive:
            self._typing = self._typists.take(self._turn) or Typing(self._calls, self._open_channel)
        try:
            yield
        finally:
            self._end_typing()
            if self._use_paid_call():
                self._calls.budget.release()

    async def ready(self) -> None:
        """Wait for one of the bot's calls; see ``core.delivery.Pace``."""
        if self._response.alive or self._paid:
            return
        if not self._begun:
            self._end_typing()  # the first words are a sign of life themselves
        await self._calls.budget.reserve(CallPriority.PREVIEW if self._begun else self._first_priority)
        self._paid = True

    async def post(self, text: str, part: int, *, growing: bool) -> MessageRef:
        """Post under the question; of an interaction, the first message is there already and says "thinking"."""
        return await self._post(self._content(text, self._stop_button(part, growing)), part, self._first_priority)

    async def edit(self, ref: MessageRef, text: str, *, growing: bool) -> None:
        """Put the newer text in place. A message from long ago stays as it is, and a new one takes its place."""
        posted_at = self._posted_at.get(ref.id)
        age = self._calls.clock.age(ref.id) if posted_at is None else time.monotonic() - posted_at
        if age > OLD_SECONDS:
            raise NotAllowed("edit a message: it is too old", code="too_old")
        self._end_typing()
        priority = CallPriority.PREVIEW if growing else CallPriority.BEGINNING
        await self._edit(ref, self._content(text, self._stop_button(0, growing)), priority)

    async def finish(
        self, refs: Sequence[MessageRef], parts: Sequence[str], outcome: Outcome, *, whole: str = ""
    ) -> tuple[MessageRef, ...]:
        """The last part as it was generated, the note in small print, the buttons, and the file where one is needed.

        Raises:
            MessageGone: the question was withdrawn, and nothing of the reply is there that had to be ended.
        """
        self._end_typing()
        if not refs and outcome.ending is Ending.STOPPED and not outcome.remember:
            raise MessageGone("answer a question: it was withdrawn", code="withdrawn")
        last = max(len(parts), 1) - 1
        content = self._content(parts[-1] if parts else "", self._last_buttons(outcome, last, answered=bool(parts)))
        about_file = "" if not whole else WHOLE if self._may_attach else NO_FILE
        content = replace(
            content,
            text=_with_note(content.text, " ".join(filter(None, (about_file, outcome.note)))),
            file=whole if whole and self._may_attach else content.file,
        )
        if len(refs) > last:
            await self._edit(refs[last], content, CallPriority.END)
            return tuple(refs)
        return (*refs, await self._post(content, last, CallPriority.END))

    async def remove(self, ref: MessageRef) -> None:
        """Delete a message of an earlier reply."""
        await self._in_channel.remove(ref)

    async def find(self, part: int) -> MessageRef | None:
        """Look for our button among what was said since the question; None where we may not look."""
        if self._response.alive and part == 0:
            return None  # the first message of an interaction is there, whichever process wrote it
        return await self._in_channel.find(part)

    async def _post(self, content: Content, part: int, priority: CallPriority) -> MessageRef:
        if self._response.alive and part == 0 and not self._anew:
            try:
                return _ref(await self._response.edit(ResponseWriter.ORIGINAL, content))
            except MessageGone as error:
                if not self._bot or error.code not in DEAD_TOKEN:
                    raise
        if not self._bot:
            raise MessageGone("answer an interaction: its time is over", code="expired")
        await self._in_channel.open_thread()
        self._end_typing()
        answer = await self._in_channel.post(content, part, priority, paid=self._use_paid_call())
        self._begun = True
        ref = _ref(answer)
        self._posted_at[ref.id] = time.monotonic()
        if answer.data.get("content", content.text) != content.text:
            # The nonce gave us what was posted before its answer was lost.
            await self._edit(ref, content, priority)
        return ref

    async def _edit(self, ref: MessageRef, content: Content, priority: CallPriority) -> None:
        if self._response.alive:
            try:
                await self._response.edit(ref.id, content)
            except MessageGone as error:
                if not self._bot or error.code not in {*DEAD_TOKEN, UNKNOWN_MESSAGE}:
                    raise
            else:
                return
        if not self._bot:
            raise MessageGone("edit an answer: its time is over", code="expired")
        await self._in_channel.edit(ref, content, priority, paid=self._use_paid_call())

    def _content(self, text: str, view: View | None) -> Content:
        """What a message shows of a text, in the form that Discord takes."""
        body = shown(text)
        if self._form is Form.FILE:
            return Content(IN_FILE, text, view) if body else Content("", "", view)
        return Content(without_links(body) if self._form is Form.WITHOUT_LINKS else body, "", view)

    def _stop_button(self, part: int, grows: bool) -> View | None:
        """Stop while it grows; below a part that is done nothing."""
        return growing(ButtonTarget.of(self._turn, part)) if grows else None

    def _last_buttons(self, outcome: Outcome, part: int, *, answered: bool) -> View | None:
        """What people can do with a reply that is done: try again, rate it, or confirm what it asks."""
        went_well = outcome.remember and outcome.ending not in (Ending.INTERRUPTED, Ending.FAILED)
        if outcome.retry or (went_well and not self._command):
            return finished(ButtonTarget.of(self._turn, part), retry=outcome.retry, answered=answered)
        return confirming(ButtonTarget.of(self._turn, int(outcome.confirm))) if outcome.confirm else None

    @property
    def _first_priority(self) -> CallPriority:
        """An asker who has had no sign of life goes before those who have."""
        seen = self._begun or (self._typing is not None and self._typing.seen)
        return CallPriority.BEGINNING if seen else CallPriority.SIGN

    def _use_paid_call(self) -> bool:
        """Whether a call was waited for before; it is made now."""
        paid, self._paid = self._paid, False
        return paid

    async def _open_channel(self) -> str:
        """The channel that the answer stands in, and its thread where there is to be one."""
        with suppress(PlatformError):
            await self._in_channel.open_thread()
        return self._in_channel.channel

    def _end_typing(self) -> None:
        if self._typing:
            self._typing.end()


def _with_note(body: str, note: str) -> str:
    """What a message shows in the end: the text, and under it in small print what there is to say about it."""
    if not note:
        return body or "…"
    if not body:
        return cut(shown(note), SIZE)
    line = " ".join(note.split())
    gap = "" if body.endswith("\n") else "\n"
    return f"{body}{gap}-# {cut(line, NOTE_SIZE - 6)}"


def _ref(answer: Answer) -> MessageRef:
    return MessageRef(answer.name("channel_id"), answer.name("id"))
