"""Calls of Discord's REST API: each with a deadline, none sent twice, each back as soon as Discord has answered.

discord.py's own calls wait: one that uses up a rate limit sleeps until the limit is reset, although it was answered,
and one that is refused is sent again later, with a text that is old by then. So only the login, the gateway and the
reading of missed messages are left to it. Everything else is sent from here, and ``core.delivery`` decides what is sent
next.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import discord
from discord.http import Route
from discord.ui import View

from bots.discord.errors import is_global, translate
from core.causes import cause
from core.clock import seconds_ahead
from core.errors import PlatformUnavailable, RateLimited
from core.pacing import CallBudget

DEADLINE = 15.0
"""Seconds that a call may take; Discord answers in well under one."""
FORBIDDEN_SECONDS = 60.0
"""Seconds for which a channel that we may not write to is left alone: somebody may give us the right meanwhile."""
CALLS_PER_SECOND = 50
"""Calls of one bot, whatever they are (docs.discord.com, topics/rate-limits, "Global Rate Limit")."""
CLOCK_TOLERANCE = 2.0
"""Seconds by which a ``Date``, which counts whole ones, may differ although the clocks agree."""
SECOND = 1.02
"""Seconds for which a call counts after its answer: a little more than one, for clocks that do not agree."""
SUPPRESS_EMBEDS = 1 << 2
EPHEMERAL = 1 << 6
FILE_NAME = "answer.md"

Json = dict[str, Any]


class CallPriority(IntEnum):
    """Who goes first where calls have to wait.

    The end of an answer; then the first sign that a question was heard; then first words where there was a sign
    already; previews get what is left.
    """

    END = 0
    SIGN = 1
    BEGINNING = 2
    PREVIEW = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """What Discord answered to a call, or a proxy in its place: there may stand anything.

    Each property that has to read it, and cannot, raises PlatformUnavailable.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    what: str = "call Discord"

    @property
    def json(self) -> Any:
        """The JSON of the answer; None if there is none."""
        try:
            return json.loads(self.body) if self.body else None
        except ValueError:
            raise self._unreadable() from None

    @property
    def data(self) -> Json:
        """The same, where it is an object; empty where it is not."""
        read = self.json
        return read if isinstance(read, dict) else {}

    @property
    def objects(self) -> list[Json]:
        """The same, where it is to be a list of objects."""
        read = self.json
        if not isinstance(read, list) or not all(isinstance(one, dict) for one in read):
            raise self._unreadable()
        return read

    def name(self, field: str) -> str:
        """An id that the answer is to hold."""
        found = self.data.get(field)
        if not isinstance(found, str | int):
            raise self._unreadable()
        return str(found)

    def _unreadable(self) -> PlatformUnavailable:
        return PlatformUnavailable(f"{self.what}: the answer cannot be read", code="unreadable")


class DiscordClock:
    """Discord's clock: ages of messages are told by the clock that named them, whatever ours says."""

    def __init__(self) -> None:
        self.ahead = 0.0
        """Seconds that ours is ahead of it, as the ``Date`` of its answers tells; 0 while they agree."""

    def learn(self, headers: Mapping[str, str]) -> None:
        """Discord answered, just now."""
        if (ahead := seconds_ahead(headers.get("Date"))) is not None:
            self.ahead = ahead if abs(ahead) > CLOCK_TOLERANCE else 0.0

    def now(self) -> float:
        """The time, as Discord has it."""
        return time.time() - self.ahead

    def age(self, snowflake: str | int) -> float:
        """Seconds since something was named."""
        return self.now() - discord.utils.snowflake_time(int(snowflake)).timestamp()


class Calls:
    """Makes calls for a ``client`` that is logged in, and turns what goes wrong into PlatformErrors.

    ``budget`` is a window of the bot's calls, for all processes that make some; without one, this process counts for
    itself. A call is reserved from before it is sent until it was answered, and counts for a ``SECOND`` from then on:
    so however long it was on its way, Discord never sees more of them in any second.
    """

    def __init__(self, client: discord.Client, *, deadline: float = DEADLINE, budget: CallBudget | None = None) -> None:
        self.client = client
        self.clock = DiscordClock()
        self.budget = budget or CallBudget(CALLS_PER_SECOND, seconds=SECOND)
        self._deadline = deadline
        self._session: aiohttp.ClientSession | None = None
        self._shielded: set[asyncio.Task[Answer]] = set()
        self._forbidden: dict[str, float] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._shielded:
            task.cancel()
        if self._shielded:
            await asyncio.wait(self._shielded, timeout=2.0)
        if self._session:
            await self._session.close()

    def forbid(self, channel: str) -> None:
        """We may not write there; that is not tried again for a while."""
        now = time.monotonic()
        self._forbidden = {known: until for known, until in self._forbidden.items() if until > now}
        self._forbidden[channel] = now + FORBIDDEN_SECONDS

    def is_forbidden(self, channel: str) -> bool:
        """Whether we were told lately that we may not write there."""
        return self._forbidden.get(channel, 0.0) > time.monotonic()

    async def __call__(
        self,
        what: str,
        method: str,
        path: str,
        payload: Any = None,
        priority: CallPriority = CallPriority.BEGINNING,
        *,
        file: str = "",
        deadline: float | None = None,
        paid: bool = False,
        shielded: bool = False,
    ) -> Answer:
        """Call with the bot's token, and return what Discord answered.

        Args:
            what: The call in words, for errors and the log.
            method: GET, POST, PATCH, PUT or DELETE.
            path: Below Discord's API, with its query.
            payload: What is sent as JSON.
            priority: Who goes first where calls wait for the bot's budget.
            file: A text that is attached as a file.
            deadline: Seconds, where they are not those of all calls.
            paid: Whether the budget was waited for already.
            shielded: Whether a call that is on its way ends, even if its caller is cancelled: for what may come late
                and is often cancelled, since nobody knows when a request that was given up reaches Discord.

        Raises:
            PlatformError: as ``bots.discord.errors`` and ``core.errors`` say.
        """
        if not paid:
            await self.budget.reserve(priority)

        async def call() -> Answer:
            headers = {"Authorization": f"Bot {self.client.http.token}"}
            try:
                return await self._send(what, method, path, payload, file=file, deadline=deadline, headers=headers)
            finally:
                self.budget.spend()

        if not shielded:
            return await call()
        task = asyncio.create_task(call())
        self._shielded.add(task)
        task.add_done_callback(self._shielded.discard)
        return await asyncio.shield(task)

    async def respond(self, interaction: discord.Interaction, kind: int, data: Json | None, deadline: float) -> Answer:
        """Give the first response to an interaction: ``kind`` is one of ``discord.InteractionResponseType``.

        It does not count for the bot's calls.
        """
        path = f"/interactions/{interaction.id}/{quote(interaction.token, safe='')}/callback"
        payload = {"type": kind} if data is None else {"type": kind, "data": data}
        return await self._send("respond", "POST", path, payload, deadline=deadline)

    async def edit_response(self, app: str, token: str, message: str, payload: Json, file: str = "") -> Answer:
        """Edit a message of an interaction with its ``token``, which does not count for the bot's calls either."""
        path = f"/webhooks/{app}/{quote(token, safe='')}/messages/{message}"
        return await self._send("edit a response", "PATCH", path, payload, file=file)

    async def _send(
        self,
        what: str,
        method: str,
        path: str,
        payload: Any,
        *,
        file: str = "",
        deadline: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        self._session = self._session or aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), headers={"User-Agent": self.client.http.user_agent}
        )
        seconds = self._deadline if deadline is None else deadline
        body: dict[str, Any] = {"data": _form(payload, file)} if file else {"json": payload}
        try:
            async with (
                asyncio.timeout(seconds),
                self._session.request(method, Route.BASE + path, headers=headers, **body) as response,
            ):
                answer = Answer(response.status, response.headers, await response.read(), what)
        except TimeoutError:
            raise PlatformUnavailable(f"{what}: no answer within {seconds:g} s", code="timeout") from None
        except (aiohttp.ClientError, OSError) as error:
            raise PlatformUnavailable(f"{what}: {cause(error)}", code="unreachable") from None
        self.clock.learn(answer.headers)
        if 200 <= answer.status < 300:
            return answer
        refusal = translate(what, answer.status, answer.headers, answer.body)
        if isinstance(refusal, RateLimited) and is_global(answer.headers):
            self.budget.refused(refusal.retry_after or 1.0)
        raise refusal


def quiet_message(text: str, view: View | None = None, *, flags: int = 0, **more: Any) -> Json:
    """The payload of a message that rings nobody and shows no preview of a link."""
    return {
        "content": text,
        "components": view.to_components() if view else [],
        "flags": SUPPRESS_EMBEDS | flags,
        "allowed_mentions": {"parse": [], "replied_user": False},
        **more,
    }


def _form(payload: Json, file: str) -> aiohttp.FormData:
    """A payload with a file beside it."""
    form = aiohttp.FormData(quote_fields=False)  # Discord does not know a name whose brackets are quoted
    form.add_field("payload_json", json.dumps({**payload, "attachments": [{"id": 0, "filename": FILE_NAME}]}))
    content = file.encode("utf-8", "replace")
    form.add_field("files[0]", content, filename=FILE_NAME, content_type="application/octet-stream")
    return form
