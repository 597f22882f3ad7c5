"""Display names of people in a workspace, looked up once an hour at the most."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from slack_sdk.web.async_client import AsyncWebClient

from bots.slack.errors import slack_errors
from core.errors import PlatformError

log = structlog.get_logger()

NAME_SECONDS = 3600.0
"""Seconds for which a name is kept."""
UNKNOWN_SECONDS = 60.0
"""Seconds before a failed lookup is tried again."""
LOOKUP_TIMEOUT = 3
"""Seconds that an answer waits for a name."""
MOST_KEPT = 10_000
"""Names that are kept; users.info can be called 100 times a minute."""


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    until: float


class Directory:
    """Display names of people; several askers of one name share one call."""

    def __init__(self, client: AsyncWebClient) -> None:
        self._client = client
        self._known: dict[str, _Entry] = {}
        self._asking: dict[str, asyncio.Task[str]] = {}

    async def names(self, ids: Iterable[str]) -> dict[str, str]:
        """Names for ids, without those that Slack does not tell."""
        wanted = list(dict.fromkeys(ids))
        found = await asyncio.gather(*(self.name(user) for user in wanted))
        return {user: name for user, name in zip(wanted, found, strict=True) if name}

    def known(self, ids: Iterable[str]) -> dict[str, str]:
        """Names for ids, without a lookup."""
        return {user: self._known[user].name for user in ids if user in self._known and self._known[user].name}

    async def name(self, user: str) -> str:
        """The name that people see; "" if Slack does not tell."""
        known = self._known.get(user)
        if known and known.until > time.monotonic():
            return known.name
        if user not in self._asking:
            self._asking[user] = asyncio.create_task(self._ask(user))
        return await asyncio.shield(self._asking[user])

    async def _ask(self, user: str) -> str:
        name = ""
        try:
            with slack_errors("users.info"):
                response = await asyncio.wait_for(self._client.users_info(user=user), LOOKUP_TIMEOUT)
            person = response["user"]
            profile = person.get("profile", {})
            name = profile.get("display_name") or profile.get("real_name") or person.get("real_name") or person["name"]
        except PlatformError as error:
            log.info("name lookup failed", code=error.code)
        finally:
            del self._asking[user]
            if len(self._known) >= MOST_KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[user] = _Entry(name, time.monotonic() + (NAME_SECONDS if name else UNKNOWN_SECONDS))
        return name
