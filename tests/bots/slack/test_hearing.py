"""What Slack tells without being asked: a thread read as it stands, and talk that is overheard, where it may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio

from bots.slack import arrivals, history
from bots.slack.platform import open_slack
from bots.slack.settings import SlackSettings
from bots.slack.surface import SlackSurface
from bots.stopping import Stopping
from core.memory.conversations import Memory
from core.memory.exchange import Exchange, Thread
from core.pacing import CallBudgets
from core.quotes import QuoteKind
from core.settings import load_settings
from core.tasks import end_tasks
from core.turns.queue import TurnQueue
from core.types import Author, ConversationKey, Message, Role
from tests.bots.answering import slack_desk, slack_turn
from tests.doubles.slack import SlackDouble
from tests.waiting import wait_until

CHANNEL = "C0GENERAL"
FULL = {"title": "Disk almost full", "text": "host db-7 has 97% of /var in use", "fallback": "Disk almost full: db-7"}
REPLIES, HISTORY = "conversations.replies", "conversations.history"


@pytest.fixture
async def slack() -> AsyncIterator[SlackDouble]:
    """Slack, without its rate limits."""
    async with SlackDouble(tiers=False) as double:
        yield double


@asynccontextmanager
async def surface(slack: SlackDouble, client: redis.asyncio.Redis) -> AsyncIterator[SlackSurface]:
    """The workspace, as a worker sees it."""
    async with slack_desk(slack, client) as desk:
        assert isinstance(desk.surface, SlackSurface)
        yield desk.surface


def told(messages: Any) -> list[tuple[str, ...]]:
    """Who said what, and the texts of the quotes."""
    return [(m.author.name if m.author else "us", m.text, *(quote.text for quote in m.quotes)) for m in messages]


async def test_a_thread_is_read_with_what_apps_and_people_show(slack: SlackDouble, client: redis.asyncio.Redis) -> None:
    """Its root is an alert; names stand for ids; our own words are ours, and who joined said nothing."""
    root = await slack.app_says(CHANNEL, attachments=[FULL])
    await slack.say(CHANNEL, "<@U0ADA>, see <#C0RANDOM> & <!subteam^S0SUPPORT>", user="U0BOB", thread=root)
    slack.post(slack.channels[CHANNEL], slack.bot_user, "I said this", thread_ts=root)
    await slack.say(CHANNEL, "joined", thread=root, subtype="channel_join")
    gone = await slack.say(CHANNEL, "never mind", thread=root)
    await slack.delete(CHANNEL, gone)
    await slack.say(CHANNEL, "", thread=root, files=[{"id": "F1", "name": "log.txt"}])
    async with surface(slack, client) as desk:
        turn = await slack_turn(slack, "what is wrong, and where?", thread=root)
        messages = await desk.read_thread(turn)
    assert told(messages) == [
        ("Alertbot", "", "Disk almost full\nhost db-7 has 97% of /var in use"),
        ("Bob", "@Ada, see #random & @support"),
        ("us", "I said this"),
        ("Ada", "", "log.txt"),
    ]
    assert [message.overheard for message in messages] == [True, True, False, True]
    assert [message.author and message.author.app for message in messages] == [True, False, None, False]
    assert messages[0].id == f"slack:T0TEAM:{CHANNEL}:{root}"


async def test_only_what_is_newer_is_read_in_one_call(slack: SlackDouble, client: redis.asyncio.Redis) -> None:
    """Without the root, and without our answers, which were stored with their questions."""
    root = await slack.say(CHANNEL, "the root", user="U0BOB")
    known = await slack.say(CHANNEL, "known", thread=root)
    slack.post(slack.channels[CHANNEL], slack.bot_user, "the second part of an answer", thread_ts=root)
    await slack.say(CHANNEL, "no, Thursday at nine", user="U0BOB", thread=root)
    async with surface(slack, client) as desk:
        turn = await slack_turn(slack, "when?", thread=root)
        slack.post(slack.channels[CHANNEL], slack.bot_user, "the answer grows", thread_ts=root)
        await slack.mention(CHANNEL, "another question", thread=root)
        await slack.say(CHANNEL, "or ten", user="U0BOB", thread=root)
        for after in (known, f"slack:T0TEAM:{CHANNEL}:{known}"):
            assert told(await desk.read_thread(turn, after)) == [("Bob", "no, Thursday at nine"), ("Bob", "or ten")]
        assert len(slack.calls_of(REPLIES)) == 2
        assert told(await desk.read_thread(turn, "slack:T0TEAM:answer"))[0] == ("Bob", "the root")


async def test_the_room_is_what_was_said_last_in_the_channel(slack: SlackDouble, client: redis.asyncio.Redis) -> None:
    """Twenty messages in order, none of ours, none of a thread and none of yesterday."""
    place = slack.channels[CHANNEL]
    place.messages["1700000000.000100"] = slack.post(place, "U0BOB", "long ago")
    place.messages["1700000000.000100"].ts = "1700000000.000100"
    for number in range(25):
        ts = await slack.say(CHANNEL, f"note-{number}", user="U0BOB")
    await slack.say(CHANNEL, "in a thread", thread=ts)
    slack.post(place, slack.bot_user, "ours")
    await slack.app_says(CHANNEL, "built", name="CI")
    async with surface(slack, client) as desk:
        said = told(await desk.read_room(await slack_turn(slack, "so?")))
    assert said == [*(("Bob", f"note-{number}") for number in range(7, 25)), ("CI", "built")]
    assert len(slack.calls_of(HISTORY)) == 1


@pytest.mark.slow
async def test_a_hundred_questions_at_once_are_not_refused(slack: SlackDouble, client: redis.asyncio.Redis) -> None:
    """As many as Slack lets in are read at once; all others wait for a free call, as long as an answer may wait."""
    slack.tiers = True
    root = await slack.say(CHANNEL, "the root", user="U0BOB")
    async with surface(slack, client) as desk:
        turn = await slack_turn(slack, "so?", thread=root)
        asking = [asyncio.create_task(desk.read_thread(turn)) for _ in range(100)]
        await wait_until(lambda: sum(one.done() for one in asking) > history.CALLS_AT_ONCE)
        await end_tasks(asking)
    assert slack.refused == []


async def test_a_name_that_is_not_allowed_is_not_asked_for_again(
    slack: SlackDouble, client: redis.asyncio.Redis
) -> None:
    """Without the scope a group is called one; a private channel is never named to others."""
    slack.scopes = [scope for scope in slack.scopes if scope != "usergroups:read"]
    slack.add_channel("C0SECRET", "merger", private=True)
    async with surface(slack, client) as desk:
        for _ in range(3):
            turn = await slack_turn(slack, "<!subteam^S0SUPPORT> <!subteam^S1> <#C0SECRET> <#C9>")
            read = await desk.understand(turn)
            assert read.text == "@a user group @a user group #a channel #a channel"
    assert len(slack.calls_of("usergroups.list")) == 1
    assert len(slack.calls_of("conversations.info")) == 2


class Ear:
    """A process that listens, and what it stores."""

    def __init__(self, slack: SlackDouble, memory: Memory, queue: TurnQueue) -> None:
        self.slack, self.memory, self.queue = slack, memory, queue

    async def asked_in(self, root: str, channel: str = CHANNEL) -> ConversationKey:
        """A thread in which Parley was asked."""
        key = ConversationKey("slack", self.slack.team, channel, root)
        loaded = await self.memory.load(key, Thread(f"slack:{self.slack.team}:{channel}:{root}", float(root)))
        question = Message(Role.USER, "when?", id="q", author=Author("U0ADA", "Ada"), at=float(root))
        assert await self.memory.append(Exchange(key, loaded.epoch, "q", "", (question,)))
        return key

    async def heard(self, key: ConversationKey) -> list[Message]:
        """What was overheard in a thread, or lately in a channel."""
        loaded = await self.memory.load(key, Thread("r", 1.0) if key.parent else None)
        return [message for message in (*loaded.messages, *loaded.room) if message.overheard]

    async def settled(self) -> None:
        """Until everything that Slack sent was handled."""
        await wait_until(lambda: not self.slack.unacked() and not self.slack.undelivered())

    async def texts(self, key: ConversationKey) -> list[tuple[str, ...]]:
        """Who said what, once everything was handled."""
        await self.settled()
        return told(await self.heard(key))


@asynccontextmanager
async def listening(slack: SlackDouble, client: redis.asyncio.Redis, **more: str) -> AsyncIterator[Ear]:
    """Take what Slack sends while inside."""
    tokens = {"slack_bot_token": slack.bot_token, "slack_app_token": slack.app_token, "slack_api_url": slack.url}
    settings = load_settings(SlackSettings, _env_file=None, **{**tokens, **more})
    memory, budgets = Memory(client, retention=1000), CallBudgets(client)
    try:
        async with open_slack(settings, Stopping(), budgets, listens=True) as platform:
            assert platform
            queue = TurnQueue(client, memory)
            async with platform.listening(queue, memory, client):
                await wait_until(lambda: platform.connected)
                yield Ear(slack, memory, queue)
    finally:
        await budgets.aclose()


async def test_talk_in_a_thread_is_overheard_as_it_stands_now(slack: SlackDouble, client: redis.asyncio.Redis) -> None:
    """Of people and of other apps: what was edited says so, what was deleted is gone, a preview changes nothing."""
    root = await slack.say(CHANNEL, "the plan", user="U0BOB")
    async with listening(slack, client) as ear:
        key = await ear.asked_in(root)
        day = await slack.say(CHANNEL, "no, <@U0ADA>, Thursday", user="U0BOB", thread=root)
        oops = await slack.say(CHANNEL, "a secret", user="U0BOB", thread=root)
        alert = await slack.app_says(CHANNEL, thread=root, attachments=[FULL])
        link = await slack.say(CHANNEL, "see <https://a.example>", user="U0CLEO", thread=root)
        assert await ear.texts(key) == [
            ("Bob", "no, @Ada, Thursday"),
            ("Bob", "a secret"),
            ("Alertbot", "", "Disk almost full\nhost db-7 has 97% of /var in use"),
            ("Cleo", "see https://a.example"),
        ]
        before = await ear.heard(key)
        await slack.preview(CHANNEL, link)
        await slack.preview(CHANNEL, alert)
        await ear.settled()
        assert await ear.heard(key) == before
        await slack.edit(CHANNEL, day, "no, <@U0ADA>, Friday")
        await slack.delete(CHANNEL, oops)
        await slack.app_edits(CHANNEL, alert, attachments=[{**FULL, "text": "resolved on <@U0BOB>'s watch"}])
        assert await ear.texts(key) == [
            ("Bob", "no, @Ada, Friday"),
            ("Alertbot", "", "Disk almost full\nresolved on @Bob's watch"),
            ("Cleo", "see https://a.example"),
        ]
        assert [message.edited > message.at for message in await ear.heard(key)] == [True, True, False]
        await slack.delete(CHANNEL, alert)
        assert [said[0] for said in await ear.texts(key)] == ["Bob", "Cleo"]
        assert all(event.acked_at for event in slack.envelopes)


async def test_talk_asks_slack_for_few_names(slack: SlackDouble, client: redis.asyncio.Redis) -> None:
    """For none in a thread that isn't ours, and for no more in ours than leave room for those in questions."""
    for number in range(60):
        slack.add_user(f"U{number}", f"person{number}")
    root = await slack.say(CHANNEL, "the plan", user="U0BOB")
    other = await slack.say(CHANNEL, "another plan", user="U0BOB")
    async with listening(slack, client) as ear:
        key = await ear.asked_in(root)
        for number in range(30):
            await slack.say(CHANNEL, "hear, hear", user=f"U{number}", thread=other)
        await ear.settled()
        assert slack.calls_of("users.info") == []
        for number in range(60):
            await slack.say(CHANNEL, "hear, hear", user=f"U{number}", thread=root)
        names = [said[0] for said in await ear.texts(key)]
        assert len(names) == 60
        assert 20 <= len(slack.calls_of("users.info")) < 40
        assert sum(map(bool, names)) == len(slack.calls_of("users.info"))


async def test_a_thread_without_us_is_not_kept(slack: SlackDouble, client: redis.asyncio.Redis) -> None:
    """Nor what is said to us, which is a question, nor what we say."""
    root = await slack.say(CHANNEL, "the plan", user="U0BOB")
    async with listening(slack, client, hear="room") as ear:
        key = await ear.asked_in(root)
        other = await slack.say(CHANNEL, "another plan", user="U0BOB")
        await slack.say(CHANNEL, "elsewhere", thread=other)
        await slack.mention(CHANNEL, "a question", thread=root)
        slack.post(slack.channels[CHANNEL], slack.bot_user, "an answer", thread_ts=root)
        assert await ear.texts(key) == []
        assert await ear.texts(ConversationKey("slack", slack.team, CHANNEL, other)) == []
        assert [said[1] for said in await ear.texts(key.home)] == ["the plan", "another plan"]


@pytest.mark.parametrize(
    ("settings", "thread", "room"),
    [
        ({}, ["person", "app"], []),
        ({"hear": "mention"}, [], []),
        ({"hear": "room"}, ["person", "app"], ["person", "app"]),
        ({"hear": "room", "slack_allow_users": "U0ADA"}, ["app"], ["app"]),
        ({"hear": "room", "slack_allow_channels": "C0RANDOM"}, [], []),
        ({"hear": "room", "slack_allow_channels": CHANNEL}, ["person", "app"], ["person", "app"]),
    ],
)
async def test_only_what_may_be_heard_is_kept(
    slack: SlackDouble, client: redis.asyncio.Redis, settings: dict[str, str], thread: list[str], room: list[str]
) -> None:
    """As HEAR says; where and of whom the operator allows."""
    root = await slack.say(CHANNEL, "the plan", user="U0BOB")
    async with listening(slack, client, **settings) as ear:
        key = await ear.asked_in(root)
        for place in (root, None):
            await slack.say(CHANNEL, "person", user="U0BOB", thread=place)
            await slack.app_says(CHANNEL, "app", thread=place)
        assert {said[1] for said in await ear.texts(key)} == set(thread)
        assert {said[1] for said in await ear.texts(key.home)} - {"the plan"} == set(room)


@pytest.mark.parametrize("allowed", [False, True])
async def test_a_channel_shared_with_others_is_heard_only_if_allowed(
    slack: SlackDouble, client: redis.asyncio.Redis, allowed: bool
) -> None:
    """Nothing is stored of a channel in which nobody would be answered."""
    slack.add_channel("C0SHARED", "shared", external=True)
    root = await slack.say("C0SHARED", "the plan", user="U0BOB")
    async with listening(slack, client, slack_allow_external=str(allowed)) as ear:
        key = await ear.asked_in(root, "C0SHARED")
        await slack.say("C0SHARED", "no, Thursday", user="U0BOB", thread=root)
        assert [said[1] for said in await ear.texts(key)] == (["no, Thursday"] if allowed else [])


@pytest.mark.parametrize("subscribed", [True, False])
async def test_a_question_says_whether_its_channel_is_heard(
    slack: SlackDouble, client: redis.asyncio.Redis, subscribed: bool
) -> None:
    """Without message.channels, a thread has to be read; a direct message always reaches us."""
    slack.channel_messages = subscribed
    async with listening(slack, client) as ear:
        await slack.say(CHANNEL, "just talk")
        await ear.settled()
        for channel, ts in ((CHANNEL, await slack.mention(CHANNEL, "hi")), ("D0ADA", await slack.dm("hi"))):
            await ear.settled()
            turn = await ear.queue.find(f"slack:{slack.team}:{channel}:{ts}")
            assert turn
            assert turn.place.get("heard") == ("1" if subscribed or channel == "D0ADA" else None)


@pytest.mark.parametrize("words", ["", "summarise"])
async def test_a_mention_that_comes_before_its_message_waits_for_it(
    slack: SlackDouble, client: redis.asyncio.Redis, words: str
) -> None:
    """Slack tells of a forward in one of the two events alone, and may deliver them in either order."""
    forward = {"is_share": True, "author_name": "Bob", "text": "on the ninth"}
    async with listening(slack, client) as ear:
        slack.scopes.remove("channels:history")
        ts = await slack.mention(CHANNEL, words, attachments=[forward])
        await wait_until(lambda: slack.envelopes)
        message = {**slack.events[ts][0]["event"], "type": "message", "channel_type": "channel"}
        await slack.send_event({**message, "attachments": [forward]})
        await ear.settled()
        turn = await ear.queue.find(f"slack:{slack.team}:{CHANNEL}:{ts}")
        assert turn
        assert (turn.text, [quote.text for quote in turn.quotes]) == (words, ["on the ninth"])
        assert turn.place["heard"] == "1"


async def test_without_messages_only_the_first_mention_waits(
    slack: SlackDouble, client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not known yet that there will be none."""
    monkeypatch.setattr(arrivals, "OTHER_EVENT_SECONDS", 0.01)
    slack.channel_messages = False
    async with listening(slack, client) as ear:
        await slack.mention(CHANNEL, "first")
        await ear.settled()
        monkeypatch.setattr(arrivals, "OTHER_EVENT_SECONDS", 1000)
        ts = await slack.mention(CHANNEL, "second")
        await ear.settled()
        assert await ear.queue.find(f"slack:{slack.team}:{CHANNEL}:{ts}")


async def test_what_comes_with_a_question_waits_with_it(slack: SlackDouble, client: redis.asyncio.Redis) -> None:
    """A forward alone is a question; a mention in blocks alone, too; an edited table replaces the first."""
    forward = {"is_share": True, "author_name": "Bob", "text": "on the ninth"}
    table = {"type": "table", "rows": [[{"type": "raw_text", "text": "Oslo"}]]}
    mention = {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [
        {"type": "user", "user_id": slack.bot_user}, {"type": "text", "text": " largest?"}]}]}  # fmt: skip
    async with listening(slack, client) as ear:

        async def turn(channel: str, ts: str) -> tuple[str, list[tuple[str, str]]]:
            await ear.settled()
            found = await ear.queue.find(f"slack:{slack.team}:{channel}:{ts}")
            assert found
            return found.text, [(quote.kind, quote.text) for quote in found.quotes]

        alone = ("", [(QuoteKind.FORWARD, "on the ninth")])
        assert await turn("D0ADA", await slack.dm("", attachments=[forward])) == alone
        assert await turn(CHANNEL, await slack.mention(CHANNEL, "", attachments=[forward])) == alone
        ts = await slack.say(CHANNEL, "", blocks=[mention, table])
        assert await turn(CHANNEL, ts) == ("largest?", [(QuoteKind.TABLE, "| Oslo |\n| --- |")])
        assert "parley_" not in str(slack.ephemerals)
        assert await client.keys("*room*") == []
