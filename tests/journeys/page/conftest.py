"""The page that all journeys here share, with two models behind it, and the browsers in which people look at it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from core.assistant.summary import INSTRUCTION
from tests.doubles.tgi import TgiDouble, last_words
from tests.journeys.browser import Visit, open_browser, serving_page
from tests.journeys.process import from_nothing
from tests.waiting import UNHURRIED

LONG = "".join(f"word{i} " for i in range(150))
CODE = (
    "Here:\n\n```python\ndef add(a: int, b: int) -> int:\n    return a + b\n```\n\n![x](http://tracker.example/x.png)"
)
NOTES = "- Ada counts apples."
PIRATE = "You are a pirate, and proud of it."

Open = Callable[..., Awaitable[Visit]]


def answer(inputs: str) -> str:
    """What the models say to a question."""
    if INSTRUCTION in inputs:
        return NOTES
    asked = re.sub(r"^.*?(?:Ada|Bob|Guest \w{4}): ", "", last_words(inputs))
    if "long" in asked:
        return LONG * (4 if "endless" in asked else 1)
    return CODE if "code" in asked else f"You said {asked} and that is all."


@pytest_asyncio.fixture(loop_scope="session", scope="package")
async def tgi() -> AsyncIterator[TgiDouble]:
    """The first model's server, which takes its time."""
    async with TgiDouble(rate=60) as double:
        double.answer = answer
        yield double


@pytest_asyncio.fixture(loop_scope="session", scope="package")
async def small() -> AsyncIterator[TgiDouble]:
    """The second model's server: it reads little."""
    async with TgiDouble() as double:
        double.answer = answer
        double.max_input_tokens, double.max_total_tokens = 1023, 1024
        yield double


@pytest_asyncio.fixture(loop_scope="session", scope="package")
async def calls() -> AsyncIterator[tuple[str, list[str]]]:
    """Where the server would call the world, and what it sent there."""
    heard: list[str] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append((await reader.readline()).decode("utf-8", "replace"))
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard
    server.close()


@pytest_asyncio.fixture(loop_scope="session", scope="package")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for all journeys here."""
    async with open_browser() as chromium:
        yield chromium


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page runs; who has the same folder has the same Redis."""
    return tmp_path_factory.mktemp("page")


@pytest_asyncio.fixture(loop_scope="session", scope="package")
async def url(
    browser: Browser, tgi: TgiDouble, small: TgiDouble, calls: tuple[str, list[str]], folder: Path
) -> AsyncIterator[str]:
    """The page, answering with those models."""
    del browser  # skips before anything is started
    proxies = {f"{name}_PROXY": calls[0] for name in ("HTTP", "HTTPS", "ALL")}
    models, personas = folder / "models.toml", folder / "personas"
    models.write_text(
        f'[models.large]\napi = "tgi"\nurl = "{tgi.url}"\n[models.small]\napi = "tgi"\nurl = "{small.url}"\n',
        encoding="utf-8",
    )
    personas.mkdir()
    personas.joinpath("pirate.md").write_text(PIRATE, encoding="utf-8")
    settings = {"MODELS_FILE": str(models), "PERSONAS": str(personas), "NO_PROXY": "127.0.0.1", **proxies}
    with from_nothing():  # what Gradio calls while it is imported counts as well
        page = serving_page(folder, **settings)
        parley, place = await page.__aenter__()
    try:
        yield place
        assert not re.search(r"Warning|Traceback|Error", parley.log), parley.log
    finally:
        await page.__aexit__(None, None, None)


@pytest_asyncio.fixture(loop_scope="session", scope="package")
async def visits(browser: Browser, url: str) -> AsyncIterator[dict[str, Visit]]:
    """The browsers that are open, by who sits there; opening one takes longer than most journeys."""
    del browser, url
    known: dict[str, Visit] = {}
    yield known
    for one in known.values():
        await one.context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, url: str, visits: dict[str, Visit]) -> AsyncIterator[Open]:
    """Seats people who do not know each other at a channel; what goes wrong at any of them fails the test."""

    async def seat(channel: str = "", name: str = "Ada", **options: Any) -> Visit:
        who = f"{name} {options or ''}"
        if who not in visits:
            usual = {"viewport": {"width": 1100, "height": 800}, "permissions": ["clipboard-read", "clipboard-write"]}
            context = await browser.new_context(**{**usual, **options})
            context.set_default_timeout(1000 * UNHURRIED)
            visits[who] = await Visit(context, await context.new_page(), url).open()
            await visits[who].call_me(name)
        one = visits[who]
        await one.tab("Chat")
        if channel:
            await one.go(channel)
        return one

    yield seat
    complaints = [complaint for one in visits.values() for complaint in one.complaints]
    for one in visits.values():
        one.complaints.clear()
    assert complaints == []
