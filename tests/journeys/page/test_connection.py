"""A tab that stays open: over a restart of the server, a cut network, and a stream that ended without a word."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, Error

from tests.doubles.tgi import TgiDouble
from tests.journeys.browser import Visit, serving_page
from tests.journeys.page.conftest import answer
from tests.waiting import UNHURRIED, wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOST = "Connection lost, reconnecting …"


async def _sit(browser: Browser, url: str, name: str) -> Visit:
    """Somebody with a browser of their own: what fails in it while it is cut off is no complaint."""
    context = await browser.new_context()
    context.set_default_timeout(1000 * UNHURRIED)
    visit = await Visit(context, await context.new_page(), url).open()
    await visit.call_me(name)
    return visit


async def test_a_tab_outlives_its_server(browser: Browser, tmp_path: Path) -> None:
    """It says that the connection is lost; a question that is sent meanwhile is asked when the server is back, once."""
    async with TgiDouble() as tgi:
        tgi.answer = answer
        async with serving_page(tmp_path, MODEL_URL=tgi.url) as (_, url):
            ada = await _sit(browser, url, "Ada")
            await ada.ask("before")
            await ada.sees("You said before and that is all.")
        banner = ada.page.locator("#connection", has_text=LOST)
        await banner.wait_for()
        await ada.ask("meanwhile")
        await ada.page.locator("#connection", has_text="Your question will be sent then.").wait_for()
        await ada.page.fill("#box textarea", "half a thought")
        port = url.rstrip("/").rpartition(":")[2]
        async with serving_page(tmp_path, MODEL_URL=tgi.url, WEB_PORT=port) as (_, again):
            assert again == url
            await ada.sees("You said meanwhile and that is all.")
            await ada.ready()
            assert not await banner.is_visible()
            assert await ada.page.input_value("#box textarea") == "half a thought"
            await ada.idle()
            assert await ada.said("user").count() == 2
            assert len([seen for seen in tgi.requests if "meanwhile" in seen.inputs]) == 1
            await ada.context.close()


@pytest.mark.slow
async def test_a_cut_network_is_noticed_and_mended(browser: Browser, url: str) -> None:
    """What was said meanwhile is shown; what was typed is sent."""
    ada, bob = await _sit(browser, url, "Ada"), await _sit(browser, url, "Bob")
    for one in (ada, bob):
        await one.go("cut off")
    await ada.ask("before")
    await bob.sees("You said before and that is all.")
    await ada.context.set_offline(True)
    await ada.page.locator("#connection", has_text=LOST).wait_for()
    await ada.ask("from Ada")
    await bob.ask("from Bob")
    await bob.sees("You said from Bob and that is all.")
    await ada.context.set_offline(False)
    await ada.sees("You said from Bob and that is all.")
    await bob.sees("You said from Ada and that is all.")
    await ada.page.locator("#connection").wait_for(state="hidden")
    await bob.idle()
    assert await bob.said("user").count() == 3
    for one in (ada, bob):
        await one.context.close()


@pytest.mark.slow
async def test_a_stream_that_says_nothing_any_more_is_noticed(browser: Browser, url: str) -> None:
    """After a sleep nothing tells the browser so; it asks the server, and hears nothing in its page."""
    ada = await _sit(browser, url, "Ada")
    await ada.ask("before the sleep")
    await ada.sees("You said before the sleep and that is all.")
    run = await ada.page.get_attribute("#pulse", "data-run")
    # The server is not asked, so nothing reaches the page.
    await ada.page.route("**/alive*", lambda route: route.fulfill(json={"run": run, "watched": True}), times=1)
    await ada.page.evaluate("window.asleep = true; dispatchEvent(new Event('online'))")
    await wait_until(lambda: _awake(ada), description="the page, loaded anew")
    await ada.sees("You said before the sleep and that is all.")
    await ada.context.close()


async def _awake(who: Visit) -> bool:
    """Whether the page was loaded since it was put to sleep."""
    try:
        return not await who.page.evaluate("Boolean(window.asleep)")
    except Error:  # it is being loaded
        return False
