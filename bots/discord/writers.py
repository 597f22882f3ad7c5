"""The two ways to write a message: with the bot's token, and with the token of an interaction.

The bot's token opens every channel it may write to. The token of an interaction opens only the answer to it, for 15
minutes, and does not count for the channel's edits.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from dataclasses import dataclass
from typing import Any

import structlog
from discord.ui import View

from bots.discord.budgets import learn
from bots.discord.buttons import ButtonTarget
from bots.discord.calls import Answer, CallPriority, Calls, Json, quiet_message
from bots.discord.errors import (
    ARCHIVED,
    FORBIDDEN,
    INVALID_WEBHOOK_TOKEN,
    NO_HISTORY,
    RIGHTS,
    THREAD_EXISTS,
    UNKNOWN_WEBHOOK,
)
from core.errors import MessageGone, NotAllowed, PlatformError, PlatformUnauthorized, PlatformUnavailable
from core.pacing import CallBudget
from core.types import MessageRef, Turn

log = structlog.get_logger()

MOST_SEARCHED = 50
"""Messages after the question that are looked through for one of ours."""
THREAD_ARCHIVE_MINUTES = 1440
UNACKNOWLEDGED_SECONDS = 5.0
"""Seconds after the question for which an unknown webhook is one that is not acknowledged yet: three later nobody can
answer the interaction any more."""
DEAD_TOKEN = {INVALID_WEBHOOK_TOKEN, UNKNOWN_WEBHOOK}
"""Discord's codes for a token that opens nothing."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a message shows: text, buttons, and a file beside it."""

    text: str
    file: str = ""
    view: View | None = None

    def payload(self, **more: Any) -> Json:
        """As Discord takes it."""
        return quiet_message(self.text, self.view, **more)


class ChannelWriter:
    """Writes one reply with the bot's token: under its question, or in a thread that it opens on it."""

    def __init__(self, calls: Calls, turn: Turn, posts: CallBudget, edits: CallBudget) -> None:
        self.channel = turn.place["channel"]
        self.attachment_refused = False
        """Whether the last refusal may be of the file, and not of the message."""
        self._calls = calls
        self._turn = turn
        self._question = turn.id.rpartition(":")[2]
        self._posts, self._edits = posts, edits
        self._thread_name = turn.place.get("open_thread", "")
        self._opening = asyncio.Lock()
        self._reply_to = turn.place.get("reply_to", "")
        self._anew = 0

    def begin_anew(self) -> None:
        """Post in new messages from now on, and not find those that were posted before."""
        self._anew += 1

    async def open_thread(self) -> None:
        """Open a thread on the question, if there is to be one; where that is not possible, the channel does."""
        async with self._opening:  # the typing sign opens it, and an answer that is there already waits for that
            if not self._thread_name:
                return
            path = f"/channels/{self.channel}/messages/{self._question}/threads"
            payload = {"name": self._thread_name, "auto_archive_duration": THREAD_ARCHIVE_MINUTES}
            try:
                await self._calls("open a thread", "POST", path, payload)
            except PlatformError as error:
                if error.retryable:
                    raise
                if error.code != THREAD_EXISTS:
                    log.warning("thread not opened", code=error.code, remedy=error.remedy)
                    self._thread_name = ""
                    return
            self._thread_name, self.channel = "", self._question

    async def post(self, content: Content, part: int, priority: CallPriority, *, paid: bool = False) -> Answer:
        """Post part ``part`` of the reply; the same call again gives the same message."""
        payload = content.payload(nonce=self._nonce(part), enforce_nonce=True)
        if self._reply_to and part == 0:
            payload["message_reference"] = {
                "message_id": self._reply_to,
                "channel_id": self.channel,
                "fail_if_not_exists": False,
            }
        path = f"/channels/{self.channel}/messages"
        try:
            answer = await self._calls("post a message", "POST", path, payload, priority, file=content.file, paid=paid)
        except NotAllowed as error:
            if error.code == NO_HISTORY and self._reply_to:
                log.warning("reply reference refused", code=error.code, remedy=error.remedy)
                self._reply_to = ""
                return await self.post(content, part, priority)
            self._suspect_file(error, content)
            if error.code in FORBIDDEN:
                log.warning("no permission to write", code=error.code, remedy=error.remedy)
                self._calls.forbid(self.channel)
            raise
        learn(self._posts, answer)
        return answer

    async def edit(self, ref: MessageRef, content: Content, priority: CallPriority, *, paid: bool = False) -> None:
        """Edit a message; a thread that was archived meanwhile is opened again."""
        path, payload = f"/channels/{ref.channel}/messages/{ref.id}", content.payload(attachments=[])
        del payload["flags"]  # a message keeps those that it was posted with
        try:
            answer = await self._calls("edit a message", "PATCH", path, payload, priority, file=content.file, paid=paid)
        except NotAllowed as error:
            self._suspect_file(error, content)
            if error.code != ARCHIVED:
                raise
            await self._calls("open a thread again", "PATCH", f"/channels/{ref.channel}", {"archived": False}, priority)
            answer = await self._calls("edit a message", "PATCH", path, payload, priority, file=content.file)
        learn(self._edits, answer)

    async def remove(self, ref: MessageRef) -> None:
        """Delete a message."""
        await self._calls("delete a message", "DELETE", f"/channels/{ref.channel}/messages/{ref.id}")

    async def find(self, part: int) -> MessageRef | None:
        """Look for our button among what was said since the question; None where we may not look.

        A message is posted with a button under it, and what stands in its id is the turn and the part. Should it not be
        found, the nonce keeps it from being posted twice for some minutes.
        """
        ours = ButtonTarget.of(self._turn, part).encode()
        path = f"/channels/{self.channel}/messages?limit={MOST_SEARCHED}&after={self._question}"
        try:
            answer = await self._calls("read messages", "GET", path)
        except PlatformError as error:
            if error.retryable or isinstance(error, PlatformUnauthorized):
                raise
            log.warning("search for lost message failed", code=error.code, remedy=error.remedy)
            return None
        for posted in answer.objects:
            ids = [
                one.get("custom_id", "") for row in posted.get("components", []) for one in row.get("components", [])
            ]
            if any(one.endswith(f":{ours}") for one in ids):
                return MessageRef(posted["channel_id"], posted["id"])
        return None

    def _suspect_file(self, error: NotAllowed, content: Content) -> None:
        """Raise another error where a refusal may be of the file and not of the message: it is tried without."""
        if content.file and error.code in FORBIDDEN:
            self.attachment_refused = True
            raise PlatformError(str(error), code=error.code, remedy=RIGHTS) from None

    def _nonce(self, part: int) -> str:
        """The same for the same part of the same reply, from any process: at most 25 characters."""
        anew = f" anew {self._anew}" if self._anew else ""
        name = f"{self._turn.id} {self._turn.attempt} {part}{anew}"
        return base64.b32encode(hashlib.sha256(name.encode()).digest())[:25].decode()


class ResponseWriter:
    """Writes one reply with the token of its interaction, while that is good for something.

    Without ``bot``, where the bot's token cannot write, it is believed to be good until Discord refuses it.
    """

    ORIGINAL = "@original"
    """The first message of the answer, which is there already and says that we think."""

    def __init__(self, calls: Calls, turn: Turn, edits: CallBudget, *, bot: bool) -> None:
        self.until = float(turn.place.get("until") or 0)
        self._calls = calls
        self._asked_at = turn.at
        self._app = turn.place.get("app", "")
        self._token = turn.place.get("token", "")
        self._edits = edits
        self._bot = bot

    @property
    def alive(self) -> bool:
        """Whether the reply is written with this token."""
        return bool(self._token) and (not self._bot or time.time() < self.until)

    async def edit(self, ref: str, content: Content) -> Answer:
        """Edit a message of the answer.

        Raises:
            MessageGone: it was deleted, or the token opens nothing; from then on, this is not ``alive``.
        """
        payload = content.payload(attachments=[])
        try:
            answer = await self._calls.edit_response(self._app, self._token, ref, payload, content.file)
        except MessageGone as error:
            unknown = error.code == UNKNOWN_WEBHOOK
            if unknown and self._calls.clock.now() <= self._asked_at + UNACKNOWLEDGED_SECONDS:
                raise PlatformUnavailable(str(error), code=error.code, retry_after=0.2) from None
            if self._bot and error.code in DEAD_TOKEN:
                self._token = ""
            raise
        learn(self._edits, answer)
        return answer
