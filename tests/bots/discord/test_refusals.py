"""Whatever Discord refuses: people see how it ended, no live Stop button stays, and the operator finds a warning."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio

from core.delivery.delivery import REFUSED
from core.turns import reply
from core.types import Turn
from tests.bots.answering import ANSWER, Desk, discord_desk, discord_turn, warned
from tests.bots.answering import desk as answering
from tests.bots.hearing import listening
from tests.doubles.discord import ADA, GENERAL, DiscordDouble
from tests.doubles.discord_records import Posted
from tests.waiting import wait_until

POST, EDIT, DELETE = (
    "POST /channels/:id/messages",
    "PATCH /channels/:id/messages/:id",
    "DELETE /channels/:id/messages/:id",
)
ALWAYS = 10**6
NOT_HERE = ((403, 50001), (403, 50013), (403, 50008), (403, 160005), (403, 0), (403, 99999))
NO_EDITS = ((403, 50001), (403, 50013), (403, 50005), (429, 30046), (400, 240000), (400, 99999), (403, 0))
LONG = " ".join(f"word{number}" for number in range(2500)) + "."

pytestmark = pytest.mark.usefixtures("retries_at_once")


@pytest.fixture
async def discord() -> AsyncIterator[DiscordDouble]:
    """Discord, without its limits."""
    async with DiscordDouble() as double:
        double.rest.limits.enforced = False
        yield double


@pytest.fixture
async def desk(discord: DiscordDouble, client: redis.asyncio.Redis) -> AsyncIterator[Desk]:
    """Somebody who answers there."""
    async with discord_desk(discord, client) as one:
        yield one


def live(discord: DiscordDouble, channel: str = GENERAL) -> list[Posted]:
    """Messages with a Stop button."""
    return [posted for posted in discord.replies(channel=channel) if "Stop" in posted.labels]


def words(discord: DiscordDouble, channel: str = GENERAL) -> str:
    """What stands in the channel, notes and continuations apart, as one line."""
    lines = [line for m in discord.replies(channel=channel) for line in m.text.splitlines() if line[:2] != "-#"]
    return " ".join(" ".join(lines).split())


def told(discord: DiscordDouble) -> str:
    """What the person who asked was told in private."""
    return " ".join(posted.text for posted in discord.replies(channel=discord.dm_with(ADA).id))


async def growing(discord: DiscordDouble, desk: Desk, **where: str) -> Turn:
    """A turn whose answer is half there, with a Stop button."""
    turn = await desk.ask(discord_turn(discord, **where))
    place = where.get("thread") or where.get("channel") or GENERAL
    await wait_until(lambda: live(discord, place), description="a Stop button")
    return turn


@pytest.mark.parametrize(("status", "code"), NOT_HERE)
async def test_who_asks_where_we_may_not_post_is_told_in_a_direct_message(
    discord: DiscordDouble, desk: Desk, logs: list[Any], status: int, code: int
) -> None:
    """With the name of the channel; and the model is asked for nothing more."""
    discord.fail(POST, status, code)
    turn = await desk.ask(discord_turn(discord))
    await wait_until(lambda: told(discord))
    await desk.ended(turn)
    assert told(discord) == f"<#{GENERAL}>: {reply.NOT_ALLOWED_THERE}"
    assert (desk.model.asked, desk.model.given_up) == (1, 1)
    assert warned(logs)


@pytest.mark.parametrize("page", [POST, EDIT, "GET /channels/:id/messages"])
@pytest.mark.parametrize("times", [1, 3])
async def test_a_proxys_page_is_no_answer(
    discord: DiscordDouble, desk: Desk, logs: list[Any], page: str, times: int
) -> None:
    """It says 200, and nothing of what was done: the message is looked for, and there is one. No fault of ours."""
    discord.fail(POST, 0, page=True)
    discord.fail(page, 0, page=True, times=times)
    turn = await desk.ask(discord_turn(discord))
    desk.model.go.set()
    await desk.ended(turn)
    assert words(discord) == ANSWER
    assert live(discord) == []
    assert len(discord.replies()) == 1
    assert "internal error" not in [entry["event"] for entry in logs]


@pytest.mark.parametrize("denied", ["VIEW_CHANNEL", "SEND_MESSAGES"])
async def test_a_permission_that_is_taken_away_in_between_is_told(
    discord: DiscordDouble, desk: Desk, logs: list[Any], denied: str
) -> None:
    """Nothing of ours is left there that could be stopped, if we may still delete it."""
    turn = await growing(discord, desk)
    discord.fail(EDIT, 403, 50013, times=ALWAYS)
    discord.channels[GENERAL].denied.add(denied)
    desk.model.go.set()
    await desk.ended(turn)
    assert ANSWER in told(discord)
    assert live(discord) == [] or denied == "VIEW_CHANNEL"
    assert warned(logs)


@pytest.mark.parametrize(("status", "code"), NO_EDITS)
async def test_an_answer_whose_edits_are_refused_is_posted_anew(
    discord: DiscordDouble, desk: Desk, logs: list[Any], status: int, code: int
) -> None:
    """Whole, and the one that could not be edited goes, with its button."""
    turn = await growing(discord, desk)
    discord.fail(EDIT, status, code, times=ALWAYS, more={"retry_after": 0.01}, headers={"Via": "1.1 google"})
    desk.model.go.set()
    await desk.ended(turn)
    assert words(discord) == ANSWER
    assert live(discord) == []
    (posted,) = discord.replies()
    assert "Regenerate" in posted.labels
    assert desk.model.asked == 1
    assert warned(logs)


async def test_a_question_that_may_not_be_referred_to_is_answered_without(
    discord: DiscordDouble, desk: Desk, logs: list[Any]
) -> None:
    """Read Message History is denied."""
    discord.channels[GENERAL].denied.add("READ_MESSAGE_HISTORY")
    desk.model.go.set()
    turn = await desk.ask(discord_turn(discord))
    await desk.ended(turn)
    assert words(discord) == ANSWER
    assert live(discord) == []
    assert warned(logs)


async def test_an_answer_that_may_not_be_a_file_is_more_messages(
    discord: DiscordDouble, desk: Desk, logs: list[Any]
) -> None:
    """Attach Files is denied."""
    discord.channels[GENERAL].denied.add("ATTACH_FILES")
    desk.model.answer = LONG
    desk.model.go.set()
    turn = await desk.ask(discord_turn(discord))
    await desk.ended(turn)
    assert words(discord) == LONG
    assert live(discord) == []
    assert warned(logs)


@pytest.mark.parametrize("code", [200000, 240000, 20031])
async def test_a_link_that_is_refused_is_broken(discord: DiscordDouble, desk: Desk, logs: list[Any], code: int) -> None:
    """All words are there, and the address too."""
    discord.block("https://bad.example", 400, code)
    desk.model.answer = f"{ANSWER} See https://bad.example/page for more."
    turn = await growing(discord, desk)
    desk.model.go.set()
    await desk.ended(turn)
    assert words(discord) == f"{ANSWER} See https[:]//bad.example/page for more."
    assert live(discord) == []
    assert warned(logs)


@pytest.mark.parametrize("seen", [True, False])
async def test_a_word_that_is_refused_comes_as_a_file(
    discord: DiscordDouble, desk: Desk, logs: list[Any], seen: bool
) -> None:
    """Whether something was there before it or not."""
    discord.block("word110" if seen else "word1 ", 400, 200000)
    turn = await (growing(discord, desk) if seen else desk.ask(discord_turn(discord)))
    desk.model.go.set()
    await desk.ended(turn)
    (posted,) = discord.replies()
    assert posted.files["answer.md"] == ANSWER
    assert "in the file" in posted.text
    assert live(discord) == []
    assert warned(logs)


async def test_where_neither_word_nor_file_is_taken_it_is_told_apart(
    discord: DiscordDouble, desk: Desk, logs: list[Any]
) -> None:
    """By a direct message, where nobody moderates."""
    discord.fail(POST, 400, 200000, times=3)
    desk.model.go.set()
    turn = await desk.ask(discord_turn(discord))
    await desk.ended(turn)
    seen = told(discord) + words(discord)
    assert REFUSED.note in seen or ANSWER in seen
    assert live(discord) == []
    assert warned(logs)


async def test_a_locked_thread_keeps_no_stop_button(discord: DiscordDouble, desk: Desk, logs: list[Any]) -> None:
    """Edits are taken there, new messages are not: what is seen says that there is more."""
    thread = discord.thread()
    desk.model.answer = " ".join(f"word{number}" for number in range(300)) + "."
    turn = await growing(discord, desk, thread=thread.id)
    discord.channels[thread.id].locked = True
    desk.model.go.set()
    await desk.ended(turn)
    assert REFUSED.note in discord.replies(channel=thread.id)[-1].text
    assert live(discord, thread.id) == []
    assert warned(logs)


async def test_an_archived_thread_is_opened_again(discord: DiscordDouble, desk: Desk) -> None:
    """As ever."""
    thread = discord.thread()
    turn = await growing(discord, desk, thread=thread.id)
    discord.channels[thread.id].archived = True
    desk.model.go.set()
    await desk.ended(turn)
    assert words(discord, thread.id) == ANSWER
    assert live(discord, thread.id) == []


async def test_an_answer_is_finished_when_the_token_is_good_again(
    discord: DiscordDouble, desk: Desk, logs: list[Any]
) -> None:
    """In its message; the model is not asked again."""
    turn = await growing(discord, desk)
    good, discord.rest.token = discord.rest.token, "another"
    desk.model.go.set()
    await wait_until(lambda: any(entry["event"] == "reply not shown" for entry in logs))
    discord.rest.token = good
    await desk.ended(turn)
    assert words(discord) == ANSWER
    assert live(discord) == []
    assert desk.model.asked == 1
    assert warned(logs)


@pytest.mark.parametrize("code", [10008, 10003])
async def test_what_was_deleted_stays_deleted(discord: DiscordDouble, desk: Desk, code: int) -> None:
    """Nothing is posted again, and nobody is told what they did."""
    turn = await growing(discord, desk)
    discord.fail(EDIT, 404, code, times=ALWAYS)
    desk.model.go.set()
    await desk.ended(turn)
    assert len(discord.replies()) == 1
    assert told(discord) == ""


async def test_a_direct_message_that_is_not_taken_is_a_warning(
    discord: DiscordDouble, desk: Desk, logs: list[Any]
) -> None:
    """They share no server with us any more, or do not want any."""
    discord.fail(POST, 403, 50013)
    discord.fail(POST, 403, 50278)
    turn = await desk.ask(discord_turn(discord))
    await desk.ended(turn)
    assert any(entry["event"] == "asker not told" for entry in logs)


async def test_a_message_that_may_not_be_looked_for_is_found_by_its_nonce(
    discord: DiscordDouble, desk: Desk, logs: list[Any]
) -> None:
    """Discord posted it, and its answer was lost."""
    discord.fail(POST, 502, after=True)
    discord.channels[GENERAL].denied.add("READ_MESSAGE_HISTORY")
    desk.model.go.set()
    turn = await desk.ask(discord_turn(discord))
    await desk.ended(turn)
    assert words(discord) == ANSWER
    assert warned(logs)


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("word", ["https://bad.example", "word110"])
async def test_what_is_refused_of_an_answer_to_a_command(
    discord: DiscordDouble, client: redis.asyncio.Redis, logs: list[Any], word: str, private: bool
) -> None:
    """Where only one message may be written, it is that one which is written plainer."""
    discord.block(word, 400, 240000)
    async with listening(discord, client) as ear, answering("discord", ear.platform.surface, client) as desk:
        desk.model.answer = f"{ANSWER} See https://bad.example/page for more."
        desk.model.go.set()
        await wait_until(lambda: discord.rest.commands.get("global"))
        asked = discord.command("ask", prompt="go", private=private)

        def seen() -> list[Posted]:
            original = [asked.original] if asked.original and not asked.original.deleted else []
            return [*original, *(posted for posted in discord.replies() if posted not in original)]

        await wait_until(lambda: seen() and {"Regenerate", "Retry"} & set(seen()[-1].labels))
        assert all("Stop" not in posted.labels for posted in seen())
        whole = " ".join([posted.text for posted in seen()] + [text for m in seen() for text in m.files.values()])
        assert "word119. See" in whole
    assert warned(logs)


OPERATIONS = {
    "post": POST,
    "edit": EDIT,
    "finish": EDIT,
    "remove": DELETE,
    "find": "GET /channels/:id/messages",
    "status": "POST /channels/:id/typing",
}
GONE, PASSING, TOKEN = (404, 10008), (500, 0), (401, 0)
OF_EACH_KIND = (GONE, PASSING, TOKEN, (403, 50013), (403, 160005), (403, 0), (429, 30046), (400, 240000), (400, 99999))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("error", OF_EACH_KIND)
async def test_the_promise_holds_whatever_is_refused(
    discord: DiscordDouble,
    desk: Desk,
    logs: list[Any],
    operation: str,
    error: tuple[int, int],
) -> None:
    """People see how it ended, nothing can be stopped that has ended, and the operator finds a warning."""
    times = 2 if error in (PASSING, TOKEN) else 1 if operation in ("post", "edit") else ALWAYS
    if operation in ("edit", "finish", "remove"):
        turn = await growing(discord, desk)
    if operation == "remove":
        discord.fail(EDIT, 403, 50013, times=ALWAYS)
    if operation == "find":
        discord.fail(POST, 502, after=True)
    discord.fail(OPERATIONS[operation], *error, times=times, more={"retry_after": 0.01}, headers={"Via": "1.1 google"})
    desk.model.go.set()
    if operation in ("post", "find", "status"):
        turn = await desk.ask(discord_turn(discord))
    await desk.ended(turn)
    deleted = error == GONE and operation in ("post", "edit", "finish")
    assert deleted or ANSWER in words(discord) or told(discord)
    assert live(discord) == [] or operation == "remove" or deleted
    assert warned(logs) or operation == "status" or error == GONE
