"""What a worker reads of a thread or channel: with the REST API alone, as far as Discord gives it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import redis.asyncio

from bots.discord import budgets
from bots.discord.events import Place, make_turn
from bots.discord.history import THREAD_MESSAGES, UNHEARD_NOTE
from bots.discord.platform import open_discord
from bots.discord.settings import DiscordSettings
from bots.discord.surface import DiscordSurface
from bots.stopping import Stopping
from core.errors import NotAllowed, PlatformUnavailable
from core.memory.overhearing import ROOM_MESSAGES, ROOM_SECONDS
from core.pacing.shared import CallBudgets
from core.quotes import Quote, QuoteKind
from core.settings import load_settings
from core.types import Message, Role, Turn
from tests.bots.answering import Ada
from tests.doubles.discord import ADA, APP, BOB, GENERAL, GUILD, DiscordDouble
from tests.doubles.discord_records import Posted
from tests.doubles.discord_world import CLEO, MODERATORS, OTHER_BOT, RANDOM

PAGES = "GET /channels/:id/messages"


@pytest.fixture
async def discord() -> AsyncIterator[DiscordDouble]:
    """Discord, with its limits and the Message Content intent."""
    async with DiscordDouble() as double:
        double.allow_message_content()
        yield double


@asynccontextmanager
async def surface_of(discord: DiscordDouble, client: redis.asyncio.Redis, **more: str) -> AsyncIterator[DiscordSurface]:
    """A worker's view of Discord: it has no gateway."""
    told = {"discord_token": discord.token, "discord_api_url": discord.url, "discord_message_content": "true"}
    settings = load_settings(DiscordSettings, _env_file=None, **{**told, **more})
    shared = CallBudgets(client)
    try:
        async with open_discord(settings, Stopping(), shared) as platform:
            assert platform
            yield platform.surface
    finally:
        await shared.aclose()


def asked(discord: DiscordDouble, posted: Posted, **more: str) -> Turn:
    """The turn of a message."""
    channel = discord.channels[posted.channel]
    where = Place(GUILD, channel.parent, channel.id) if channel.parent else Place(GUILD, channel.id)
    place = {"channel": channel.id, "bot": "1", **more}
    return make_turn(where, posted.id, Ada, posted.text, at=discord.clock.seconds(posted.id), place=place)


def told(messages: Any) -> list[tuple[str, str]]:
    """Who said what."""
    return [(one.author.name if one.author else str(one.role), one.text) for one in messages]


def name(posted: Posted) -> str:
    """The id under which a message is remembered."""
    return f"discord:{GUILD}:{posted.channel}:{posted.id}"


async def test_a_thread_begins_with_what_it_hangs_on(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """People and apps are overheard unless they say it to us, and every id is the one that edits will have."""
    root = discord.alert(title="Disk full", description="db-7 has 97% of /var in use")
    thread = discord.thread(root)
    first = discord.say("look at this", channel=thread.id, user=BOB)
    second = discord.say("the <@" + ADA + "> plan", channel=thread.id, user=CLEO, reply_to=first.id)
    ours = discord.post(thread, APP, "I am here.")
    turn = asked(discord, discord.mention("what is wrong?", channel=thread.id))
    other = discord.mention("and now?", channel=thread.id, user=BOB)
    async with surface_of(discord, client) as surface:
        said = await surface.read_thread(turn)
    assert [one.id for one in said] == [name(root), name(first), name(second), name(ours), name(other)]
    assert told(said) == [("Other", ""), ("Bob", "look at this"), ("Cleo", "the @Ada plan"),
                          ("assistant", "I am here."), ("Bob", "and now?")]  # fmt: skip
    assert [one.overheard for one in said] == [True, True, True, False, False]
    assert [bool(one.author and one.author.app) for one in said] == [True, False, False, False, False]
    assert said[0].quotes == (Quote(QuoteKind.CARD, "Disk full\ndb-7 has 97% of /var in use"),)
    assert said[2].quotes == (Quote(QuoteKind.REPLY, "look at this", "Bob"),)
    assert len([call for call in discord.calls if call.route == PAGES]) == 1


async def test_of_a_long_thread_the_newest_are_read_and_its_beginning(
    discord: DiscordDouble, client: redis.asyncio.Redis
) -> None:
    """In two calls when we join it, and in one from then on."""
    thread = discord.thread(discord.say("the root", user=BOB))
    posted = [discord.say(f"note-{number}", channel=thread.id, user=BOB) for number in range(250)]
    turn = asked(discord, discord.mention("summarise", channel=thread.id))
    async with surface_of(discord, client) as surface:
        joined = await surface.read_thread(turn)
        later = await surface.read_thread(turn, name(posted[-3]))
    assert [one.text for one in joined[:2]] == ["the root", "note-151"]
    assert len(joined) == THREAD_MESSAGES
    assert [one.text for one in later] == ["note-248", "note-249"]
    assert len([call for call in discord.calls if call.route == PAGES]) == 3


async def test_a_post_of_a_forum_has_a_title(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """Its own first message has the post's id, and stands in it."""
    thread = discord.thread()
    first = discord.say("It says 403.", channel=thread.id, user=BOB)
    discord.channels[first.id] = replace(thread, id=first.id, messages={first.id: first})
    first.channel = first.id
    turn = asked(discord, discord.mention("why?", channel=first.id), post="Cannot log in")
    async with surface_of(discord, client) as surface:
        said = await surface.read_thread(turn)
    assert told(said)[0] == ("Bob", "It says 403.")
    assert said[0].quotes == (Quote(QuoteKind.CARD, "title of this post: Cannot log in"),)
    assert len(said) == 1


@pytest.mark.parametrize("root_said_by", [BOB, APP])
async def test_without_message_content_that_is_said(
    discord: DiscordDouble, client: redis.asyncio.Redis, root_said_by: str
) -> None:
    """Discord gives what is said to us, and our own words; a note that is stored once says what is missing."""
    discord.rest._messages.content_intent = False
    thread = discord.thread(discord.say("the root", user=root_said_by))
    discord.say("a secret", channel=thread.id, user=BOB)
    turn = asked(discord, discord.mention("why?", channel=thread.id))
    async with surface_of(discord, client, discord_message_content="false") as surface:
        said = await surface.read_thread(turn)
        assert await surface.read_thread(turn, turn.id) == ()
        assert await surface.read_room(turn) == ()
        again = await surface.read_thread(turn)
    assert [one.text for one in said] == [*(["the root"] if root_said_by == APP else []), UNHEARD_NOTE]
    assert said[-1] == Message(Role.SYSTEM, UNHEARD_NOTE, id=f"{turn.key}:unheard", at=turn.at)
    assert again == said


async def test_without_message_content_a_thread_hangs_on_something_unknown(
    discord: DiscordDouble, client: redis.asyncio.Redis
) -> None:
    """Even if nothing else was said in it, "what does this mean?" is asked about something."""
    discord.rest._messages.content_intent = False
    thread = discord.thread(discord.alert(title="Disk full"))
    turn = asked(discord, discord.mention("what does this mean?", channel=thread.id))
    async with surface_of(discord, client, discord_message_content="false") as surface:
        assert [one.text for one in await surface.read_thread(turn)] == [UNHEARD_NOTE]


async def test_an_asker_is_one_person(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """The name that somebody has on the server comes with the question, and not with a page."""
    discord.users[ADA].display = "ada.l"
    thread = discord.thread()
    discord.say("at nine", channel=thread.id, user=ADA)
    discord.say(f"no, <@{ADA}>", channel=thread.id, user=BOB)
    turn = asked(discord, discord.mention("why?", channel=thread.id))
    async with surface_of(discord, client) as surface:
        assert told(await surface.read_thread(turn)) == [("Ada", "at nine"), ("Bob", "no, @Ada")]


async def test_names_of_roles_and_channels_are_asked_for_once(
    discord: DiscordDouble, client: redis.asyncio.Redis
) -> None:
    """A worker without a gateway knows none; where they cannot be read, people are told in other words."""
    thread = discord.thread()
    discord.say(f"<@&{MODERATORS}>: <#{RANDOM}> is for this", channel=thread.id, user=BOB)
    discord.forward(discord.say("Hi.", channel=RANDOM), channel=thread.id)
    turn = asked(discord, discord.mention("why?", channel=thread.id))
    discord.fail("GET /guilds/:id/roles", 403, 50001)
    async with surface_of(discord, client) as surface:
        said = await surface.read_thread(turn)
        await surface.read_thread(turn)
    assert said[0].text == "@a role: #random is for this"
    assert said[1].quotes == (Quote(QuoteKind.FORWARD, "Hi.", origin="#random"),)
    assert [call.route for call in discord.calls].count("GET /guilds/:id/channels") == 1
    async with surface_of(discord, client) as surface:
        said = await surface.read_thread(turn)
    assert said[0].text == "@Moderators: #random is for this"


async def test_who_is_denied_is_not_read(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """As they are not overheard."""
    thread = discord.thread(discord.say("the root", user=CLEO))
    for user in (BOB, OTHER_BOT):
        discord.say("a secret", channel=thread.id, user=user)
    discord.say("hello", channel=thread.id, user=CLEO)
    turn = asked(discord, discord.mention("why?", channel=thread.id))
    async with surface_of(discord, client, discord_deny_users=f"{BOB},{OTHER_BOT}") as surface:
        assert [one.text for one in await surface.read_thread(turn)] == ["the root", "hello"]


RULES: dict[str, tuple[dict[str, str], list[str]]] = {
    "allowed": ({"discord_allow_roles": MODERATORS}, ["the app's", "Cleo's"]),
    "denied": ({"discord_deny_roles": MODERATORS}, ["Bob's", "the app's"]),
}


@pytest.mark.parametrize("name", RULES)
async def test_roles_decide_who_is_read_although_a_page_does_not_tell_them(
    discord: DiscordDouble, client: redis.asyncio.Redis, name: str
) -> None:
    """As they decide who is overheard; they are asked for once, and where they can't be, nothing is read."""
    settings, heard = RULES[name]
    thread = discord.thread()
    for user, text in ((BOB, "Bob's"), (OTHER_BOT, "the app's"), (CLEO, "Cleo's")):
        discord.say(text, channel=thread.id, user=user)
    turn = asked(discord, discord.mention("why?", channel=thread.id))
    member = "GET /guilds/:id/members/:id"
    discord.fail(member, 503)
    async with surface_of(discord, client, **settings) as surface:
        with pytest.raises(PlatformUnavailable):
            await surface.read_thread(turn)
        calls = [call.route for call in discord.calls].count(member)
        assert [one.text for one in await surface.read_thread(turn)] == heard
        assert [one.text for one in await surface.read_thread(turn)] == heard
    assert [call.route for call in discord.calls].count(member) == calls + 2


async def test_a_channels_newest_are_read_and_nothing_old(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """Twenty before the question, of two hours."""
    discord.clock.behind = ROOM_SECONDS + 60
    discord.say("long ago")
    discord.clock.behind = 0
    for number in range(5):
        discord.say(f"note-{number}", user=BOB)
    few = asked(discord, discord.mention("why?"))
    for number in range(30):
        discord.say(f"more-{number}", user=BOB)
    many = asked(discord, discord.mention("and now?"))
    discord.say("later")
    async with surface_of(discord, client) as surface:
        assert [one.text for one in await surface.read_room(few)] == [f"note-{number}" for number in range(5)]
        read = await surface.read_room(many)
        assert [one.text for one in read] == [f"more-{number}" for number in range(30 - ROOM_MESSAGES, 30)]
        assert await surface.read_room(replace(many, place={**many.place, "private": "1"})) == ()
        assert await surface.read_room(replace(many, place={"channel": GENERAL})) == ()


async def test_what_may_not_be_read_is_an_error(discord: DiscordDouble, client: redis.asyncio.Redis) -> None:
    """So that the question says so."""
    discord.channels[RANDOM].denied = {"READ_MESSAGE_HISTORY"}
    turn = asked(discord, discord.mention("why?", channel=RANDOM))
    async with surface_of(discord, client) as surface:
        with pytest.raises(NotAllowed):
            await surface.read_room(turn)


async def test_pages_are_paced_as_discord_counts_them(
    discord: DiscordDouble, client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six questions at once in one channel: none is refused, and the sixth waits for a page."""
    monkeypatch.setattr(budgets, "SECONDS", 0.3)
    discord.rest.limits.rules[PAGES] = (5, 0.3)
    turn = asked(discord, discord.mention("why?"))
    async with surface_of(discord, client) as surface:
        for _ in range(6):
            await surface.read_room(turn)
    assert discord.refused == []
