"""Discord, connected: from a token to servers whose turns are taken and answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import discord
import structlog
from redis.asyncio import Redis

from bots.discord.budgets import DiscordBudgets
from bots.discord.buttons import BUTTONS
from bots.discord.calls import Calls
from bots.discord.cleanup import Cleanup
from bots.discord.client import Client, ShardedClient, open_client
from bots.discord.commands import Tree, digest, register
from bots.discord.errors import ADVICE
from bots.discord.gateway import Gateway
from bots.discord.listener import DiscordListener
from bots.discord.settings import DiscordSettings
from bots.discord.store import DiscordStore
from bots.discord.surface import DiscordSurface
from bots.discord.typing import Typists
from bots.listening import keep_listening
from bots.stopping import Stopping
from core.causes import cause
from core.errors import ParleyError, PlatformUnauthorized, PlatformUnavailable, SettingsError
from core.memory import Feedback, Listening, Memory
from core.pacing import CallBudgets
from core.tasks import end_tasks
from core.turns import TurnQueue

log = structlog.get_logger()

CLEANING_SECONDS = 3600.0
"""Seconds between two looks for servers that were left long ago."""
HEARD_NOTE_SECONDS = 10.0
"""Seconds between two notes that we hear everything."""
HEARD_RETRY_SECONDS = 1.0
"""Seconds after which one that could not be made is tried again."""


class Discord:
    """One bot: where its turns are answered, and where they come from."""

    def __init__(
        self, settings: DiscordSettings, client: Client | ShardedClient, stopping: Stopping, budgets: CallBudgets
    ) -> None:
        """The client is logged in."""
        own = DiscordBudgets(budgets, client.application_id)
        self.calls = Calls(client, budget=own.of_all_calls(settings.discord_calls_per_second))
        self.typists = Typists(self.calls)
        self.surface = DiscordSurface(self.calls, own, settings, typists=self.typists)
        self._cleanup = Cleanup(client, self.calls, grace=settings.discord_leave_days * 86_400)
        self._settings = settings
        self._client = client
        self._stopping = stopping

    @property
    def connected(self) -> bool:
        """Whether what people say reaches us."""
        return self._client.gateway is not None and self._client.gateway.connected

    @property
    def place(self) -> str:
        """Discord, and the bot's name there."""
        return f"Discord (@{self._client.user})"

    @asynccontextmanager
    async def listening(self, queue: TurnQueue, memory: Memory, redis: Redis) -> AsyncIterator[None]:
        """Take what Discord sends while inside.

        Raises:
            PlatformUnauthorized: Discord does not accept the token, or an intent.
        """
        client, store = self._client, DiscordStore(redis)
        hears = Listening(
            redis, "discord", self._settings.hear if self._settings.discord_message_content else "mention"
        )
        typists = self.typists if "discord" in queue.platforms else None  # else others answer, and type
        listener = DiscordListener(
            self._settings,
            self.calls,
            queue=queue,
            memory=memory,
            store=store,
            feedback=Feedback(redis),
            listening=hears,
            typists=typists,
        )
        gateway = Gateway(client, listener.intake, self._settings, self.calls)
        client.add_dynamic_items(*BUTTONS)
        tree = Tree(client)
        client.listener, client.gateway = listener, gateway
        keeping = keep_listening(hears, lambda: gateway.connected)
        work = (self._keep_up_to_date(store, memory), gateway.watch(), keeping)
        tasks = [asyncio.create_task(one) for one in work]
        try:
            await self._sync(tree, store)
            running = asyncio.create_task(gateway.run())
            tasks.append(running)
            await self._first_connection(gateway, running)
            running.add_done_callback(self._gateway_ended)
            yield
            if running.done():
                running.result()
        finally:
            client.listener = client.gateway = None
            await end_tasks(tasks)
            await listener.drain()
            await gateway.hang_up()

    async def _first_connection(self, gateway: Gateway, running: asyncio.Task[None]) -> None:
        """Wait until we hear Discord, or are asked to stop, or it will not have us."""
        waits = [asyncio.create_task(gateway.first_ready.wait()), asyncio.create_task(self._stopping.requested.wait())]
        try:
            await asyncio.wait({running, *waits}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if running.done():
            running.result()

    def _gateway_ended(self, running: asyncio.Task[None]) -> None:
        """Discord will not have us any more: there is nothing left to listen to, and who runs us should know."""
        if not running.cancelled() and running.exception():
            log.error("Discord closed the connection for good", error=str(running.exception()))
            self._stopping.request()

    async def _sync(self, tree: Tree, store: DiscordStore) -> None:
        """Register the commands if they changed since they were registered last."""
        wanted = digest(tree)
        try:
            if await store.registered_commands() != wanted:
                await register(self.calls, tree)
                await store.note_registered(wanted)
        except ParleyError as error:
            log.warning("command registration failed", error=str(error), remedy="Try `parley discord sync`.")

    async def _keep_up_to_date(self, store: DiscordStore, memory: Memory) -> None:
        """Note that we hear everything, and forget the servers that we left, once we know on which we are."""
        cleaned, wait = -CLEANING_SECONDS, HEARD_RETRY_SECONDS
        while True:
            try:
                if gateway := self._client.gateway:
                    await gateway.catch_up()
                    wait = HEARD_NOTE_SECONDS if gateway.caught_up else HEARD_RETRY_SECONDS
                    if gateway.caught_up and time.monotonic() - cleaned >= CLEANING_SECONDS:
                        await gateway.keep_servers()
                        await self._cleanup.clean(store, memory, gateway.owns)
                        cleaned = time.monotonic()
            except ParleyError as error:
                log.warning("housekeeping failed", error=str(error))
            await asyncio.sleep(wait)


@asynccontextmanager
async def open_discord(
    settings: DiscordSettings, stopping: Stopping, budgets: CallBudgets
) -> AsyncIterator[Discord | None]:
    """Discord, as soon as it can be reached: it is waited for. None if we are asked to stop meanwhile.

    Raises:
        SettingsError: the token is missing.
        PlatformUnauthorized: Discord does not accept it.
    """
    client = open_client(settings)
    async with client:
        if not await stopping.connect("discord", lambda: log_in(client, settings)):
            yield None
            return
        platform = Discord(settings, client, stopping, budgets)
        async with platform.calls:
            yield platform


async def log_in(client: discord.Client, settings: DiscordSettings) -> bool:
    """Log in: from then on calls can be made.

    Raises:
        SettingsError: the token is missing.
        PlatformUnauthorized: Discord does not accept it.
        PlatformUnavailable: Discord cannot be reached.
    """
    secret = settings.discord_token
    if not secret:
        raise SettingsError("DISCORD_TOKEN: is needed for Discord. Example: DISCORD_TOKEN=MTA5.abc.def")
    try:
        async with asyncio.timeout(30):
            await client.login(secret.get_secret_value())
    except discord.LoginFailure:
        raise PlatformUnauthorized("Discord rejects the bot token", code="401", remedy=ADVICE) from None
    except (discord.DiscordException, aiohttp.ClientError, TimeoutError, OSError, TypeError) as error:
        # TypeError: the library's own, for an answer that is text where it expects an object.
        with suppress(Exception):
            await client.http.close()
        raise PlatformUnavailable(f"log in: {cause(error)}", code="unreachable") from None
    return True
