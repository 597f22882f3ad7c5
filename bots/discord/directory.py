"""The names of roles and channels for a worker, which has no gateway to learn them from."""

from __future__ import annotations

import time
from collections.abc import Mapping

import structlog

from bots.discord.calls import Calls
from bots.discord.quotes import id_in, text_in
from core.errors import PlatformError

log = structlog.get_logger()

NAMES_SECONDS = 600.0
"""Seconds for which names are kept, also if they could not be read."""
MOST_SERVERS = 200


class Directory:
    """Knows the names of a server's roles and channels, once somebody asks for one."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._known: dict[str, tuple[float, Mapping[str, str]]] = {}

    async def names(self, guild: str) -> Mapping[str, str]:
        """The names of a server's roles and channels by id, as far as they can be read. Never raises."""
        until, names = self._known.get(guild, (0.0, {}))
        if until < time.monotonic():
            names = {**await self._read(guild, "roles"), **await self._read(guild, "channels")}
            if len(self._known) >= MOST_SERVERS:
                self._known.clear()
            self._known[guild] = time.monotonic() + NAMES_SECONDS, names
        return names

    async def _read(self, guild: str, what: str) -> dict[str, str]:
        try:
            found = (await self._calls(f"read {what}", "GET", f"/guilds/{guild}/{what}")).objects
        except PlatformError as error:
            log.info("names not read", what=what, code=error.code)
            return {}
        return {id_in(one, "id"): text_in(one, "name") for one in found if id_in(one, "id") and text_in(one, "name")}
