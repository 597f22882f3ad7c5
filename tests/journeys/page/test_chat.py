"""The page in a real Chromium: what people do there, and what they see."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Browser

from tests.doubles.tgi import TgiDouble, last_words
from tests.journeys.browser import Visit, open_browser, serving_page
from tests.waiting import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG = "".join(f"word{i} " for i in range(150))
CODE = (
    "Here:\n\n```python\ndef add(a: int, b: int) -> int:\n    return a + b\n```\n\n![x](http://tracker.example/x.png)"
)

Open = Callable[..., Awaitable[Visit]]


def answer(inputs: str) -> str:
    """What the model says to a question."""
    asked = re.sub(r"^.*?(?:Ada|Bob|Guest \w{4}): ", "", last_words(inputs))
    if "long" in asked:
        return LONG * (4 if "endless" in asked else 1)
    return CODE if "code" in asked else f"You said {asked} and that is all."


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def tgi() -> AsyncIterator[TgiDouble]:
    """A model's server that takes its time."""
    async with TgiDouble(rate=60) as double:
        double.answer = answer
        yield double


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def calls() -> AsyncIterator[tuple[str, list[str]]]:
    """Where the server would call the world, and what it sent there."""
    heard: list[str] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append((await reader.readline()).decode("utf-8", "replace"))
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard
    server.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for all journeys here."""
    async with open_browser() as chromium:
        yield chromium


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def url(
    browser: Browser, tgi: TgiDouble, calls: tuple[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """The page, answering with that model."""
    del browser  # skips before anything is started
    proxies = {f"{name}_PROXY": calls[0] for name in ("HTTP", "HTTPS", "ALL")}
    tmp = tmp_path_factory.mktemp("page")
    async with serving_page(tmp, MODEL_API="tgi", MODEL_URL=tgi.url, NO_PROXY="127.0.0.1", **proxies) as (
        parley,
        place,
    ):
        yield place
        assert not re.search(r"Warning|Traceback|Error", parley.log), parley.log


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def visits(browser: Browser, url: str) -> AsyncIterator[dict[str, Visit]]:
    """The browsers that are open, by who sits there; opening one takes longer than most journeys."""
    del browser, url
    known: dict[str, Visit] = {}
    yield known
    for one in known.values():
        await one.context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def visit(browser: Browser, url: str, visits: dict[str, Visit]) -> AsyncIterator[Open]:
    """Seats people who do not know each other at a channel; what goes wrong at any of them fails the test."""

    async def seat(channel: str = "", name: str = "Ada", **options: Any) -> Visit:
        who = f"{name} {options or ''}"
        if who not in visits:
            context = await browser.new_context(**{"viewport": {"width": 1100, "height": 800}, **options})
            context.set_default_timeout(10_000)
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


async def test_an_answer_grows_while_one_watches(visit: Open) -> None:
    """Token by token, to its end."""
    ada = await visit("growing", "Ada")
    await ada.ask("something long")
    lengths: set[int] = set()
    while len(lengths) < 6:
        lengths.add(len(await ada.text()))
        await asyncio.sleep(0.05)
    await ada.sees("word20")
    assert await ada.page.inner_text("#line") == "Answering Ada …"
    await ada.idle()
    assert "word149" in await ada.text()
    assert "▍" not in await ada.text()


async def test_submit_asks_as_well_and_an_example_teaches(visit: Open) -> None:
    """With the mouse alone."""
    ada = await visit("mouse")
    await ada.page.get_by_role("button", name="What can you do?").click()
    await ada.sees("You said What can you do? and that is all.")
    await ada.page.fill("#box textarea", "by mouse")
    await ada.page.click("#send")
    await ada.sees("You said by mouse and that is all.")
    assert await ada.page.input_value("#box textarea") == ""


async def test_a_reload_keeps_the_chat_and_who_one_is(visit: Open) -> None:
    """Also in the middle of an answer."""
    ada = await visit("kept", "Ada")
    await ada.ask("something long")
    await ada.sees("word5")
    await ada.page.reload()
    await ada.sees("word6")
    await ada.idle()
    assert "word149" in await ada.text()
    assert await ada.page.input_value("#name input") == "Ada"
    assert await ada.page.input_value("#channel input") == "kept"


async def test_two_people_share_a_channel(visit: Open) -> None:
    """Each sees who asked what, while it is answered."""
    ada, bob = await visit("shared", "Ada"), await visit("shared", "Bob")
    await ada.ask("something long")
    await bob.sees("word5")
    assert "Ada" in await bob.text()
    await bob.ask("hello from Bob")
    await ada.sees("hello from Bob and that is all.")
    assert "Bob" in await ada.text()
    await bob.idle()
    assert (await ada.text()).count("word149") == (await bob.text()).count("word149") == 1


async def test_what_only_i_see_nobody_else_can_name(visit: Open) -> None:
    """Not under its name, and not under mine."""
    ada, bob = await visit("", "Ada"), await visit("", "Bob")
    for one in (ada, bob):
        await one.page.click("#channel input")
        await one.page.get_by_role("option", name="Only me").click()
        await one.sees("Ask something")
    await ada.ask("a secret")
    await ada.sees("You said a secret and that is all.")
    await bob.ask("mine")
    await bob.sees("You said mine and that is all.")
    assert "a secret" not in await bob.text()
    await bob.tab("Memory")
    await bob.page.locator("#remembered", has_text="mine").wait_for()
    assert "a secret" not in await bob.page.inner_text("#remembered")


async def test_stop_keeps_what_was_said_and_retry_says_it_again(visit: Open) -> None:
    """In the same place."""
    ada = await visit("stopped")
    await ada.ask("something long")
    await ada.sees("word5")
    await ada.page.click("#stop")
    await ada.sees("Stopped.")
    await ada.idle()
    assert "word149" not in await ada.text()
    await ada.page.click("#retry")
    await ada.sees("word149")
    await ada.idle()
    assert "Stopped." not in await ada.text()
    assert await ada.said("user").count() == 1
    # And an answer that came to its end is asked for again, too.
    await ada.page.click("#retry")
    await ada.page.locator("#stop:enabled").wait_for()
    await ada.idle()
    assert (await ada.text()).count("word149") == 1


async def test_a_channel_keeps_its_own_options(visit: Open, tgi: TgiDouble) -> None:
    """For everybody in it, and for nobody elsewhere; "as it was set up" brings the others back."""
    ada, bob = await visit("tuned", "Ada"), await visit("tuned", "Bob")
    page = ada.page
    await page.get_by_role("button", name="Advanced options").click()
    await page.fill("#system textarea", "You are a pirate.")
    await page.press("#system textarea", "Tab")
    await page.fill("#warmth input[type=number]", "0.3")
    await page.press("#warmth input[type=number]", "Tab")
    await page.fill("#most input[type=number]", "33")
    await page.press("#most input[type=number]", "Tab")
    await page.fill("#top-p input[type=number]", "0.5")
    await page.press("#top-p input[type=number]", "Tab")

    async def asked(by: Visit, words: str) -> dict[str, Any]:
        await by.ask(words)
        await by.sees(f"You said {words} and that is all.")
        await by.idle()
        return next(seen.parameters for seen in reversed(tgi.requests) if words in seen.inputs)

    told = await asked(bob, "ahoy")
    assert (told["temperature"], told["top_p"], told["max_new_tokens"]) == (0.3, 0.5, 33)
    assert "You are a pirate." in tgi.requests[-1].inputs
    await page.check("#greedy input")
    await page.locator("#warmth input[type=number]:disabled").wait_for()
    assert not (await asked(bob, "avast")).get("do_sample")
    await ada.go("plain")
    await page.locator("#most input[type=number]").wait_for()
    await wait_until(lambda: _value(ada, "#system textarea", ""), description="the options of the other channel")
    assert (await asked(ada, "hello"))["max_new_tokens"] == 1024
    await ada.go("tuned")
    await wait_until(lambda: _value(ada, "#system textarea", "You are a pirate."), description="the first channel's")
    await page.click("#reset")
    await wait_until(lambda: _value(ada, "#system textarea", ""), description="the defaults")
    assert (await asked(ada, "again"))["max_new_tokens"] == 1024
    await page.get_by_role("button", name="Advanced options").click()


async def test_clear_asks_first_and_then_forgets(visit: Open) -> None:
    """For everybody in the channel, and what is being answered, too."""
    ada, bob = await visit("cleared", "Ada"), await visit("cleared", "Bob")
    await ada.ask("first")
    await bob.sees("You said first and that is all.")
    await ada.page.click("#clear")
    await ada.page.click("#keep")
    assert "first" in await ada.text()
    await bob.ask("something long")
    await ada.sees("word5")
    await ada.page.click("#clear")
    await ada.page.click("#forget")
    await ada.sees("Ask something")
    await bob.sees("Ask something")
    await ada.tab("Memory")
    await ada.page.locator("text=Nothing is remembered of cleared yet.").wait_for()


async def test_everything_can_be_done_with_the_keyboard(visit: Open) -> None:
    """Tab leads to every control, in the order in which they stand."""
    ada = await visit("keyboard")
    keyboard = ada.page.keyboard
    await ada.page.focus("#box textarea")
    await keyboard.type("something long")
    await keyboard.press("Shift+Enter")
    await keyboard.type("and more")
    await keyboard.press("Enter")
    await ada.sees("word3")
    reached = []
    for _ in range(4):
        await keyboard.press("Tab")
        reached.append(await ada.page.evaluate("document.activeElement.id"))
        if reached[-1] == "stop":
            await keyboard.press("Enter")
    assert reached == ["send", "stop", "retry", "clear"]
    await ada.sees("Stopped.")
    await keyboard.press("Enter")
    await ada.page.locator("#forget").wait_for()
    await keyboard.press("Tab")
    assert await ada.page.evaluate("document.activeElement.id") == "forget"
    await keyboard.press("Tab")
    await keyboard.press("Enter")
    await ada.page.locator("#forget").wait_for(state="hidden")
    await ada.page.get_by_role("tab", name="Chat").focus()
    await keyboard.press("Tab")
    await keyboard.press("Enter")
    await ada.page.locator("#prompt textarea").wait_for()


async def test_emoji_cjk_code_and_tags_come_through_whole(visit: Open) -> None:
    """Nothing is obeyed, nothing is fetched, and code is coloured and can be copied."""
    ada = await visit("signs", permissions=["clipboard-read", "clipboard-write"])
    words = "漢字 かな 한글 🧑‍💻 é <script>alert(1)</script> List<String>"
    await ada.ask(words)
    await ada.sees("and that is all.")
    assert words in await ada.said("user").inner_text()
    await ada.ask("code")
    await ada.idle()
    await ada.sees("return a + b")
    assert await ada.page.locator("#chat pre .token.keyword").count() > 0
    assert await ada.page.locator("#chat .message img").count() == 0
    await ada.said("bot").last.locator("button[aria-label*='opy'], button[title*='opy']").first.click()
    copied = await wait_until(lambda: ada.page.evaluate("navigator.clipboard.readText()"), description="a copy")
    assert "return a + b" in copied


async def test_a_megabyte_is_taken_and_does_not_choke_the_page(visit: Open) -> None:
    """The model is shown what fits, and says so."""
    ada = await visit("megabyte")
    await ada.ask("x" * 500_000 + " middle " + "y" * 500_000)
    await ada.sees("(1,000,008 characters in all)", timeout=30)
    await ada.sees("longer than the model can read", timeout=30)
    await ada.idle()
    await ada.ask("z" * 1_100_001)
    await ada.page.locator("text=It is still in the box").first.wait_for()
    assert len(await ada.page.input_value("#box textarea")) == 1_100_001
    await ada.ask("still here")
    await ada.sees("You said still here and that is all.")


async def test_a_phone_shows_everything(visit: Open) -> None:
    """390 pixels wide, nothing to be scrolled sideways."""
    ada = await visit("phone", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    await ada.ask("code")
    await ada.sees("return a + b")
    await ada.idle()
    for tab in ("Complete", "Memory", "Status", "Chat"):
        await ada.tab(tab)
        assert await ada.page.evaluate("document.documentElement.scrollWidth") <= 390, tab
    for name in ("#send", "#stop", "#retry", "#clear", "#channel", "#name"):
        box = await ada.page.locator(name).bounding_box()
        assert box
        assert box["x"] >= 0, name
        assert box["x"] + box["width"] <= 390, name


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_screen_reader_and_weak_eyes_can_use_it(visit: Open, scheme: str) -> None:
    """Axe finds nothing serious on any tab; dark is dark."""
    ada = await visit(f"axe-{scheme}", "Ada", color_scheme=scheme)
    shade = await ada.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
    assert (shade < 64) == (scheme == "dark")
    await ada.page.locator(".examples[role=group]").wait_for()
    assert await ada.findings(AXE_SCRIPT) == []
    await ada.ask("code")
    await ada.sees("return a + b")
    await ada.idle()
    await ada.page.click("#clear")
    assert await ada.findings(AXE_SCRIPT) == []
    for tab, there in (("Complete", "#complete"), ("Memory", "#export"), ("Status", "text=Redis")):
        await ada.tab(tab)
        await ada.page.locator(there).first.wait_for()
        assert await ada.findings(AXE_SCRIPT) == [], tab


async def test_a_prompt_is_completed_as_it_stands(visit: Open, tgi: TgiDouble) -> None:
    """Without a template and without a memory; with its reason and its tokens."""
    ada = await visit()
    await ada.tab("Complete")
    await ada.page.fill("#prompt textarea", "Once upon a long time")
    await ada.page.click("#complete")
    await ada.page.locator("text=cut off at the most new tokens. 20 tokens").wait_for()
    assert (await ada.page.input_value("#completion textarea")).startswith("word0 word1")
    assert tgi.requests[-1].inputs == "Once upon a long time"
    await ada.page.fill("#prompt textarea", "endless and long")
    await ada.page.fill("#tokens input[type=number]", "1024")
    await ada.page.press("#tokens input[type=number]", "Tab")
    await ada.page.click("#complete")
    await ada.page.locator("#completed", has_text="Writing").wait_for()
    await ada.page.click("#stop-completion")
    await ada.page.locator("#completed", has_text="Stopped.").wait_for()
    await wait_until(
        lambda: any(seen.closed_early for seen in tgi.requests if "endless" in seen.inputs),
        description="the model is let go",
    )


async def test_the_memory_shows_what_the_model_will_see(visit: Open) -> None:
    """Who said what, how much room it takes; it can be searched, taken along, and forgotten."""
    ada = await visit("remembered", "Ada")
    await ada.ask("apples")
    await ada.sees("You said apples and that is all.")
    await ada.ask("pears")
    await ada.sees("You said pears and that is all.")
    await ada.idle()
    await ada.tab("Memory")
    await ada.page.locator("#remembered li").nth(3).wait_for()
    assert "Ada" in await ada.page.inner_text("#remembered")
    assert await ada.page.locator("[role=meter]").get_attribute("aria-valuenow") not in ("0", None)
    await ada.page.get_by_role("button", name="What the model will see").click()
    assert "User: " in await ada.page.input_value("#rendered textarea")
    assert "pears" in await ada.page.input_value("#rendered textarea")
    await ada.page.fill("#search input", "PEARS")
    await wait_until(lambda: _count(ada, "#remembered li", 2), description="what was searched for")
    async with ada.page.expect_download() as download:
        await ada.page.click("#export")
    file = await (await download.value).path()
    messages = json.loads(file.read_text())["messages"]
    assert [message["text"] for message in messages if message["role"] == "user"] == ["apples", "pears"]
    await ada.page.click("#forget-memory")
    await ada.page.click("#forget-memory-now")
    await ada.page.locator("text=Nothing is remembered of remembered yet.").wait_for()


async def test_the_status_says_what_is_wrong_and_what_is_not(visit: Open, tgi: TgiDouble) -> None:
    """In words, and again when it has changed."""
    ada = await visit("status")
    await ada.ask("hello")
    await ada.sees("You said hello and that is all.")
    await ada.tab("Status")
    await ada.page.locator("text=All well.").wait_for()
    assert "1 worker" in await ada.page.inner_text("#cards")
    assert "Time to first text" in await ada.page.inner_text("#plots")
    assert await ada.page.locator("#plots svg").count() == 3
    tgi.ready = False
    await ada.page.locator("text=Look at: Model.").wait_for()
    tgi.ready = True
    await ada.page.locator("text=All well.").wait_for()


async def test_the_page_listens_to_itself_alone(url: str) -> None:
    """Not to other sites, not under other names, and it takes no files."""
    async with aiohttp.ClientSession() as session:

        async def status(path: str, **headers: str) -> int:
            async with session.post(url + path, headers=headers, json={"data": []}) as response:
                return response.status

        assert await status("gradio_api/queue/join", Origin="https://evil.example") == 403
        assert await status("gradio_api/queue/join", **{"Sec-Fetch-Site": "cross-site"}) == 403
        assert await status("gradio_api/queue/join", Host="evil.example") == 421
        assert await status("gradio_api/upload") == 404
        async with session.get(url) as response:
            assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
            assert "HttpOnly" in response.headers["Set-Cookie"]


async def test_nothing_calls_the_world(visit: Open, calls: tuple[str, list[str]]) -> None:
    """Neither the browsers, see ``visit``, nor the server in all of the above."""
    await visit()
    assert calls[1] == []


async def _count(visit: Visit, selector: str, number: int) -> bool:
    return await visit.page.locator(selector).count() == number


async def _value(visit: Visit, selector: str, value: str) -> bool:
    return await visit.page.input_value(selector) == value
