"""Our clock is an hour off Redis's: leases, ages and quotas are counted by Redis's, or by one that never jumps."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from bots.slack.editor import RETRY
from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.process import GENERAL, STREAM, from_nothing, reply, run_parley
from tests.needs import FAKETIME
from tests.redis_server import running_redis
from tests.waiting import wait_until


@pytest.mark.slow
@pytest.mark.parametrize("off", ["+3600s", "-3600s"])
async def test_an_hour_off_changes_nothing(slack: SlackDouble, tgi: TgiDouble, tmp_path: Path, off: str) -> None:
    """A worker that dies is replaced in time and not before; limits end when they should; a Retry button works."""
    socket = tmp_path / "redis.sock"
    settings = {
        "REDIS_URL": f"unix://{socket}",
        "SLACK_API_URL": slack.url,
        "SLACK_BOT_TOKEN": slack.bot_token,
        "MODEL_API": "tgi",
        "MODEL_URL": tgi.url,
        "LEASE_SECONDS": "3",
        "QUOTA_USER": "turns=2/min tokens=100000/day queued=5",
    }
    listening = {**settings, "SLACK_APP_TOKEN": slack.app_token}
    wrong = {"LD_PRELOAD": FAKETIME.path(), "FAKETIME": off, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with from_nothing():
        async with running_redis(socket), run_parley(tmp_path, "run", "slack", "--no-worker", **listening, **wrong):
            await wait_until(lambda: slack.sockets, description="a socket")
            tgi.answer, tgi.rate = STREAM, 3  # longer than another worker takes to start
            async with run_parley(tmp_path, "run", "worker", **settings, **wrong) as first:
                ts = await slack.mention(GENERAL, "go")
                await wait_until(lambda: slack.replies(GENERAL, ts), description="a reply")
                async with run_parley(tmp_path, "run", "worker", **settings) as second:
                    await wait_until(lambda: '"starting"' in second.log, description="a worker whose clock is right")
                    asked = len(tgi.requests)
                    written = len(tgi.requests[-1].token_times)
                    await wait_until(lambda: len(tgi.requests[-1].token_times) > written + 9, description="a lease")
                    assert len(tgi.requests) == asked, "nobody takes what is held"
                    tgi.rate = 0
                    first.process.send_signal(signal.SIGKILL)
                    await wait_until(lambda: len(tgi.requests) == asked + 1, description="the lease to be over")
            async with run_parley(tmp_path, "run", "worker", **settings, **wrong):
                await wait_until(lambda: slack.replies(GENERAL, ts)[0].text == STREAM, description="the answer")
                tgi.fault("drop", after=5)
                posted = await reply(slack, GENERAL, await slack.mention(GENERAL, "go on"))
                await slack.mention(GENERAL, "and on")
                await wait_until(lambda: slack.ephemerals, description="a refusal")
                told = re.search(r"limit of 2 questions a minute\. Try again in (\d+) s", slack.ephemerals[-1].text)
                assert told
                assert 1 <= int(told[1]) <= 60
                await slack.press(posted, RETRY, user="U0BOB")
                await wait_until(lambda: posted.text == STREAM, description="what was asked again")
                await wait_until(lambda: not slack.unacked())
