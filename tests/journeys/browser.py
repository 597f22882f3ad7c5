"""A real Chromium that looks at the page, and notices what a person would call wrong."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Response,
    async_playwright,
)

from tests.journeys.process import Parley, run_parley
from tests.needs import CHROMIUM
from tests.waiting import wait_until

# Gradio's client says so when a page is left while its stream is open.
LEAVING = ("AbortError", "Unexpected error Connection errored out", "BodyStreamBuffer was aborted")


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Chromium without a window."""
    path = CHROMIUM.path()
    async with async_playwright() as playwright:
        # A container's root user has no sandbox, and its /dev/shm is small.
        browser = await playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        await browser.close()


@asynccontextmanager
async def serving_page(tmp: Path, *arguments: str, **settings: str) -> AsyncIterator[tuple[Parley, str]]:
    """``parley run web`` on a port of its own, and where it is."""
    async with run_parley(tmp, *(arguments or ("run", "web")), **{"WEB_PORT": "0", **settings}) as parley:
        yield parley, await address(parley)


async def address(parley: Parley) -> str:
    """Where a process shows the page, as soon as it does."""
    found = await wait_until(
        lambda: re.search(r'"address": "([^"]+)"', parley.log) or parley.process.returncode is not None,
        description="the page",
    )
    assert found is not True, parley.log
    return str(found[1])


class Visit:
    """One browser of one person; ``complaints`` are what must not happen at any time."""

    def __init__(self, context: BrowserContext, page: Page, url: str) -> None:
        self.context = context
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", self._request)
        page.on("response", self._response)

    async def open(self) -> Visit:
        """Go to the page, and wait until it can be used."""
        await self.page.goto(self.url)
        await self.ready()
        return self

    async def ready(self) -> None:
        """Wait until the page has found out who one is and where."""
        await self.page.wait_for_selector("#box textarea")
        await self.page.wait_for_selector("#channel input:enabled")
        await self.page.wait_for_function("document.title")

    async def go(self, channel: str) -> None:
        """Choose a channel, or open a new one."""
        box = self.page.locator("#channel input")
        await box.fill(channel)
        await box.press("Enter")
        await self.page.wait_for_function("name => document.querySelector('#channel input').value == name", arg=channel)

    async def call_me(self, name: str) -> None:
        """Say one's name."""
        await self.page.fill("#name input", name)
        await self.page.press("#name input", "Enter")

    async def ask(self, text: str) -> None:
        """Write into the box and press Enter."""
        await self.page.fill("#box textarea", text)
        await self.page.press("#box textarea", "Enter")

    def said(self, who: str) -> Locator:
        """The messages of ``user`` or ``bot`` in the chat window."""
        return self.page.locator(f"#chat .message.{who}")

    async def text(self) -> str:
        """All that the chat window shows."""
        return await self.page.inner_text("#chat")

    async def sees(self, text: str) -> None:
        """Wait until the chat window shows ``text``."""
        await self.page.locator("#chat", has_text=text).wait_for()

    async def idle(self) -> None:
        """Wait until nothing is being answered here."""
        await self.page.locator("#stop:disabled").wait_for()

    async def tab(self, name: str) -> None:
        """Open a tab."""
        await self.page.get_by_role("tab", name=name).click()

    async def options(self) -> None:
        """Have the advanced options open."""
        if not await self.page.locator("#options button.open").count():
            await self.page.get_by_role("button", name="Advanced options").click()
        await self.page.locator("#system").wait_for()

    async def pick(self, dropdown: str, option: str) -> None:
        """Choose from a list."""
        await self.page.click(f"{dropdown} input")
        await self.page.get_by_role("option", name=option, exact=True).click()

    async def holds(self, selector: str, value: str) -> bool:
        """Whether an input has a value."""
        return await self.page.input_value(selector) == value

    async def findings(self, script: str, rules: Sequence[str] = ()) -> list[dict[str, Any]]:
        """What axe finds that is serious or worse, by some rules or by all."""
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(script)
        options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
        found = await self.page.evaluate("options => axe.run(document, options)", options)
        return [
            {"id": one["id"], "where": [node["html"][:160] for node in one["nodes"]][:4]}
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(word in message.text for word in LEAVING):
            self.complaints.append(f"console: {message.text}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.status}: {response.url}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.complaints.append(f"leaves the machine: {request.url}")
