"""The gateway, supervised: it reconnects, resumes, notices when no events come, and looks for missed messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any, Protocol

import aiohttp
import discord
import structlog

from bots.discord.calls import Calls
from bots.discord.errors import ADVICE
from bots.discord.settings import DiscordSettings
from core.errors import ParleyError, PlatformError, PlatformUnauthorized

log = structlog.get_logger()

RECONNECT_SECONDS = (1, 2, 4, 8, 15, 30, 60)
"""Seconds between two connections that failed; the last one for ever. Discord allows 1000 a day."""
PROBE_SECONDS = 10.0
"""Seconds in which an event that we ask for has to come."""
MISSED_SECONDS = 3600.0
"""Seconds after which a missed question is not answered any more: it would surprise people."""
UNNOTICED_SECONDS = 120.0
"""Seconds for which a connection may have been dead before that is noticed: the library waits for 60, looks each 41."""
MOST_CHANNELS, MOST_MESSAGES = 1000, 1000
"""Channels that are searched for missed messages, and messages of each."""
SEARCH_TIMEOUT = 60.0
"""Seconds that one channel may take: ten pages, of which Discord gives one a second."""
SEARCH_RETRY_SECONDS = (0.0, 1.0, 4.0)
"""Seconds before each try to search a channel."""
FEW_SESSIONS = 20
"""Connections that are left of the day's 1000 for an operator to put something right; Discord would reset the token."""
INTENT = (
    "Switch the Message Content Intent on at discord.com/developers > your application > Bot, "
    "or set DISCORD_MESSAGE_CONTENT=false: then Parley hears what mentions it, and direct messages."
)
LONGEST_SESSION_WAIT = 600.0
"""Seconds before the limit is read again."""
SESSION_LIMIT_ADVICE = "Find out in the log why Parley connects so often; it connects again when Discord allows it."
FATAL_CODES = {
    4004: ("Discord rejects the bot token", ADVICE),
    4010: ("Discord does not know that shard", "Check DISCORD_SHARD_COUNT and DISCORD_SHARD_IDS."),
    4011: ("the bot is on too many servers for one connection", "Set DISCORD_SHARD_COUNT to 2 or more."),
    4012: ("Discord does not speak this version any more", "Update Parley."),
    4013: ("Discord does not know an intent that we ask for", "Update Parley."),
    4014: ("the Message Content Intent is not switched on", INTENT),
}


class MessageListener(Protocol):
    """Takes messages."""

    store: Any

    async def handle_message(self, message: discord.Message, *, missed: bool = False) -> None:
        """One message; ``missed`` if it was found later."""
        ...

    def missed(self) -> None:
        """Something may have been said that did not come."""
        ...


class Gateway:
    """Keeps one client connected, on one connection or several: those are known by their number."""

    def __init__(
        self, client: Any, listener: MessageListener, settings: DiscordSettings, calls: Calls | None = None
    ) -> None:
        self.first_ready = asyncio.Event()
        """Discord has accepted us, for the first time."""
        self._client = client
        self._listener = listener
        self._calls = calls or Calls(client)
        self._silence = settings.discord_silence_seconds
        self._event_at = time.monotonic()
        self._silent = False
        self._live: set[int] = set()
        """Shards whose connection is open."""
        self._ready: set[int] = set()
        """Shards that know their servers."""
        self._broken_at: dict[int, float] = {}
        """When a connection broke, or brought events for the last time."""
        self._missing_since: dict[int, float] = {}
        """From when on messages are to be looked for."""
        self._searching = asyncio.Lock()

    @property
    def connected(self) -> bool:
        """Whether events come in, on every connection."""
        shards = getattr(self._client, "shards", None) or (0,)
        return not self._silent and bool(self._client.is_ready()) and self._live.issuperset(shards)

    @property
    def caught_up(self) -> bool:
        """Whether events come in, and all missed messages were looked for."""
        return self.connected and not self._missing_since and not self._searching.locked()

    def event_received(self, kind: str) -> None:
        """An event came."""
        self._event_at = time.monotonic()
        if kind in ("READY", "RESUMED"):
            self._silent = False
            self.first_ready.set()
            log.info("connected to Discord", how=kind.lower(), bot=str(self._client.user))

    def lost(self, shard: int = 0) -> None:
        """A connection broke, and perhaps brought nothing for a while before."""
        if shard in self._live:
            self._live.discard(shard)
            self._broken_at.setdefault(shard, time.time() - UNNOTICED_SECONDS)

    def resumed(self, shard: int = 0) -> None:
        """A connection continues where it broke: Discord sends what was said meanwhile on its own."""
        self._live.add(shard)
        self._broken_at.pop(shard, None)

    def identified(self, shard: int = 0) -> None:
        """A connection began anew: messages since the last event are to be looked for."""
        since = self._broken_at.pop(shard, 0.0)  # 0 in a new process: what went before, only Redis knows
        self._missing_since[shard] = min(since, self._missing_since.get(shard, since))
        self._ready.discard(shard)
        self._live.add(shard)
        self._listener.missed()

    async def ready(self, shard: int = 0) -> None:
        """A connection that began anew knows its servers, so they can be searched."""
        log.info("server list received", servers=len(self._client.guilds))
        self._ready.add(shard)
        try:
            await self.catch_up()
        except ParleyError as error:
            log.warning("search for missed messages failed", error=str(error))

    async def catch_up(self) -> None:
        """Look for missed messages, if there may be some; then note that we have heard everything until now.

        Raises:
            StorageError: Redis is away. Missed messages are looked for the next time.
        """
        async with self._searching:
            for shard in sorted(self._missing_since.keys() & self._ready):
                since = self._missing_since.pop(shard)
                try:
                    await self.keep_servers()
                    if known := since or await self._listener.store.last_heard():
                        if known < time.time() - MISSED_SECONDS:
                            log.warning("missed messages too old", seconds=round(time.time() - known))
                        await self._search_missed(max(known, time.time() - MISSED_SECONDS), shard)
                except BaseException:
                    self._missing_since[shard] = min(since, self._missing_since.get(shard, since))
                    raise
            if self.connected and not self._missing_since:
                await self._listener.store.note_heard()

    async def run(self) -> None:
        """Connect, and connect again, for ever.

        Raises:
            PlatformUnauthorized: Discord refuses us, and would later.
        """
        attempt = 0
        while True:
            await self._wait_for_session_limit()
            began = time.monotonic()
            try:
                await self._client.connect()
            except discord.PrivilegedIntentsRequired:
                raise _fatal(4014) from None
            except discord.ConnectionClosed as closed:
                if closed.code in FATAL_CODES:
                    raise _fatal(closed.code) from None
                error: Exception = closed
            except (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError, AttributeError) as fault:
                # AttributeError: the library's own, when its very first connection is refused.
                error = fault
            else:
                return
            attempt = 0 if time.monotonic() - began > 60 else attempt + 1
            wait = RECONNECT_SECONDS[min(attempt, len(RECONNECT_SECONDS)) - 1]
            log.warning("gateway disconnected; reconnecting", error=type(error).__name__, again_in=wait)
            await asyncio.sleep(wait)

    async def _wait_for_session_limit(self) -> None:
        """Wait for the next day rather than use up this day's connections: a supervisor may restart us for ever."""
        while True:
            try:
                answer = await self._calls("read connection limits", "GET", "/gateway/bot")
            except PlatformError as error:
                log.info("connection limits unknown", code=error.code)
                return
            limit = answer.data.get("session_start_limit")
            left, wait = (limit.get("remaining"), limit.get("reset_after")) if isinstance(limit, dict) else (None, None)
            if not (isinstance(left, int) and isinstance(wait, int | float) and left < FEW_SESSIONS and wait > 0):
                return
            seconds = min(wait / 1000, LONGEST_SESSION_WAIT)
            log.error("daily connections used up", remedy=SESSION_LIMIT_ADVICE, again_in=round(seconds))
            await asyncio.sleep(seconds)

    async def hang_up(self) -> None:
        """Close the connection."""
        sockets = [shard._parent.ws for shard in getattr(self._client, "shards", {}).values()]
        for socket in [*sockets, getattr(self._client, "ws", None)]:
            if socket is not None and socket.open:
                await socket.close(code=1000)

    async def keep_servers(self) -> None:
        """Note that we are in our servers: one that we left may have invited us again, unheard.

        Raises:
            StorageError: Redis is away.
        """
        await self._listener.store.left.join(*(str(guild.id) for guild in self._client.guilds))

    def owns(self, guild: str) -> bool:
        """Whether a server belongs to a connection of ours, so that we know whether we are in it."""
        shards = getattr(self._client, "shards", None)
        return not shards or (int(guild) >> 22) % self._client.shard_count in shards

    async def watch(self) -> None:
        """A socket may answer heartbeats and bring no events: ask for one, and reconnect if it does not come."""
        while True:
            await asyncio.sleep(min(30.0, self._silence / 4))
            if not self.connected or time.monotonic() - self._event_at < self._silence:
                continue
            guild = next(iter(self._client.guilds), None)
            if guild is None or self._client.user is None:
                continue
            asked_at = time.monotonic()
            try:
                async with asyncio.timeout(min(PROBE_SECONDS, self._silence)):
                    await guild.query_members(user_ids=[self._client.user.id], cache=False)
            except (TimeoutError, discord.DiscordException, ConnectionError):
                if self._event_at > asked_at:
                    continue
                log.warning("gateway silent; reconnecting", seconds=round(time.monotonic() - self._event_at))
                self._silent = True
                for shard in self._live:
                    self._broken_at[shard] = time.time() - (time.monotonic() - self._event_at)
                for socket in self._sockets():
                    await socket.socket.close(code=4000)

    def _sockets(self) -> Iterator[Any]:
        shards = getattr(self._client, "shards", None)
        if shards:
            yield from (shard._parent.ws for shard in shards.values())
        elif self._client.ws is not None:
            yield self._client.ws

    async def _search_missed(self, since: float, shard: int) -> None:
        """Read what was said since then where we may have been asked; answered questions are known as such."""
        after = int((since - self._calls.clock.ahead) * 1000 - 1_420_070_400_000) << 22
        found = 0
        for channel in await self._channels(after, shard):
            found += await self._search(channel, discord.Object(after))
        log.info("missed messages searched", seconds=round(time.time() - since), messages=found)

    async def _search(self, channel: Any, after: discord.Object) -> int:
        """Take what was said in one channel. Returns the number of messages."""
        said: list[discord.Message] = []
        for wait in SEARCH_RETRY_SECONDS:
            await asyncio.sleep(wait)
            try:
                async with asyncio.timeout(SEARCH_TIMEOUT):
                    # The newest first, so that where there are too many, the oldest are left out.
                    newest = channel.history(after=after, limit=MOST_MESSAGES, oldest_first=False)
                    said = [one async for one in newest]
                break
            except (discord.Forbidden, discord.NotFound) as error:
                log.info("channel not searched", error=type(error).__name__)
                return 0
            except (discord.DiscordException, TimeoutError, aiohttp.ClientError, OSError) as error:
                failed: Exception = error
        else:
            log.warning("channel not searched", error=type(failed).__name__)
        if len(said) == MOST_MESSAGES:
            log.warning("missed messages left out", messages=MOST_MESSAGES)
        for message in reversed(said):
            await self._listener.handle_message(message, missed=True)
        return len(said)

    async def _channels(self, after: int, shard: int) -> list[Any]:
        """Channels of a connection in which something was said since, and the direct messages and threads in use."""
        channels: dict[int, Any] = {}
        for guild in self._client.guilds:
            if guild.shard_id == shard:
                places = (*guild.text_channels, *guild.voice_channels, *guild.stage_channels, *guild.threads)
                channels |= {place.id: place for place in places if (place.last_message_id or 0) > after}
        for place in await self._listener.store.places():
            if int(place) not in channels:
                known = self._client.get_channel(int(place))
                try:
                    known = known or await self._client.fetch_channel(int(place))
                except discord.DiscordException:
                    continue
                guild = getattr(known, "guild", None)
                if (guild.shard_id if guild else 0) == shard:  # direct messages come on the first
                    channels[int(place)] = known
        if len(channels) > MOST_CHANNELS:
            log.warning("channels left out of search")
            newest = sorted(channels, key=lambda one: getattr(channels[one], "last_message_id", 0) or 0)
            channels = {one: channels[one] for one in newest[-MOST_CHANNELS:]}
        return list(channels.values())


def _fatal(code: int) -> PlatformUnauthorized:
    said, remedy = FATAL_CODES[code]
    return PlatformUnauthorized(said, code=str(code), remedy=remedy)
