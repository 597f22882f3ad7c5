"""Discord, listened to in this process: the real client and the real queue, and nobody who answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from bots.discord.buttons import identity
from bots.discord.gateway import Gateway
from bots.discord.platform import Discord, open_discord
from bots.discord.settings import DiscordSettings
from bots.discord.store import DiscordStore
from bots.stopping import Stopping
from core.memory.conversations import Memory
from core.pacing.shared import CallBudgets
from core.settings import load_settings
from core.turns.queue import TurnQueue
from core.types import Turn
from tests.doubles.discord import DiscordDouble
from tests.doubles.discord_records import Posted


@dataclass(frozen=True)
class Ear:
    """A process that listens."""

    platform: Discord
    queue: TurnQueue
    memory: Memory
    store: DiscordStore
    double: DiscordDouble

    @property
    def gateway(self) -> Gateway:
        """Its connection."""
        gateway: Gateway = self.platform.calls.client.gateway  # type: ignore[attr-defined]
        return gateway

    def name(self, asked: Posted) -> str:
        """The turn that a message is."""
        return identity(self.double.channels[asked.channel].guild, asked.channel, asked.id)

    async def turn(self, asked: Posted) -> Turn | None:
        """The turn that a message became."""
        return await self.queue.find(self.name(asked))


@asynccontextmanager
async def listening(double: DiscordDouble, redis: Redis, **more: str) -> AsyncIterator[Ear]:
    """Somebody who listens, with these settings, from the first connection on."""
    addresses = {
        "discord_token": double.token,
        "discord_api_url": double.url,
        "discord_gateway_url": double.gateway_url,
    }
    settings = load_settings(DiscordSettings, _env_file=None, **{**addresses, **more})
    memory, budgets = Memory(redis, retention=1000), CallBudgets(redis)
    queue = TurnQueue(redis, memory, quotas=settings.quotas)
    try:
        async with open_discord(settings, Stopping(), budgets) as platform:
            assert platform
            async with platform.listening(queue, memory, redis):
                yield Ear(platform, queue, memory, DiscordStore(redis), double)
    finally:
        await budgets.aclose()
