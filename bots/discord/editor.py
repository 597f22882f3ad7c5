"""One reply in Discord: posted under its question, edited while it grows, finished with its buttons.

There are two doors to a message. The bot's token opens every channel it may write to. The token of an interaction
opens only the answer to it, for 15 minutes, and does not count for the channel's edits; before it dies, the
answer goes on through the other door. Where only the interaction's door is there (an answer that one person sees, an
app that only its user installed) the reply is one message, with the rest as a file, and ends in time.

Nothing that is sent can ring anybody or show a preview of a link.

What Discord refuses for good is written plainer: without links, and then as a file; without a file, where none is
allowed; without a reference to the question, where we may not read it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from enum import IntEnum
from typing import Any

import discord
import structlog
from discord.http import handle_message_parameters
from discord.ui import View
from discord.webhook.async_ import async_context

from bots.discord.budgets import learn
from bots.discord.buttons import Handle, confirming, finished, growing
from bots.discord.calls import Answered, Calls, Rank
from bots.discord.errors import (
    ARCHIVED,
    FORBIDDEN,
    INVALID_WEBHOOK_TOKEN,
    NO_HISTORY,
    RIGHTS,
    THREAD_EXISTS,
    UNKNOWN_MESSAGE,
)
from bots.discord.text import cut, shown, shown_units, without_links
from bots.discord.typing import Typing, Typists
from core.assistant import commands
from core.errors import MessageGone, NotAllowed, PlatformError, PlatformUnauthorized, PlatformUnavailable
from core.pacing import CallBudget
from core.types import Ending, Limits, MessageRef, Outcome, Turn

log = structlog.get_logger()

ROOM = 200
"""Units that stay free in a message, for the note under an answer."""
INTERVAL = 1.25
"""Seconds between two edits of a message: four in five seconds, so that the fifth is there when the answer ends."""
MOST_MESSAGES = 5
"""A longer answer would bury the channel: the rest of it is a file."""
LIMITS = Limits(
    size=2000 - ROOM, measure=shown_units, interval=INTERVAL, messages=MOST_MESSAGES, thinking="-# Thinking …"
)
OLD = 3300.0
"""Seconds after which a message is not written over: edits of those older than an hour are counted apart."""
SEARCHED = 50
"""Messages after the question that are looked through for one of ours."""
ORIGINAL = "@original"
LOADING = 1 << 7
NOBODY = discord.AllowedMentions.none()
QUIET = discord.MessageFlags(suppress_embeds=True)
WHOLE = "The whole answer is in the file."
NO_FILE = "The rest of the answer would be in a file, and I'm not allowed to attach files here."
IN_FILE = "Discord didn't take this answer as a message, so it's in the file."
EARLY = "10015"
"""Discord's code for a token whose interaction was not answered yet: the acknowledgement is on its way."""
EARLY_FOR = 5.0
"""Seconds after the question for which that is believed: three later nobody can answer the interaction any more."""
DEAD = {str(INVALID_WEBHOOK_TOKEN), EARLY}
"""What is said of a token that opens nothing."""


class Form(IntEnum):
    """How a reply is written, from what reads best to what is taken if nothing else is."""

    MARKDOWN = 0
    WITHOUT_LINKS = 1
    FILE = 2


class DiscordEditor:
    """Writes the reply to one turn. See ``core.delivery.MessageEditor``."""

    def __init__(
        self,
        calls: Calls,
        turn: Turn,
        posts: CallBudget,
        edits: CallBudget,
        *,
        typists: Typists,
        session: Callable[[], Any],
    ) -> None:
        place = turn.place
        self._calls = calls
        self._client = calls.client
        self._turn = turn
        self._handle = Handle.of(turn)
        self._budgets = (posts, edits)
        self._typists = typists
        self._session = session
        self._channel = place["channel"]
        self._token = place.get("token", "")
        self._until = float(place.get("until") or 0)
        self._bot = place.get("bot") == "1"
        self._opens_thread = place.get("open_thread", "")
        self._command = commands.find(turn.text) is not None
        self._typing: Typing | None = None
        self._begun = False
        self._paid = False
        self._form = Form.MARKDOWN
        self._anew = 0
        self._may_attach = True
        self._attachment_refused = False
        self._may_refer = True
        self._posted_at: dict[str, float] = {}
        alone = not self._bot
        self.limits = Limits(
            size=LIMITS.size,
            measure=LIMITS.measure,
            interval=LIMITS.interval,
            messages=1 if alone else LIMITS.messages,
            until=self._until if alone else 0.0,
            thinking=LIMITS.thinking,
        )

    def fall_back(self, *, anew: bool = False) -> bool:
        """See ``core.delivery.FallbackEditor``."""
        if anew:
            self._anew += self._bot
            return self._bot
        if self._attachment_refused:
            self._attachment_refused, self._may_attach = False, False
            self._form = min(self._form, Form.WITHOUT_LINKS)
            self.limits = replace(self.limits, messages=0 if self._bot else 1)
            return True
        if self._form is (Form.FILE if self._may_attach else Form.WITHOUT_LINKS):
            return False
        self._form = Form(self._form + 1)
        return True

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Typing, until the first words; an interaction says by itself that the bot is thinking."""
        if not self._alive:
            self._typing = self._typists.take(self._turn) or Typing(self._calls, self._open_place)
        try:
            yield
        finally:
            self._rest()
            if self._spend():
                self._calls.budget.release()

    async def ready(self) -> None:
        """Wait for one of the bot's calls; see ``core.delivery.Pace``."""
        if self._alive or self._paid:
            return
        if not self._begun:
            self._rest()  # the first words are a sign of life themselves
        await self._calls.budget.reserve(Rank.PREVIEW if self._begun else self._first_rank)
        self._paid = True

    async def post(self, text: str, part: int, *, growing: bool) -> MessageRef:
        """Post under the question; of an interaction, the first message is there already and says "thinking"."""
        return await self._post(*self._written(text), part, self._buttons(part, growing), self._first_rank)

    async def edit(self, ref: MessageRef, text: str, *, growing: bool) -> None:
        """Put the newer text in place. A message from long ago stays as it is, and a new one takes its place."""
        posted_at = self._posted_at.get(ref.id)
        age = self._calls.clock.age(ref.id) if posted_at is None else time.monotonic() - posted_at
        if age > OLD:
            raise NotAllowed("edit a message: it is too old", code="too_old")
        self._rest()
        rank = Rank.PREVIEW if growing else Rank.BEGINNING
        await self._edit(ref, *self._written(text), self._buttons(0, growing), rank)

    async def finish(
        self, refs: Sequence[MessageRef], parts: Sequence[str], outcome: Outcome, *, whole: str = ""
    ) -> tuple[MessageRef, ...]:
        """The last part as it was generated, the note in small print, the buttons, and the file where one is needed.

        Raises:
            MessageGone: the question was withdrawn, and nothing of the reply is there that had to be ended.
        """
        self._rest()
        if not refs and outcome.ending is Ending.STOPPED and not outcome.remember:
            raise MessageGone("answer a question: it was withdrawn", code="withdrawn")
        last = max(len(parts), 1) - 1
        text, file = self._written(parts[-1] if parts else "")
        if whole and self._may_attach:
            file = whole
        why = "" if not whole else WHOLE if self._may_attach else NO_FILE
        text = _with_note(text, " ".join(filter(None, (why, outcome.note))))
        view = confirming(Handle.of(self._turn, int(outcome.confirm))) if outcome.confirm else None
        if outcome.retry or (_went_well(outcome) and not self._command):
            view = finished(Handle.of(self._turn, last), retry=outcome.retry, answered=bool(parts))
        if len(refs) > last:
            await self._edit(refs[last], text, file, view, Rank.END)
            return tuple(refs)
        return (*refs, await self._post(text, file, last, view, Rank.END))

    async def remove(self, ref: MessageRef) -> None:
        """Delete a message of an earlier reply."""
        await self._calls("delete a message", self._message(ref).delete)

    async def find(self, part: int) -> MessageRef | None:
        """Look for our button among what was said since the question; None where we may not look.

        A message is posted with a button under it, and what stands in its id is the turn and the part. Should it not be
        found, the nonce keeps it from being posted twice for some minutes.
        """
        if self._alive and part == 0:
            return None  # the first message of an interaction is there, whoever wrote into it
        ours = Handle.of(self._turn, part).encode()
        after = discord.Object(self._handle.message)
        http = self._client.http
        try:
            answer = await self._calls(
                "read messages", lambda: http.logs_from(int(self._channel), SEARCHED, after=after.id)
            )
        except PlatformError as error:
            if error.retryable or isinstance(error, PlatformUnauthorized):
                raise
            log.warning("search for lost message failed", code=error.code, remedy=error.remedy)
            return None
        for message in answer.json:
            ids = [one.get("custom_id", "") for row in message["components"] for one in row.get("components", [])]
            if any(one.endswith(f":{ours}") for one in ids):
                return MessageRef(message["channel_id"], message["id"])
        return None

    @property
    def _first_rank(self) -> Rank:
        """Who has had no sign of life goes before who has."""
        seen = self._begun or (self._typing is not None and self._typing.seen)
        return Rank.BEGINNING if seen else Rank.SIGN

    def _spend(self) -> bool:
        """Whether a call was waited for before; it is made now."""
        paid, self._paid = self._paid, False
        return paid

    # The two doors.

    @property
    def _alive(self) -> bool:
        """Whether the answer is written with the interaction's token; without another, until it is refused."""
        return bool(self._token) and (not self._bot or time.time() < self._until)

    def _written(self, text: str) -> tuple[str, str]:
        """What a message shows of a text, and what is in the file beside it."""
        body = shown(text)
        if self._form is Form.FILE:
            return (IN_FILE, text) if body else ("", "")
        return (without_links(body) if self._form is Form.WITHOUT_LINKS else body), ""

    async def _post(self, body: str, file: str, part: int, view: View | None, rank: Rank) -> MessageRef:
        if self._alive and part == 0 and not self._anew:
            try:
                answer = await self._through_webhook(ORIGINAL, body, view, file)
            except MessageGone as error:
                if error.code not in DEAD or not self._bot:
                    raise
                self._token = ""
            else:
                return _ref(answer)
        if not self._bot:
            raise MessageGone("answer an interaction: its time is over", code="expired")
        await self._open_thread()
        self._rest()
        answer = await self._send(body, file, part, view, rank)
        self._begun = True
        self._learn(0, answer)
        ref = _ref(answer)
        self._posted_at[ref.id] = time.monotonic()
        if answer.data.get("content", body) != body:  # the nonce gave us what was posted before its answer was lost
            await self._edit(ref, body, file, view, rank)
        return ref

    async def _send(self, body: str, file: str, part: int, view: View | None, rank: Rank) -> Answered:
        """Post with the bot's token."""
        try:
            return await self._calls("post a message", self._sending(body, part, view, file), rank, paid=self._spend())
        except NotAllowed as error:
            if error.code == str(NO_HISTORY) and self._may_refer:
                log.warning("reply reference refused", code=error.code, remedy=error.remedy)
                self._may_refer = False
                return await self._send(body, file, part, view, rank)
            self._may_be_the_file(error, file)
            if error.code in {str(code) for code in FORBIDDEN}:
                log.warning("no permission to write", code=error.code, remedy=error.remedy)
                self._calls.forbid(self._channel)
            raise

    def _may_be_the_file(self, error: NotAllowed, file: str) -> None:
        """Raise another error where a refusal may be of the file and not of the message: it is tried without."""
        if file and error.code in {str(code) for code in FORBIDDEN}:
            self._attachment_refused = True
            raise PlatformError(str(error), code=error.code, remedy=RIGHTS) from None

    async def _edit(self, ref: MessageRef, text: str, file: str, view: View | None, rank: Rank) -> None:
        if self._alive:
            try:
                await self._through_webhook(ref.id, text, view, file)
            except MessageGone as error:
                if not self._bot or error.code not in {*DEAD, str(UNKNOWN_MESSAGE)}:
                    raise
                if error.code in DEAD:
                    self._token = ""
            else:
                return
        if not self._bot:
            raise MessageGone("edit an answer: its time is over", code="expired")
        message = self._message(ref)

        async def edit() -> Any:
            files = [_file(file)] if file else []
            return await message.edit(content=text or None, view=view, attachments=files, allowed_mentions=NOBODY)

        try:
            answer = await self._calls("edit a message", edit, rank, paid=self._spend())
        except NotAllowed as error:
            self._may_be_the_file(error, file)
            if error.code != str(ARCHIVED):
                raise
            await self._calls(
                "open a thread again", lambda: self._client.http.edit_channel(int(ref.channel), archived=False), rank
            )
            answer = await self._calls("edit a message", edit, rank)
        self._learn(1, answer)

    async def _through_webhook(self, message: str, text: str, view: View | None, file: str) -> Answered:
        """Edit the answer to an interaction with its token."""
        with handle_message_parameters(
            content=text or None,
            view=view,
            attachments=[_file(file)] if file else [],
            flags=QUIET,
            allowed_mentions=NOBODY,
        ) as parameters:

            def edit() -> Coroutine[Any, Any, Any]:
                return async_context.get().edit_webhook_message(
                    int(self._turn.place["app"]),
                    self._token,
                    message,  # type: ignore[arg-type]  # Discord takes "@original" as well
                    session=self._session(),
                    payload=parameters.payload,
                    multipart=parameters.multipart,
                    files=parameters.files,
                )

            try:
                answer = await self._calls("edit a response", edit, bound=False)
            except MessageGone as error:
                if error.code != EARLY or self._calls.clock.now() > self._turn.at + EARLY_FOR:
                    raise
                raise PlatformUnavailable(str(error), code=EARLY, retry_after=0.2) from None
        self._learn(1, answer)
        return answer

    def _sending(self, text: str, part: int, view: View | None, file: str) -> Callable[[], Coroutine[Any, Any, Any]]:
        """Post into the channel; the same call again gives the same message."""
        channel = self._client.get_partial_messageable(int(self._channel))
        more: dict[str, Any] = {}
        replied = self._turn.place.get("reply_to")
        if replied and part == 0 and self._may_refer:
            more["reference"] = discord.MessageReference(
                message_id=int(replied), channel_id=int(self._channel), fail_if_not_exists=False
            )
            more["mention_author"] = False
        if file:
            more["file"] = _file(file)
        if view:
            more["view"] = view
        return lambda: channel.send(
            text, nonce=self._nonce(part), suppress_embeds=True, allowed_mentions=NOBODY, **more
        )

    def _nonce(self, part: int) -> str:
        """The same for the same part of the same reply, from any process: at most 25 characters."""
        anew = f" anew {self._anew}" if self._anew else ""
        name = f"{self._turn.id} {self._turn.attempt} {part}{anew}"
        return base64.b32encode(hashlib.sha256(name.encode()).digest())[:25].decode()

    async def _open_thread(self) -> None:
        """A thread on the question, if there is to be one; where it is not to be had, the channel does."""
        if not self._opens_thread:
            return
        name, self._opens_thread = self._opens_thread, ""
        question = self._handle.message

        def start() -> Coroutine[Any, Any, Any]:
            return self._client.http.start_thread_with_message(
                int(self._channel), question, name=name, auto_archive_duration=1440
            )

        try:
            await self._calls("open a thread", start)
        except PlatformError as error:
            if error.retryable:
                self._opens_thread = name
                raise
            if error.code != str(THREAD_EXISTS):
                log.warning("thread not opened", code=error.code, remedy=error.remedy)
                return
        self._channel = str(question)

    def _message(self, ref: MessageRef) -> discord.PartialMessage:
        return self._client.get_partial_messageable(int(ref.channel)).get_partial_message(int(ref.id))

    def _buttons(self, part: int, grows: bool) -> View | None:
        """Stop while it grows; and below a part that is done nothing, except that a post has to be found again."""
        if not grows:
            return None
        return growing(Handle.of(self._turn, part))

    def _learn(self, which: int, answer: Answered) -> None:
        learn(self._budgets[which], answer)

    async def _open_place(self) -> str:
        """The channel that the answer stands in, and its thread where there is to be one."""
        with suppress(PlatformError):
            await self._open_thread()
        return self._channel

    def _rest(self) -> None:
        if self._typing:
            self._typing.rest()


def _went_well(outcome: Outcome) -> bool:
    """Whether there is an answer that could be had otherwise."""
    return outcome.remember and outcome.ending not in (Ending.INTERRUPTED, Ending.FAILED)


def _with_note(body: str, note: str) -> str:
    """What a message shows in the end: the text, and under it in small print what there is to say about it."""
    if not note:
        return body or "…"
    if not body:
        return cut(shown(note), 2000)
    line = " ".join(note.split())
    gap = "" if body.endswith("\n") else "\n"
    return f"{body}{gap}-# {cut(line, ROOM - 6)}"


def _ref(answer: Answered) -> MessageRef:
    return MessageRef(str(answer.data["channel_id"]), str(answer.data["id"]))


def _file(text: str) -> discord.File:
    return discord.File(io.BytesIO(text.encode("utf-8", "replace")), filename="answer.md")
