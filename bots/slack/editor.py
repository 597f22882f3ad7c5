"""One reply in Slack: posted into its thread, edited while it grows, finished with what there is to say.

The text goes into a ``markdown`` block: it takes 12,000 characters where ``text`` of chat.update takes 4,000, it shows
Markdown as such, and edits of blocks do not carry Slack's "(edited)". Limits are those of
docs.slack.dev/reference/block-kit/blocks/markdown-block and docs.slack.dev/reference/methods/chat.update.

What Slack refuses for good is written plainer: tables as blocks of code, and then as text without any blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from enum import IntEnum
from typing import Any

import structlog
from slack_sdk.web.async_client import AsyncWebClient

from bots.slack.errors import NO_SCOPE, slack_errors
from bots.slack.status import Status
from bots.slack.text import escape, fallback, plain, safe_markdown, tables_as_code
from core.errors import PlatformError, PlatformUnauthorized
from core.types import MessageLimits, MessageRef, Outcome, Turn

log = structlog.get_logger()


def written_units(text: str) -> int:
    """UTF-16 units of what is sent for a text: escapes count twice in a payload, and mentions grow when broken."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2 + sum(text.count(sign) for sign in '"\\\n\t\r<@')


LIMITS = MessageLimits(size=10_000, measure=written_units, interval=1.0, thinking="_Thinking …_")
"""Below the 12,000 of markdown blocks and the 13,200 or so of a whole payload, with room for the fallback text."""
RETRY = "parley_retry"
STOP = "parley_stop"
FORGET = "parley_forget"
"""``action_id`` of the buttons."""
QUIET: dict[str, Any] = {"unfurl_links": False, "unfurl_media": False, "link_names": False, "parse": "none"}
"""Switches off previews, mentions and links that Slack would make of a text."""
MARK = "parley_reply"
"""``event_type`` of the metadata by which a message is found again after a crash."""
MOST_SEARCHED = 200
"""Messages of a thread that are searched for a mark."""


class Form(IntEnum):
    """How a reply is written, from what reads best to what is taken if nothing else is."""

    MARKDOWN = 0
    TABLES_AS_CODE = 1
    TEXT = 2


class SlackEditor:
    """Writes the reply to one turn. See ``core.delivery.MessageEditor``."""

    limits = LIMITS

    def __init__(self, client: AsyncWebClient, status: Status, turn: Turn) -> None:
        self._client = client
        self._status = status
        self._turn = turn
        self._channel = turn.place["channel"]
        self._thread = turn.place.get("thread") or None
        self._form = Form.MARKDOWN
        self._anew = 0
        self._has_tables = False

    def fall_back(self, *, anew: bool = False) -> bool:
        """See ``core.delivery.FallbackEditor``."""
        if anew:
            self._anew += 1
            return True
        if self._form is Form.TEXT:
            return False
        tables = self._has_tables and self._form is Form.MARKDOWN
        self._form = Form.TABLES_AS_CODE if tables else Form.TEXT
        return True

    def working(self) -> AbstractAsyncContextManager[None]:
        """A status in the thread; a direct message outside of a thread has none."""
        return self._status.shown_for(self._turn) if self._thread else nullcontext()

    async def post(self, text: str, part: int, *, growing: bool) -> MessageRef:
        """Post a message into the thread of the question."""
        return await self._post(text, [*self._blocks(text), *self._stop(growing)], part)

    async def edit(self, ref: MessageRef, text: str, *, growing: bool) -> None:
        """Put the newer text in place."""
        await self._update(ref, text, [*self._blocks(text), *self._stop(growing)])

    async def finish(
        self, refs: Sequence[MessageRef], parts: Sequence[str], outcome: Outcome, *, whole: str = ""
    ) -> tuple[MessageRef, ...]:
        """The last part as it was generated, then the note and, where it helps, a Retry button."""
        del whole  # any number of messages hold it
        text = parts[-1] if parts else ""
        blocks = [*self._blocks(text), *_footer(outcome, self._turn, alone=not text)]
        shown = "\n\n".join(filter(None, (text, outcome.note))) if self._form is Form.TEXT else text or outcome.note
        last = max(len(parts), 1) - 1
        if len(refs) > last:
            await self._update(refs[last], shown, blocks)
        else:
            refs = (*refs, await self._post(shown, blocks, last))
        return tuple(refs)

    async def remove(self, ref: MessageRef) -> None:
        """Delete a message of an earlier reply."""
        with slack_errors("chat.delete"):
            await self._client.chat_delete(channel=ref.channel, ts=ref.id)

    async def find(self, part: int) -> MessageRef | None:
        """Look for the mark among what was said since the question; None where we may not look."""
        where: dict[str, Any] = {"channel": self._channel, "oldest": self._turn.place["ts"], "limit": MOST_SEARCHED}
        try:
            if self._thread:
                with slack_errors("conversations.replies"):
                    found = await self._client.conversations_replies(
                        ts=self._thread, include_all_metadata=True, **where
                    )
            else:
                with slack_errors("conversations.history"):
                    found = await self._client.conversations_history(include_all_metadata=True, **where)
        except PlatformError as error:
            token = isinstance(error, PlatformUnauthorized) and error.code not in NO_SCOPE
            if error.retryable or token:
                raise
            log.warning("search for lost message failed", code=error.code, remedy=error.remedy)
            return None
        marked = [m["ts"] for m in found.get("messages") or () if m.get("metadata") == self._mark(part)]
        return MessageRef(self._channel, max(marked)) if marked else None

    def _mark(self, part: int) -> dict[str, Any]:
        """Metadata by which a message is found again. Anybody in the workspace can read it, so it holds no text."""
        payload: dict[str, Any] = {"turn": self._turn.id, "attempt": self._turn.attempt, "part": part}
        if self._anew:
            payload["anew"] = self._anew
        return {"event_type": MARK, "event_payload": payload}

    def _stop(self, growing: bool) -> list[dict[str, Any]]:
        """A button that ends the answer, while it is written."""
        value = f"{self._turn.key} {self._turn.id} {self._turn.author.id}"
        return [_button(STOP, "Stop", value)] if growing else []

    async def _post(self, text: str, blocks: list[dict[str, Any]], part: int) -> MessageRef:
        with slack_errors("chat.postMessage"):
            response = await self._client.chat_postMessage(
                channel=self._channel, thread_ts=self._thread, metadata=self._mark(part), **self._content(text, blocks)
            )
            return MessageRef(response["channel"], response["ts"])

    async def _update(self, ref: MessageRef, text: str, blocks: list[dict[str, Any]]) -> None:
        with slack_errors("chat.update"):
            await self._client.chat_update(channel=ref.channel, ts=ref.id, **self._content(text, blocks))

    def _content(self, text: str, blocks: list[dict[str, Any]]) -> dict[str, Any]:
        """What a message shows, without previews or mentions."""
        if self._form is Form.TEXT:
            return {"text": plain(text), **QUIET}
        return {"text": fallback(text), "blocks": blocks, **QUIET}

    def _blocks(self, text: str) -> list[dict[str, Any]]:
        if not text.strip():
            return []
        in_code = tables_as_code(text)
        self._has_tables = in_code != text
        shown = in_code if self._form is Form.TABLES_AS_CODE else text
        return [{"type": "markdown", "text": safe_markdown(shown)}]


def own_message(text: str) -> dict[str, Any]:
    """A message of ours that is not a model's answer."""
    return {"text": fallback(text), "blocks": [{"type": "markdown", "text": safe_markdown(text)}], **QUIET}


def _footer(outcome: Outcome, turn: Turn, *, alone: bool) -> list[dict[str, Any]]:
    """The note, small under an answer or in full size where there is none, and the buttons."""
    value = f"{turn.key} {turn.id}"
    blocks: list[dict[str, Any]] = []
    if outcome.note:
        note = {"type": "mrkdwn", "text": escape(outcome.note)}
        blocks.append({"type": "section", "text": note} if alone else {"type": "context", "elements": [note]})
    if outcome.retry:
        blocks.append(_button(RETRY, "Retry", value))
    if outcome.confirm:
        blocks.append(_button(FORGET, "Forget", f"{value} {turn.author.id} {outcome.confirm}", style="danger"))
    return blocks


def _button(action: str, label: str, value: str, **more: str) -> dict[str, Any]:
    text = {"type": "plain_text", "text": label}
    button = {"type": "button", "action_id": action, "text": text, "value": value, **more}
    return {"type": "actions", "elements": [button]}
