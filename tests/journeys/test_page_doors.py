"""Who gets to the page, and what outlives the processes behind it."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from bots.web.server import MOST_BODY, TOO_LARGE
from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.browser import Visit, address, open_browser, serving_page
from tests.journeys.process import from_nothing, in_slack, run_parley
from tests.waiting import UNHURRIED, wait_until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for all journeys here."""
    async with open_browser() as chromium:
        yield chromium


async def chunked(place: str, path: str, size: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send ``size`` bytes of a body that says of itself neither how large it is nor that it is at its end."""
    host, port = place.removeprefix("http://").strip("/").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /{path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Transfer-Encoding: chunked\r\n".encode())
    while size:
        part = min(size, 100_000)
        writer.write(f"\r\n{part:x}\r\n".encode() + b"x" * part)
        await writer.drain()
        size -= part
    return reader, writer


async def test_killed_processes_lose_nothing(browser: Browser, tmp_path: Path) -> None:
    """Another worker goes on with the answer, and another page shows it."""
    settings = {"LEASE_SECONDS": "3", "WEB_PORT": "0"}
    context = await browser.new_context()
    async with (
        run_parley(tmp_path, "run", "worker", **settings) as worker,
        run_parley(tmp_path, "run", "web", "--no-worker", **settings) as page,
    ):
        ada = await Visit(context, await context.new_page(), await address(page)).open()
        await ada.ask("Write 150 words")
        await ada.sees("lighthouse")
        worker.process.send_signal(signal.SIGKILL)
        page.process.send_signal(signal.SIGKILL)
        async with (
            run_parley(tmp_path, "run", "worker", **settings),
            serving_page(tmp_path, "run", "web", "--no-worker", **settings) as (_, place),
        ):
            ada.url = place
            await ada.open()
            await ada.sees("Write 150 words")
            await ada.idle()
            assert len(re.findall(r"\w+", await ada.said("bot").inner_text())) >= 140
            assert await ada.said("user").count() == await ada.said("bot").count() == 1
    await context.close()


async def test_a_login_keeps_strangers_out(browser: Browser, tmp_path: Path) -> None:
    """A wrong password is told; without the right one nothing is read or done."""
    async with serving_page(tmp_path, WEB_USER="team", WEB_PASSWORD="correct horse") as (_, place):
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(place)
        await page.get_by_label("username").fill("team")
        await page.get_by_label("password").fill("wrong")
        await page.get_by_role("button", name="Login").click()
        await page.get_by_text("Incorrect Credentials").wait_for()
        async with aiohttp.ClientSession() as stranger:
            for path in ("config", "gradio_api/queue/data?session_hash=x", "gradio_api/info"):
                async with stranger.get(place + path) as response:
                    assert response.status == 401, path
            async with stranger.post(f"{place}gradio_api/queue/join", json={"data": [], "fn_index": 0}) as response:
                assert response.status == 401
        await page.get_by_label("username").fill("team")
        await page.get_by_label("password").fill("correct horse")
        await page.get_by_role("button", name="Login").click()
        await page.locator("#box textarea").wait_for()
        await context.close()


async def test_a_link_on_another_site_logs_nobody_out(browser: Browser, tmp_path: Path) -> None:
    """It may lead to the page, and to the form that logs out; out of the page leads only that form's button."""
    async with serving_page(tmp_path, WEB_USER="team", WEB_PASSWORD="correct horse") as (_, place):
        context = await browser.new_context()
        page = await context.new_page()
        links = f'<a href="{place}">in</a> <a href="{place}logout">out</a>'
        elsewhere = "https://elsewhere.example/"
        await page.route(elsewhere, lambda route: route.fulfill(body=links, content_type="text/html"))
        await page.goto(place)
        await page.get_by_label("username").fill("team")
        await page.get_by_label("password").fill("correct horse")
        await page.get_by_role("button", name="Login").click()
        await page.locator("#box textarea").wait_for()
        await page.goto(elsewhere)
        await page.get_by_role("link", name="out").click()
        await page.get_by_text("Log out of Parley in this browser?").wait_for()
        await page.goto(elsewhere)
        await page.get_by_role("link", name="in").click()
        await page.locator("#box textarea").wait_for()
        await page.evaluate("window.location.assign('/logout')")
        await page.get_by_role("button", name="Log out").click()
        await page.get_by_label("password").wait_for()
        await context.close()


async def test_a_body_that_does_not_say_how_large_it_is_is_not_read_to_its_end(tmp_path: Path) -> None:
    """Nor kept: before any login, it is refused and hung up on where it gets too large; a small one is read."""
    async with serving_page(tmp_path, WEB_USER="team", WEB_PASSWORD="correct horse") as (_, place):
        path = "gradio_api/queue/join"
        reader, writer = await chunked(place, path, MOST_BODY + 1)
        assert b" 413 " in await asyncio.wait_for(reader.readline(), UNHURRIED)
        assert TOO_LARGE.encode() in await asyncio.wait_for(reader.read(), UNHURRIED)
        writer.close()
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(chunked(place, path, 50 * MOST_BODY), UNHURRIED)
        async with aiohttp.ClientSession() as session:
            form = aiohttp.FormData({"username": "team", "password": "correct horse"})()
            async with session.post(f"{place}login", data=form, chunked=True) as response:
                assert (response.status, await response.json()) == (200, {"success": True})


async def test_a_proxy_says_who_somebody_is(browser: Browser, tmp_path: Path) -> None:
    """Under that name they are remembered; who comes without is refused."""
    # Of Slack the page knows the tokens, and nothing else: no process listens there.
    tokens = {"SLACK_BOT_TOKEN": "xoxb-of-nobody", "SLACK_APP_TOKEN": "xapp-of-nobody"}
    async with serving_page(tmp_path, WEB_AUTH_HEADER="X-Forwarded-User", **tokens) as (_, place):
        async with aiohttp.ClientSession() as stranger, stranger.get(place) as response:
            assert response.status == 401
            assert "proxy in front of this page sent no X-Forwarded-User" in await response.text()
        context = await browser.new_context(extra_http_headers={"X-Forwarded-User": "ada@example.org"})
        ada = await Visit(context, await context.new_page(), place).open()
        await ada.page.wait_for_function("document.querySelector('#name input').value == 'ada@example.org'")
        assert await ada.page.locator("#name input").is_disabled()
        await ada.ask("hello")
        await ada.sees("Hello, ada@example.org")
        await ada.tab("Status")
        await ada.page.locator(
            "#cards", has_text="Slack: no process has reported a connection in the last 10 s."
        ).wait_for()
        await ada.page.locator("#cards .error", has_text="Start `parley run slack`.").wait_for()
        await context.close()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"WEB_HOST": "0.0.0.0"}, "WEB_HOST: 0.0.0.0 would let in everybody"),
        ({"WEB_USER": "team"}, "WEB_PASSWORD: is needed, too"),
        ({"WEB_USER": "a", "WEB_PASSWORD": "b", "WEB_AUTH_HEADER": "X"}, "contradict each other"),
        ({"WEB_HOST": "203.0.113.7", "WEB_USER": "a", "WEB_PASSWORD": "b"}, "cannot have 203.0.113.7:7860"),
    ],
)
async def test_a_door_that_would_stand_open_is_not_opened(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    """One line that says how, and exit code 2."""
    async with run_parley(tmp_path, "run", "web", **settings) as parley:
        assert await asyncio.wait_for(parley.process.wait(), UNHURRIED) == 2
        await wait_until(lambda: said in parley.log, description="the line")
        assert "Traceback" not in parley.log


async def test_slack_alone_does_without_gradio(tmp_path: Path) -> None:
    """It would cost seconds and a hundred megabytes."""
    with from_nothing():
        async with (
            SlackDouble() as slack,
            TgiDouble() as tgi,
            in_slack(slack, tgi, tmp_path, PYTHONPROFILEIMPORTTIME="1") as parley,
        ):
            imported = set(re.findall(r"\| +(\w+)$", parley.log, re.MULTILINE))
        assert "slack_bolt" in imported
        assert not imported & {"gradio", "fastapi", "uvicorn", "pandas"}


async def test_completing_and_retrying_count_like_a_question(browser: Browser, tmp_path: Path) -> None:
    """Whoever has asked as much as they may reads the same words in all three ways."""
    full = "You've reached the limit of 2 questions a minute. Try again in"
    async with (
        TgiDouble() as tgi,
        serving_page(tmp_path, MODEL_API="tgi", MODEL_URL=tgi.url, QUOTA_USER="turns=2/min") as (_, place),
    ):
        context = await browser.new_context()
        ada = await Visit(context, await context.new_page(), place).open()
        await ada.tab("Complete")
        await ada.page.fill("#prompt textarea", "Once upon a time")
        await ada.page.click("#complete")
        await ada.page.locator("#completed", has_text="Done:").wait_for()
        await ada.tab("Chat")
        await ada.ask("hello")
        await ada.sees("You said")
        await ada.idle()
        asked = len(tgi.requests)
        await ada.page.click("#retry")
        await ada.page.locator(".toast-body", has_text=full).wait_for()
        await ada.tab("Complete")
        await ada.page.click("#complete")
        await ada.page.locator("#completed", has_text=full).wait_for()
        assert len(tgi.requests) == asked == 2
        await context.close()
