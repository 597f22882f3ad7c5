"""Whatever Slack refuses: people see how it ended, no live Stop button stays, and the operator finds a warning."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio

from bots.slack.editor import STOP
from core.policy import OPERATOR
from core.turns import reply
from core.types import MessageRef
from tests.bots.answering import ANSWER, Desk, slack_desk, slack_turn, warned
from tests.doubles.slack import SlackDouble
from tests.doubles.slack_records import Posted
from tests.waiting import wait_until

GENERAL = "C0GENERAL"
NOT_HERE = (
    "cannot_reply_to_message",
    "channel_not_found",
    "is_archived",
    "not_in_channel",
    "restricted_action",
    "restricted_action_non_threadable_channel",
    "restricted_action_read_only_channel",
    "restricted_action_thread_locked",
    "restricted_action_thread_only_channel",
    "team_access_not_granted",
)
NO_EDITS = ("cant_update_message", "edit_window_closed", "is_inactive", "restricted_action", "unheard_of")
NO_TEXT = ("invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long", "unheard_of")
NO_TOKEN = ("account_inactive", "invalid_auth", "token_expired", "token_revoked")
TABLES = (
    "Here are both.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nAnd then\n\n| c | d |\n|---|---|\n| 3 | 4 |\n\nThat is all."
)

pytestmark = pytest.mark.usefixtures("retries_at_once")


@pytest.fixture
async def slack() -> AsyncIterator[SlackDouble]:
    """Slack, without its rate limits."""
    async with SlackDouble(tiers=False) as double:
        yield double


@pytest.fixture
async def desk(slack: SlackDouble, client: redis.asyncio.Redis) -> AsyncIterator[Desk]:
    """Somebody who answers there."""
    async with slack_desk(slack, client) as one:
        yield one


def visible(slack: SlackDouble, channel: str = GENERAL) -> list[Posted]:
    """The app's messages that are still there."""
    return [posted for posted in slack.replies(channel) if not posted.deleted]


def live(slack: SlackDouble) -> list[Posted]:
    """Messages with a Stop button."""
    return [m for m in visible(slack) if any(button.action_id == STOP for button in m.buttons)]


def words(slack: SlackDouble) -> str:
    """What stands in the channel, as one line."""
    return " ".join(" ".join(posted.text.split()) for posted in visible(slack))


async def growing(slack: SlackDouble, desk: Desk) -> Any:
    """A turn whose answer is half there, with a Stop button."""
    turn = await desk.ask(await slack_turn(slack))
    await wait_until(lambda: live(slack), description="a Stop button")
    return turn


@pytest.mark.parametrize("error", NOT_HERE)
async def test_who_asks_where_we_may_not_post_is_told_apart(
    slack: SlackDouble, desk: Desk, logs: list[Any], error: str
) -> None:
    """Where they asked, for their eyes only; and the model is asked for nothing more."""
    slack.fail("chat.postMessage", error, None, channel=GENERAL)
    turn = await desk.ask(await slack_turn(slack))
    await wait_until(lambda: slack.ephemerals)
    await desk.ended(turn)
    assert (slack.ephemerals[0].user, slack.ephemerals[0].text) == ("U0ADA", reply.NOT_ALLOWED_THERE)
    assert (desk.model.asked, desk.model.given_up) == (1, 1)
    assert warned(logs)


@pytest.mark.parametrize("error", NOT_HERE)
async def test_who_cannot_be_told_there_is_told_in_a_direct_message(
    slack: SlackDouble, desk: Desk, logs: list[Any], error: str
) -> None:
    """With the name of the channel, since they may have asked in several."""
    slack.fail("chat.postMessage", error, None, channel=GENERAL)
    slack.fail("chat.postEphemeral", error, None)
    root = await slack.say(GENERAL, "a thread")
    turn = await desk.ask(await slack_turn(slack, thread=root))
    told = await wait_until(lambda: slack.replies("D0ADA"))
    await desk.ended(turn)
    assert told[0].fallback.startswith("<#C0GENERAL>: I couldn't reply where you asked")
    assert warned(logs)


@pytest.mark.parametrize("error", NO_EDITS)
async def test_an_answer_whose_edits_are_refused_is_posted_anew(
    slack: SlackDouble, desk: Desk, logs: list[Any], error: str
) -> None:
    """Whole, and the one that could not be edited goes, with its button."""
    turn = await growing(slack, desk)
    slack.fail("chat.update", error, None)
    desk.model.go.set()
    await desk.ended(turn)
    assert words(slack) == ANSWER
    assert live(slack) == []
    assert len(visible(slack)) == 1
    assert desk.model.asked == 1
    assert warned(logs)


@pytest.mark.parametrize("error", NO_TEXT)
async def test_a_text_that_is_refused_as_markdown_is_shown_as_text(
    slack: SlackDouble, desk: Desk, logs: list[Any], error: str
) -> None:
    """All of it."""
    turn = await growing(slack, desk)
    slack.fail("*", error, None, holding='"type": "markdown"')
    desk.model.go.set()
    await desk.ended(turn)
    assert words(slack) == ANSWER
    assert live(slack) == []
    assert warned(logs)


@pytest.mark.parametrize("error", NO_TEXT)
async def test_a_first_text_that_is_refused_is_shown_as_text(slack: SlackDouble, desk: Desk, error: str) -> None:
    """There is nothing to be edited yet."""
    slack.fail("*", error, None, holding='"type": "markdown"')
    desk.model.go.set()
    turn = await desk.ask(await slack_turn(slack))
    await desk.ended(turn)
    assert words(slack) == ANSWER
    assert live(slack) == []


async def test_two_tables_are_shown_in_one_message_with_markdown_around(slack: SlackDouble, desk: Desk) -> None:
    """Slack takes one table; as code it takes any number."""
    desk.model.answer = TABLES
    desk.model.go.set()
    turn = await desk.ask(await slack_turn(slack))
    await desk.ended(turn)
    (posted,) = visible(slack)
    assert posted.markdown.count("```\n| ") == 2
    assert "```\n\nAnd then\n\n```" in posted.markdown
    assert live(slack) == []


async def test_an_answer_of_several_messages_keeps_those_that_are_done(
    slack: SlackDouble, desk: Desk, logs: list[Any]
) -> None:
    """Only what could not be edited is posted anew, in order."""
    desk.model.answer = " ".join(f"word{number}" for number in range(3000)) + "."
    turn = await growing(slack, desk)
    await wait_until(lambda: len(visible(slack)) == 2)
    first = visible(slack)[0]
    slack.fail("chat.update", "edit_window_closed", None)
    desk.model.go.set()
    await desk.ended(turn)
    assert words(slack) == desk.model.answer
    assert visible(slack)[0] is first
    assert live(slack) == []


async def test_an_answer_that_cannot_stand_there_at_all_is_told_apart(
    slack: SlackDouble, desk: Desk, logs: list[Any]
) -> None:
    """Edits and posts are refused: whoever asked gets what it would have said, and what grew is deleted."""
    turn = await growing(slack, desk)
    slack.fail("chat.update", "edit_window_closed", None)
    slack.fail("chat.postMessage", "restricted_action", None, channel=GENERAL)
    desk.model.go.set()
    await desk.ended(turn)
    assert ANSWER in slack.ephemerals[-1].text
    assert visible(slack) == []
    assert warned(logs)


async def test_a_refusal_that_nobody_knows_is_told_apart(slack: SlackDouble, desk: Desk, logs: list[Any]) -> None:
    """Whatever it is that Slack dislikes, in any form: the answer is not lost."""
    slack.fail("chat.postMessage", "unheard_of", None, channel=GENERAL)
    desk.model.go.set()
    turn = await desk.ask(await slack_turn(slack))
    await desk.ended(turn)
    assert slack.ephemerals[-1].text.startswith(reply.REPLY_REFUSED.format(contact=OPERATOR))
    assert ANSWER in slack.ephemerals[-1].text
    assert warned(logs)


async def test_what_cannot_be_deleted_either_is_a_warning(slack: SlackDouble, desk: Desk, logs: list[Any]) -> None:
    """The answer is there all the same."""
    turn = await growing(slack, desk)
    slack.fail("chat.update", "edit_window_closed", None)
    slack.fail("chat.delete", "cant_delete_message", None)
    desk.model.go.set()
    await desk.ended(turn)
    assert words(slack).endswith(ANSWER)
    assert any(entry["event"] == "old message not removed" and entry["log_level"] == "warning" for entry in logs)


@pytest.mark.parametrize("error", NO_TOKEN)
async def test_an_answer_is_finished_when_the_token_is_good_again(
    slack: SlackDouble, desk: Desk, logs: list[Any], error: str
) -> None:
    """In its message; the model is not asked again."""
    turn = await growing(slack, desk)
    slack.fail("*", error, None)
    desk.model.go.set()
    await wait_until(lambda: any(call.error == error for call in slack.calls_of("chat.update")))
    await wait_until(lambda: any(entry["event"] == "reply not shown" for entry in logs))
    slack.be_kind()
    await desk.ended(turn)
    assert words(slack) == ANSWER
    assert live(slack) == []
    assert len(visible(slack)) == 1
    assert desk.model.asked == 1
    assert warned(logs)


@pytest.mark.parametrize("error", ["message_not_found", "thread_not_found"])
async def test_what_was_deleted_stays_deleted(slack: SlackDouble, desk: Desk, error: str) -> None:
    """Nothing is posted again, and nobody is told what they did."""
    turn = await growing(slack, desk)
    slack.fail("chat.update", error, None)
    desk.model.go.set()
    await desk.ended(turn)
    assert len(slack.replies(GENERAL)) == 1
    assert slack.ephemerals == []


@pytest.mark.parametrize("error", ["missing_scope", "not_in_channel", "unheard_of"])
async def test_a_message_that_may_not_be_looked_for_is_posted_again(
    slack: SlackDouble, desk: Desk, logs: list[Any], error: str
) -> None:
    """Slack posted it, and its answer was lost."""
    slack.cut("chat.postMessage", applied=True)
    slack.fail("conversations.replies", error, None)
    desk.model.go.set()
    turn = await desk.ask(await slack_turn(slack))
    await desk.ended(turn)
    assert visible(slack)[-1].text == ANSWER
    assert warned(logs)


@pytest.mark.parametrize("error", [*NOT_HERE, *NO_TOKEN[:1], "not_authorized", "feature_disabled", "unknown_method"])
async def test_a_status_that_is_refused_spoils_nothing(slack: SlackDouble, desk: Desk, error: str) -> None:
    """It is not the answer."""
    slack.fail("agents.sessions.setStatus", error, None)
    desk.model.go.set()
    turn = await desk.ask(await slack_turn(slack))
    await desk.ended(turn)
    assert words(slack) == ANSWER


@pytest.mark.parametrize("status", [400, 403, 404, 405, 501])
@pytest.mark.parametrize("says", ["text/html", "text/plain"])
async def test_a_proxy_that_knows_no_sessions_is_asked_once(
    slack: SlackDouble, desk: Desk, status: int, says: str
) -> None:
    """And never again."""
    slack.gateway = says
    slack.break_("agents.sessions.setStatus", status, None)
    desk.model.go.set()
    for _ in range(2):
        await desk.ended(await desk.ask(await slack_turn(slack)))
    assert len(slack.calls_of("agents.sessions.setStatus")) == 1


async def test_nothing_of_what_could_only_be_told_apart_is_remembered(slack: SlackDouble, desk: Desk) -> None:
    """The channel did not hear it."""
    slack.fail("chat.postMessage", "restricted_action", None, channel=GENERAL)
    desk.model.go.set()
    turn = await desk.ask(await slack_turn(slack))
    await desk.ended(turn)
    assert (await desk.memory.load(turn.key)).messages == ()


@pytest.mark.parametrize("leave", ["archive", "kick"])
async def test_a_channel_that_is_closed_to_us_in_between(
    slack: SlackDouble, desk: Desk, logs: list[Any], leave: str
) -> None:
    """Archived, or we were removed: whoever asked gets the answer in a direct message."""
    turn = await growing(slack, desk)
    getattr(slack, leave)(GENERAL)
    slack.fail("chat.update", "is_inactive" if leave == "archive" else "not_in_channel", None, channel=GENERAL)
    desk.model.go.set()
    await desk.ended(turn)
    (told,) = slack.replies("D0ADA")
    assert ANSWER in told.text
    assert live(slack) == []
    assert warned(logs)


async def test_an_answer_that_is_tried_again_where_the_first_cannot_be_edited(slack: SlackDouble, desk: Desk) -> None:
    """It is posted anew, and the first one goes."""
    desk.model.answer = ""
    desk.model.go.set()
    turn = await desk.ask(await slack_turn(slack))
    await desk.ended(turn)
    (first,) = visible(slack)
    assert "Retry" in [button.label for button in first.buttons]
    desk.model.answer = ANSWER
    slack.fail("chat.update", "edit_window_closed", None)
    assert (await desk.queue.retry(turn.key, turn.id, MessageRef(GENERAL, first.ts), "U1")).accepted
    await wait_until(lambda: first.deleted)
    assert words(slack) == ANSWER
    assert live(slack) == []


@pytest.mark.parametrize("error", ["invalid_blocks", "edit_window_closed", "restricted_action"])
async def test_a_command_is_obeyed_and_said_in_another_way_too(slack: SlackDouble, desk: Desk, error: str) -> None:
    """It is a reply like any other."""
    slack.fail("*", error, None, holding='"type": "markdown"')
    turn = await desk.ask(await slack_turn(slack, "help"))
    await desk.ended(turn)
    assert "forget" in words(slack) or slack.ephemerals


OPERATIONS = {
    "post": "chat.postMessage",
    "edit": "chat.update",
    "finish": "chat.update",
    "remove": "chat.delete",
    "find": "conversations.replies",
    "status": "agents.sessions.setStatus",
}
GONE = ("message_not_found", "thread_not_found")
PASSING = ("internal_error", "ratelimited", "service_unavailable")
OF_EACH_KIND = (*GONE[:1], *PASSING[:2], *NO_TOKEN[-1:], *NO_EDITS[-3:], *NO_TEXT[:1], *NOT_HERE[:1], "missing_scope")


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("error", OF_EACH_KIND)
async def test_the_promise_holds_whatever_is_refused(
    slack: SlackDouble, desk: Desk, logs: list[Any], operation: str, error: str
) -> None:
    """People see how it ended, nothing can be stopped that has ended, and the operator finds a warning."""
    passes = error in (*PASSING, *NO_TOKEN, "missing_scope")
    times = 2 if passes else 1 if operation == "edit" else None
    if operation in ("edit", "finish", "remove"):
        turn = await growing(slack, desk)
    if operation == "remove":
        slack.fail("chat.update", "edit_window_closed", None)
    if operation == "find":
        slack.cut("chat.postMessage", applied=True)
    slack.fail(OPERATIONS[operation], error, times, channel="" if operation == "status" else GENERAL)
    desk.model.go.set()
    if operation in ("post", "find", "status"):
        turn = await desk.ask(await slack_turn(slack))
    await desk.ended(turn)
    deleted = error in GONE and operation in ("post", "edit", "finish")
    assert deleted or ANSWER in words(slack) or slack.ephemerals or slack.replies("D0ADA")
    assert live(slack) == [] or operation == "remove" or deleted
    assert warned(logs) or operation == "status" or deleted or error in GONE
