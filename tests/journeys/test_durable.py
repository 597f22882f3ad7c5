"""What a person sees when processes die, when they change their mind, and when Redis is away."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from redis.asyncio import Redis

from tests.doubles.slack import SlackDouble
from tests.doubles.slack_records import Posted
from tests.doubles.tgi import TgiDouble
from tests.journeys.conftest import Deployment
from tests.journeys.process import GENERAL, STREAM, Parley, in_slack, reply, run_parley
from tests.redis_server import running_redis
from tests.waiting import wait_until


async def grown(slack: SlackDouble, ts: str, versions: int = 2) -> Posted:
    """The reply under a message, once people saw it grow."""
    posted = await reply(slack, GENERAL, ts, final=False)
    await wait_until(lambda: len(posted.versions) >= versions, description="a reply that grows")
    return posted


async def test_another_worker_goes_on_in_the_same_message(
    slack: SlackDouble, tgi: TgiDouble, deployment: Deployment
) -> None:
    """The answer never gets shorter, nobody is told of the accident, and it is remembered once."""
    tgi.answer, tgi.rate = STREAM, 40
    async with deployment.worker() as first, deployment.worker() as second:
        ts = await slack.mention(GENERAL, "tell me a story")
        posted = await grown(slack, ts)
        doomed, heir = (first, second) if talks_to(first, tgi) else (second, first)
        doomed.process.kill()
        await wait_until(lambda: posted.text == STREAM and not posted.buttons)
        assert "turn claimed" in heir.log
        assert len(slack.replies(GENERAL, ts)) == 1
        assert all(len(before) <= len(after) for before, after in pairwise(posted.shown))
        assert slack.pings == []
        tgi.answer, tgi.rate = "Once upon a time.", 0
        await reply(slack, GENERAL, await slack.mention(GENERAL, "again?"))
        assert tgi.requests[-1].inputs.count("tell me a story") == 1
        assert tgi.requests[-1].inputs.count(STREAM) == 1


def talks_to(worker: Parley, tgi: TgiDouble) -> bool:
    """Whether this worker has a connection to the model."""
    port = int(tgi.url.rpartition(":")[2])
    connections = psutil.Process(worker.process.pid).net_connections()
    return any(one.status == "ESTABLISHED" and getattr(one.raddr, "port", 0) == port for one in connections)


async def test_stop_is_a_button_and_a_word(slack: SlackDouble, tgi: TgiDouble, deployment: Deployment) -> None:
    """Whoever asked may use them, in a process that has nothing to do with the answer; the model is left in peace."""
    tgi.answer, tgi.rate = STREAM, 20
    async with deployment.worker():
        posted = await grown(slack, await slack.mention(GENERAL, "go on and on"))
        await slack.press(posted, "parley_stop", user="U0BOB")
        await wait_until(lambda: slack.ephemerals)
        assert (slack.ephemerals[-1].user, slack.ephemerals[-1].text) == (
            "U0BOB",
            "Only the person who asked can stop this answer.",
        )
        await slack.press(posted, "parley_stop")
        await wait_until(lambda: "Stopped." in posted.text, description="a reply that was stopped")
        assert STREAM.startswith(posted.markdown)
        assert [button.label for button in posted.buttons] == ["Retry"]
        await wait_until(lambda: tgi.requests[-1].closed_early, description="a model that was told")

        ts = await slack.mention(GENERAL, "and once more")
        posted = await grown(slack, ts)
        await slack.mention(GENERAL, "stop", thread=ts)
        await wait_until(lambda: "Stopped." in posted.text, description="a reply that was stopped")
        assert len(slack.replies(GENERAL, ts)) == 1
        await wait_until(lambda: tgi.requests[-1].closed_early, description="a model that was told")

        tgi.rate = 0
        await slack.press(posted, "parley_retry")
        await wait_until(lambda: posted.text == STREAM, description="the whole answer")


async def test_a_stop_that_is_delivered_again_ends_no_other_answer(
    slack: SlackDouble, tgi: TgiDouble, deployment: Deployment
) -> None:
    """The next question of the same person is answered in full, however often Slack tells of the word before it."""
    tgi.answer, tgi.rate = STREAM, 40
    async with deployment.worker():
        posted = await grown(slack, await slack.mention(GENERAL, "go on and on"))
        following = await slack.mention(GENERAL, "and then this")
        stop = await slack.mention(GENERAL, "stop")
        await wait_until(lambda: "Stopped." in posted.text, description="a reply that was stopped")
        second = await grown(slack, following)
        again = [slack.socket_mode.send("events_api", payload) for payload in slack.events[stop]]
        await wait_until(lambda: all(one.acked_at for one in again), description="acknowledgements")
        await wait_until(lambda: not second.buttons, description="a reply that is done")
        assert second.text == STREAM
        assert slack.ephemerals == []


async def test_what_redis_refused_half_way_is_done_when_slack_delivers_it_again(
    slack: SlackDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """A word that stops an answer, and a mention that says nothing else."""
    slack.retry_delays = (0.0, *[0.5] * 60)
    socket = tmp_path / "redis.sock"
    tgi.answer, tgi.rate = STREAM * 10, 20
    listening = {
        "REDIS_URL": f"unix://listener:canary@{socket}",
        "SLACK_API_URL": slack.url,
        "SLACK_BOT_TOKEN": slack.bot_token,
        "SLACK_APP_TOKEN": slack.app_token,
        "MODEL_URL": tgi.url,
    }
    answering = {**listening, "REDIS_URL": f"unix://{socket}"}
    async with running_redis(socket) as server, Redis.from_url(server.url) as admin:

        async def may(*rules: str) -> None:
            await admin.execute_command("ACL", "SETUSER", "listener", *rules)  # type: ignore[no-untyped-call]

        async def refused(said: str, ts: str) -> None:
            """Both events of a message, until they are delivered again."""
            await wait_until(lambda: listener.log.count(said) > 1, description="what Redis refused")
            await may("+evalsha")
            await wait_until(
                lambda: sum(bool(one.acked_at) for one in slack.envelopes if one.event.get("ts") == ts) == 2,
                description="acknowledgements",
            )

        await may("on", ">canary", "~*", "&*", "+@all")
        async with (
            run_parley(tmp_path, "run", "slack", "--no-worker", **listening) as listener,
            run_parley(tmp_path, "run", "worker", **answering),
        ):
            posted = await grown(slack, await slack.mention(GENERAL, "go on and on"))
            await may("-evalsha")
            await refused("Redis could not reach a turn", await slack.mention(GENERAL, "stop"))
            await wait_until(lambda: "Stopped." in posted.text, description="a reply that was stopped")
            assert slack.ephemerals == []

            await may("-evalsha")
            ts = await slack.mention(GENERAL, "")
            await refused("Redis could not accept a message", ts)
            assert (await reply(slack, GENERAL, ts)).text.startswith("Ask me anything")
            assert len(slack.replies(GENERAL, ts)) == 1


async def test_a_question_that_is_deleted_is_answered_no_more(
    slack: SlackDouble, tgi: TgiDouble, deployment: Deployment
) -> None:
    """The answer ends, the model is left in peace, and nobody remembers any of it."""
    tgi.answer, tgi.rate = STREAM, 20
    async with deployment.worker():
        ts = await slack.mention(GENERAL, "a slip of the tongue")
        posted = await grown(slack, ts)
        await slack.delete(GENERAL, ts)
        await wait_until(lambda: "deleted" in posted.text, description="a reply that was stopped")
        assert posted.buttons == []
        await wait_until(lambda: tgi.requests[-1].closed_early, description="a model that was told")
        tgi.answer, tgi.rate = "Nothing.", 0
        await reply(slack, GENERAL, await slack.mention(GENERAL, "what did I say?"))
        assert "slip of the tongue" not in tgi.requests[-1].inputs
        assert "word1" not in tgi.requests[-1].inputs


@pytest.mark.parametrize("how", ["hang", "cut"])
async def test_a_post_whose_receipt_was_lost_is_found_and_not_posted_twice(
    slack: SlackDouble, tgi: TgiDouble, deployment: Deployment, how: str
) -> None:
    """Slack took it and did not say so: it bears a mark by which it is found."""
    tgi.answer, tgi.rate = STREAM, 60
    getattr(slack, how)("chat.postMessage", applied=True)
    async with deployment.worker():
        ts = await slack.mention(GENERAL, "hello")
        posted = await reply(slack, GENERAL, ts, final=False)
        await wait_until(lambda: posted.text == STREAM and not posted.buttons)
        assert len(slack.replies(GENERAL, ts)) == 1


async def test_with_redis_away_a_button_says_so_and_a_message_is_delivered_again(
    slack: SlackDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """A press is not delivered twice, so whoever pressed is told; a message is, so nobody has to be."""
    slack.retry_delays = (0.0, *[0.5] * 60)
    socket = tmp_path / "redis.sock"
    settings = {"REDIS_URL": f"unix://{socket}", "LEASE_SECONDS": "3"}
    tgi.answer, tgi.rate = STREAM, 60
    tgi.fault("drop", after=10)
    async with running_redis(socket) as server, in_slack(slack, tgi, tmp_path, **settings) as parley:
        posted = await reply(slack, GENERAL, await slack.mention(GENERAL, "hello"))
        assert [button.label for button in posted.buttons] == ["Retry"]
        server.kill()
        pressed = await slack.press(posted, "parley_retry")
        await wait_until(lambda: slack.ephemerals, description="a line for who pressed")
        assert "can't reach my memory" in slack.ephemerals[-1].text
        assert pressed.acked_at
        ts = await slack.mention(GENERAL, "are you there?")
        await wait_until(lambda: len([e for e in slack.envelopes if e.event.get("ts") == ts and e.attempt]) > 1)
        assert len(slack.replies(GENERAL, ts)) == 0
        async with running_redis(socket):
            again = await reply(slack, GENERAL, ts, final=False)
            await wait_until(lambda: again.text == STREAM)
            assert len(slack.replies(GENERAL, ts)) == 1
            assert await parley.stop() == 0
