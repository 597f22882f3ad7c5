"""A thread that Parley is asked into: the newest of it is read, and a moment's trouble does not lose it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import redis.asyncio
import structlog

from bots.discord import history
from bots.slack import history as slack_history
from core.assistant.hearing import JOINED_NOTE, UNREAD_NOTE
from core.memory.listening import HEARS_CHANNEL, Listening
from core.types import MessageRef, Role
from tests.bots.answering import Desk, discord_desk, discord_turn, slack_desk, slack_turn
from tests.doubles.discord import BOB, GENERAL, DiscordDouble
from tests.doubles.slack import SlackDouble
from tests.waiting import wait_until

CHANNEL = "C0GENERAL"
REPLIES, HISTORY = "conversations.replies", "GET /channels/:id/messages"


@pytest.fixture
async def slack() -> AsyncIterator[SlackDouble]:
    """Slack, without its rate limits."""
    async with SlackDouble(tiers=False) as double:
        double.own_messages = False
        yield double


@pytest.fixture
async def discord() -> AsyncIterator[DiscordDouble]:
    """Discord, without its limits."""
    async with DiscordDouble() as double:
        double.allow_message_content()
        double.rest.limits.enforced = False
        yield double


async def answered(desk: Desk, turn: Any) -> list[str]:
    """Have a turn answered, and tell what is remembered of its thread."""
    desk.model.go.set()
    await desk.ended(await desk.ask(turn))
    return [message.text for message in (await desk.memory.load(turn.key)).messages]


def joined(count: int) -> str:
    """The note about a thread of so many messages."""
    said, was = ("1 message", "was") if count == 1 else (f"{count} messages", "were")
    return JOINED_NOTE.format(count=said, was=was)


async def test_of_1500_messages_the_newest_are_read(slack: SlackDouble, client: redis.asyncio.Redis) -> None:
    """And the one that the thread hangs on."""
    root = await slack.say(CHANNEL, "the root", user="U0BOB")
    place = slack.channels[CHANNEL]
    for number in range(1500):
        slack.post(place, "U0BOB", f"note-{number}", thread_ts=root)
    async with slack_desk(slack, client) as desk:
        said = await answered(desk, await slack_turn(slack, "summarise", thread=root))
    assert said[:2] == ["the root", "note-1451"]
    assert said[49:51] == ["note-1499", joined(50)]
    assert len(slack.calls_of(REPLIES)) == 2


async def test_a_thread_without_end_is_a_warning(
    slack: SlackDouble, client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator can find out why the newest is not known, the model is told once, and nothing known is lost."""
    monkeypatch.setattr(slack_history, "THREAD_PAGE", 2)
    monkeypatch.setattr(slack_history, "THREAD_PAGES", 2)
    root = await slack.say(CHANNEL, "the root", user="U0BOB")
    for number in range(9):
        await slack.say(CHANNEL, f"note-{number}", thread=root)
    with structlog.testing.capture_logs() as logs:
        async with slack_desk(slack, client) as desk:
            said = await answered(desk, await slack_turn(slack, "summarise", thread=root))
            again = await answered(desk, await slack_turn(slack, "and now?", thread=root))
    assert said[:3] == ["the root", "note-0", "note-1"]
    assert said.count(slack_history.CUT_NOTE) == again.count(slack_history.CUT_NOTE) == 1
    assert set(said) < set(again)
    assert "thread not read to its end" in [entry["event"] for entry in logs]


@pytest.mark.parametrize("trouble", ["rate_limit", "break_", "cut"])
async def test_a_moments_trouble_delays_the_reading(
    slack: SlackDouble, client: redis.asyncio.Redis, trouble: str
) -> None:
    """The first answer knows the thread."""
    root = await slack.say(CHANNEL, "the root", user="U0BOB")
    getattr(slack, trouble)(REPLIES)
    async with slack_desk(slack, client) as desk:
        said = await answered(desk, await slack_turn(slack, "summarise", thread=root))
    assert said[:2] == ["the root", joined(1)]


@pytest.mark.parametrize("error", ["ratelimited", "missing_scope", "not_in_channel", "unheard_of"])
async def test_what_could_not_be_read_is_read_at_the_next_turn(
    slack: SlackDouble, client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    """Until then the model knows that it does not know; afterwards nothing stands there twice."""
    monkeypatch.setattr(slack_history, "READ_TIMEOUT", 1.0)
    root = await slack.say(CHANNEL, "the root", user="U0BOB")
    slack.fail(REPLIES, error, None)
    async with slack_desk(slack, client) as desk:
        desk.model.answer = "Fine."
        assert await answered(desk, await slack_turn(slack, "one", thread=root)) == [UNREAD_NOTE, "one", "Fine."]
        assert (await answered(desk, await slack_turn(slack, "two", thread=root))).count(UNREAD_NOTE) == 1
        slack.be_kind()
        await Listening(client, "slack", "thread").keep()
        said = await answered(desk, await slack_turn(slack, "three", thread=root))
        assert said.count("the root") == 1
        assert [text for text in said if text in ("one", "two", "three")] == ["one", "two", "three"]
        assert joined(1) in said
        calls = len(slack.calls_of(REPLIES))
        turn = await slack_turn(slack, "four", thread=root)
        await answered(desk, replace(turn, place={**turn.place, HEARS_CHANNEL: "1"}))
        assert len(slack.calls_of(REPLIES)) == calls


@pytest.mark.parametrize(("status", "code"), [(429, 0), (500, 0), (403, 50001)])
async def test_in_discord_as_well(
    discord: DiscordDouble,
    client: redis.asyncio.Redis,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    code: int,
) -> None:
    """What could not be read is read at the next turn."""
    monkeypatch.setattr(history, "READ_TIMEOUT", 0.5)
    thread = discord.thread()
    discord.say("the beginning", channel=thread.id, user=BOB)
    discord.fail(HISTORY, status, code, times=100, more={"retry_after": 0.1})
    async with discord_desk(discord, client) as desk:
        desk.model.answer = "Fine."
        first = discord_turn(discord, "one", channel=GENERAL, thread=thread.id)
        assert await answered(desk, first) == [UNREAD_NOTE, "one", "Fine."]
        discord.rest.limits.faults.clear()
        monkeypatch.setattr(history, "READ_TIMEOUT", 10.0)
        said = await answered(desk, discord_turn(discord, "two", channel=GENERAL, thread=thread.id))
        assert said.count("the beginning") == 1
        notes = (await desk.memory.load(first.key)).messages
        assert [message.text for message in notes if message.role is Role.SYSTEM] == [
            UNREAD_NOTE,
            joined(1),
        ]


async def test_what_changes_while_it_is_answered_is_remembered_as_it_is_then(
    slack: SlackDouble, client: redis.asyncio.Redis
) -> None:
    """A message of the thread is deleted and another edited after the model was asked."""
    root = await slack.say(CHANNEL, "the root", user="U0BOB")
    gone, edited = [await slack.say(CHANNEL, text, user="U0BOB", thread=root) for text in ("on Tuesday", "at nine")]
    async with slack_desk(slack, client) as desk:
        turn = await desk.ask(await slack_turn(slack, "when?", thread=root))
        await wait_until(lambda: desk.model.asked)
        where = f"slack:{turn.key.workspace}:{turn.key.channel}"
        await desk.memory.withdraw(turn.key, f"{where}:{gone}")
        await desk.memory.correct(turn.key, f"{where}:{edited}", "at ten", at=float(edited) + 60)
        desk.model.go.set()
        await desk.ended(turn)
        said = [message.text for message in (await desk.memory.load(turn.key)).messages]
    assert said[:4] == ["the root", "at ten", joined(3), "when?"]


async def test_what_is_forgotten_while_it_is_read_stays_forgotten(
    slack: SlackDouble, client: redis.asyncio.Redis
) -> None:
    """Neither is it stored, nor read again at the next question."""
    root = await slack.say(CHANNEL, "the root", user="U0BOB")
    async with slack_desk(slack, client) as desk:
        turn = await desk.ask(await slack_turn(slack, "one", thread=root))
        await wait_until(lambda: slack.calls_of(REPLIES))
        await desk.memory.forget(turn.key)
        desk.model.go.set()
        await desk.ended(turn)
        assert not (await desk.memory.load(turn.key)).messages
        said = await answered(desk, await slack_turn(slack, "two", thread=root))
    assert said[0] == "two"


async def test_a_retry_knows_what_the_first_try_knew(slack: SlackDouble, client: redis.asyncio.Redis) -> None:
    """And not what was said since, which comes after it."""
    root = await slack.say(CHANNEL, "the root", user="U0BOB")
    async with slack_desk(slack, client) as desk:
        turn = await slack_turn(slack, "one", thread=root)
        first = await answered(desk, turn)
        await slack.say(CHANNEL, "later", user="U0BOB", thread=root)
        again = replace(turn, attempt=1)
        receipt = await desk.queue.retry(turn.key, turn.id, MessageRef(CHANNEL, "1.0"), turn.author.id, unkept=turn)
        assert receipt.accepted
        await desk.ended(again)
        assert [message.text for message in (await desk.memory.load(turn.key)).messages] == [*first, "later"]
