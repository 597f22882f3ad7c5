"""Which messages are questions, and what they say: discord.py's own objects, made of Discord's payloads."""

from __future__ import annotations

from typing import Any

import discord
import pytest

from bots.discord.events import Place, changed_keys, mentions_others, read_overheard, read_question, wording
from core.memory import FOLLOWED, OPENED_THREAD
from core.quotes import Quote, QuoteKind
from core.types import Author, ConversationKey, Role

GUILD, GENERAL, THREAD = "100000000000000001", "200000000000000001", "300000000000000001"
OTHER_THREAD, DM = "300000000000000002", "400000000000000001"
PARLEY, ADA, BOB = "900000000000000001", "900000000000000002", "900000000000000003"
ROLE, TEAM = "500000000000000001", "500000000000000002"
APP = "900000000000000004"
NAMES = {PARLEY: "Parley", ADA: "Ada", BOB: "Bob", APP: "Alerts"}
FIRST = str(175928847299117063)
"""A message's id; it holds when that was written."""


def person(user: str) -> dict[str, Any]:
    """Somebody, as Discord tells of them."""
    return {"id": user, "username": NAMES[user].lower(), "global_name": NAMES[user], "discriminator": "0",
            "avatar": None, "bot": user in (PARLEY, APP)}  # fmt: skip


class World:
    """A server with a channel and two threads, as discord.py knows it after the gateway told of it."""

    def __init__(self) -> None:
        self.client = discord.Client(intents=discord.Intents.default())
        self.state: Any = self.client._connection
        self.state.user = self.me = discord.ClientUser(state=self.state, data=person(PARLEY))  # type: ignore[arg-type]
        thread = {"guild_id": GUILD, "parent_id": GENERAL, "type": 11, "message_count": 1, "member_count": 1,
                  "rate_limit_per_user": 0, "thread_metadata": {"archived": False, "auto_archive_duration": 60,
                  "archive_timestamp": "2026-11-27T00:00:00+00:00"}}  # fmt: skip
        data: Any = {
            "id": GUILD, "name": "Acme", "owner_id": ADA, "roles": [
                {"id": GUILD, "name": "@everyone", "permissions": "0", "position": 0},
                {"id": ROLE, "name": "Parley", "permissions": "0", "position": 1, "tags": {"bot_id": PARLEY}},
                {"id": TEAM, "name": "team", "permissions": "0", "position": 2}],
            "channels": [{"id": GENERAL, "type": 0, "name": "general", "position": 0, "permission_overwrites": []}],
            "threads": [{**thread, "id": THREAD, "name": "ours", "owner_id": PARLEY},
                        {**thread, "id": OTHER_THREAD, "name": "theirs", "owner_id": BOB}],
            "members": [],
        }  # fmt: skip
        self.guild = discord.Guild(data=data, state=self.state)
        self.state._add_guild(self.guild)

    def message(self, text: str, *, channel: str = GENERAL, by: str = ADA, **more: Any) -> discord.Message:
        """A message of somebody."""
        mentions = [person(user) for user in NAMES if f"<@{user}>" in text]
        roles = [ROLE] if f"<@&{ROLE}>" in text else []
        data: Any = {
            "id": FIRST, "channel_id": channel, "author": person(by), "content": text,
            "timestamp": "2016-04-30T11:18:25Z", "edited_timestamp": None,
            "tts": False, "mention_everyone": False, "mentions": mentions,
            "mention_roles": roles, "attachments": [], "embeds": [], "pinned": False, "type": 0, **more,
        }  # fmt: skip
        where: Any = self.guild.get_channel_or_thread(int(channel))
        if not where:
            dm: Any = {"id": channel, "type": 1, "recipients": [person(by)]}
            where = discord.DMChannel(me=self.me, state=self.state, data=dm)
        return discord.Message(state=self.state, channel=where, data=data)

    def reply(self, text: str, to: str, *, said: str = "The *plan*.", **more: Any) -> discord.Message:
        """A message that replies to one of somebody."""
        there = {"id": "10", "channel_id": GENERAL, "author": person(to), "content": said, "tts": False,
                 "timestamp": "2016-04-30T11:18:25Z", "edited_timestamp": None, "mention_everyone": False,
                 "mentions": [], "mention_roles": [], "attachments": [], "embeds": [], "pinned": False,
                 "type": 0}  # fmt: skip
        reference = {"message_id": "10", "channel_id": GENERAL, "guild_id": GUILD}
        return self.message(text, type=19, message_reference=reference, **{"referenced_message": there, **more})


@pytest.fixture
async def world() -> World:
    """A server that Parley is on."""
    return World()


FILE = {"id": "1", "filename": "a.pdf", "size": 1, "url": "", "proxy_url": ""}
QUESTIONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a mention": (f"<@{PARLEY}> why?", {}, "why?"),
    "a mention at the end": (f"why? <@{PARLEY}>", {}, "why?"),
    "within a sentence": (f"is <@{PARLEY}> there?", {}, "is @Parley there?"),
    "our role": (f"<@&{ROLE}> why?", {}, "why?"),
    "a direct message": ("why?", {"channel": DM}, "why?"),
    "with somebody else": (f"<@{PARLEY}> ask <@{BOB}> in <#{GENERAL}>", {}, "ask @Bob in #general"),
    "files alone": (
        f"<@{PARLEY}>",
        {"attachments": [FILE]},
        "",
    ),
}
NO_QUESTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "nobody is mentioned": ("why?", {}),
    "somebody else is": (f"<@{BOB}> why?", {"channel": THREAD}),
    "in somebody else's thread": ("why?", {"channel": OTHER_THREAD}),
    "our own": (f"<@{PARLEY}> why?", {"by": PARLEY}),
    "somebody joined": (f"<@{PARLEY}>", {"type": 7}),
    "in our thread, without Message Content": ("and now?", {"channel": THREAD}),
}


@pytest.mark.parametrize("name", QUESTIONS)
async def test_what_is_meant_for_us_is_a_question(world: World, name: str) -> None:
    """With its text in words, and what is needed to reply."""
    text, more, said = QUESTIONS[name]
    message = world.message(text, **more)
    turn = read_question(message, world.me, auto_thread=False)
    assert turn
    assert turn.text == said
    assert (turn.author.id, turn.author.name) == (ADA, "Ada")
    assert turn.id.endswith(f":{FIRST}")
    assert turn.at == message.created_at.timestamp()
    assert turn.place.get("files", "") == ("a.pdf" if "attachments" in more else "")


@pytest.mark.parametrize("name", NO_QUESTIONS)
async def test_what_is_not_meant_for_us_is_none(world: World, name: str) -> None:
    """People talk to each other."""
    text, more = NO_QUESTIONS[name]
    assert read_question(world.message(text, **more), world.me, auto_thread=False) is None


async def test_a_thread_is_a_conversation_of_its_own(world: World) -> None:
    """That branched off its channel; in a channel each person has a lane, in a thread all have one."""
    there = read_question(world.message(f"<@{PARLEY}> why?"), world.me, auto_thread=False)
    here = read_question(world.message(f"<@{PARLEY}> why?", channel=THREAD), world.me, auto_thread=False)
    assert there
    assert here
    assert there.key == ConversationKey("discord", GUILD, GENERAL)
    assert here.key == ConversationKey("discord", GUILD, GENERAL, THREAD)
    assert (there.lane, here.lane) == (f"{there.key}/{ADA}", str(here.key))
    assert here.root
    assert not there.root


async def test_a_reply_to_us_is_a_question_and_brings_what_it_is_about(world: World) -> None:
    """Also without a mention, in a channel; a reply to somebody else needs one."""
    turn = read_question(world.reply("why?", PARLEY), world.me, auto_thread=False)
    assert turn
    assert turn.quotes == (Quote(QuoteKind.REPLY, "The *plan*."),)
    assert read_question(world.reply("why?", BOB), world.me, auto_thread=False) is None
    turn = read_question(world.reply(f"<@{PARLEY}> true?", BOB), world.me, auto_thread=False)
    assert turn
    assert (turn.text, turn.quotes) == ("true?", (Quote(QuoteKind.REPLY, "The *plan*.", "Bob"),))


@pytest.mark.parametrize(("said", "text", "quoted"), [("The *plan*.", "The *plan*.", ""), ("forget", "", "forget")])
async def test_a_mention_alone_in_reply_asks_what_it_replies_to(
    world: World, said: str, text: str, quoted: str
) -> None:
    """People point at a message and call us; nobody gives a command with another's words."""
    turn = read_question(world.reply(f"<@{PARLEY}>", BOB, said=said), world.me, auto_thread=False)
    assert turn
    assert (turn.text, "".join(quote.text for quote in turn.quotes)) == (text, quoted)


async def test_an_edit_need_not_tell_what_is_replied_to(world: World) -> None:
    """Discord leaves that open: then there is no quote, which changes none."""
    assert wording(world.reply("why not?", BOB, referenced_message=None), world.me) == ("why not?", ())


FORWARD = {"message": {"type": 0, "content": "Friday.", "embeds": [], "attachments": [], "flags": 0,
                       "timestamp": "2026-11-27T00:00:00+00:00", "edited_timestamp": None}}  # fmt: skip
FORWARDED: dict[str, Any] = {
    "message_reference": {"type": 1, "message_id": "10", "channel_id": GENERAL, "guild_id": GUILD},
    "message_snapshots": [FORWARD],
}


FOLLOWABLE: dict[str, tuple[str, dict[str, Any], bool]] = {
    "in our thread": ("and now?", {"channel": THREAD}, True),
    "in somebody else's thread": ("and now?", {"channel": OTHER_THREAD}, True),
    "for somebody else": (f"<@{BOB}> and now?", {"channel": THREAD}, True),
    "in a channel": ("and now?", {}, False),
    "of an app": ("and now?", {"channel": THREAD, "by": APP}, False),
    "of a webhook": ("and now?", {"channel": THREAD, "webhook_id": "7"}, False),
    "our own": ("and now?", {"channel": THREAD, "by": PARLEY}, False),
    "somebody joined": ("and now?", {"channel": THREAD, "type": 7}, False),
}


@pytest.mark.parametrize("name", FOLLOWABLE)
async def test_what_people_say_in_threads_may_be_a_question(world: World, name: str) -> None:
    """Where it reaches us: it is marked, because it doesn't mention us; a mention is not."""
    text, more, read = FOLLOWABLE[name]
    turn = read_question(world.message(text, **more), world.me, auto_thread=True, heard=True)
    assert bool(turn) == read
    assert not turn or (turn.place[FOLLOWED] and OPENED_THREAD not in turn.place)
    asked = read_question(world.message(f"<@{PARLEY}> {text}", channel=THREAD), world.me, auto_thread=True, heard=True)
    assert asked
    assert FOLLOWED not in asked.place


async def test_a_mention_in_a_channel_may_open_a_thread(world: World) -> None:
    """Which has the id of the message that it hangs on."""
    turn = read_question(world.message(f"<@{PARLEY}> why?"), world.me, auto_thread=True)
    assert turn
    assert turn.place[OPENED_THREAD] == FIRST


async def test_who_else_a_message_is_for(world: World) -> None:
    """People, roles and everybody that it mentions; who said what it replies to, but for its author and Parley."""

    def others(message: discord.Message) -> bool:
        return mentions_others(message, world.me)

    for text in ("why?", f"<@{PARLEY}> why?", f"<@&{ROLE}> why?", f"in <#{GENERAL}>"):
        assert not others(world.message(text))
    assert others(world.message(f"<@{PARLEY}> and <@{BOB}>"))
    assert others(world.message("<@&7> why?", mention_roles=[TEAM]))
    assert others(world.message("@everyone", mention_everyone=True))
    assert others(world.reply("why?", BOB))
    assert others(world.reply("why?", BOB, referenced_message=None))
    assert not others(world.reply("why?", PARLEY))
    assert not others(world.reply("why?", ADA))
    assert not others(world.message("", channel=THREAD, **FORWARDED))


@pytest.mark.parametrize("channel", [DM, THREAD])
async def test_a_forward_alone_is_a_question(world: World, channel: str) -> None:
    """In a direct message, and in a thread of ours."""
    turn = read_question(world.message("", channel=channel, **FORWARDED), world.me, auto_thread=False, heard=True)
    assert turn
    origin = "a server" if channel == DM else "#general"
    assert (turn.text, turn.quotes) == ("", (Quote(QuoteKind.FORWARD, "Friday.", origin=origin),))


async def test_what_people_say_to_each_other_is_overheard(world: World) -> None:
    """With its author, and what comes with it; a long message that is replied to in short."""
    read = read_overheard(world.reply("at nine", BOB, said="x" * 900, channel=OTHER_THREAD), world.me)
    assert read
    key, said = read
    assert key == ConversationKey("discord", GUILD, GENERAL, OTHER_THREAD)
    assert (said.role, said.text, said.author, said.overheard) == (Role.USER, "at nine", Author(ADA, "Ada"), True)
    assert said.id.endswith(f"{OTHER_THREAD}:{FIRST}")
    assert [len(quote.text) for quote in said.quotes] == [200]


NOT_HEARD: dict[str, tuple[str, dict[str, Any]]] = {
    "our own": ("hello", {"by": PARLEY}),
    "a direct message": ("hello", {"channel": DM}),
    "somebody joined": ("", {"type": 7}),
    "without Message Content": ("", {}),
}


@pytest.mark.parametrize("name", NOT_HEARD)
async def test_what_says_nothing_to_people_is_not_overheard(world: World, name: str) -> None:
    """Nor what is said to us alone."""
    text, more = NOT_HEARD[name]
    assert read_overheard(world.message(text, **more), world.me) is None


async def test_a_change_concerns_its_place_and_the_thread_under_it(world: World) -> None:
    """A thread that hangs on a message has the message's id."""
    name, keys = changed_keys(int(GUILD), world.guild.get_channel(int(GENERAL)), int(GENERAL), int(FIRST))
    assert name.endswith(f":{FIRST}")
    assert keys == [Place(GUILD, GENERAL).key, Place(GUILD, GENERAL, FIRST).key]
