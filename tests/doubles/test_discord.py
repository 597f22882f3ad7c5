"""The double of Discord keeps Discord's rules: the real discord.py and plain calls against it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import discord
import pytest
from discord.gateway import DiscordWebSocket
from discord.http import Route
from yarl import URL

from tests.doubles.discord import ADA, BOB, GENERAL, DiscordDouble
from tests.doubles.discord_world import APP
from tests.waiting import wait_until

QUIET: dict[str, Any] = {"allowed_mentions": {"parse": []}}


@pytest.fixture
async def double() -> AsyncIterator[DiscordDouble]:
    """Discord, with its limits."""
    async with DiscordDouble() as running:
        yield running


class Bot:
    """Plain calls with the bot's token, or another."""

    def __init__(self, double: DiscordDouble, session: aiohttp.ClientSession) -> None:
        self._double = double
        self._session = session

    async def __call__(
        self, method: str, path: str, body: Any = None, *, token: str = ""
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, body and headers of a call."""
        headers = {"Authorization": f"Bot {token or self._double.token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body)
        async with self._session.request(method, self._double.url + path, data=data, headers=headers) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None, dict(response.headers)


@pytest.fixture
async def bot(double: DiscordDouble) -> AsyncIterator[Bot]:
    """Somebody who calls."""
    async with aiohttp.ClientSession() as session:
        yield Bot(double, session)


@asynccontextmanager
async def connected(double: DiscordDouble, *, content: bool = False) -> AsyncIterator[tuple[discord.Client, list[Any]]]:
    """The real client, led to the double, and the messages that it heard."""
    before = Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY
    Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = double.url, URL(double.gateway_url)
    intents = discord.Intents(guilds=True, guild_messages=True, dm_messages=True, message_content=content)
    client = discord.Client(intents=intents, max_messages=None)
    heard: list[Any] = []

    @client.event
    async def on_message(message: discord.Message) -> None:
        heard.append(message)

    running = asyncio.create_task(client.start(double.token))
    try:
        await wait_until(lambda: double.gateway.connected or running.done())
        yield client, heard
    finally:
        await client.close()
        await asyncio.gather(running, return_exceptions=True)
        Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = before


async def test_a_bucket_tells_what_is_left_and_refuses_the_rest(double: DiscordDouble, bot: Bot) -> None:
    """Five messages in five seconds, with exactly the headers and the content type that discord.py needs."""
    for left in (4, 3, 2, 1, 0):
        status, _, headers = await bot("POST", f"/channels/{GENERAL}/messages", {"content": "x"})
        assert (status, headers["X-RateLimit-Remaining"]) == (200, str(left))
    assert headers["Content-Type"] == "application/json"
    assert headers["X-RateLimit-Limit"] == "5"
    assert 0 < float(headers["X-RateLimit-Reset-After"]) <= 5
    status, body, headers = await bot("POST", f"/channels/{GENERAL}/messages", {"content": "x"})
    assert status == 429
    assert headers["Via"]
    assert headers["X-RateLimit-Scope"] == "user"
    assert 0 < body["retry_after"] <= 5.1
    assert not body["global"]


async def test_fifty_calls_a_second_for_the_whole_bot(double: DiscordDouble, bot: Bot) -> None:
    """The fifty-first is refused, whatever its route; answers to interactions do not count."""
    answers = await asyncio.gather(*(bot("GET", "/users/@me") for _ in range(30)))
    answers += await asyncio.gather(*(bot("GET", f"/channels/{GENERAL}") for _ in range(30)))
    refused = [(body, headers) for status, body, headers in answers if status == 429]
    assert len(refused) == 10
    assert all(body["global"] and headers["X-RateLimit-Global"] == "true" for body, headers in refused)


async def test_what_discord_does_not_take(double: DiscordDouble, bot: Bot) -> None:
    """Sizes in UTF-16 units, long ids, empty messages, wrong tokens, others' messages."""
    post = f"/channels/{GENERAL}/messages"
    assert (await bot("POST", post, {"content": "😀" * 1000}))[0] == 200
    assert (await bot("POST", post, {"content": "😀" * 1000 + "x"}))[1]["code"] == 50035
    assert (await bot("POST", post, {"content": " "}))[1]["code"] == 50006
    button = {"type": 2, "style": 1, "label": "x", "custom_id": "x" * 101}
    assert (await bot("POST", post, {"content": "x", "components": [{"type": 1, "components": [button]}]}))[0] == 400
    assert (await bot("GET", "/users/@me", token="wrong"))[0] == 401
    theirs = double.say("mine")
    assert (await bot("PATCH", f"{post}/{theirs.id}", {"content": "x"}))[1]["code"] == 50005
    double.delete(theirs)
    assert (await bot("PATCH", f"{post}/{theirs.id}", {"content": "x"}))[1]["code"] == 10008


async def test_a_nonce_is_a_message_once(double: DiscordDouble, bot: Bot) -> None:
    """The second call gives what is there, with what it says."""
    body = {"content": "first", "nonce": "n1", "enforce_nonce": True}
    _, first, _ = await bot("POST", f"/channels/{GENERAL}/messages", body)
    _, second, _ = await bot("POST", f"/channels/{GENERAL}/messages", {**body, "content": "second"})
    assert second["id"] == first["id"]
    assert second["content"] == "first"
    assert len(double.replies()) == 1


async def test_who_is_rung(double: DiscordDouble, bot: Bot) -> None:
    """By default everybody whom a bot names; nobody where it is not allowed, nor in code."""
    text = f"@everyone <@{ADA}> `<@{BOB}>`"
    await bot("POST", f"/channels/{GENERAL}/messages", {"content": text})
    assert double.pings == ["@everyone", f"<@{ADA}>"]
    await bot("POST", f"/channels/{GENERAL}/messages", {"content": text, **QUIET})
    assert len(double.pings) == 2


async def test_an_interaction_is_answered_in_time_and_once(double: DiscordDouble, bot: Bot) -> None:
    """Then its token is good for a while."""
    double.rest.commands["global"] = [{"id": "1", "name": "ask", "type": 1, "options": []}]
    late = double.command("ask")
    double.interaction_rules.first_response = 0.0
    deferral = {"type": 5}
    assert (await bot("POST", f"/interactions/{late.id}/{late.token}/callback", deferral))[1]["code"] == 10062
    double.interaction_rules.first_response = 3.0
    asked = double.command("ask")
    path = f"/interactions/{asked.id}/{asked.token}/callback"
    early = await bot("PATCH", f"/webhooks/{APP}/{asked.token}/messages/@original", {"content": "x"})
    assert early[1]["code"] == 10015
    _, told, _ = await bot("POST", f"{path}?with_response=1", deferral)
    assert told["resource"]["message"]["flags"] & 128
    assert (await bot("POST", path, deferral))[1]["code"] == 40060
    assert (await bot("POST", f"/webhooks/{APP}/{asked.token}", {"content": "first"}))[0] == 200
    assert asked.text == "first"
    double.interaction_rules.life = 0.0
    status, body, _ = await bot("PATCH", f"/webhooks/{APP}/{asked.token}/messages/@original", {"content": "x"})
    assert (status, body["code"]) == (401, 50027)


async def test_the_real_client_hears_what_its_intents_allow(double: DiscordDouble) -> None:
    """Without Message Content a text that does not mention it is empty; what does, and direct messages, are there."""
    async with connected(double) as (_, heard):
        double.say("among us")
        double.mention("to you")
        double.dm("alone")
        await wait_until(lambda: len(heard) == 3)
        assert [message.content for message in heard] == ["", f"<@{APP}> to you", "alone"]


async def test_an_intent_that_is_not_switched_on(double: DiscordDouble) -> None:
    """The gateway closes with 4014; switched on, it tells all."""
    async with connected(double, content=True):
        assert not double.gateway.connected
    double.allow_message_content()
    async with connected(double, content=True) as (_, heard):
        double.say("among us")
        await wait_until(lambda: heard)
        assert heard[0].content == "among us"


@pytest.mark.parametrize("content", [True, False])
async def test_what_comes_with_a_message_is_told_to_those_who_may_read_it(
    double: DiscordDouble, bot: Bot, content: bool
) -> None:
    """A thread's first message, forwards, embeds and polls, by the gateway and by a page of history."""
    if content:
        double.allow_message_content()
    async with connected(double, content=content) as (_, heard):
        root = double.alert(title="Disk full")
        thread = double.thread(root)
        double.forward(double.say("a plan", user=BOB), channel=thread.id)
        poll = {"question": {"text": "When?"}, "answers": [], "expiry": "2030-01-01T00:00:00+00:00"}
        last = double.say("see", channel=thread.id, extra={"poll": poll})
        await wait_until(lambda: heard and heard[-1].id == int(last.id))
    _, page, _ = await bot("GET", f"/channels/{thread.id}/messages")
    assert [one["type"] for one in reversed(page)] == [21, 0, 0]
    starter, forward, asked = page[::-1]
    assert starter["referenced_message"]["id"] == root.id
    assert bool(starter["referenced_message"]["embeds"]) == content
    assert bool(forward["message_snapshots"][0]["message"]["content"]) == content
    assert (bool(asked["content"]), "poll" in asked) == (content, content)
    told = next(one for one in heard if one.message_snapshots)
    assert bool(told.message_snapshots[0].content) == content
    assert (bool(heard[-1].content), heard[-1].poll is not None) == (content, content)


async def test_a_page_after_a_message_is_the_oldest_of_what_follows(double: DiscordDouble, bot: Bot) -> None:
    """Newest first, as every page."""
    double.allow_message_content()
    posted = [double.say(f"note-{number}") for number in range(6)]
    _, page, _ = await bot("GET", f"/channels/{GENERAL}/messages?after={posted[1].id}&limit=2")
    assert [one["content"] for one in page] == ["note-3", "note-2"]


async def test_a_session_is_resumed_with_what_was_missed(double: DiscordDouble) -> None:
    """In order, and once."""
    async with connected(double) as (_, heard):
        double.mention("one")
        await wait_until(lambda: len(heard) == 1)
        await double.gateway.drop()
        double.mention("two")
        double.mention("three")
        await wait_until(lambda: len(heard) == 3)
        assert [message.content[-5:].split()[-1] for message in heard] == ["one", "two", "three"]
        assert (len(double.gateway.identified), double.gateway.resumed) == (1, 1)
