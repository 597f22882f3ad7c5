"""Axe, in a real Chromium: nothing serious on any tab, at a desk and on a phone, in light and dark, while streaming."""

from __future__ import annotations

import pytest
from axe_playwright_python.base import AXE_SCRIPT

from tests.journeys.browser import Visit
from tests.journeys.page.conftest import Open, Show
from tests.journeys.page.test_reading import ANSWER, PHONE
from tests.waiting import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")

TABS = {"Complete": "#complete", "Memory": "#export", "Status": "text=Redis", "Chat": "#box"}


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("place", ["desk", "phone"])
async def test_axe_finds_nothing_serious(visit: Open, show: Show, place: str, scheme: str) -> None:
    """Empty, full, with open options, and while an answer grows."""
    channel = f"{place}-{scheme}"
    options = {**(PHONE if place == "phone" else {}), "color_scheme": scheme}
    ada = await visit(channel, "Ada", **options)
    assert await ada.page.locator("h1").count() == 1
    await well(ada, "empty")
    await show(channel, ANSWER)
    await ada.sees("The end.")
    await ada.ask("something endless and long")
    await ada.sees("word3")
    await ada.options()
    await well(ada, "while an answer grows, with the options open")
    await ada.page.click("#stop")
    await ada.idle()
    for tab, there in TABS.items():
        await ada.tab(tab)
        await ada.page.locator(there).first.wait_for()
        await well(ada, tab)


async def well(ada: Visit, when: str) -> None:
    """Wait until what was moving is at rest, and axe finds nothing serious."""
    found: list[object] = []

    async def none() -> bool:
        found[:] = await ada.findings(AXE_SCRIPT)
        return not found

    try:
        await wait_until(none, description=when, timeout=10)
    except AssertionError:
        assert found == [], when
