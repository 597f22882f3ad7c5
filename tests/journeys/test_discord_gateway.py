"""Connections that break, and refusals, over the real client."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.discord import ADA, BOB, GENERAL, DiscordDouble
from tests.doubles.discord_world import OTHER_BOT, RANDOM
from tests.doubles.tgi import TgiDouble
from tests.journeys.discord import in_discord, is_done, parley, reply, tokens
from tests.journeys.process import STREAM, Parley, run_parley
from tests.redis_server import running_redis
from tests.waiting import UNHURRIED, wait_until

__all__ = ["parley"]  # a fixture

POST, EDIT = "POST /channels/:id/messages", "PATCH /channels/:id/messages/:id"


async def test_a_broken_connection_is_resumed(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """What came meanwhile is answered, once; no new session is begun."""
    await reply(discord, discord.mention("hello"))
    await discord.gateway.drop()
    asked = discord.mention("are you there?")
    await reply(discord, asked)
    assert len(discord.gateway.identified) == 1
    assert discord.gateway.resumed == 1
    assert len(discord.replies()) == 2


async def test_asked_to_reconnect(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """With opcode 7, and with a close code that lets one resume."""
    await discord.gateway.send_op(7)
    await wait_until(lambda: discord.gateway.resumed == 1 and discord.gateway.connected)
    await discord.gateway.close_sockets(4000)
    await wait_until(lambda: discord.gateway.resumed == 2 and discord.gateway.connected)
    await reply(discord, discord.mention("hello"))
    assert len(discord.gateway.identified) == 1


async def test_what_was_said_while_we_were_away_is_answered(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """Mentions and direct messages, each once, also those that were answered before."""
    async with in_discord(discord, tgi, tmp_path) as parley:
        before = discord.mention("before")
        await reply(discord, before)
        direct = discord.dm("before, too")
        await wait_until(lambda: any(map(is_done, discord.replies(channel=direct.channel))))
        await wait_until(lambda: "server list received" in parley.log)
    discord.say("nothing to you")
    missed, alone = discord.mention("missed", channel=RANDOM), discord.dm("missed, too")
    async with in_discord(discord, tgi, tmp_path) as parley:
        await reply(discord, missed)
        await wait_until(lambda: len(discord.replies(channel=alone.channel)) == 2)
        await wait_until(lambda: "missed messages searched" in parley.log)
        await reply(discord, discord.mention("and now?"))
        assert len(discord.replies(before)) == 1
        assert len(tgi.requests) == 5


@pytest.mark.slow
async def test_an_invalid_session_is_begun_anew(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """And what was missed in between is looked for."""
    await wait_until(lambda: "server list received" in parley.log)
    await reply(discord, discord.mention("hello"))
    await discord.gateway.send_op(9, False)
    missed = discord.mention("between two sessions")
    await wait_until(lambda: len(discord.gateway.identified) == 2)
    await reply(discord, missed)
    assert len(discord.replies(missed)) == 1


async def test_the_first_handshake_may_fail(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """The library crashes on that; Parley tries again."""
    discord.gateway.refuse_handshakes = 1
    async with in_discord(discord, tgi, tmp_path) as parley:
        await reply(discord, discord.mention("hello"))
        assert "gateway disconnected; reconnecting" in parley.log


async def test_a_deaf_socket_is_noticed(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """It answers heartbeats and brings no events."""
    async with in_discord(discord, tgi, tmp_path, DISCORD_SILENCE_SECONDS="1") as parley:
        await wait_until(lambda: "server list received" in parley.log)
        discord.gateway.deafen()
        asked = discord.mention("do you hear me?")
        await wait_until(lambda: discord.replies(asked))
        assert "gateway silent; reconnecting" in parley.log


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"DISCORD_TOKEN": "wrong"}, "DISCORD_TOKEN"),
        ({"DISCORD_MESSAGE_CONTENT": "true"}, "Message Content Intent"),
    ],
)
async def test_what_cannot_work_ends_with_a_remedy(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    """A wrong token, or an intent that is not switched on: exit code 2, and what to do about it."""
    async with run_parley(tmp_path, "run", **{**tokens(discord, tgi), **settings}) as parley:
        await asyncio.wait_for(parley.process.wait(), UNHURRIED)
        await parley.stop()
        assert parley.process.returncode == 2
        assert said in parley.log
        assert "Traceback" not in parley.log


async def test_a_post_whose_answer_is_lost_is_not_made_twice(
    discord: DiscordDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """Discord made the message and then failed; the nonce finds it again."""
    discord.fail(POST, 502, after=True)
    asked = discord.mention("hello")
    posted = await reply(discord, asked)
    assert discord.replies() == [posted]


VIA = {"Via": "1.1 google"}
FAULTS: dict[str, dict[str, Any]] = {
    "shared": {"status": 429, "more": {"retry_after": 0.7}, "headers": {**VIA, "X-RateLimit-Scope": "shared"}},
    "global": {
        "status": 429,
        "more": {"retry_after": 0.7, "global": True},
        "headers": {**VIA, "X-RateLimit-Scope": "global", "X-RateLimit-Global": "true"},
    },
    "cloudflare": {"status": 429, "more": {"retry_after": 0.7}},
    "old-message": {"status": 429, "code": 30046, "more": {"retry_after": 0.7}, "headers": VIA},
    "500": {"status": 500},
    "503": {"status": 503},
    "slow-502": {"status": 502, "delay": 1.0},
    "dropped": {"status": 0, "drop": True},
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_refused_edits_cost_freshness_and_no_text(
    discord: DiscordDouble, tgi: TgiDouble, parley: Parley, fault: str
) -> None:
    """The newest text is sent when it may be, and the last one is the whole."""
    tgi.answer, tgi.rate = STREAM, 80
    discord.fail(EDIT, **FAULTS[fault])
    posted = await reply(discord, discord.mention("tell me a story"))
    assert posted.text == STREAM
    assert all(len(a) <= len(b) for a, b in zip(posted.shown, posted.shown[1:], strict=False))


async def test_a_deleted_reply_ends_the_answer(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """Nobody writes what nobody reads, and nothing new is posted."""
    tgi.answer, tgi.rate = STREAM, 20
    asked = discord.mention("a long one")
    posted = await reply(discord, asked, final=False)
    discord.delete(posted)
    await wait_until(lambda: tgi.running == 0)
    assert discord.replies() == []


async def test_without_the_right_to_write(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """One try, which is remembered, and the next channel is answered all the same."""
    discord.channels[RANDOM].denied.add("SEND_MESSAGES")
    discord.mention("hello", channel=RANDOM)
    await wait_until(lambda: any(call.code == 50013 and call.route == POST for call in discord.refused))
    await wait_until(lambda: "no permission to write" in parley.log)
    discord.mention("hello again", channel=RANDOM)
    discord.mention("hello from me", channel=RANDOM, user=BOB)
    await reply(discord, discord.mention("hello"))
    assert discord.replies(channel=RANDOM) == []
    await wait_until(lambda: all(discord.replies(channel=discord.dm_with(person).id) for person in (ADA, BOB)))
    assert len(tgi.requests) == 2


@pytest.mark.slow
async def test_several_connections(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """Each has its servers; direct messages come on the first."""
    async with in_discord(discord, tgi, tmp_path, DISCORD_SHARD_COUNT="2"):
        await wait_until(lambda: len(discord.gateway.connected) == 2)
        await reply(discord, discord.mention("hello"))
        direct = discord.dm("hello")
        await wait_until(lambda: discord.replies(channel=direct.channel))
    assert sorted(said["shard"] for said in discord.gateway.identified) == [[0, 2], [1, 2]]


async def test_a_thread_that_is_archived_meanwhile(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """It is opened again, and the answer goes on."""
    tgi.answer, tgi.rate = STREAM, 40
    thread = discord.thread(discord.say("a root"))
    asked = discord.mention("a long one", channel=thread.id)
    posted = await reply(discord, asked, final=False)
    thread.archived = True
    await wait_until(lambda: is_done(posted))
    assert posted.text == STREAM


async def test_an_old_reply_is_not_written_over(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """Edits of messages older than an hour are counted apart: the answer comes as a new message."""
    asked = discord.mention("hello")
    posted = await reply(discord, asked)
    place = discord.channels[GENERAL].messages
    del place[posted.id]
    posted.id = str(int(posted.id) - (2 * 3_600_000 << 22))
    place[posted.id] = posted
    tgi.answer = "A newer answer."
    discord.press(posted, "Regenerate")
    await wait_until(lambda: any(m.text == "A newer answer." for m in discord.replies(asked)))


@pytest.mark.slow
async def test_redis_away_for_a_moment_loses_no_mention(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """Discord delivers once: it is kept until it can be stored."""
    socket = tmp_path / "redis.sock"
    settings = {"REDIS_URL": f"unix://{socket}", "GRACE": "1"}
    async with running_redis(socket) as server, in_discord(discord, tgi, tmp_path, **settings):
        await reply(discord, discord.mention("hello"))
        server.kill()
        asked = discord.mention("are you there?")
        async with running_redis(socket):
            await reply(discord, asked)


async def test_another_bot_is_answered_where_it_is_allowed(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """When it mentions us, and without ringing it."""
    async with in_discord(discord, tgi, tmp_path, DISCORD_ALLOW_BOTS=OTHER_BOT):
        answer = await reply(discord, discord.mention("hello from a bot", user=OTHER_BOT))
        discord.say("not to you", user=OTHER_BOT, reply_to=answer.id)
        await reply(discord, discord.mention("hello"))
    assert len(tgi.requests) == 2
    assert discord.pings == []
