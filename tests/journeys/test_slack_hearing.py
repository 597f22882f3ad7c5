"""In Slack, the model knows what people say around a mention: real processes, and prompts as they were sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.conftest import Deployment
from tests.journeys.process import GENERAL, Parley, in_slack, reply
from tests.waiting import wait_until

FULL = {"title": "Disk almost full", "text": "host db-7 has 97% of /var in use", "fallback": "Disk almost full: db-7"}
FORWARD = {
    "is_share": True,
    "is_msg_unfurl": True,
    "author_name": "Bob",
    "text": "The move of the office is now on the ninth, at noon.",
    "from_url": "https://double.slack.com/archives/C0RANDOM/p1",
}
CITIES = [("City", "People"), ("Oslo", "412"), ("Bern", "388")]
TABLE = {"type": "table", "rows": [[{"type": "raw_text", "text": cell} for cell in row] for row in CITIES]}
REPLIES = "conversations.replies"


async def ask(slack: SlackDouble, tgi: TgiDouble, text: str, thread: str = "", **more: Any) -> str:
    """Ask in the channel or a thread of it, and see what the model was told."""
    before = len(slack.replies(GENERAL))
    asked = len(prompts(tgi))
    await slack.mention(GENERAL, text, thread=thread or None, **more)
    await wait_until(lambda: len(slack.replies(GENERAL)) > before and len(prompts(tgi)) > asked)
    await wait_until(lambda: not slack.replies(GENERAL)[-1].buttons, description="a finished reply")
    return prompts(tgi)[-1]


def prompts(tgi: TgiDouble) -> list[str]:
    """All that the model was told, question by question."""
    return [seen.inputs for seen in tgi.requests if seen.inputs]


async def heard(slack: SlackDouble) -> None:
    """Until everything that Slack sent was handled."""
    await wait_until(lambda: not slack.unacked() and not slack.undelivered(), description="all acknowledged")


@pytest.mark.parametrize("subscribed", [True, False])
async def test_two_people_correct_a_plan_between_two_mentions(
    slack: SlackDouble, tgi: TgiDouble, parley: Parley, subscribed: bool
) -> None:
    """The second answer knows who said what, in order, from events or from one look at the thread."""
    slack.channel_messages = subscribed
    tgi.answer = "On Wednesday at ten."
    root = await slack.mention(GENERAL, "we meet on Wednesday at ten. When do we meet?")
    await reply(slack, GENERAL, root)
    await slack.say(GENERAL, "no, Thursday", user="U0BOB", thread=root)
    await slack.say(GENERAL, "at nine, <@U0BOB>", user="U0CLEO", thread=root)
    await heard(slack)
    before = len(slack.calls_of(REPLIES))
    prompt = await ask(slack, tgi, "so when?", root)
    places = [prompt.index(words) for words in ("On Wednesday at ten.", "no, Thursday", "at nine, @Bob", "so when?")]
    assert places == sorted(places)
    assert "Bob: no, Thursday" in prompt
    assert "Cleo: at nine, @Bob" in prompt
    # The channel's events were not known to reach us when the first question came: its thread is read once.
    assert len(slack.calls_of(REPLIES)) - before <= 1
    read = len(slack.calls_of(REPLIES))
    await slack.say(GENERAL, "or at eight", user="U0BOB", thread=root)
    await heard(slack)
    prompt = await ask(slack, tgi, "and now?", root)
    assert prompt.index("so when?") < prompt.index("Bob: or at eight") < prompt.index("and now?")
    assert prompt.count("no, Thursday") == prompt.count("at nine, @Bob") == prompt.count("or at eight") == 1
    assert len(slack.calls_of(REPLIES)) - read == (0 if subscribed else 1)


@pytest.mark.parametrize(
    "alert",
    [
        {"attachments": [FULL]},
        {"blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": "Disk almost full"}},
            {"type": "section", "fields": [{"type": "mrkdwn", "text": "*host*\ndb-7"},
                                           {"type": "mrkdwn", "text": "*used*\n97%"}]}]},
        {"attachments": [{"fallback": "[no preview available]", "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": "db-7: 97% of /var in use"}}]}]},
        {"text": "Alert", "attachments": [{"text": "db-7: 97% of /var in use", "fallback": "x"}]},
    ],
)  # fmt: skip
async def test_what_does_this_alert_mean(
    slack: SlackDouble, tgi: TgiDouble, parley: Parley, alert: dict[str, Any]
) -> None:
    """Asked in its thread, the model has the words of the alert, and who posted it; later it has what became of it."""
    root = await slack.app_says(GENERAL, name="Prometheus", **alert)
    prompt = await ask(slack, tgi, "what does this mean?", root)
    assert "Prometheus" in prompt
    assert "db-7" in prompt
    assert "97%" in prompt
    await slack.app_edits(GENERAL, root, "", blocks=[], attachments=[{"text": "db-7 is fine again"}])
    await slack.app_says(GENERAL, "closed by on-call", thread=root, name="Prometheus")
    await heard(slack)
    prompt = await ask(slack, tgi, "and now?", root)
    assert "db-7 is fine again" in prompt
    assert "97%" not in prompt
    assert "closed by on-call" in prompt


async def test_a_forward_and_a_table_are_asked_about(slack: SlackDouble, tgi: TgiDouble, parley: Parley) -> None:
    """Also a forward alone; what comes with a question is not lost by an edit or a preview, and is remembered."""
    prompt = await ask(slack, tgi, "summarise, pleese", attachments=[FORWARD])
    assert '"Bob"' in prompt
    assert "#random" in prompt
    assert "> The move of the office is now on the ninth, at noon." in prompt
    ts = slack.replies(GENERAL)[-1].thread_ts or ""
    await slack.preview(GENERAL, ts)
    await slack.edit(GENERAL, ts, f"<@{slack.bot_user}> summarise, please")
    await heard(slack)
    blocks: dict[str, Any] = {"blocks": [TABLE]}
    prompt = await ask(slack, tgi, "which row is the largest?", **blocks)
    assert "> | City | People |\n> | --- | --- |\n> | Oslo | 412 |" in prompt
    assert "on the ninth, at noon" in prompt
    assert "summarise, please" in prompt
    assert "pleese" not in prompt
    prompt = await ask(slack, tgi, "largest?", attachments=[{"fallback": "[no preview available]", **blocks}])
    assert prompt.count("> | Oslo | 412 |") == 2
    before = len(slack.replies("D0ADA"))
    await slack.dm("", attachments=[FORWARD])
    await wait_until(lambda: len(slack.replies("D0ADA")) > before)
    assert "> The move of the office is now on the ninth, at noon." in prompts(tgi)[-1]
    assert "Ask me anything" not in str([posted.text for posted in slack.replies("D0ADA")])


async def test_overheard_talk_is_edited_and_deleted(slack: SlackDouble, tgi: TgiDouble, parley: Parley) -> None:
    """The model is told what stands there now; nothing that was deleted comes back by reading the thread."""
    root = await slack.mention(GENERAL, "the plan?")
    await reply(slack, GENERAL, root)
    day = await slack.say(GENERAL, "on Thursday", user="U0BOB", thread=root)
    secret = await slack.say(GENERAL, "canary-password", user="U0BOB", thread=root)
    prompt = await ask(slack, tgi, "when?", root)
    assert "on Thursday" in prompt
    assert "canary-password" in prompt
    await slack.edit(GENERAL, day, "on Friday")
    await slack.delete(GENERAL, secret)
    await heard(slack)
    prompt = await ask(slack, tgi, "and now?", root)
    assert "Bob: on Friday" in prompt
    assert "on Thursday" not in prompt
    assert "canary-password" not in prompt


@pytest.mark.slow
async def test_overheard_talk_can_become_a_question(slack: SlackDouble, tgi: TgiDouble, parley: Parley) -> None:
    """A person who adds the mention later is answered, and the model sees the message once, also afterwards."""
    tgi.answer = "Fine."
    root = await slack.mention(GENERAL, "the plan?")
    await reply(slack, GENERAL, root)
    await slack.say(GENERAL, "on Thursday", user="U0BOB", thread=root)
    late = await slack.say(GENERAL, "who brings the cake?", user="U0CLEO", thread=root)
    await heard(slack)
    asked = len(prompts(tgi))
    await slack.edit(GENERAL, late, f"<@{slack.bot_user}> who brings the cake?")
    await wait_until(lambda: len(slack.replies(GENERAL, root)) == 2 and not slack.replies(GENERAL, root)[-1].buttons)
    assert len(prompts(tgi)) == asked + 1
    assert prompts(tgi)[-1].count("who brings the cake?") == 1
    prompt = await ask(slack, tgi, "and the coffee?", root)
    assert prompt.count("who brings the cake?") == prompt.count("on Thursday") == 1


async def test_a_channel_is_heard_if_asked_for_and_nowhere_else(
    slack: SlackDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """With HEAR=room the talk before a mention is known; a private channel's words are never told in another."""
    slack.add_channel("C0SECRET", "merger", private=True)
    async with in_slack(slack, tgi, tmp_path, HEAR="room"):
        await slack.say("C0SECRET", "canary-price", user="U0BOB")
        inside = await slack.mention("C0SECRET", "what about it?")
        await reply(slack, "C0SECRET", inside)
        assert "canary-price" in prompts(tgi)[-1]
        await slack.say("C0SECRET", "canary-thread", user="U0BOB", thread=inside)
        await slack.say(GENERAL, "lunch at one?", user="U0BOB")
        await slack.app_says(GENERAL, "build 7 is green", name="CI")
        await heard(slack)
        prompt = await ask(slack, tgi, "when is lunch?")
        assert prompt.index("Bob: lunch at one?") < prompt.index("build 7 is green") < prompt.index("when is lunch?")
        prompt = await ask(slack, tgi, "again?", slack.replies(GENERAL)[-1].thread_ts or "")
        assert "canary" not in "".join(one for one in prompts(tgi) if "lunch" in one)


@pytest.mark.slow
async def test_a_refusal_and_a_kill_while_the_thread_is_read(
    slack: SlackDouble, tgi: TgiDouble, deployment: Deployment
) -> None:
    """A 429 delays the reading, and an heir reads the same."""
    root = await slack.say(GENERAL, "shall we meet on Friday?", user="U0BOB")
    await slack.say(GENERAL, "Friday is fine", user="U0CLEO", thread=root)
    slack.rate_limit(REPLIES, retry_after=1)
    slack.hang(REPLIES, times=1)
    async with deployment.worker() as doomed:
        asked = len(prompts(tgi))
        await slack.mention(GENERAL, "when do we meet?", thread=root)
        await wait_until(lambda: len(slack.calls_of(REPLIES)) == 2, description="a second reading under way")
        async with deployment.worker():
            doomed.process.kill()
            await wait_until(lambda: len(prompts(tgi)) > asked, description="an heir that asks")
            await wait_until(lambda: slack.replies(GENERAL, root) and not slack.replies(GENERAL, root)[-1].buttons)
    prompt = prompts(tgi)[-1]
    assert "Bob: shall we meet on Friday?" in prompt
    assert "Cleo: Friday is fine" in prompt
    assert len(slack.replies(GENERAL, root)) == 1
    assert slack.calls_of(REPLIES)[0].status == 429
