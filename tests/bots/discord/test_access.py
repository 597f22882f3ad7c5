"""Who is answered of those who wrote while nobody listened, and which bots."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from bots.discord.messenger import PROXIED
from bots.discord.store import BOT_ANSWERS
from core.policy import OPERATOR
from tests.bots.hearing import Ear, listening
from tests.doubles.discord import ADA, APP, GENERAL, GUILD, DiscordDouble
from tests.doubles.discord_world import CLEO, MODERATORS, OTHER_BOT, RANDOM
from tests.waiting import wait_until

MEMBER = "GET /guilds/:id/members/:id"


@pytest.fixture
async def discord() -> AsyncIterator[DiscordDouble]:
    """Discord, with its limits."""
    async with DiscordDouble() as double:
        yield double


async def be_away(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """Listen for a moment, so that whatever is said from now on was missed."""
    async with listening(discord, client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)


def said(discord: DiscordDouble) -> list[str]:
    """What the bot wrote."""
    return [posted.text for posted in discord.replies()]


async def test_roles_count_for_what_was_missed(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """What is read later says nothing of them: who has one that is denied is not answered, everybody else is."""
    await be_away(discord, client)
    denied, other = discord.mention("hello", user=CLEO), discord.mention("hello", user=ADA)
    async with listening(discord, client, discord_deny_roles=MODERATORS) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        assert not await ear.turn(denied)
        assert await ear.turn(other)
        await wait_until(
            lambda: said(discord) == ["I'm not enabled for you here. Ask the person who runs Parley here to add you."]
        )


async def test_nobody_is_refused_who_has_the_role(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """In a line that all can read."""
    await be_away(discord, client)
    missed = discord.mention("hello", user=CLEO)
    async with listening(discord, client, discord_allow_roles=MODERATORS) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        assert await ear.turn(missed)
    assert said(discord) == []


async def test_without_their_roles_nothing_is_said(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """Neither an answer nor a refusal, where Discord does not know them any more."""
    await be_away(discord, client)
    missed, other = discord.mention("hello", user=CLEO), discord.mention("hello", channel=RANDOM, user=CLEO)
    discord.fail(MEMBER, 404, 10007)
    async with listening(discord, client, discord_allow_roles=MODERATORS) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        answered = [bool(await ear.turn(message)) for message in (missed, other)]
        assert sorted(answered) == [False, True]  # the one whose author was asked for first is passed over
    assert said(discord) == []


async def test_roles_are_asked_for_again(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """Where Discord is only away for a moment."""
    await be_away(discord, client)
    missed = discord.mention("hello", user=CLEO)
    discord.fail(MEMBER, 503)
    async with listening(discord, client, discord_allow_roles=MODERATORS) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        assert await ear.turn(missed)
    assert said(discord) == []


async def test_what_was_taken_is_not_looked_at_again(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """It was decided before, and nobody is asked for roles."""
    async with listening(discord, client, discord_allow_roles=MODERATORS) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        asked = discord.mention("hello", user=CLEO)
        await wait_until(lambda: ear.turn(asked))
        await client.set("{parley}:discord:alive", "1")
    async with listening(discord, client, discord_allow_roles=MODERATORS) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
    assert any(call.route == "GET /channels/:id/messages" for call in discord.calls)
    assert not [call for call in discord.calls if call.route == MEMBER]
    assert said(discord) == []


async def test_who_was_told_to_come_later_is_not_answered_as_well(
    discord: DiscordDouble, client: redis.asyncio.Redis
) -> None:
    """They asked again meanwhile."""
    async with listening(discord, client, quota_user="turns=1/min") as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        first, second = discord.mention("hello"), discord.mention("hello again")
        await wait_until(lambda: ear.turn(first))
        await wait_until(lambda: len(said(discord)) == 1)
        await client.set("{parley}:discord:alive", "1")
    async with listening(discord, client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        assert not await ear.turn(second)


async def counted(ear: Ear) -> int:
    """How many answers to bots were counted in a channel."""
    left = 0
    while await ear.store.count_bot_answer(GENERAL):
        left += 1
    return BOT_ANSWERS - left


@pytest.mark.parametrize("denied", [{"discord_deny_channels": GENERAL}, {"discord_deny_guilds": GUILD}])
async def test_a_bot_is_not_answered_where_it_is_denied(
    discord: DiscordDouble, client: redis.asyncio.Redis, denied: dict[str, str]
) -> None:
    """Whatever is allowed; and nothing is said, since it might answer."""
    async with listening(discord, client, discord_allow_bots=OTHER_BOT, **denied) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        asked = discord.mention("hello", user=OTHER_BOT)
        direct = discord.dm("hello")
        await wait_until(lambda: ear.turn(direct))
        assert not await ear.turn(asked)
        assert await counted(ear) == 0
    assert said(discord) == []


async def test_a_copy_that_another_bot_made_of_a_question(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """By default its author is told once why nobody answers; what other webhooks say is passed over in silence."""
    async with listening(discord, client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        for text in ("what is a lease?", "and a loan?"):
            copy = discord.proxy(discord.mention(text))
        hook = discord.say(f"<@{APP}> deployed", user=copy.author)
        last = discord.dm("hello")
        await wait_until(lambda: ear.turn(last))
        await wait_until(lambda: said(discord))
        assert not await ear.turn(copy)
        assert not await ear.turn(hook)
    assert said(discord) == [PROXIED.format(contact=OPERATOR)]


async def test_a_copy_is_the_question_where_that_is_allowed(
    discord: DiscordDouble, client: redis.asyncio.Redis
) -> None:
    """The webhook is one of the bots that are answered."""
    webhook = "500000000000000001"
    async with listening(discord, client, discord_allow_bots=webhook) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        copy = discord.proxy(discord.mention("what is a lease?"), webhook=webhook)
        turn = await wait_until(lambda: ear.turn(copy))
        assert (turn.text, turn.author.name) == ("what is a lease?", "Nova")
    assert said(discord) == []
