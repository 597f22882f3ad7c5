"""What a worker asks Discord for, since it has no gateway to learn it from: names, and the roles that people have."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import structlog

from bots.discord.calls import Calls
from bots.discord.quotes import id_in, text_in
from core.errors import PlatformError

log = structlog.get_logger()

NAMES_SECONDS = 600.0
"""Seconds for which names are kept, also if they could not be read."""
ROLES_SECONDS = 60.0
"""Seconds for which it is kept which roles somebody has."""
MOST_SERVERS, MOST_PEOPLE = 200, 5000


class Directory:
    """Knows the names of a server's roles and channels, and who has which, once somebody asks."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._known: dict[str, tuple[float, Mapping[str, str]]] = {}
        self._roles: dict[tuple[str, str], tuple[float, Sequence[str]]] = {}

    async def names(self, guild: str) -> Mapping[str, str]:
        """The names of a server's roles and channels by id, as far as they can be read. Never raises."""
        until, names = self._known.get(guild, (0.0, {}))
        if until < time.monotonic():
            names = {**await self._read(guild, "roles"), **await self._read(guild, "channels")}
            if len(self._known) >= MOST_SERVERS:
                self._known.clear()
            self._known[guild] = time.monotonic() + NAMES_SECONDS, names
        return names

    async def roles(self, guild: str, user: str) -> Sequence[str]:
        """The roles that somebody has on a server; none if they left it.

        Raises:
            PlatformError: they cannot be read now.
        """
        until, roles = self._roles.get((guild, user), (0.0, ()))
        if until < time.monotonic():
            try:
                found = (await self._calls("read a member", "GET", f"/guilds/{guild}/members/{user}")).data.get("roles")
            except PlatformError as error:
                if error.retryable:
                    raise
                found = None
            roles = [str(role) for role in found] if isinstance(found, list) else ()
            if len(self._roles) >= MOST_PEOPLE:
                self._roles.clear()
            self._roles[guild, user] = time.monotonic() + ROLES_SECONDS, roles
        return roles

    async def _read(self, guild: str, what: str) -> dict[str, str]:
        try:
            found = (await self._calls(f"read {what}", "GET", f"/guilds/{guild}/{what}")).objects
        except PlatformError as error:
            log.info("names not read", what=what, code=error.code)
            return {}
        return {id_in(one, "id"): text_in(one, "name") for one in found if id_in(one, "id") and text_in(one, "name")}
