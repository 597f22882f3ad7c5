"""The gateway, supervised: it comes back, resumes, notices when it is deaf, and looks for what it missed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any, Protocol

import aiohttp
import discord
import structlog

from bots.discord.errors import ADVICE
from core.errors import ParleyError, PlatformError, PlatformUnauthorized
from core.settings import Settings

log = structlog.get_logger()

WAITS = (1, 2, 4, 8, 15, 30, 60)
"""Seconds between two connections that failed; the last one for ever. Discord allows 1000 a day."""
PROBE = 10.0
"""Seconds in which an event that we ask for has to come."""
MISSED_FOR = 3600.0
"""Seconds after which a question that was missed is not answered any more: it would surprise people."""
MOST_CHANNELS, MOST_MESSAGES = 100, 50
INTENT = (
    "Switch the Message Content Intent on at discord.com/developers > your application > Bot, "
    "or set DISCORD_MESSAGE_CONTENT=false: then Parley hears what mentions it, and direct messages."
)
HOPELESS = {
    4004: ("Discord does not accept the bot token", ADVICE),
    4010: ("Discord does not know that shard", "Check DISCORD_SHARD_COUNT and DISCORD_SHARD_IDS."),
    4011: ("the bot is on too many servers for one connection", "Set DISCORD_SHARD_COUNT to 2 or more."),
    4012: ("Discord does not speak this version any more", "Update Parley."),
    4013: ("Discord does not know an intent that we ask for", "Update Parley."),
    4014: ("the Message Content Intent is not switched on", INTENT),
}


class Hears(Protocol):
    """Takes messages."""

    state: Any

    async def hear(self, message: discord.Message) -> None:
        """One message."""
        ...


class Gateway:
    """Keeps one client connected."""

    def __init__(self, client: Any, listener: Hears, settings: Settings) -> None:
        self.connected = asyncio.Event()
        self._client = client
        self._listener = listener
        self._silence = settings.discord_silence_seconds
        self._heard_at = time.monotonic()
        self._deaf = False
        self._looking = asyncio.Lock()

    @property
    def hears(self) -> bool:
        """Whether events come in."""
        return self.connected.is_set() and not self._deaf and bool(self._client.is_ready())

    def heard(self, kind: str) -> None:
        """An event came."""
        self._heard_at = time.monotonic()
        if kind in ("READY", "RESUMED"):
            self._deaf = False
            self.connected.set()
            log.info("in Discord", how=kind.lower(), bot=str(self._client.user))

    async def run(self) -> None:
        """Connect, and connect again, for ever.

        Raises:
            PlatformUnauthorized: Discord will not have us, and would not later either.
        """
        attempt = 0
        while True:
            began = time.monotonic()
            try:
                await self._client.connect()
            except discord.PrivilegedIntentsRequired:
                raise _hopeless(4014) from None
            except discord.ConnectionClosed as closed:
                if closed.code in HOPELESS:
                    raise _hopeless(closed.code) from None
                error: Exception = closed
            except (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError, AttributeError) as fault:
                # AttributeError: the library's own, when its very first connection is refused.
                error = fault
            else:
                return
            attempt = 0 if time.monotonic() - began > 60 else attempt + 1
            wait = WAITS[min(attempt, len(WAITS)) - 1]
            log.warning("the gateway is not connected", error=type(error).__name__, again_in=wait)
            await asyncio.sleep(wait)

    async def hang_up(self) -> None:
        """Close the connection."""
        sockets = [shard._parent.ws for shard in getattr(self._client, "shards", {}).values()]
        for socket in [*sockets, getattr(self._client, "ws", None)]:
            if socket is not None and socket.open:
                await socket.close(code=1000)

    async def ready(self) -> None:
        """We identified anew: what was said since we last heard everything is looked for."""
        log.info("servers are known", servers=len(self._client.guilds))
        async with self._looking:
            try:
                since = await self._listener.state.alive()
                if since:
                    await self._look_for_missed(max(since, time.time() - MISSED_FOR))
                await self._listener.state.beat()
            except ParleyError as error:
                log.warning("what was missed could not be looked for", error=str(error))

    async def watch(self) -> None:
        """A socket may answer heartbeats and bring no events: ask for one, and hang up if it does not come."""
        while True:
            await asyncio.sleep(min(30.0, self._silence / 4))
            if not self.hears or time.monotonic() - self._heard_at < self._silence:
                continue
            guild = next(iter(self._client.guilds), None)
            if guild is None or self._client.user is None:
                continue
            asked_at = time.monotonic()
            try:
                async with asyncio.timeout(min(PROBE, self._silence)):
                    await guild.query_members(user_ids=[self._client.user.id], cache=False)
            except (TimeoutError, discord.DiscordException, ConnectionError):
                if self._heard_at > asked_at:
                    continue
                log.warning("the gateway is deaf; connecting anew", seconds=round(time.monotonic() - self._heard_at))
                self._deaf = True
                for socket in self._sockets():
                    await socket.socket.close(code=4000)

    def _sockets(self) -> Iterator[Any]:
        shards = getattr(self._client, "shards", None)
        if shards:
            yield from (shard._parent.ws for shard in shards.values())
        elif self._client.ws is not None:
            yield self._client.ws

    async def _look_for_missed(self, since: float) -> None:
        """Read what was said since then where we may have been spoken to; what was answered is known as such."""
        after = int(since * 1000 - 1_420_070_400_000) << 22
        found = 0
        for channel in await self._channels(after):
            try:
                async with asyncio.timeout(15):
                    async for message in channel.history(after=discord.Object(after), limit=MOST_MESSAGES):
                        found += 1
                        await self._listener.hear(message)
            except (discord.DiscordException, PlatformError, TimeoutError, aiohttp.ClientError) as error:
                log.info("a channel could not be looked through", error=type(error).__name__)
        log.info("looked for what was missed", seconds=round(time.time() - since), messages=found)

    async def _channels(self, after: int) -> list[Any]:
        """Channels in which something was said since, and the direct messages and threads in use."""
        channels: dict[int, Any] = {}
        for guild in self._client.guilds:
            for channel in (*guild.text_channels, *guild.threads):
                if (channel.last_message_id or 0) > after:
                    channels[channel.id] = channel
        for place in await self._listener.state.places():
            if int(place) not in channels:
                known = self._client.get_channel(int(place))
                try:
                    channels[int(place)] = known or await self._client.fetch_channel(int(place))
                except discord.DiscordException:
                    continue
        return list(channels.values())[:MOST_CHANNELS]


def _hopeless(code: int) -> PlatformUnauthorized:
    said, remedy = HOPELESS[code]
    return PlatformUnauthorized(said, code=str(code), remedy=remedy)
