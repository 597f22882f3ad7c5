"""The clean-up: what is remembered of channels that are no more, or that we were taken out of, heard or not.

A deleted channel and an uninstalled app are for good. Who is taken out of a channel, or whose token is revoked, may be
back in days: what is remembered of that goes after ``SLACK_LEAVE_DAYS``. An archived channel is neither.
"""

from __future__ import annotations

import asyncio
import random

import structlog
from redis.asyncio import Redis
from slack_sdk.web.async_client import AsyncWebClient

from bots.slack.errors import slack_errors
from bots.slack.events import Departure
from core.errors import NotAllowed, ParleyError, PlatformError, PlatformUnauthorized
from core.memory import Departures, Memory

log = structlog.get_logger()

HOUR = 3600.0
SOON = 60.0
"""Seconds after which a clean-up that could not be made is tried again."""
PAGE, MOST_PAGES = 200, 50
"""Channels in one answer of Slack, and answers that are read."""
MOST_LOOKED_AT = 20
"""Channels that Slack is asked about one by one at each clean-up."""
CHANNELS = ("C", "G")
"""How the ids of channels begin; those of direct messages begin with D, and nobody leaves them."""


class Cleanup:
    """Keeps the memory of one workspace as it would be if we had heard everything."""

    def __init__(self, client: AsyncWebClient, workspace: str, redis: Redis, memory: Memory, *, grace: float) -> None:
        """What was left is forgotten after ``grace`` seconds."""
        self._client = client
        self._workspace = workspace
        self._memory = memory
        self._grace = grace
        self._left = Departures(redis, "slack")

    async def part(self, departure: Departure) -> None:
        """Note that we are somewhere no more; what is gone for good is due at once: see ``erase``."""
        await self._left.leave(departure.place, grace=0 if departure.for_good else self._grace)

    async def erase(self, departure: Departure) -> None:
        """Forget what is gone for good; if this comes to no end, the next clean-up does it."""
        forgotten = await self._left.erase(departure.place, self._memory)
        log.info("left channels forgotten", messages=forgotten)

    async def join(self, *places: str) -> None:
        """We are there, perhaps again."""
        await self._left.join(*places)

    async def keep(self) -> None:
        """Clean up every hour, for ever."""
        while True:
            wait = HOUR
            try:
                await self.clean()
            except ParleyError as error:
                log.warning("housekeeping failed", error=str(error))
                wait = SOON
            await asyncio.sleep(wait)

    async def clean(self) -> None:
        """Find out where we are, and forget what is due of the rest.

        Raises:
            StorageError: Redis is away.
            PlatformError: Slack is away; nothing is forgotten, since we may be there again.
        """
        try:
            channels = await self._channels()
        except PlatformUnauthorized as error:  # nor does it say later: what we were told has to do
            log.info("channel list unknown", code=error.code)
        else:
            await self.join(self._workspace, *(f"{self._workspace}:{channel}" for channel in channels))
            remembered = {key.channel async for key in self._left.conversations([self._workspace])}
            unknown = sorted(channel for channel in remembered - channels if channel.startswith(CHANNELS))
            for channel in random.sample(unknown, min(MOST_LOOKED_AT, len(unknown))):
                if await self._is_left(channel):
                    await self._left.leave(f"{self._workspace}:{channel}", grace=self._grace)
        if forgotten := await self._left.forget(self._memory):
            log.info("left channels forgotten", messages=forgotten)

    async def _channels(self) -> set[str]:
        """The channels that we are in."""
        found, cursor = set[str](), ""
        for _ in range(MOST_PAGES):
            with slack_errors("users.conversations"):
                answer = await self._client.users_conversations(
                    types="public_channel,private_channel", limit=PAGE, cursor=cursor
                )
                found |= {str(channel["id"]) for channel in answer["channels"]}
                cursor = (answer.get("response_metadata") or {}).get("next_cursor") or ""
            if not cursor:
                break
        return found

    async def _is_left(self, channel: str) -> bool:
        """Whether Slack says that we are not in a channel; what it does not let us look at may be there."""
        try:
            with slack_errors("conversations.info"):
                answer = await self._client.conversations_info(channel=channel)
                return answer["channel"].get("is_member") is False
        except NotAllowed as error:
            return error.code == "channel_not_found"
        except PlatformError:
            return False
