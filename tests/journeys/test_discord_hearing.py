"""In Discord, the model knows what people say around a mention: real processes, and prompts as they were sent."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.doubles.discord import BOB, GENERAL, DiscordDouble
from tests.doubles.discord_world import CLEO, RANDOM
from tests.doubles.tgi import TgiDouble
from tests.journeys.discord import in_discord, is_done, reply, tokens
from tests.journeys.process import run_parley
from tests.redis_server import running_redis
from tests.waiting import wait_until

PAGES = "GET /channels/:id/messages"
HEARING = {"DISCORD_MESSAGE_CONTENT": "true"}


@pytest.fixture(autouse=True)
def content(discord: DiscordDouble, tgi: TgiDouble) -> None:
    """The Message Content intent is switched on."""
    discord.allow_message_content()
    tgi.answer = "Noted."


def prompts(tgi: TgiDouble) -> list[str]:
    """All that the model was told, question by question."""
    return [seen.inputs for seen in tgi.requests if seen.inputs]


def pages(discord: DiscordDouble) -> int:
    """How often messages were read."""
    return len([call for call in discord.calls if call.route == PAGES])


async def ask(discord: DiscordDouble, tgi: TgiDouble, text: str, channel: str = GENERAL, **more: str) -> str:
    """Ask, and see what the model was told."""
    await reply(discord, discord.mention(text, channel=channel, **more))
    return next(one for one in reversed(prompts(tgi)) if text in one)


async def heard(discord: DiscordDouble) -> None:
    """Until everything that Discord sent was handled: something later is answered."""
    asked = discord.dm("ping")
    before = len(discord.replies(channel=asked.channel))
    await wait_until(lambda: len(discord.replies(channel=asked.channel)) > before, description="a pong")


def in_order(prompt: str, *words: str) -> bool:
    """Whether words stand in a prompt once each, one after the other."""
    places = [prompt.find(one) for one in words]
    return all(prompt.count(one) == 1 for one in words) and places == sorted(places)


async def test_two_people_correct_a_plan_between_two_mentions(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """In a thread on a message: read once when Parley joins, and known from events from then on."""
    async with in_discord(discord, tgi, tmp_path, **HEARING):
        thread = discord.thread(discord.say("shall we meet?", user=BOB))
        discord.say("on Wednesday at ten", channel=thread.id, user=CLEO)
        before = pages(discord)
        prompt = await ask(discord, tgi, "when do we meet?", thread.id)
        assert in_order(prompt, "Bob: shall we meet?", "Cleo: on Wednesday at ten", "Ada: when do we meet?")
        assert pages(discord) == before + 1
        no = discord.say("no, Thursday", channel=thread.id, user=BOB)
        discord.say("at nine", channel=thread.id, user=CLEO, reply_to=no.id)
        await heard(discord)
        prompt = await ask(discord, tgi, "so when?", thread.id)
        assert in_order(prompt, "Ada: when do we meet?", "Bob: no, Thursday", "at nine", "Ada: so when?")
        assert pages(discord) == before + 1
    assert discord.refused == []


async def test_what_does_this_alert_mean(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """Asked in its thread, the model has the words of the alert; later it has what became of it."""
    async with in_discord(discord, tgi, tmp_path, **HEARING):
        alert = discord.alert(title="Firing", description="host db-7 has 97% of /var in use")
        thread = discord.thread(alert)
        prompt = await ask(discord, tgi, "what does this mean?", thread.id)
        assert "Other" in prompt
        assert "> Firing\n> host db-7 has 97% of /var in use" in prompt
        discord.update(alert, embeds=[{"type": "rich", "title": "Resolved", "description": "db-7 is fine again"}])
        discord.alert(channel=thread.id, title="Build 4411 failed")
        linked = discord.say("see https://a.example", channel=thread.id, user=BOB)
        discord.unfurl(linked, url="https://a.example", title="A page")

        async def known() -> bool:
            prompt = await ask(discord, tgi, "and now?", thread.id)
            assert "A page" not in prompt
            told = in_order(prompt, "> Resolved\n> db-7 is fine again", "> Build 4411 failed", "see https://a.example")
            return told and "97%" not in prompt

        await wait_until(known, description="what became of the alert")


async def test_forwards_polls_and_replies_are_asked_about(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """A forward alone in a direct message is a question; one in a channel is replied to."""
    async with in_discord(discord, tgi, tmp_path, **HEARING):
        said = discord.say("The move of the office is now on the ninth, at noon.", channel=RANDOM, user=BOB)
        direct = discord.dm_with("300000000000000001")
        discord.forward(said, channel=direct.id)
        await wait_until(lambda: any(map(is_done, discord.replies(channel=direct.id))), description="an answer")
        assert "forwarded message" in prompts(tgi)[-1]
        assert "> The move of the office is now on the ninth, at noon." in prompts(tgi)[-1]
        assert "Ask me anything" not in str([posted.text for posted in discord.replies(channel=direct.id)])
        forward = discord.forward(said)
        prompt = await ask(discord, tgi, "summarise, pleese", reply_to=forward.id)
        assert "> The move of the office is now on the ninth, at noon." in prompt
        answers = [{"answer_id": 1, "poll_media": {"text": "Thursday"}}]
        poll = {"question": {"text": "Which day?"}, "answers": answers, "expiry": "2030-01-01T00:00:00+00:00"}
        prompt = await ask(
            discord, tgi, "which days are there?", reply_to=discord.say("", user=BOB, extra={"poll": poll}).id
        )
        assert "> poll, still open: Which day?\n> - Thursday" in prompt
        asked = next(one for one in discord.messages() if "pleese" in one.text)
        discord.edit(asked, asked.text.replace("pleese", "please"))
        await heard(discord)
        prompt = await ask(discord, tgi, "go on")
        assert "summarise, please" in prompt
        assert "pleese" not in prompt
        assert "on the ninth, at noon." in prompt


async def test_overheard_talk_is_edited_and_deleted(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """The model is told what stands there now; nothing that was deleted comes back."""
    async with in_discord(discord, tgi, tmp_path, **HEARING):
        root = discord.say("the plan", user=BOB)
        thread = discord.thread(root)
        await ask(discord, tgi, "hello", thread.id)
        day = discord.say("on Thursday", channel=thread.id, user=BOB)
        secret = discord.say("canary-password", channel=thread.id, user=CLEO)
        await heard(discord)
        prompt = await ask(discord, tgi, "when?", thread.id)
        assert in_order(prompt, "the plan", "on Thursday", "canary-password")
        discord.edit(day, "on Friday")
        discord.edit(root, "the new plan")
        discord.delete(secret)
        discord.proxy(discord.say("as Nova says", channel=thread.id, user=BOB))

        async def remembered() -> bool:
            prompt = await ask(discord, tgi, "and now?", thread.id)
            changed = in_order(prompt, "the new plan", "on Friday", "Nova: as Nova says")
            return changed and not any(gone in prompt for gone in ("on Thursday", "canary", "Bob: as Nova says"))

        await wait_until(remembered, description="what was changed is changed in memory")


async def test_a_channel_is_heard_if_asked_for_and_nowhere_else(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """With HEAR=room the talk before a mention is known, read or heard; no word of one channel is told in another."""
    discord.say("tea at four?", user=BOB)
    async with in_discord(discord, tgi, tmp_path, HEAR="room", DISCORD_DENY_USERS="300000000000000009", **HEARING):
        discord.say("canary-price", channel=RANDOM, user=BOB)
        await heard(discord)
        assert "canary-price" in await ask(discord, tgi, "what about it?", RANDOM)
        discord.say("lunch at one?", user=BOB)
        discord.alert(text="canary-denied")
        await heard(discord)
        prompt = await ask(discord, tgi, "when is lunch?")
        assert in_order(prompt, "tea at four?", "lunch at one?", "when is lunch?")
        thread = discord.thread(discord.say("a thread", user=CLEO))
        await ask(discord, tgi, "and in here?", thread.id)
        assert "canary" not in "".join(one for one in prompts(tgi) if "lunch" in one or "in here" in one)


@pytest.mark.slow
async def test_what_was_said_in_a_gap_is_read_at_the_next_question(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """Of a long thread only the newest; what was deleted meanwhile is not there, and nothing is there twice."""
    async with in_discord(discord, tgi, tmp_path, **HEARING) as parley:
        thread = discord.thread(discord.say("the root", user=BOB))
        for number in range(120):
            discord.say(f"note-{number}.", channel=thread.id, user=BOB)
        prompt = await ask(discord, tgi, "hello", thread.id, user=CLEO)
        assert in_order(prompt, "the root", "note-21.", "note-119.")
        assert "note-19." not in prompt
        await wait_until(lambda: "server list received" in parley.log)
        await discord.gateway.send_op(9, False)
        await wait_until(lambda: len(discord.gateway.identified) == 2 and parley.log.count("server list received") == 2)
        # Said now is said to everybody, but the thread's memory was of before the gap.
        discord.say("after-all", channel=thread.id, user=BOB)
        await heard(discord)
        prompt = await ask(discord, tgi, "and now?", thread.id)
        assert in_order(prompt, "note-119.", "after-all", "and now?")


@pytest.mark.slow
async def test_what_is_said_in_a_thread_before_its_second_question_is_known(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """In a thread that Parley opened for a mention: nobody was asked in it yet, so it is read once."""
    async with in_discord(discord, tgi, tmp_path, DISCORD_AUTO_THREAD="true", **HEARING):
        tgi.answer = "At ten."
        asked = discord.mention("when do we deploy?")
        await wait_until(lambda: asked.id in discord.channels and any(map(is_done, discord.replies(channel=asked.id))))
        discord.alert(channel=asked.id, title="Deploy moved to noon")
        await heard(discord)
        before = pages(discord)
        prompt = await ask(discord, tgi, "so when?", asked.id)
        assert in_order(prompt, "Ada: when do we deploy?", "At ten.", "> Deploy moved to noon", "Ada: so when?")
        discord.alert(channel=asked.id, title="Deploy is over")
        await heard(discord)
        prompt = await ask(discord, tgi, "and now?", asked.id)
        assert in_order(prompt, "> Deploy moved to noon", "Ada: so when?", "> Deploy is over", "Ada: and now?")
        assert pages(discord) == before + 1


@pytest.mark.slow
async def test_without_message_content_that_is_told_once(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """The model knows that it does not know."""
    discord.rest._messages.content_intent = False
    async with in_discord(discord, tgi, tmp_path):
        thread = discord.thread(discord.say("the root", user=BOB))
        discord.say("canary", channel=thread.id, user=BOB)
        prompt = await ask(discord, tgi, "why?", thread.id)
        assert "without mentioning you" in prompt
        prompt = await ask(discord, tgi, "and now?", thread.id)
        assert prompt.count("without mentioning you") == 1
        assert "canary" not in prompt


@pytest.mark.slow
async def test_a_refusal_and_a_kill_while_the_thread_is_read(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """A 429 delays the reading, and an heir reads the same."""
    settings = {**tokens(discord, tgi), **HEARING, "REDIS_URL": f"unix://{tmp_path / 'redis.sock'}"}
    settings["LEASE_SECONDS"] = "3"
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running_redis(tmp_path / "redis.sock"))
        listener = await stack.enter_async_context(run_parley(tmp_path, "run", "discord", "--no-worker", **settings))
        await wait_until(lambda: "server list received" in listener.log, description="a listener")
        thread = discord.thread(discord.say("shall we meet on Friday?", user=BOB))
        discord.say("Friday is fine", channel=thread.id, user=CLEO)
        read = pages(discord)
        discord.fail(PAGES, 429, more={"retry_after": 0.5, "global": False})
        discord.slow(PAGES, 30, times=1)
        doomed = await stack.enter_async_context(run_parley(tmp_path, "run", "worker", **settings))
        asked = discord.mention("when do we meet?", channel=thread.id)
        await wait_until(lambda: pages(discord) == read + 2, description="a second reading under way")
        await stack.enter_async_context(run_parley(tmp_path, "run", "worker", **settings))
        doomed.process.kill()
        await reply(discord, asked)
    assert in_order(prompts(tgi)[-1], "Bob: shall we meet on Friday?", "Cleo: Friday is fine", "when do we meet?")
    assert len(discord.replies(asked)) == 1
