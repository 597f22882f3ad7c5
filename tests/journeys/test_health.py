"""A real process, as its supervisor and Prometheus see it."""

from __future__ import annotations

import re
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp

from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.process import GENERAL, Parley, in_slack, reply, run_parley
from tests.redis_server import running_redis
from tests.waiting import wait_until


async def look(parley: Parley, page: str) -> tuple[int, Any]:
    """Status and text of a page, at the port that the log names."""
    port = re.search(r'"port": (\d+)', parley.log)
    assert port
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port[1]}{page}") as response:
        return response.status, await response.text()


async def test_a_turn_is_seen_on_the_page_and_in_the_log_and_names_nobody(
    slack: SlackDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """What it took, and that all is well; no person, channel, message or secret."""
    tgi.answer = "A canary sings."
    async with in_slack(slack, tgi, tmp_path, HTTP_PORT="0", LOG_LEVEL="debug") as parley:
        await wait_until(lambda: '"connected to Slack"' in parley.log, description="a start")
        ts = await slack.mention(GENERAL, "what does a canary do?")
        await reply(slack, GENERAL, ts)

        async def counted() -> bool:
            return 'parley_turn_duration_seconds_count{outcome="complete"} 1.0' in (await look(parley, "/metrics"))[1]

        await wait_until(counted, description="a turn that is done")
        assert (await look(parley, "/livez"))[0] == 200
        status, ready = await look(parley, "/readyz")
        assert (status, '"status": "ok"' in ready) == (200, True)
        _, page = await look(parley, "/metrics")
        assert 'parley_events_total{outcome="accepted",platform="slack",type="question"} 1.0' in page
        assert 'parley_edits_total{platform="slack",result="ok"}' in page
        assert 'parley_socket_connected{platform="slack"} 1.0' in page
        assert "parley_queue_depth 0.0" in page
        assert "parley_time_to_first_edit_seconds_count 1.0" in page
    answered = next(line for line in parley.log.splitlines() if '"answered"' in line)
    for field in ("ts", "level", "event", "conv", "turn", "job", "epoch", "attempt", "worker", "platform", "dur_ms"):
        assert f'"{field}": ' in answered
    for named in (ts, GENERAL, "U0ADA", "canary", slack.bot_token, slack.app_token):
        assert named not in answered + page + ready


async def test_a_redis_that_dies_makes_it_not_ready_until_it_is_back(
    slack: SlackDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """And alive all the while: it recovers by itself."""
    place = tmp_path / "redis.sock"
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_redis(place))
        parley = await stack.enter_async_context(
            in_slack(slack, tgi, tmp_path, HTTP_PORT="0", REDIS_URL=f"unix://{place}")
        )

        async def ready(status: int) -> bool:
            return (await look(parley, "/readyz"))[0] == status

        await wait_until(lambda: ready(200), description="a start")
        server.kill()
        await wait_until(lambda: ready(503), description="a process that knows")
        assert '"name": "redis", "state": "failed"' in (await look(parley, "/readyz"))[1]
        assert "\nparley_queue_depth " not in (await look(parley, "/metrics"))[1]
        assert (await look(parley, "/livez"))[0] == 200
        await stack.enter_async_context(running_redis(place))
        await wait_until(lambda: ready(200), description="a process that is well again")
        await parley.stop()


async def test_a_port_in_use_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    """Before anything else is begun."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        tokens = {"SLACK_BOT_TOKEN": "xoxb-1", "SLACK_APP_TOKEN": "xapp-1", "HTTP_PORT": str(port)}
        async with run_parley(tmp_path, "run", **tokens) as parley:
            assert await parley.process.wait() == 2
            await parley.stop()
        assert parley.log == (
            f"HTTP_PORT: another program uses 127.0.0.1:{port}. Choose another port, for example HTTP_PORT={port + 1}\n"
        )
