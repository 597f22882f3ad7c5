"""What is gone from Slack is forgotten: deleted channels and all of a removed app at once, left channels in time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
import redis.asyncio

import bots.slack.cleanup as cleanup_module
from bots.slack.cleanup import Cleanup
from bots.slack.platform import open_client, open_slack
from bots.slack.settings import SlackSettings
from bots.stopping import Stopping
from core.errors import PlatformError
from core.memory.conversations import Memory
from core.memory.exchange import Exchange, Thread
from core.pacing import CallBudgets
from core.settings import load_settings
from core.store.keys import Keys
from core.turns.queue import TurnQueue
from core.types import Author, ConversationKey, Message, Role
from tests.doubles.slack import SlackDouble
from tests.waiting import wait_until

GENERAL = ConversationKey("slack", "T0TEAM", "C0GENERAL")
THREAD = ConversationKey("slack", "T0TEAM", "C0GENERAL", "5.0")
SECRET = ConversationKey("slack", "T0TEAM", "G0SECRET")
DIRECT = ConversationKey("slack", "T0TEAM", "D0ADA")
FOREIGN = ConversationKey("slack", "T0OTHER", "C0GENERAL")
KEYS = {"general": GENERAL, "thread": THREAD, "secret": SECRET, "direct": DIRECT, "foreign": FOREIGN}
CHANNEL = {"general", "thread"}


@dataclass
class Ear:
    """A process that listens, and what it remembers."""

    slack: SlackDouble
    client: redis.asyncio.Redis
    memory: Memory

    async def left(self) -> set[str]:
        """What is remembered yet, or was chosen."""
        there = [await self.client.exists(Keys.messages(key), Keys.settings(key)) for key in KEYS.values()]
        return {name for name, known in zip(KEYS, there, strict=True) if known}

    @asynccontextmanager
    async def listening(self, **more: str) -> AsyncIterator[None]:
        """Take what Slack sends while inside."""
        settings = load_settings(
            SlackSettings,
            _env_file=None,
            slack_bot_token=self.slack.bot_token,
            slack_app_token=self.slack.app_token,
            slack_api_url=self.slack.url,
            **more,
        )
        budgets = CallBudgets(self.client)
        try:
            async with open_slack(settings, Stopping(), budgets, listens=True) as platform:
                assert platform
                queue = TurnQueue(self.client, self.memory)
                async with platform.listening(queue, self.memory, self.client):
                    await wait_until(lambda: platform.connected)
                    yield
        finally:
            await budgets.aclose()

    @asynccontextmanager
    async def house(self) -> AsyncIterator[Cleanup]:
        """Somebody who cleans up, without any grace."""
        settings = load_settings(
            SlackSettings, _env_file=None, slack_bot_token=self.slack.bot_token, slack_api_url=self.slack.url
        )
        async with aiohttp.ClientSession() as session:
            yield Cleanup(open_client(settings, session), "T0TEAM", self.client, self.memory, grace=0)


@pytest.fixture
async def slack() -> AsyncIterator[SlackDouble]:
    """Slack, without its rate limits."""
    async with SlackDouble(tiers=False) as double:
        double.add_channel("G0SECRET", "secret", private=True)
        yield double


@pytest.fixture
async def ear(slack: SlackDouble, client: redis.asyncio.Redis) -> Ear:
    """Somebody said something everywhere, and chose something."""
    memory = Memory(client, retention=1000)
    for name, key in KEYS.items():
        loaded = await memory.load(key, Thread("root", 1.0) if key.parent else None)
        asked = Message(Role.USER, "my secret", id=name, author=Author("U0ADA", "Ada"), at=2.0)
        assert await memory.append(Exchange(key, loaded.epoch, name, "", (asked,)))
        await memory.choose(key, "temperature", "0.3")
    return Ear(slack, client, memory)


Happens = Callable[[SlackDouble], object]
AT_ONCE: dict[str, tuple[Happens, set[str]]] = {
    "a channel is deleted": (lambda slack: slack.close("C0GENERAL"), CHANNEL),
    "a private channel is deleted": (lambda slack: slack.close("G0SECRET"), {"secret"}),
    "the app is uninstalled": (lambda slack: slack.uninstall(), CHANNEL | {"secret", "direct"}),
}
IN_TIME: dict[str, tuple[Happens, set[str]]] = {
    "we are taken out of a channel": (lambda slack: slack.kick("C0GENERAL"), CHANNEL),
    "we are taken out of a private channel": (lambda slack: slack.kick("G0SECRET"), {"secret"}),
}
MISSED: dict[str, tuple[Happens, set[str]]] = {
    "we missed that we were taken out": (
        lambda slack: slack.channels["C0GENERAL"].members.discard(slack.bot_user),
        CHANNEL,
    ),
    "we missed that it is private now": (
        lambda slack: slack.channels["G0SECRET"].members.discard(slack.bot_user),
        {"secret"},
    ),
    "we missed that it was deleted": (lambda slack: slack.channels.pop("C0GENERAL"), CHANNEL),
}
NEVER: dict[str, Happens] = {
    "a channel is archived": lambda slack: slack.archive("C0GENERAL"),
    "a direct message is closed": lambda slack: slack.emit({"type": "im_close", "channel": "D0ADA", "user": "U0ADA"}),
    "somebody else leaves": lambda slack: slack.emit(
        {"type": "member_left_channel", "channel": "C0GENERAL", "user": "U0ADA"}
    ),
    "a person's token is revoked": lambda slack: slack.emit({"type": "tokens_revoked", "tokens": {"oauth": ["U0ADA"]}}),
    "nobody says which channel": lambda slack: slack.emit({"type": "channel_deleted"}),
    "it is no name of a channel": lambda slack: slack.emit({"type": "channel_deleted", "channel": {"id": "C0GENERAL"}}),
}


@pytest.mark.parametrize(("happens", "gone"), AT_ONCE.values(), ids=AT_ONCE)
async def test_what_is_gone_for_good_is_forgotten_at_once(ear: Ear, happens: Happens, gone: set[str]) -> None:
    """With its threads and what was chosen there; nothing else is."""
    async with ear.listening():
        happens(ear.slack)

        async def forgotten() -> bool:
            return not await ear.left() & gone

        await wait_until(forgotten)
    assert await ear.left() == KEYS.keys() - gone
    assert not ear.slack.unacked()


@pytest.mark.parametrize(("happens", "gone"), [*IN_TIME.values(), *MISSED.values()], ids=[*IN_TIME, *MISSED])
async def test_what_was_left_is_forgotten_in_time_whether_we_hear_of_it_or_not(
    ear: Ear, happens: Happens, gone: set[str]
) -> None:
    """And not before."""
    happens(ear.slack)
    async with ear.listening(slack_leave_days="5"):
        await wait_until(lambda: ear.client.exists(Keys.left("slack")))
    assert await ear.left() == KEYS.keys()
    async with ear.listening(slack_leave_days="0"):

        async def forgotten() -> bool:
            return not await ear.left() & gone

        await wait_until(forgotten)
    assert await ear.left() == KEYS.keys() - gone


async def test_who_is_back_in_time_remembers(ear: Ear) -> None:
    """Also if nobody told of it."""
    for told in (True, False):
        async with ear.listening(slack_leave_days="5"):
            ear.slack.kick("C0GENERAL")
            await wait_until(lambda: ear.client.zscore(Keys.left("slack"), "T0TEAM:C0GENERAL"))
            if told:
                await ear.slack.invite("C0GENERAL")

                async def joined() -> bool:
                    return not await ear.client.zscore(Keys.left("slack"), "T0TEAM:C0GENERAL")

                await wait_until(joined)
        ear.slack.channels["C0GENERAL"].members.add(ear.slack.bot_user)
        await ear.client.zadd(Keys.left("slack"), {"T0TEAM:C0GENERAL": 1.0})
        async with ear.listening(slack_leave_days="0"):

            async def cleaned() -> bool:
                return not await ear.client.exists(Keys.left("slack"))

            await wait_until(cleaned)
        assert await ear.left() == KEYS.keys()


@pytest.mark.parametrize("happens", NEVER.values(), ids=NEVER)
async def test_what_is_no_end_forgets_nothing(ear: Ear, happens: Happens) -> None:
    """Nor does what we may not look at, however often we clean up."""
    async with ear.listening(slack_leave_days="0"):
        happens(ear.slack)
        ear.slack.close("G0SECRET")  # what came after it is done

        async def done() -> bool:
            return "secret" not in await ear.left()

        await wait_until(done)
    async with ear.house() as house:
        await house.clean()
    assert await ear.left() == KEYS.keys() - {"secret"}


async def test_nothing_is_forgotten_while_slack_does_not_say_where_we_are(ear: Ear) -> None:
    """Away, it may know that we are back; without a scope for it, what we were told has to do."""
    await ear.client.zadd(Keys.left("slack"), {"T0TEAM:C0GENERAL": 1.0})
    async with ear.house() as house:
        ear.slack.fail("users.conversations", "fatal_error", 1)
        with pytest.raises(PlatformError, match="fatal_error"):
            await house.clean()
        assert await ear.left() == KEYS.keys()
        ear.slack.scopes.remove("groups:read")
        await house.clean()
    assert await ear.left() == KEYS.keys() - CHANNEL


async def test_what_we_may_not_look_at_may_be_there(ear: Ear) -> None:
    """A group message, for which there is no scope; or Slack is away just then."""
    ear.slack.kick("C0GENERAL")
    async with ear.house() as house:
        for error in ("missing_scope", "fatal_error", "ratelimited"):
            ear.slack.fail("conversations.info", error, 1, channel="C0GENERAL")
            await house.clean()
            assert await ear.left() == KEYS.keys()
        await house.clean()
    assert await ear.left() == KEYS.keys() - CHANNEL


async def test_more_channels_than_one_page_are_ours(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slack gives them a page at a time."""
    monkeypatch.setattr(cleanup_module, "PAGE", 1)
    async with ear.house() as house:
        await house.clean()
    assert len(ear.slack.calls_of("users.conversations")) > 1
    assert not ear.slack.calls_of("conversations.info")
    assert await ear.left() == KEYS.keys()


async def test_a_workspace_without_a_name_is_nobodys(ear: Ear) -> None:
    """An event that does not say where it is from forgets nothing."""
    for place in (ConversationKey("slack", "", ""), ConversationKey("slack", "", "C0GENERAL")):
        assert await ear.memory.erase(place) == 0
    assert await ear.left() == KEYS.keys()
