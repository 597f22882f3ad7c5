"""The gateway, supervised: it comes back, resumes, notices when it is deaf, and looks for what it missed."""

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

WAITS = (1, 2, 4, 8, 15, 30, 60)
"""Seconds between two connections that failed; the last one for ever. Discord allows 1000 a day."""
PROBE = 10.0
"""Seconds in which an event that we ask for has to come."""
MISSED_FOR = 3600.0
"""Seconds after which a question that was missed is not answered any more: it would surprise people."""
UNNOTICED = 120.0
"""Seconds for which a connection may have been dead before that is noticed: the library waits for 60, looks each 41."""
MOST_CHANNELS, MOST_MESSAGES = 1000, 1000
"""Of what was missed, so many channels, and messages of each, are looked through."""
SEARCH_TIMEOUT = 60.0
"""Seconds that one channel may take: ten pages, of which Discord gives one a second."""
SEARCH_WAITS = (0.0, 1.0, 4.0)
"""Seconds before each try to look through a channel."""
FEW_IDENTIFIES = 20
"""Connections that are left of the day's 1000 for an operator to put something right; Discord would reset the token."""
INTENT = (
    "Switch the Message Content Intent on at discord.com/developers > your application > Bot, "
    "or set DISCORD_MESSAGE_CONTENT=false: then Parley hears what mentions it, and direct messages."
)
LONGEST_IDENTIFY_WAIT = 600.0
"""Seconds before the limit is read again."""
IDENTIFIES = "Find out in the log why Parley connects so often; it connects again when Discord allows it."
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
    """Keeps one client connected, on one connection or several: those are known by their number."""

    def __init__(self, client: Any, listener: Hears, settings: DiscordSettings, calls: Calls | None = None) -> None:
        self.let_in = asyncio.Event()
        """Discord has let us in, for the first time."""
        self._client = client
        self._listener = listener
        self._calls = calls or Calls(client)
        self._silence = settings.discord_silence_seconds
        self._heard_at = time.monotonic()
        self._deaf = False
        self._live: set[int] = set()
        self._told: set[int] = set()
        self._until: dict[int, float] = {}
        self._behind: dict[int, float] = {}
        self._looking = asyncio.Lock()

    @property
    def hears(self) -> bool:
        """Whether events come in, on every connection."""
        shards = getattr(self._client, "shards", None) or (0,)
        return not self._deaf and bool(self._client.is_ready()) and self._live.issuperset(shards)

    @property
    def caught_up(self) -> bool:
        """Whether events come in, and nothing that was missed is still to be looked for."""
        return self.hears and not self._behind and not self._looking.locked()

    def heard(self, kind: str) -> None:
        """An event came."""
        self._heard_at = time.monotonic()
        if kind in ("READY", "RESUMED"):
            self._deaf = False
            self.let_in.set()
            log.info("connected to Discord", how=kind.lower(), bot=str(self._client.user))

    def lost(self, shard: int = 0) -> None:
        """A connection broke, and perhaps brought nothing for a while before."""
        if shard in self._live:
            self._live.discard(shard)
            self._until.setdefault(shard, time.time() - UNNOTICED)

    def resumed(self, shard: int = 0) -> None:
        """A connection goes on where it broke: what was said meanwhile, Discord tells by itself."""
        self._live.add(shard)
        self._until.pop(shard, None)

    def identified(self, shard: int = 0) -> None:
        """A connection began anew: what was said since we last heard everything is to be looked for."""
        since = self._until.pop(shard, 0.0)  # 0 in a new process: what went before, only Redis knows
        self._behind[shard] = min(since, self._behind.get(shard, since))
        self._told.discard(shard)
        self._live.add(shard)

    async def ready(self, shard: int = 0) -> None:
        """A connection that began anew knows its servers, so it can be looked for."""
        log.info("server list received", servers=len(self._client.guilds))
        self._told.add(shard)
        try:
            await self.keep_up()
        except ParleyError as error:
            log.warning("search for missed messages failed", error=str(error))

    async def keep_up(self) -> None:
        """Look for what was missed, if there may be something; then note that we have heard everything until now.

        Raises:
            StorageError: Redis is away. What was missed is looked for the next time.
        """
        async with self._looking:
            for shard in sorted(self._behind.keys() & self._told):
                since = self._behind.pop(shard)
                try:
                    await self.stay()
                    if known := since or await self._listener.state.alive():
                        if known < time.time() - MISSED_FOR:
                            log.warning("missed messages too old", seconds=round(time.time() - known))
                        await self._look_for_missed(max(known, time.time() - MISSED_FOR), shard)
                except BaseException:
                    self._behind[shard] = min(since, self._behind.get(shard, since))
                    raise
            if self.hears and not self._behind:
                await self._listener.state.beat()

    async def run(self) -> None:
        """Connect, and connect again, for ever.

        Raises:
            PlatformUnauthorized: Discord will not have us, and would not later either.
        """
        attempt = 0
        while True:
            await self._spare_identifies()
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
            log.warning("gateway disconnected; reconnecting", error=type(error).__name__, again_in=wait)
            await asyncio.sleep(wait)

    async def _spare_identifies(self) -> None:
        """Wait for the next day rather than use up this one's connections: a process may be started again for ever."""
        while True:
            try:
                answer = await self._calls("read connection limits", "GET", "/gateway/bot")
            except PlatformError as error:
                log.info("connection limits unknown", code=error.code)
                return
            limit = answer.data.get("session_start_limit")
            left, wait = (limit.get("remaining"), limit.get("reset_after")) if isinstance(limit, dict) else (None, None)
            if not (isinstance(left, int) and isinstance(wait, int | float) and left < FEW_IDENTIFIES and wait > 0):
                return
            seconds = min(wait / 1000, LONGEST_IDENTIFY_WAIT)
            log.error("daily connections used up", remedy=IDENTIFIES, again_in=round(seconds))
            await asyncio.sleep(seconds)

    async def hang_up(self) -> None:
        """Close the connection."""
        sockets = [shard._parent.ws for shard in getattr(self._client, "shards", {}).values()]
        for socket in [*sockets, getattr(self._client, "ws", None)]:
            if socket is not None and socket.open:
                await socket.close(code=1000)

    async def stay(self) -> None:
        """Servers that we are in were not left for good, though we may not have heard how we came back.

        Raises:
            StorageError: Redis is away.
        """
        await self._listener.state.join(*(str(guild.id) for guild in self._client.guilds))

    def minds(self, guild: str) -> bool:
        """Whether we would know if we were in a server: whether it is on a connection of ours."""
        shards = getattr(self._client, "shards", None)
        return not shards or (int(guild) >> 22) % self._client.shard_count in shards

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
                log.warning("gateway silent; reconnecting", seconds=round(time.monotonic() - self._heard_at))
                self._deaf = True
                for shard in self._live:
                    self._until[shard] = time.time() - (time.monotonic() - self._heard_at)
                for socket in self._sockets():
                    await socket.socket.close(code=4000)

    def _sockets(self) -> Iterator[Any]:
        shards = getattr(self._client, "shards", None)
        if shards:
            yield from (shard._parent.ws for shard in shards.values())
        elif self._client.ws is not None:
            yield self._client.ws

    async def _look_for_missed(self, since: float, shard: int) -> None:
        """Read what was said since then where we may have been spoken to; what was answered is known as such."""
        after = int((since - self._calls.clock.ahead) * 1000 - 1_420_070_400_000) << 22
        found = 0
        for channel in await self._channels(after, shard):
            found += await self._search(channel, discord.Object(after))
        log.info("missed messages searched", seconds=round(time.time() - since), messages=found)

    async def _search(self, channel: Any, after: discord.Object) -> int:
        """Hear what was said in one channel, to the end. Returns how many messages that were."""
        said: list[discord.Message] = []
        for wait in SEARCH_WAITS:
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
            await self._listener.hear(message)
        return len(said)

    async def _channels(self, after: int, shard: int) -> list[Any]:
        """Channels of a connection in which something was said since, and the direct messages and threads in use."""
        channels: dict[int, Any] = {}
        for guild in self._client.guilds:
            if guild.shard_id == shard:
                places = (*guild.text_channels, *guild.voice_channels, *guild.stage_channels, *guild.threads)
                channels |= {place.id: place for place in places if (place.last_message_id or 0) > after}
        for place in await self._listener.state.places():
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


def _hopeless(code: int) -> PlatformUnauthorized:
    said, remedy = HOPELESS[code]
    return PlatformUnauthorized(said, code=str(code), remedy=remedy)
