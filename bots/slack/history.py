"""Reads what people and other apps said before a question, from Slack; and one message that was overheard."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import structlog
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from bots.slack.directory import Directory, most_asked
from bots.slack.errors import slack_errors
from bots.slack.events import TIMESTAMP, identity, is_talk, well_typed
from bots.slack.quotes import (
    NAME_SIZE,
    OVERHEARD_SIZE,
    Reading,
    file_names,
    in_words,
    is_app,
    markup_of,
    read_message,
    with_files,
)
from bots.slack.text import mentions, readable, unnamed
from core.delivery import retry_for, telling_refusals
from core.memory import ROOM_MESSAGES, ROOM_SECONDS
from core.pacing import CallBudget, CallBudgets
from core.prompts import shorten
from core.stored import finite
from core.types import Author, Message, Role, Turn

log = structlog.get_logger()

THREAD_MESSAGES = 50
"""Messages that are read of a thread in which people spoke before we were asked: the root and the newest."""
THREAD_PAGE, THREAD_PAGES = 999, 20
"""Messages of a page, and pages, that are read to find the newest."""
READ_TIMEOUT = 10.0
"""Seconds that an answer waits for a page that Slack does not give at once."""
THREAD_TOKENS = 500
"""The most tokens of each of its messages."""
CALLS_AT_ONCE, CALLS_A_SECOND = 30, 1 / 3
"""Pages of threads, and of channels, that are read at once, and then each second, by all processes together.

That is 50 calls in any minute (docs.slack.dev/apis/web-api/rate-limits, tier 3). Not a window, which would let no call
through for a whole minute after a refusal.
"""
TALK_NAMES_TIMEOUT = 1.0
"""Seconds to ask Slack for the names in what is overheard: the event is acknowledged afterwards."""
CUT_NOTE = "This thread is too long to be read to its end: you don't know the newest messages in it."
APP = "an app"
"""The name of an app that Slack does not name."""


class History:
    """Reads messages of one workspace: of people, only of those who may ask, since all others asked for nothing."""

    def __init__(
        self,
        client: AsyncWebClient,
        directory: Directory,
        budgets: CallBudgets,
        *,
        bot: str,
        bot_name: str,
        allow_users: Collection[str] = (),
    ) -> None:
        """Without ``allow_users`` everybody may ask."""
        self._client = client
        self._directory = directory
        self._budgets = budgets
        # users.info can be called 100 times a minute: these are at most half of that.
        self._lookups = CallBudget(20, per_second=0.5)
        self._bot = bot
        self._bot_name = bot_name
        self._allow_users = allow_users

    def knows_names(self, said: Mapping[str, Any]) -> bool:
        """Whether Slack would be asked for none of the names in a message."""
        return not self._directory.unknown(most_asked(_ids(said)))

    async def message(self, workspace: str, channel: str, said: Mapping[str, Any]) -> Message:
        """A message that was overheard, as it is remembered, with the names that Slack tells within a second.

        Slack is asked for no more of them than leaves room for the names in questions.
        """
        ids = most_asked(_ids(said))
        unknown = self._directory.unknown(ids)
        if unknown and not await self._lookups.spare(len(unknown)):
            ids = [one for one in ids if one not in unknown]
        names = await self._directory.names_within(ids, TALK_NAMES_TIMEOUT)
        return self._remembered(workspace, channel, said, read_message(said), names)

    async def thread(self, turn: Turn, after: str) -> list[Message]:
        """Messages of a turn's thread: those after ``after``, or its root and the newest. See ``Surface.read_thread``.

        Raises:
            PlatformError: it cannot be read.
        """
        known = after.rpartition(":")[2]
        oldest = known if TIMESTAMP.fullmatch(known) else None
        root: dict[str, Any] | None = None
        newest: deque[dict[str, Any]] = deque(maxlen=THREAD_MESSAGES - (not oldest))
        cursor: str | None = None
        for _ in range(THREAD_PAGES):
            page = partial(
                self._client.conversations_replies,
                ts=turn.key.thread,
                oldest=oldest,
                limit=THREAD_PAGE,
                cursor=cursor,
            )
            found, cursor = await self._page(turn, "conversations.replies", page)
            # The root stands first on every page, whatever is asked for.
            root = next((message for message in found if message["ts"] == turn.key.thread), root)
            newest.extend(message for message in found if message["ts"] != turn.key.thread)
            if not cursor:
                break
        said = [*([root] if root and not oldest else []), *newest]
        told = await self._all(turn, [one for one in said if not self._is_known(one, turn, since=oldest)])
        if cursor:
            log.warning("thread not read to its end")
            told.append(Message(Role.SYSTEM, CUT_NOTE, id=f"{turn.key}:cut", at=turn.at))
        return told

    async def room(self, turn: Turn) -> list[Message]:
        """The newest messages of a turn's channel before it.

        Raises:
            PlatformError: they cannot be read.
        """
        page = partial(self._client.conversations_history, latest=turn.place["ts"], limit=ROOM_MESSAGES)
        found, _ = await self._page(turn, "conversations.history", page)
        fresh = [one for one in found if float(one["ts"]) > turn.at - ROOM_SECONDS and one.get("user") != self._bot]
        return await self._all(turn, sorted(fresh, key=lambda one: float(one["ts"])))

    async def _page(
        self, turn: Turn, method: str, page: Callable[..., Awaitable[AsyncSlackResponse]]
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Messages that say something, and the cursor of the next page."""
        budget = self._budgets.open(f"slack:{turn.key.workspace}:{method}", CALLS_AT_ONCE, CALLS_A_SECOND)

        async def call() -> tuple[list[dict[str, Any]], str | None]:
            await budget.take()
            with telling_refusals(budget), slack_errors(method):
                answer = await page(channel=turn.place["channel"], inclusive=False)
                found = [well_typed(message) for message in answer["messages"]]
                return found, (answer.get("response_metadata") or {}).get("next_cursor") or None

        found, cursor = await retry_for(call, READ_TIMEOUT)
        return [one for one in found if self._is_heard(one, turn)], cursor

    def _is_heard(self, said: Mapping[str, Any], turn: Turn) -> bool:
        """Whether a message counts: not the turn's own, not "Ann joined", and not of people who may not ask."""
        author = said.get("user", "")
        denied = self._allow_users and author not in {*self._allow_users, self._bot} and not is_app(said)
        whole = said.get("ts") and said["ts"] != turn.place["ts"] and (author or is_app(said))
        return bool(whole and not denied and is_talk(said))

    def _is_known(self, said: Mapping[str, Any], turn: Turn, *, since: str | None) -> bool:
        """Whether a message of a thread is, or will be, stored with a question: to us since then, or by us."""
        if said.get("user") == self._bot:
            return since is not None
        return float(said["ts"]) > turn.at and mentions(read_message(said, self._bot).text, self._bot)

    async def _all(self, turn: Turn, said: Sequence[Mapping[str, Any]]) -> list[Message]:
        """Messages as they are remembered, with names."""
        ids = {one for message in said for one in _ids(message)}
        names = await self._directory.names(most_asked(ids))
        where = turn.key.workspace, turn.key.channel
        return [self._remembered(*where, message, read_message(message), names) for message in said]

    def _remembered(
        self, workspace: str, channel: str, said: Mapping[str, Any], reading: Reading, names: Mapping[str, str]
    ) -> Message:
        ours = said.get("user") == self._bot
        author = author_of(said, names)
        names = {**names, self._bot: self._bot_name}
        return Message(
            role=Role.ASSISTANT if ours else Role.USER,
            text=shorten(readable(reading.text, names), THREAD_TOKENS),
            id=identity(workspace, channel, said["ts"]),
            author=None if ours else author,
            at=float(said["ts"]),
            edited=finite((said.get("edited") or {}).get("ts")),
            quotes=with_files(in_words(reading.quotes, names, size=OVERHEARD_SIZE), ", ".join(file_names(said))),
            overheard=not ours and not mentions(reading.text, self._bot),
        )


def author_of(said: Mapping[str, Any], names: Mapping[str, str]) -> Author:
    """Who wrote a message."""
    user = said.get("user") or ""
    if not is_app(said):
        return Author(user, names.get(user) or "")
    profile = said.get("bot_profile")
    titles = (said.get("username"), profile.get("name") if isinstance(profile, Mapping) else "", names.get(user), APP)
    name = next(title for title in titles if isinstance(title, str) and title.strip())
    return Author(user or said.get("bot_id") or "", readable(name, {})[:NAME_SIZE], app=True)


def _ids(said: Mapping[str, Any]) -> set[str]:
    """The ids of everything whose name a message needs."""
    author = said.get("user", "")
    return {*unnamed(markup_of(read_message(said))), *([author] if author else [])}
