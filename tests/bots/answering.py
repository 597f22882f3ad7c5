"""Answers in this process: a real queue and worker, the doubles of Slack and Discord, and a model that can be held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from redis.asyncio import Redis

from bots.discord.events import Place, make_turn
from bots.discord.platform import open_discord
from bots.discord.settings import DiscordSettings
from bots.slack.events import read_question
from bots.slack.platform import open_client
from bots.slack.settings import SlackSettings
from bots.slack.surface import SlackSurface
from bots.stopping import Stopping
from core.assistant.assistant import AnswerSettings, Assistant
from core.delivery.surface import Surface
from core.memory.conversations import Memory
from core.model_types import Delta, Done, GenerationRequest, ModelLimits
from core.models.models import single_model
from core.pacing.shared import CallBudgets
from core.prompts import open_template
from core.settings import load_settings
from core.turns.queue import TurnQueue
from core.turns.worker import Worker
from core.types import Turn
from tests.doubles.discord import ADA, GENERAL, GUILD, DiscordDouble
from tests.doubles.discord_records import Posted
from tests.doubles.slack import SlackDouble
from tests.waiting import wait_until

ANSWER = " ".join(f"word{number}" for number in range(120)) + "."


@dataclass
class HeldModel:
    """Says ``answer``: the first half, and the rest when ``go`` is set."""

    answer: str = ANSWER
    go: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0
    given_up: int = 0

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Delta | Done, None]:
        """Half, and the rest."""
        del request
        self.asked += 1
        half = len(self.answer) // 2
        try:
            yield Delta(self.answer[:half])
            await self.go.wait()
        except (asyncio.CancelledError, GeneratorExit):
            self.given_up += 1
            raise
        yield Delta(self.answer[half:])
        yield Done()

    async def limits(self) -> ModelLimits | None:
        """Room for everything."""
        return ModelLimits(40_000, 60_000)

    async def healthy(self) -> bool:
        """Always."""
        return True

    async def aclose(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class Desk:
    """Somebody who answers on one platform."""

    surface: Surface
    queue: TurnQueue
    memory: Memory
    model: HeldModel
    worker: Worker

    async def ask(self, turn: Turn) -> Turn:
        """Ask."""
        assert (await self.queue.submit(turn)).accepted
        return turn

    async def ended(self, turn: Turn) -> None:
        """Wait until nobody is to answer a turn any more."""

        async def closed() -> bool:
            return not await self.queue.is_open(turn.id)

        await wait_until(closed, description="an end")


@asynccontextmanager
async def desk(platform: str, surface: Surface, redis: Redis, *, lease: float = 5.0) -> AsyncIterator[Desk]:
    """A worker with one model that is held."""
    model = HeldModel()
    memory = Memory(redis, retention=3600)
    answer_settings = AnswerSettings("", 0.7, 5000, ModelLimits(40_000, 60_000))
    assistant = Assistant(memory, single_model(model, open_template("falcon")), answer_settings)
    queue = TurnQueue(redis, memory, platforms=[platform], lease=lease)
    worker = Worker(queue, assistant, {platform: surface})
    worker.start()
    try:
        yield Desk(surface, queue, memory, model, worker)
    finally:
        model.go.set()
        await worker.drain(0.0)


@asynccontextmanager
async def slack_desk(slack: SlackDouble, redis: Redis) -> AsyncIterator[Desk]:
    """Somebody who answers in Slack."""
    settings = load_settings(SlackSettings, _env_file=None, slack_bot_token=slack.bot_token, slack_api_url=slack.url)
    budgets = CallBudgets(redis)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        client = open_client(settings, session)
        surface = SlackSurface(client, slack.bot_user, "Parley", budgets=budgets, first_words=0.01)
        try:
            async with desk("slack", surface, redis) as one:
                yield one
        finally:
            await budgets.aclose()


async def slack_turn(slack: SlackDouble, text: str = "go", *, channel: str = "C0GENERAL", thread: str = "") -> Turn:
    """What a mention in Slack becomes."""
    ts = await slack.mention(channel, text, thread=thread or None)
    asked = read_question(slack.events[ts][-1], slack.bot_user)
    assert asked
    return asked.turn


@asynccontextmanager
async def discord_desk(discord: DiscordDouble, redis: Redis) -> AsyncIterator[Desk]:
    """Somebody who answers in Discord, and hears nothing."""
    settings = load_settings(
        DiscordSettings,
        _env_file=None,
        discord_token=discord.token,
        discord_api_url=discord.url,
        discord_gateway_url=discord.gateway_url,
        first_words_ms="10",
    )
    budgets = CallBudgets(redis)
    try:
        async with open_discord(settings, Stopping(), budgets) as platform:
            assert platform
            async with desk("discord", platform.surface, redis) as one:
                yield one
    finally:
        await budgets.aclose()


def warned(logs: list[Any]) -> bool:
    """Whether an operator finds something."""
    return any(entry["log_level"] in ("warning", "error") for entry in logs)


class Ada:
    """The person who asks in Discord."""

    id = ADA
    display_name = "Ada"
    bot = False


def discord_turn(discord: DiscordDouble, text: str = "go", *, channel: str = GENERAL, thread: str = "") -> Turn:
    """What a mention in Discord becomes."""
    asked: Posted = discord.mention(text, channel=thread or channel)
    at = discord.clock.seconds(asked.id)
    place = {"channel": thread or channel, "bot": "1", "reply_to": asked.id}
    return make_turn(Place(GUILD, channel, thread), asked.id, Ada, text, at=at, place=place)
