"""Reads what people said before a question, from Discord: in its thread, or lately in its channel.

A page is the newest messages of a thread, so one call is enough, whatever was said since. Discord gives nothing of
what does not mention us to a bot without the Message Content intent: then that is said, once in a thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile
from typing import Any

from bots.discord.access import Asker, is_heard
from bots.discord.budgets import DiscordBudgets, learn
from bots.discord.calls import Calls
from bots.discord.directory import Directory
from bots.discord.events import Place, is_talk, overheard, reader_of
from bots.discord.quotes import Reader, id_in, ids_in, record_in
from bots.discord.settings import DiscordSettings
from core.delivery import retry_for
from core.errors import RateLimited
from core.memory import ROOM_MESSAGES, ROOM_SECONDS
from core.quotes import Quote, QuoteKind
from core.types import Message, Role, Turn

Json = dict[str, Any]

THREAD_MESSAGES = 100
"""Messages that are read of a thread: the newest. Discord gives no more at once."""
READ_TIMEOUT = 10.0
"""Seconds that an answer waits for messages that Discord does not give at once."""
STARTER = 21
"""Type of the first message of a thread on a message: it holds that message."""
UNHEARD_NOTE = "Discord doesn't show you what people wrote in this thread without mentioning you."


class History:
    """Reads messages with the bot's token."""

    def __init__(self, calls: Calls, budgets: DiscordBudgets, settings: DiscordSettings) -> None:
        self._calls = calls
        self._budgets = budgets
        self._settings = settings
        self._directory = Directory(calls)

    async def thread(self, turn: Turn, after: str) -> Sequence[Message]:
        """See ``core.delivery.Surface.read_thread``; for a newcomer, it begins with what the thread hangs on.

        Raises:
            PlatformError: it cannot be read.
        """
        if turn.place.get("private") or (after and not self._settings.discord_message_content):
            return ()  # without that, nothing was said since that we could read
        where, number = Place(turn.key.workspace, turn.key.channel, turn.key.thread), after.rpartition(":")[2]
        known = int(number) if number.isdecimal() else 0
        page = await self._page(where.id, f"limit={THREAD_MESSAGES}")
        if not after and len(page) == THREAD_MESSAGES:
            page += await self._page(where.id, "limit=1&after=0")  # the beginning, which is on another page
        asked = turn.id.rpartition(":")[2]
        new = [one for one in reversed(page) if int(id_in(one, "id") or 0) > known and id_in(one, "id") != asked]
        said = await self._said(new, where, turn)
        root = [] if after else await self._root(new, where, turn)
        told = [*root, *(one for one in said if one.id not in {first.id for first in root})]
        unread = len(said) < len(await self._talk(new, where)) or (
            not root and any(one.get("type") == STARTER for one in new)
        )
        silent = not after and not self._settings.discord_message_content and unread
        return [*told, Message(Role.SYSTEM, UNHEARD_NOTE, id=f"{turn.key}:unheard", at=turn.at)] if silent else told

    async def room(self, turn: Turn) -> Sequence[Message]:
        """See ``core.delivery.Surface.read_room``.

        Raises:
            PlatformError: they cannot be read.
        """
        if turn.place.get("private") or not turn.place.get("bot") or not self._settings.discord_message_content:
            return ()
        where = Place(turn.key.workspace, turn.key.channel)
        asked = turn.id.rpartition(":")[2]
        page = await self._page(where.id, f"limit={ROOM_MESSAGES}&before={asked}")
        said = await self._said(page, where, turn)
        return list(takewhile(lambda one: one.at >= turn.at - ROOM_SECONDS, said))[::-1]

    # Inside.

    async def _page(self, channel: str, query: str) -> list[Json]:
        """Messages, the newest first."""
        budget = self._budgets.of_reading(channel)
        call = partial(self._calls, "read messages", "GET", f"/channels/{channel}/messages?{query}")

        async def read() -> list[Json]:
            await budget.take()
            try:
                answer = await call()
            except RateLimited as refusal:
                budget.refused(refusal.retry_after or 1.0)
                raise
            learn(budget, answer)
            return answer.objects

        return await retry_for(read, READ_TIMEOUT)

    async def _talk(self, page: Sequence[Json], where: Place) -> list[Json]:
        """The messages that say something, whether or not we may read it; not those of people who are denied."""
        said = list(filter(is_talk, page))
        people = {id_in(record_in(one, "author"), "id"): Reader.is_app(one) for one in said}
        by_role = self._settings.discord_allow_roles or self._settings.discord_deny_roles
        heard: set[str] = set()
        for user, app in people.items():
            roles = await self._directory.roles(where.guild, user) if by_role and user and not app else ()
            if is_heard(self._settings, Asker(user, where.guild, [where.channel, where.thread], roles), app=app):
                heard.add(user)
        return [one for one in said if id_in(record_in(one, "author"), "id") in heard]

    async def _said(self, page: Sequence[Json], where: Place, turn: Turn) -> list[Message]:
        """What can be read of messages, in their order."""
        reader = await self._reader(page, where, turn)
        return [said for one in await self._talk(page, where) if (said := overheard(one, reader, where))]

    async def _root(self, page: Sequence[Json], where: Place, turn: Turn) -> list[Message]:
        """The message that a thread hangs on, or that begins a post of a forum, as far as it can be read."""
        title = turn.place.get("post", "")
        for one in page:
            if one.get("type") == STARTER and (held := dict(record_in(one, "referenced_message"))):
                return await self._said([{**held, "type": 0}], Place(where.guild, where.channel), turn)
        begun = await self._said([one for one in page if title and id_in(one, "id") == where.thread], where, turn)
        about = Quote(QuoteKind.CARD, f"title of this post: {title}")
        return [replace(one, quotes=(about, *one.quotes)) for one in begun]

    async def _reader(self, page: Sequence[Json], where: Place, turn: Turn) -> Reader:
        """A reader that knows the names of roles and channels, from the gateway if this process has one.

        The asker has a name on the server, which a page doesn't tell: they are not to be two people.
        """
        client = self._calls.client
        assert client.user  # noqa: S101 - known since the login
        guild = client.get_guild(int(where.guild)) if where.guild.isdigit() else None
        names = await self._directory.names(where.guild) if not guild and ids_in(page) else {}
        names = {**names, turn.author.id: turn.author.name}
        return replace(reader_of(page, client.user, guild, names), guild=where.guild)
