"""Slack, as a worker sees it: names, threads, editors and budgets of one workspace."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import structlog
from slack_sdk.web.async_client import AsyncWebClient

from bots.slack.directory import Directory, most_asked
from bots.slack.editor import SlackEditor
from bots.slack.errors import slack_errors
from bots.slack.events import MessageChange
from bots.slack.history import History
from bots.slack.quotes import Reading, in_words, markup_of, with_files
from bots.slack.settings import PERSON
from bots.slack.status import Status
from bots.slack.text import plain, readable, unnamed
from core.delivery import Pace
from core.errors import PlatformError
from core.pacing import CallBudgets
from core.policy import Venue
from core.quotes import Quote
from core.types import Message, Turn

log = structlog.get_logger()

CORRECTION_NAMES_TIMEOUT = 1.0
"""Seconds to ask Slack for the names in a message that was edited."""


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
        allow_users: Collection[str] = (),
    ) -> None:
        """``contact`` is whom people can ask: an id, or any text. Only ``allow_users``, if any, are heard."""
        self.client = client
        self.bot = bot
        self.directory = Directory(client)
        self.bot_name = bot_name
        self._contact = contact
        self._first_words = first_words
        self._budgets = budgets
        self._status = Status(client, budgets)
        self.history = History(client, self.directory, budgets, bot=bot, bot_name=bot_name, allow_users=allow_users)

    async def understand(self, turn: Turn) -> Turn:
        """Names for ids, in the text, in what comes with it, and for its author."""
        ids = most_asked(unnamed(markup_of(Reading(turn.text, turn.quotes))))
        names = await self.directory.names(dict.fromkeys([turn.author.id, *ids]))
        author = replace(turn.author, name=names.get(turn.author.id, ""))
        names = {**names, self.bot: self.bot_name}
        quotes = with_files(in_words(turn.quotes, names), turn.place.get("files", ""))
        return replace(turn, author=author, text=readable(turn.text, names), quotes=quotes)

    async def understand_correction(self, change: MessageChange) -> tuple[str, tuple[Quote, ...]]:
        """The same for a message that was edited, within a second: the event is acknowledged afterwards."""
        ids = most_asked(unnamed(markup_of(Reading(change.text or "", change.quotes))))
        names = await self.directory.names_within(ids, CORRECTION_NAMES_TIMEOUT)
        names = {**names, self.bot: self.bot_name}
        return readable(change.text or "", names), with_files(in_words(change.quotes, names), change.files)

    async def read_thread(self, turn: Turn, after: str = "") -> Sequence[Message]:
        """See ``core.delivery.Surface``."""
        return await self.history.thread(turn, after)

    async def read_room(self, turn: Turn) -> Sequence[Message]:
        """See ``core.delivery.Surface``."""
        return await self.history.room(turn)

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
        return Venue(mention, shared=True, buttons=True, threads=True, contact=contact, asking=asking)

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
