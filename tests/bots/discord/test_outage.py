"""What people do in Discord while Redis refuses everything: it is done once it can be, as it stands then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.memory.exchange import Exchange
from core.store.connection import connect
from core.types import Conversation, ConversationKey, Message, Role
from tests.bots.hearing import Ear, listening
from tests.doubles.discord import ADA, BOB, GENERAL, GUILD, DiscordDouble
from tests.doubles.discord_records import Posted
from tests.doubles.discord_world import OTHER_BOT
from tests.redis_server import running_redis
from tests.waiting import wait_until

KEY = ConversationKey("discord", GUILD, GENERAL)


@dataclass
class Moody:
    """A Redis that can be made to refuse commands: all but those with which that is ended."""

    client: Any

    async def refuse(self, *commands: str) -> None:
        """From now on; without names, all."""
        await self.client.execute_command("ACL", "SETUSER", "default", *(commands or ("-@all", "+acl")))

    async def refused(self) -> bool:
        """Whether somebody has noticed."""
        return bool(await self.client.execute_command("ACL", "LOG"))

    async def obey(self) -> None:
        """Everything again."""
        await self.client.execute_command("ACL", "SETUSER", "default", "+@all")
        await self.client.execute_command("ACL", "LOG", "RESET")


@pytest.fixture
async def discord() -> AsyncIterator[DiscordDouble]:
    """Discord, with its limits."""
    async with DiscordDouble() as double:
        yield double


@pytest.fixture
async def moody(tmp_path: Path) -> AsyncIterator[Moody]:
    """A Redis of the test's own."""
    async with running_redis(tmp_path / "redis.sock") as server:
        client = await connect(server.url)
        yield Moody(client)
        await client.aclose()


async def remember(ear: Ear, asked: Posted, text: str) -> None:
    """Let a message be in the channel's memory."""
    said = Message(Role.USER, text, id=ear.name(asked))
    await ear.memory.append(Exchange(KEY, Conversation(KEY).epoch, ear.name(asked), "", (said,)))


async def remembered(ear: Ear) -> list[str]:
    """What is in the channel's memory."""
    return [message.text for message in (await ear.memory.load(KEY)).messages]


async def test_a_deletion_and_an_edit_are_made_up_for(discord: DiscordDouble, moody: Moody) -> None:
    """Whatever was taken back is in no memory for longer than Redis is away."""
    async with listening(discord, moody.client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        secret, slip = discord.say("my password is hunter2"), discord.say("on Friday")
        await remember(ear, secret, "my password is hunter2")
        await remember(ear, slip, "on Friday")
        await moody.refuse()
        discord.delete(secret)
        discord.edit(slip, f"<@{ear.platform.calls.client.user.id}> on Monday")  # type: ignore[union-attr]
        discord.delete(discord.say("never asked"))
        await wait_until(moody.refused)
        await moody.obey()

        async def made_up() -> bool:
            return await remembered(ear) == ["on Monday"]

        await wait_until(made_up)


async def test_what_is_deleted_while_it_waits_is_not_answered(discord: DiscordDouble, moody: Moody) -> None:
    """Nor stored; and what is edited is stored as it reads then."""
    async with listening(discord, moody.client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        await moody.refuse()
        deleted, edited = discord.mention("oops"), discord.mention("what is a leese?", user=BOB)
        await wait_until(moody.refused)
        last = discord.mention("and this?")
        discord.delete(deleted)
        discord.edit(edited, edited.text.replace("leese", "lease"))
        await moody.obey()
        await wait_until(lambda: ear.turn(last))
        assert not await ear.turn(deleted)
        turn = await wait_until(lambda: ear.turn(edited))
        assert turn.text == "what is a lease?"


async def test_a_mention_is_kept_where_bots_are_answered(discord: DiscordDouble, moody: Moody) -> None:
    """There Redis is asked before it is stored."""
    async with listening(discord, moody.client, discord_allow_bots=OTHER_BOT) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        await moody.refuse()
        asked, by_a_bot = discord.mention("hello"), discord.mention("hello", user=OTHER_BOT)
        await wait_until(moody.refused)
        await moody.obey()
        await wait_until(lambda: ear.turn(asked))
        await wait_until(lambda: ear.turn(by_a_bot))


async def test_who_is_refused_is_told_afterwards(discord: DiscordDouble, moody: Moody) -> None:
    """Once, as ever."""
    async with listening(discord, moody.client, discord_deny_users=ADA) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        await moody.refuse()
        discord.mention("hello")
        discord.mention("hello?")
        await wait_until(moody.refused)
        await moody.obey()
        other = discord.mention("hello", user=BOB)
        await wait_until(lambda: ear.turn(other))
        await wait_until(discord.replies)
    assert [posted.text for posted in discord.replies()] == [
        "I'm not enabled for you here. Ask the person who runs Parley here to add you."
    ]


async def test_a_server_that_is_left_is_noted_afterwards(discord: DiscordDouble, moody: Moody) -> None:
    """So that it is forgotten in time."""
    async with listening(discord, moody.client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        await moody.refuse()
        discord.kick(GUILD)
        await wait_until(moody.refused)
        await moody.obey()
        await wait_until(lambda: moody.client.zscore("{parley}:discord:left", GUILD))


async def test_a_stop_that_failed_is_done_again(discord: DiscordDouble, moody: Moody) -> None:
    """It is noted as done once it is."""
    async with listening(discord, moody.client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        asked = discord.mention("a long one")
        turn = await wait_until(lambda: ear.turn(asked))
        await moody.refuse("-lindex")  # with which one looks for what is being answered
        discord.mention("stop")
        await wait_until(moody.refused)
        await moody.obey()

        async def stopped() -> bool:
            notes = await moody.client.hgetall(f"{{parley}}:lane:{turn.lane}:state")
            return "Stopped." in notes.get(f"note:{turn.id}", "")

        await wait_until(stopped)


async def test_an_old_stop_that_is_found_again_stops_nothing(discord: DiscordDouble, moody: Moody) -> None:
    """What is looked for after an outage may have been obeyed before it."""
    async with listening(discord, moody.client) as ear:
        await wait_until(lambda: ear.gateway.caught_up)
        stop = discord.mention("stop")
        await wait_until(lambda: moody.client.exists(f"{{parley}}:seen:{ear.name(stop)}"))
        asked = discord.mention("a long one")
        turn = await wait_until(lambda: ear.turn(asked))
        discord.resend(stop)
        last = discord.mention("and this?")
        await wait_until(lambda: ear.turn(last))
        assert await moody.client.hgetall(f"{{parley}}:lane:{turn.lane}:state") == {}
