"""Connections that break for longer: what is believed of them, and what is looked for afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.asyncio
import structlog

from bots.discord import gateway
from core.memory.exchange import Exchange
from core.types import Conversation, ConversationKey, Message, Role
from tests.bots.hearing import listening
from tests.doubles.discord import BOB, GENERAL, GUILD, DiscordDouble
from tests.doubles.discord_world import STAGE, VOICE
from tests.waiting import wait_until

HISTORY = "GET /channels/:id/messages"
OTHER = "100000000000000009"
"""A server where we are not."""


@pytest.fixture
async def discord() -> AsyncIterator[DiscordDouble]:
    """Discord, with its limits."""
    async with DiscordDouble() as double:
        yield double


async def go_away(discord: DiscordDouble) -> None:
    """Discord takes no connection any more, and will know no session afterwards."""
    discord.gateway.refuse_handshakes = 10**6
    await discord.gateway.close_sockets(4000)
    discord.gateway.forget_sessions()


async def test_what_is_said_during_an_outage_is_answered(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """However long it lasts: whoever hears nothing does not say that they heard everything."""
    async with listening(discord, client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        await go_away(discord)
        await wait_until(lambda: not ear.platform.connected)
        before = await ear.store.last_heard()
        missed = discord.mention("are you there?")
        await ear.gateway.catch_up()
        assert await ear.store.last_heard() == before
        discord.gateway.refuse_handshakes = 0
        await wait_until(lambda: ear.turn(missed))
        await wait_until(lambda: ear.gateway.caught_up)
        assert await ear.store.last_heard() > before


async def test_nobody_else_says_that_we_heard_everything(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """A process knows best since when it hears nothing: another one may have been connected all the time."""
    async with listening(discord, client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        await go_away(discord)
        await wait_until(lambda: not ear.platform.connected)
        missed = discord.mention("are you there?")
        await ear.store.note_heard()
        discord.gateway.refuse_handshakes = 0
        await wait_until(lambda: ear.turn(missed))


async def test_what_was_missed_is_looked_for_before_anything_is_noted(
    discord: DiscordDouble, client: redis.asyncio.Redis
) -> None:
    """Else somebody who is killed while they look would never find it."""
    async with listening(discord, client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
    before, missed = await ear.store.last_heard(), discord.mention("are you there?")
    discord.slow("GET /channels/:id/messages", 1.0, times=1)
    async with listening(discord, client) as ear:
        await wait_until(lambda: ear.platform.connected)
        assert not ear.gateway.caught_up
        assert await ear.store.last_heard() == before
        await wait_until(lambda: ear.gateway.caught_up)
        assert await ear.turn(missed)
        assert await ear.store.last_heard() > before


async def test_a_resumed_connection_hears_again(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """Nothing is looked for: Discord tells what was missed by itself."""
    async with listening(discord, client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        read = len([call for call in discord.calls if call.route == "GET /channels/:id/messages"])
        discord.gateway.refuse_handshakes = 1
        await discord.gateway.close_sockets(4000)
        await wait_until(lambda: not ear.platform.connected)
        missed = discord.mention("are you there?")
        await wait_until(lambda: ear.gateway.caught_up)
        await wait_until(lambda: ear.turn(missed))
        assert len(discord.gateway.identified) == 1
        assert len([call for call in discord.calls if call.route == "GET /channels/:id/messages"]) == read


async def test_one_of_several_connections_that_began_anew(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """Without it not everything is heard; what it missed is looked for, though the others never broke."""
    async with listening(discord, client, discord_shard_count="2") as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        shard = (int(GUILD) >> 22) % 2
        session = next(one for one in discord.gateway.connected if one.shard[0] == shard)
        del discord.gateway.sessions[session.id]
        discord.gateway.refuse_handshakes = 1
        assert session.socket
        await session.socket.close(code=4000)
        await wait_until(lambda: not ear.platform.connected)
        missed = discord.mention("are you there?")
        await wait_until(lambda: ear.turn(missed))
        await wait_until(lambda: ear.gateway.caught_up)
        assert len(discord.gateway.identified) == 3


async def test_a_server_that_is_there_again_is_not_forgotten(
    discord: DiscordDouble, client: redis.asyncio.Redis
) -> None:
    """However we came back: nobody tells us of it who did it while we were away."""
    async with listening(discord, client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        await ear.store.part(GUILD, 0)
        await ear.store.part(OTHER, 0)
    for guild in (GUILD, OTHER):
        key = ConversationKey("discord", guild, GENERAL)
        said = Message(Role.USER, "hello", id="q")
        await ear.memory.append(Exchange(key, Conversation(key).epoch, "q", "", (said,)))

    async def forgotten() -> bool:
        return not (await ear.memory.load(ConversationKey("discord", OTHER, GENERAL))).messages

    async with listening(discord, client) as ear:
        await wait_until(forgotten)
        assert (await ear.memory.load(ConversationKey("discord", GUILD, GENERAL))).messages
        assert await client.zcard("{parley}:discord:left") == 0


async def test_servers_of_other_processes_are_forgotten_by_them(
    discord: DiscordDouble, client: redis.asyncio.Redis
) -> None:
    """Who has not their connection does not know whether we are there again."""
    async with listening(discord, client, discord_shard_count="2", discord_shard_ids="0") as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        assert [ear.gateway.owns(str(number << 22)) for number in (2, 3)] == [True, False]


async def test_however_much_is_said_meanwhile_all_of_it_is_read(
    discord: DiscordDouble, client: redis.asyncio.Redis
) -> None:
    """A mention before and after 130 messages, of which Discord gives 100 at once at the most."""
    async with listening(discord, client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
    first = discord.mention("first?")
    for number in range(130):
        discord.say(f"chatter {number}")
    last = discord.mention("last?", user=BOB)
    async with listening(discord, client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        assert await ear.turn(first)
        assert await ear.turn(last)


async def test_every_kind_of_place_is_looked_through(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """The chats of voice and stage channels, threads, and more than a hundred channels."""
    places = [str(int(GENERAL) + 100 + number) for number in range(105)]
    for place in places:
        discord.add_channel(place, "one of many")
    voice, stage = str(int(GENERAL) + 50), str(int(GENERAL) + 51)
    discord.add_channel(voice, "voice", kind=VOICE)
    discord.add_channel(stage, "stage", kind=STAGE)
    thread = discord.thread()
    async with listening(discord, client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
    asked = [discord.mention("here?", channel=place) for place in (*places, voice, stage, thread.id)]
    async with listening(discord, client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        assert [posted for posted in asked if not await ear.turn(posted)] == []


async def test_a_bound_that_is_met_is_a_warning(
    discord: DiscordDouble, client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the newest are answered."""
    monkeypatch.setattr(gateway, "MOST_MESSAGES", 5)
    async with listening(discord, client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
    old = discord.mention("old?")
    for number in range(10):
        discord.say(f"chatter {number}")
    new = discord.mention("new?", user=BOB)
    with structlog.testing.capture_logs() as logs:
        async with listening(discord, client) as ear:
            await wait_until(lambda: ear.gateway.caught_up)
            assert await ear.turn(new)
            assert not await ear.turn(old)
    assert "missed messages left out" in [entry["event"] for entry in logs if entry["log_level"] == "warning"]


@pytest.mark.parametrize(("status", "code"), [(429, 0), (500, 0), (503, 0)])
async def test_a_channel_that_cannot_be_read_at_first_is_read_again(
    discord: DiscordDouble, client: redis.asyncio.Redis, status: int, code: int
) -> None:
    """What was said there is not lost for a moment's trouble."""
    async with listening(discord, client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
    missed = discord.mention("are you there?")
    discord.fail(HISTORY, status, code, more={"retry_after": 0.01})
    async with listening(discord, client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        assert await ear.turn(missed)


async def test_what_was_missed_is_found_although_our_clock_is_ahead(
    discord: DiscordDouble, client: redis.asyncio.Redis
) -> None:
    """By half an hour: messages are named by Discord's clock."""
    discord.clock.behind = 1800
    async with listening(discord, client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
    missed = discord.mention("are you there?")
    async with listening(discord, client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        assert await ear.turn(missed)


async def test_the_last_connections_of_a_day_are_spared(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """Whoever starts us again and again would have Discord reset the token."""
    discord.rest.identifies_left, discord.rest.reset_after_ms = 3, 200
    with structlog.testing.capture_logs() as logs:
        opening = asyncio.create_task(connect_once(discord, client))
        await wait_until(lambda: any(entry["event"] == "daily connections used up" for entry in logs))
        assert discord.gateway.identified == []
        discord.rest.identifies_left = 1000
        await opening
    assert len(discord.gateway.identified) == 1


async def connect_once(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """Listen until everything is heard."""
    async with listening(discord, client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
