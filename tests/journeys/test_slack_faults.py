"""What Parley survives in Slack: bad starts, hanging calls, refusals, and people who change their minds."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.process import GENERAL, STREAM, Parley, in_slack, reply, run_parley
from tests.waiting import wait_until


def tokens(slack: SlackDouble) -> dict[str, str]:
    """What the environment needs for Slack."""
    return {
        "SLACK_API_URL": slack.url,
        "SLACK_BOT_TOKEN": slack.bot_token,
        "SLACK_APP_TOKEN": slack.app_token,
    }


@pytest.mark.slow
async def test_a_start_that_slack_spoils_is_tried_again(slack: SlackDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """Gateways in trouble, a handshake that fails after its address was used up; and no ticket in the log."""
    slack.gateway = "text/plain"
    slack.break_("auth.test", 503)
    slack.break_("apps.connections.open", 503)
    slack.socket_mode.hang_ups = 1
    async with in_slack(slack, tgi, tmp_path) as parley:
        await reply(slack, GENERAL, await slack.mention(GENERAL, "hello"))
        assert "platform unreachable; retrying" in parley.log
        assert not re.search(r"ticket-\d", parley.log)


async def test_a_start_can_be_stopped_while_it_waits(slack: SlackDouble, tmp_path: Path) -> None:
    """Slack hangs; SIGTERM does not wait for it."""
    slack.hang("auth.test")
    async with run_parley(tmp_path, "run", **tokens(slack)) as parley:
        await wait_until(lambda: slack.calls_of("auth.test"))
        assert await parley.stop() == 0
    slack.be_kind()
    slack.socket_mode.hang_ups = 1000
    async with run_parley(tmp_path, "run", **tokens(slack)) as parley:
        await wait_until(lambda: slack.calls_of("apps.connections.open"))
        assert await parley.stop() == 0


async def test_asked_twice_to_stop_it_stops_at_once_and_goes_on_when_it_is_back(
    slack: SlackDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """The answer says why it does not grow; the next start finishes it in the same message."""
    tgi.answer, tgi.rate = STREAM * 3, 50
    async with in_slack(slack, tgi, tmp_path) as parley:
        posted = await reply(slack, GENERAL, await slack.mention(GENERAL, "go"), final=False)
        await wait_until(lambda: len(posted.versions) > 1)
        parley.process.send_signal(signal.SIGINT)
        await wait_until(lambda: "draining" in parley.log)
        assert await parley.stop(signal.SIGINT) == 0
    assert "I'm restarting" in posted.text
    assert posted.buttons == []
    tgi.rate = 0
    async with in_slack(slack, tgi, tmp_path):
        await wait_until(lambda: posted.text == STREAM * 3)
    assert len(slack.replies(GENERAL, posted.thread_ts or "")) == 1
    assert len(tgi.requests) == 2


async def test_a_name_that_does_not_come_holds_nobody_up(slack: SlackDouble, tgi: TgiDouble, parley: Parley) -> None:
    """The model does without it."""
    slack.hang("users.info")
    slack.gateway = "text/plain"
    slack.break_("chat.update", 502)
    tgi.answer, tgi.rate = STREAM, 60
    ts = await slack.mention(GENERAL, "hello")
    posted = await reply(slack, GENERAL, ts)
    assert posted.text == STREAM


async def test_answers_that_grow_when_they_are_written_are_whole_too(
    slack: SlackDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """Quotes and line ends count twice for Slack, broken mentions even more."""
    tgi.max_total_tokens = 60_000
    async with in_slack(slack, tgi, tmp_path, MAX_NEW_TOKENS="20000"):
        for i, text in enumerate(("\n".join('"a","b"' for _ in range(2000)), "repeat: " + "<@A " * 4000 + "end")):
            tgi.answer = text
            channel = ("C0GENERAL", "C0RANDOM")[i]
            ts = await slack.mention(channel, "go")
            want = text.strip().count("A") if i else len(text)

            def shown(ts: str = ts, channel: str = channel) -> str:
                return "".join(posted.markdown for posted in slack.replies(channel, ts))

            await wait_until(lambda: (shown().count("A") if i else len(shown())) >= want)  # noqa: B023
    assert slack.refused == []


async def test_a_thread_forgets_what_was_deleted_from_its_root(
    slack: SlackDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """Also where Parley was asked into it later, and read it."""
    root = await slack.say(GENERAL, "the password is hunter2", user="U0BOB")
    await slack.mention(GENERAL, "summarise", thread=root)
    await wait_until(lambda: slack.replies(GENERAL, root))
    assert "hunter2" in tgi.requests[-1].inputs
    await wait_until(lambda: slack.statuses[-1].status == "active")
    tgi.answer = "Fine."
    await slack.edit(GENERAL, root, "the password is a secret")
    await wait_until(lambda: not slack.unacked())
    await slack.mention(GENERAL, "again", thread=root)
    await wait_until(lambda: len(slack.replies(GENERAL, root)) == 2)
    prompt = tgi.requests[-1].inputs
    assert "Bob: the password is a secret" in prompt
    assert "Bob: the password is hunter2" not in prompt


async def test_a_deleted_question_cannot_be_retried(slack: SlackDouble, tgi: TgiDouble, parley: Parley) -> None:
    """By nobody; it is gone."""
    tgi.answer, tgi.rate = STREAM, 60
    tgi.fault("drop", after=5)
    ts = await slack.mention(GENERAL, "a slip of the tongue")
    posted = await reply(slack, GENERAL, ts)
    asked = len(tgi.requests)
    await slack.delete(GENERAL, ts)
    await wait_until(lambda: not slack.unacked())
    await slack.press(posted, posted.buttons[0].action_id, user="U0BOB")
    await wait_until(lambda: slack.ephemerals)
    assert "no longer have" in slack.ephemerals[-1].text
    assert len(tgi.requests) == asked


async def test_what_is_edited_or_deleted_while_the_answer_grows_is_remembered_so(
    slack: SlackDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """An edit is stored as it reads now; a deletion during the very last call leaves nothing."""
    tgi.answer, tgi.rate = STREAM, 60
    ts = await slack.mention(GENERAL, "my colour is blue")
    await reply(slack, GENERAL, ts, final=False)
    await slack.edit(GENERAL, ts, f"<@{slack.bot_user}> my colour is green")
    await reply(slack, GENERAL, ts)

    gone = await slack.mention(GENERAL, "a slip of the tongue")
    await reply(slack, GENERAL, gone, final=False)
    slack.rate_limit("chat.update", retry_after=2, times=None)
    await wait_until(lambda: tgi.requests[-1].finished_at and slack.refused)
    await slack.delete(GENERAL, gone)
    await wait_until(lambda: not slack.unacked())
    slack.be_kind()
    tgi.answer, tgi.rate = "Fine.", 0
    last = await slack.mention(GENERAL, "what did I say?")
    await wait_until(lambda: slack.replies(GENERAL, last))
    prompt = tgi.requests[-1].inputs
    assert "my colour is green" in prompt
    assert "blue" not in prompt
    assert "slip of the tongue" not in prompt


async def test_a_file_in_a_channel_is_known_to_the_model_and_said_once(
    slack: SlackDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """Whichever of the two events of one message comes first."""
    ts = await slack.mention(GENERAL, "what is in it?", files=[{"id": "F1", "name": "report.pdf"}])
    await reply(slack, GENERAL, ts)
    assert "not readable to you: report.pdf" in tgi.requests[-1].inputs
    assert [whisper.user for whisper in slack.ephemerals] == ["U0ADA"]
    alone = await slack.mention(GENERAL, "", files=[{"id": "F2", "name": "photo.jpg"}])
    await wait_until(lambda: len(slack.ephemerals) == 2)
    await wait_until(lambda: not slack.unacked())
    assert slack.replies(GENERAL, alone) == []


async def test_only_who_may_ask_may_retry_and_a_second_press_is_silent(
    slack: SlackDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """The button does what a question does."""
    async with in_slack(slack, tgi, tmp_path, SLACK_ALLOW_USERS="U0ADA"):
        tgi.answer, tgi.rate = STREAM, 60
        tgi.fault("drop", after=5)
        posted = await reply(slack, GENERAL, await slack.mention(GENERAL, "go"))
        asked = len(tgi.requests)
        await slack.press(posted, posted.buttons[0].action_id, user="U0BOB")
        await wait_until(lambda: slack.ephemerals)
        assert "not enabled for you here" in slack.ephemerals[-1].text
        assert len(tgi.requests) == asked
        tgi.first_after = 0.5
        await slack.press(posted, posted.buttons[0].action_id)
        await slack.press(posted, posted.buttons[0].action_id)
        await wait_until(lambda: posted.text == STREAM)
        assert len(slack.ephemerals) == 1


async def test_the_newest_of_a_long_thread_are_read(slack: SlackDouble, tgi: TgiDouble, parley: Parley) -> None:
    """The root, and what was said last."""
    root = await slack.say(GENERAL, "the root", user="U0BOB")
    for number in range(250):
        await slack.say(GENERAL, f"note-{number:03}", user="U0ADA", thread=root)
    await slack.mention(GENERAL, "summarise", user="U0BOB", thread=root)
    await wait_until(lambda: slack.replies(GENERAL, root))
    prompt = tgi.requests[-1].inputs
    assert "the root" in prompt
    assert "note-249" in prompt
    assert "note-100" not in prompt
