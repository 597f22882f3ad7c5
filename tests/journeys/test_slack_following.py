"""Following a thread in Slack: when no mention is needed, when one is, and mute; with real processes."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis

from core.store.keys import Keys
from core.types import ConversationKey
from tests.doubles.slack import SlackDouble
from tests.doubles.slack_records import Posted
from tests.doubles.tgi import TgiDouble
from tests.journeys.conftest import Deployment
from tests.journeys.process import GENERAL, STREAM, Parley, finished, in_slack, reply
from tests.waiting import wait_until

ADA, BOB = "U0ADA", "U0BOB"


async def asked_in_channel(slack: SlackDouble, text: str = "hello") -> str:
    """Ada mentions Parley in the channel, and is answered in a thread: its id."""
    ts = await slack.mention(GENERAL, text)
    await reply(slack, GENERAL, ts)
    return ts


async def nth_reply(slack: SlackDouble, thread: str, number: int) -> Posted:
    """Parley's reply of that number in a thread, once it is finished."""
    await wait_until(lambda: len(slack.replies(GENERAL, thread)) >= number, description=f"{number} replies")
    posted = slack.replies(GENERAL, thread)[number - 1]
    await finished(slack, posted)
    return posted


async def silent(slack: SlackDouble, thread: str, replies: int) -> None:
    """Everything that was said is taken, and a mention elsewhere is answered; in the thread there is nothing more."""
    await wait_until(lambda: not slack.unacked())
    await reply(slack, "C0RANDOM", await slack.mention("C0RANDOM", "are you there?"))
    assert len(slack.replies(GENERAL, thread)) == replies


async def test_one_person_goes_on_without_a_mention_until_a_second_one_speaks(
    slack: SlackDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """Then everybody mentions Parley, which has heard what was said meanwhile."""
    tgi.answer = "Noted."
    ts = await asked_in_channel(slack, "when do we meet?")
    await slack.say(GENERAL, "and where?", thread=ts)
    await nth_reply(slack, ts, 2)
    assert "Ada: and where?" in tgi.requests[-1].inputs
    await slack.say(GENERAL, "no, on Thursday at nine", user=BOB, thread=ts)
    await slack.say(GENERAL, "oh, right", thread=ts)
    await silent(slack, ts, 2)
    await slack.mention(GENERAL, "so when?", thread=ts)
    await nth_reply(slack, ts, 3)
    prompt = tgi.requests[-1].inputs
    assert prompt.index("no, on Thursday at nine") < prompt.index("oh, right") < prompt.index("so when?")
    assert slack.pings == []


async def test_what_is_meant_for_somebody_else_is_not_answered(
    slack: SlackDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """A mention of a person, a group or everybody, or a name after an @; the next question needs no mention again."""
    ts = await asked_in_channel(slack)
    for text in (f"<@{BOB}> can you look?", "<!here> look", "<!subteam^S1> look", "@bob can you look?"):
        await slack.say(GENERAL, text, thread=ts)
    await silent(slack, ts, 1)
    await slack.say(GENERAL, "and what do you think?", thread=ts)
    await nth_reply(slack, ts, 2)


@pytest.mark.slow
async def test_two_people_at_the_same_moment_get_one_answer_at_most(
    slack: SlackDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """The first one's; afterwards both need a mention."""
    ts = await asked_in_channel(slack)
    await asyncio.gather(slack.say(GENERAL, "and now?", thread=ts), slack.say(GENERAL, "and now?", user=BOB, thread=ts))
    await wait_until(lambda: not slack.unacked())
    await slack.mention(GENERAL, "last", thread=ts)
    await wait_until(lambda: "last" in tgi.requests[-1].inputs)
    assert len([seen for seen in tgi.requests if seen.inputs.rstrip().endswith("and now?\nAssistant:")]) <= 1


async def test_a_muted_thread_needs_mentions_until_it_is_unmuted(
    slack: SlackDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """Said without a mention, since the thread is followed; and taken back with one."""
    ts = await asked_in_channel(slack)
    await slack.say(GENERAL, "Parley, be quiet here", thread=ts)
    said = await nth_reply(slack, ts, 2)
    assert (
        said.text == "I'll be quiet in this thread, and answer only when mentioned. `@parley unmute` takes that back."
    )
    await slack.say(GENERAL, "what was that?", thread=ts)
    await silent(slack, ts, 2)
    await slack.mention(GENERAL, "unmute", thread=ts)
    assert (await nth_reply(slack, ts, 3)).text.startswith("I'm no longer muted in this thread.")
    await slack.say(GENERAL, "and now?", thread=ts)
    await nth_reply(slack, ts, 4)


@pytest.mark.slow
async def test_with_always_everybody_is_answered_and_with_mention_nobody(
    slack: SlackDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """As the operator sets it, or people choose it for the channel."""
    async with in_slack(slack, tgi, tmp_path, FOLLOW="mention"):
        ts = await asked_in_channel(slack)
        await slack.say(GENERAL, "and now?", thread=ts)
        await silent(slack, ts, 1)
        await reply(slack, GENERAL, await slack.mention(GENERAL, "settings follow always"))
        for number, user in enumerate((ADA, BOB, ADA), 2):
            await slack.say(GENERAL, "and now?", user=user, thread=ts)
            await nth_reply(slack, ts, number)
        await slack.say(GENERAL, "Bob, can you look?", thread=ts)
        await silent(slack, ts, 4)


@pytest.mark.slow
async def test_a_thread_that_people_began_is_followed_if_one_person_is_in_it(
    slack: SlackDouble, tgi: TgiDouble, deployment: Deployment, tmp_path: Path
) -> None:
    """Who wrote before Parley was asked is known from what it read, once the answer is stored."""
    async with deployment.worker(), Redis.from_url(f"unix://{tmp_path / 'redis.sock'}") as client:
        for users, followed in (((ADA,), True), ((BOB, ADA), False)):
            root = await slack.say(GENERAL, "a plan", user=users[0])
            await slack.say(GENERAL, "more of it", user=users[-1], thread=root)
            await slack.mention(GENERAL, "what do you think?", thread=root)
            await nth_reply(slack, root, 1)
            state = Keys.following(ConversationKey("slack", slack.team, GENERAL, root))
            await wait_until(partial(client.hget, state, "known"), description="the answer is stored")
            await slack.say(GENERAL, "and why?", thread=root)
            await (nth_reply(slack, root, 2) if followed else silent(slack, root, 1))


@pytest.mark.slow
async def test_people_who_may_not_ask_are_not_answered_and_not_told(
    slack: SlackDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """They did not ask; and they are people in the thread all the same."""
    async with in_slack(slack, tgi, tmp_path, SLACK_ALLOW_USERS=ADA, FOLLOW="always"):
        ts = await asked_in_channel(slack)
        await slack.say(GENERAL, "and now?", user=BOB, thread=ts)
        await silent(slack, ts, 1)
        assert not slack.calls_of("chat.postEphemeral")


@pytest.mark.slow
async def test_a_follow_up_that_comes_again_or_is_edited_is_one_turn(
    slack: SlackDouble, tgi: TgiDouble, deployment: Deployment
) -> None:
    """Although somebody else spoke meanwhile, and the worker was killed."""
    ts = await slack.mention(GENERAL, "hello")
    await wait_until(lambda: not slack.unacked())
    again = await slack.say(GENERAL, "and nwo?", thread=ts)
    await wait_until(lambda: not slack.unacked())  # events that are on their way together have no order
    await slack.say(GENERAL, "I'm here as well", user=BOB, thread=ts)
    await wait_until(lambda: not slack.unacked())
    await slack.resend(again)
    await slack.edit(GENERAL, again, "and now?")
    await wait_until(lambda: not slack.unacked())
    tgi.answer, tgi.rate = STREAM, 60
    async with deployment.worker() as worker:
        await reply(slack, GENERAL, ts)
        await wait_until(lambda: len(slack.replies(GENERAL, ts)) == 2, description="the second answer begins")
        await worker.stop(signal.SIGKILL)
    async with deployment.worker():
        await nth_reply(slack, ts, 2)
        await slack.resend(again)
        tgi.rate = 0
        await silent(slack, ts, 2)
    assert not [seen for seen in tgi.requests if "nwo" in seen.inputs]


@pytest.mark.slow
@pytest.mark.parametrize("begun", [False, True])
async def test_a_follow_up_that_is_edited_for_somebody_else_is_taken_back(
    slack: SlackDouble, tgi: TgiDouble, deployment: Deployment, *, begun: bool
) -> None:
    """While it waits, nobody sees anything of it; while it is answered, the answer stops and says why."""
    ts = await slack.mention(GENERAL, "hello")
    tgi.answer = "Hello."
    async with deployment.worker():
        await reply(slack, GENERAL, ts)
        if not begun:
            tgi.answer, tgi.rate = STREAM, 30
            await slack.say(GENERAL, "tell me more", thread=ts)
            await wait_until(lambda: len(slack.replies(GENERAL, ts)) == 2)
        else:
            tgi.answer, tgi.rate = STREAM, 30
        asked = await slack.say(GENERAL, "can you look?", thread=ts)
        if begun:
            await wait_until(lambda: len(slack.replies(GENERAL, ts)) == 2)
        await wait_until(lambda: not slack.unacked())
        await slack.edit(GENERAL, asked, f"<@{BOB}> can you look?")
        await wait_until(lambda: not slack.unacked())
        posted = await nth_reply(slack, ts, 2)
        assert ("Stopped, because the question is meant for somebody else now." in posted.text) == begun
        tgi.rate, tgi.answer = 0, "Well."
        await slack.mention(GENERAL, "who was asked?", thread=ts)
        await nth_reply(slack, ts, 3)
    assert len(slack.replies(GENERAL, ts)) == 3
    assert "@Bob can you look?" in tgi.requests[-1].inputs
