"""Names in a workspace: of people, channels and user groups, looked up once an hour at the most."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import structlog
from slack_sdk.web.async_client import AsyncWebClient

from bots.slack.errors import slack_errors
from core.errors import PlatformError, PlatformUnauthorized

log = structlog.get_logger()

NAME_SECONDS = 3600.0
"""Seconds for which a name is kept, and in which what the token does not allow is not asked again."""
UNKNOWN_SECONDS = 60.0
"""Seconds before a failed lookup is tried again."""
LOOKUP_TIMEOUT = 3
"""Seconds that an answer waits for a name."""
MOST_KEPT = 10_000
"""Names that are kept; users.info can be called 100 times a minute, conversations.info 50 times."""
MOST_PEOPLE, MOST_OTHERS = 20, 10
"""People in one message whose names are asked for, and channels and groups."""
GROUPS = "S"
"""Under which the lookup of all user groups is known: Slack gives no single one."""


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    until: float


class Directory:
    """Display names of people, channels and user groups, by id; several askers of one name share one call.

    A private channel has no name here: it would be told where people don't know that there is such a channel.
    """

    def __init__(self, client: AsyncWebClient) -> None:
        self._client = client
        self._known: dict[str, _Entry] = {}
        self._asking: dict[str, asyncio.Task[str]] = {}
        self._refused: dict[str, float] = {}

    async def names(self, ids: Iterable[str]) -> dict[str, str]:
        """Names for ids, without those that Slack does not tell."""
        wanted = list(dict.fromkeys(ids))
        found = await asyncio.gather(*(self.name(one) for one in wanted))
        return {one: name for one, name in zip(wanted, found, strict=True) if name}

    async def names_within(self, ids: Collection[str], seconds: float) -> dict[str, str]:
        """The same for as many as Slack tells in time; all others may be known the next time."""
        try:
            async with asyncio.timeout(seconds):
                return await self.names(ids)
        except TimeoutError:
            return self.known(ids)

    def known(self, ids: Collection[str]) -> dict[str, str]:
        """Names for ids, without a lookup."""
        return {one: self._known[one].name for one in ids if one in self._known and self._known[one].name}

    def unknown(self, ids: Collection[str]) -> list[str]:
        """Ids for which Slack would be asked now."""
        now = time.monotonic()
        refused = {method for method, until in self._refused.items() if until > now}
        known = {one for one in ids if one in self._known and self._known[one].until > now}
        return [one for one in ids if one not in known and _method(one) not in refused]

    async def name(self, one: str) -> str:
        """The name that people see; "" if Slack does not tell."""
        known = self._known.get(one)
        if known and known.until > time.monotonic():
            return known.name
        call = GROUPS if one.startswith(GROUPS) else one
        if self._refused.get(_method(one), 0.0) > time.monotonic():
            return ""
        if call not in self._asking:
            self._asking[call] = asyncio.create_task(self._ask(call))
        name = await asyncio.shield(self._asking[call])
        if call is not GROUPS:
            return name
        known = self._known.get(one)
        if not known:  # no such group, or none that we are told of
            self._keep(one, "", UNKNOWN_SECONDS)
        return known.name if known else ""

    async def _ask(self, one: str) -> str:
        name, method = "", _method(one)
        try:
            with slack_errors(method):
                async with asyncio.timeout(LOOKUP_TIMEOUT):
                    if one == GROUPS:
                        await self._ask_groups()
                    else:
                        name = await (self._ask_person(one) if method == "users.info" else self._ask_channel(one))
        except PlatformUnauthorized as error:  # the scope is missing: to ask for each name would change nothing
            log.info("name lookup failed", code=error.code)
            self._refused[method] = time.monotonic() + NAME_SECONDS
        except PlatformError as error:
            log.info("name lookup failed", code=error.code)
        finally:
            del self._asking[one]
            if one != GROUPS:
                self._keep(one, name, NAME_SECONDS if name else UNKNOWN_SECONDS)
        return name

    async def _ask_person(self, user: str) -> str:
        person = (await self._client.users_info(user=user))["user"]
        profile = person.get("profile", {})
        name = profile.get("display_name") or profile.get("real_name") or person.get("real_name") or person["name"]
        return str(name)

    async def _ask_channel(self, channel: str) -> str:
        found = (await self._client.conversations_info(channel=channel))["channel"]
        return "" if found.get("is_private") or found.get("is_im") or found.get("is_mpim") else str(found["name"])

    async def _ask_groups(self) -> None:
        for group in (await self._client.usergroups_list())["usergroups"][:MOST_KEPT]:
            self._keep(str(group["id"]), str(group.get("handle") or group["name"]), NAME_SECONDS)

    def _keep(self, one: str, name: str, seconds: float) -> None:
        if len(self._known) >= MOST_KEPT:
            self._known.pop(next(iter(self._known)))
        self._known[one] = _Entry(name, time.monotonic() + seconds)


def most_asked(ids: Iterable[str]) -> list[str]:
    """As many ids as are looked up for one message."""
    ordered = sorted(set(ids))
    people = [one for one in ordered if one.startswith(("U", "W"))]
    return [*people[:MOST_PEOPLE], *[one for one in ordered if one not in people][:MOST_OTHERS]]


def _method(one: str) -> str:
    """The method that tells a name."""
    if one.startswith(GROUPS):
        return "usergroups.list"
    return "conversations.info" if one.startswith(("C", "G")) else "users.info"
