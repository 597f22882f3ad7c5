"""`parley run` at a terminal: what a person is told, from the start to the end."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path

import aiohttp

from core.version import parley_version
from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.process import GENERAL, run_parley
from tests.journeys.test_terminal import window
from tests.waiting import UNHURRIED, wait_until

PARLEY = f"Parley {parley_version()}"


async def test_the_page_is_ready_when_its_address_is_shown_and_a_browser_opens_it(tmp_path: Path) -> None:
    """Without a log line; where there is a screen; and Ctrl-C ends it with exit code 0."""
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}.new && mv {opened}.new {opened}\n', encoding="utf-8")
    browser.chmod(0o755)
    env = {"BROWSER": f"{browser} %s &", "DISPLAY": ":99", "WEB_PORT": "0"}
    async with window(tmp_path, "run", **env) as terminal:
        await terminal.shows("Ctrl-C to stop")
        line = rf"{PARLEY} · demo model · (http://127\.0\.0\.1:\d+) · Ctrl-C to stop"
        shown = re.search(line, terminal.text)
        assert shown, terminal.text
        async with aiohttp.ClientSession() as session, session.get(shown[1]) as page:
            assert "Parley" in await page.text()
        await wait_until(opened.exists, description="a browser")
        assert opened.read_text(encoding="utf-8") == shown[1]
        terminal.type("\x03")
        assert await terminal.left() == 0
        told = [text for text in terminal.text.replace("^C", "").splitlines() if text]
        assert told[-2:] == [shown[0], "Stopping."]
        assert all(text.startswith(f"Starting {PARLEY}: ") for text in told[:-2])


async def test_a_platform_is_named_once_it_is_connected_and_ctrl_c_leaves_time_for_answers(
    tmp_path: Path, slack: SlackDouble, tgi: TgiDouble
) -> None:
    """Pressed once more, it ends at once; who wants the log at a terminal gets it."""
    tokens = {"SLACK_API_URL": slack.url, "SLACK_BOT_TOKEN": slack.bot_token, "SLACK_APP_TOKEN": slack.app_token}
    tgi.first_after = 60
    async with window(tmp_path, "run", **tokens, MODEL_API="tgi", MODEL_URL=tgi.url, LOG_LEVEL="info") as terminal:
        model = f"model at {tgi.url.removeprefix('http://')}"
        await terminal.shows(f"{PARLEY} · {model} · Slack (Double) · Ctrl-C to stop")
        assert slack.sockets
        assert "connected to Slack" in terminal.text
        await slack.mention(GENERAL, "What is a lease?")
        await wait_until(lambda: tgi.requests, description="a question to the model")
        terminal.type("\x03")
        await terminal.shows("Stopping: 1 answer has 25 s to finish. Press Ctrl-C again to stop at once")
        terminal.type("\x03")
        assert await terminal.left() == 0


async def test_a_terminal_that_is_closed_stops_it_as_ctrl_c_does(tmp_path: Path) -> None:
    """Running answers get their time, and its Redis ends with it."""
    async with run_parley(tmp_path, "run", "worker") as parley:
        await wait_until(lambda: '"starting"' in parley.log, description="a worker")
        parley.process.send_signal(signal.SIGHUP)
        assert await asyncio.wait_for(parley.process.wait(), UNHURRIED) == 0
        assert '"stopped"' in parley.log
