"""Slack, as a worker sees it: names, threads, editors and budgets of one workspace."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import structlog
from slack_sdk.web.async_client import AsyncWebClient

from bots.slack.directory import Directory
from bots.slack.editor import SlackEditor
from bots.slack.errors import slack_errors
from bots.slack.events import identity
from bots.slack.settings import PERSON
from bots.slack.status import Status
from bots.slack.text import people, plain, readable
from core.delivery import Pace, retry_for
from core.errors import PlatformError
from core.pacing import CallBudgets
from core.policy import Venue
from core.prompts import shorten
from core.types import Author, Message, Role, Turn

log = structlog.get_logger()

MOST_NAMES = 20
"""People in one message whose names are asked for."""
CORRECTION_NAMES_TIMEOUT = 1.0
"""Seconds to ask Slack for the names in a message that was edited."""
THREAD_MESSAGES = 50
"""Messages that are read of a thread in which people spoke before we were asked: the root and the newest."""
THREAD_PAGE, THREAD_PAGES = 999, 20
"""Messages of a page, and pages, that are read to find the newest."""
THREAD_TIMEOUT = 10.0
"""Seconds that an answer waits for a page that Slack does not give at once."""
THREAD_TOKENS = 500
"""The most tokens of each of its messages."""


class SlackSurface:
    """One workspace. See ``core.delivery.Surface``."""

    regenerates = False

    def __init__(
        self,
        client: AsyncWebClient,
        bot: str,
        bot_name: str,
        *,
        budgets: CallBudgets,
        first_words: float,
        contact: str = "",
    ) -> None:
        """``contact`` is the person whom people can ask: an id, or any text."""
        self.client = client
        self.bot = bot
        self.directory = Directory(client)
        self.bot_name = bot_name
        self._contact = contact
        self._first_words = first_words
        self._budgets = budgets
        self._status = Status(client, budgets)

    async def understand(self, turn: Turn) -> Turn:
        """Names for ids, in the text and for its author."""
        names = await self.directory.names([turn.author.id, *sorted(people(turn.text))[:MOST_NAMES]])
        author = Author(turn.author.id, names.get(turn.author.id, ""))
        return replace(turn, author=author, text=self._read(turn.text, names, turn.place.get("files", "")))

    async def understand_correction(self, text: str, files: str) -> str:
        """The same for a message that was edited, within a second: the event is acknowledged afterwards."""
        asked = sorted(people(text))[:MOST_NAMES]
        try:
            async with asyncio.timeout(CORRECTION_NAMES_TIMEOUT):
                names = await self.directory.names(asked)
        except TimeoutError:
            names = self.directory.known(asked)
        return self._read(text, names, files)

    def _read(self, text: str, names: Mapping[str, str], files: str) -> str:
        """What somebody wrote, as people read it, with a line about what is attached."""
        text = readable(text, {**names, self.bot: self.bot_name})
        return f"{text}\n[Attached, and not readable to you: {files}]" if files else text

    async def read_thread(self, turn: Turn, after: str = "") -> Sequence[Message]:
        """The thread's root and its newest messages before the turn, read from Slack, which tells the oldest first."""
        root: dict[str, Any] | None = None
        newest: deque[dict[str, Any]] = deque(maxlen=THREAD_MESSAGES - 1)
        cursor: str | None = None
        for _ in range(THREAD_PAGES):
            found, cursor = await retry_for(partial(self._read_page, turn, cursor), THREAD_TIMEOUT)
            root = next((message for message in found if message["ts"] == turn.key.thread), root)
            newest.extend(message for message in found if message is not root)
            if not cursor:
                break
        else:
            log.warning("thread not read to its end")
        said = [*([root] if root else []), *newest]
        mentioned = {user for message in said for user in (message.get("user", ""), *people(message["text"])) if user}
        asked = sorted(mentioned - {self.bot})[: 2 * MOST_NAMES]
        names = {**await self.directory.names(asked), self.bot: self.bot_name}
        return [self._message(turn, message, names) for message in said]

    async def read_room(self, turn: Turn) -> Sequence[Message]:
        """See ``core.delivery.Surface``."""
        return ()

    async def _read_page(self, turn: Turn, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """Messages of a thread that have text, and the cursor of the next page."""
        with slack_errors("conversations.replies"):
            response = await self.client.conversations_replies(
                channel=turn.place["channel"],
                ts=turn.key.thread,
                latest=turn.place["ts"],
                inclusive=False,
                limit=THREAD_PAGE,
                cursor=cursor,
            )
            said = [m for m in response["messages"] if m["ts"] != turn.place["ts"] and m.get("text")]
            return said, (response.get("response_metadata") or {}).get("next_cursor")

    async def venue(self, turn: Turn) -> Venue:
        """See ``core.delivery.Surface``."""
        return await self.venue_in(turn.key.channel)

    async def venue_in(self, channel: str) -> Venue:
        """A channel, where a message has to mention us, or a direct message, where none has to."""
        contact = self._contact
        if PERSON.fullmatch(contact):  # by name: a mention would ping them for every refusal
            name = await self.directory.name(contact)
            contact = f"@{name}" if name else contact
        if channel.startswith("D"):
            return Venue(buttons=True, contact=contact)
        mention = f"@{self.bot_name} "
        asking = f"Ask me anything: mention me, as in `{mention}what is a lease?`, and I answer in a thread under it."
        return Venue(mention, shared=True, buttons=True, contact=contact, asking=asking)

    def open_editor(self, turn: Turn) -> SlackEditor:
        """Where the reply to a turn is written."""
        return SlackEditor(self.client, self._status, turn)

    def pace(self, turn: Turn) -> Pace:
        """Edits are counted for the workspace, posts for the channel."""
        workspace, channel = turn.key.workspace, turn.place["channel"]
        # chat.postMessage: one a second for each channel, and a little more for a moment.
        posts = self._budgets.open(f"slack:{workspace}:{channel}:chat.postMessage", capacity=2, per_second=1)
        # chat.update may be called 50 times a minute for all replies of the workspace together: 20 at once while
        # answers are young, then one every two seconds (docs.slack.dev/apis/web-api/rate-limits, tier 3).
        edits = self._budgets.open(f"slack:{workspace}:chat.update", capacity=20, per_second=0.5)
        return Pace(posts, edits, self._first_words)

    async def tell(self, turn: Turn, text: str) -> None:
        """See ``core.delivery.PrivateSurface``: where they asked, for their eyes only; else in a direct message."""
        channel, user = turn.place["channel"], turn.author.id
        for thread in dict.fromkeys((turn.key.thread or None, None)):
            try:
                with slack_errors("chat.postEphemeral"):
                    await self.client.chat_postEphemeral(
                        channel=channel, user=user, thread_ts=thread, text=plain(text), link_names=False
                    )
            except PlatformError as error:
                log.info("ephemeral message refused", code=error.code)
            else:
                return
        about = "" if channel.startswith("D") else f"<#{channel}>: "
        with slack_errors("chat.postMessage"):
            await self.client.chat_postMessage(
                channel=user, text=about + plain(text), unfurl_links=False, unfurl_media=False, link_names=False
            )

    def _message(self, turn: Turn, message: dict[str, Any], names: dict[str, str]) -> Message:
        """One message of a thread, as it is remembered."""
        ours = message.get("user") == self.bot
        author = Author(message.get("user", ""), names.get(message.get("user", "")) or message.get("username", ""))
        return Message(
            role=Role.ASSISTANT if ours else Role.USER,
            text=shorten(readable(message["text"], names), THREAD_TOKENS),
            id=identity(turn.key.workspace, turn.key.channel, message["ts"]),
            author=None if ours else author,
            at=float(message["ts"]),
        )
