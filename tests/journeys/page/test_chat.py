"""Chat, in a real Chromium: what people do there, what they see, and who can use it."""

from __future__ import annotations

import aiohttp
import pytest
from axe_playwright_python.base import AXE_SCRIPT

from tests.journeys.page.conftest import CODE, Open
from tests.waiting import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_an_answer_grows_while_one_watches(visit: Open) -> None:
    """Token by token, to its end."""
    ada = await visit("growing", "Ada")
    await ada.ask("something long")
    lengths: set[int] = set()

    async def grew() -> bool:
        lengths.add(len(await ada.text()))
        return len(lengths) >= 6

    await wait_until(grew, description="six lengths", pause=0.05)
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


async def test_where_nothing_is_to_be_forgotten_nobody_is_asked(visit: Open) -> None:
    """What is there is said instead."""
    ada = await visit("untouched")
    await ada.page.click("#clear")
    await ada.page.locator("text=There's nothing to forget here.").first.wait_for()
    assert not await ada.page.locator("#confirm").is_visible()


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


async def test_the_word_forget_takes_away_what_is_being_answered(visit: Open) -> None:
    """Somebody else's answer as well, once that is confirmed: nothing is shown that the memory does not know."""
    ada, bob = await visit("forgetful", "Ada"), await visit("forgetful", "Bob")
    await ada.ask("first")
    await ada.sees("You said first and that is all.")
    await ada.ask("something endless and long")
    await ada.sees("word5")
    await bob.ask("Forget!")
    await bob.page.locator("#confirm", has_text="Forget this channel for everybody? That's 2 messages").wait_for()
    await bob.page.click("#keep")
    assert "first" in await ada.text()
    await bob.ask("forget now")
    for one in (ada, bob):
        await one.sees("I've forgotten this channel")
        await one.idle()
        assert not {"first", "word5"} & set((await one.text()).split())
    await ada.tab("Memory")
    await ada.page.locator("text=Nothing is remembered of forgetful yet.").wait_for()
    await ada.tab("Chat")
    await ada.ask("and from now on")
    await bob.sees("You said and from now on and that is all.")


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
    ada = await visit("signs")
    words = "漢字 かな 한글 🧑‍💻 é <script>alert(1)</script> List<String>"
    await ada.ask(words)
    await ada.sees("You said 漢字")
    assert words in await ada.said("user").inner_text()
    await ada.ask("code")
    await ada.idle()
    await ada.sees("return a + b")
    assert await ada.page.locator("#chat pre .token.keyword").count() > 0
    assert await ada.page.locator("#chat .message img").count() == 0
    await ada.said("bot").last.locator("button[aria-label*='opy'], button[title*='opy']").first.click()
    copied = await wait_until(lambda: ada.page.evaluate("navigator.clipboard.readText()"), description="a copy")
    assert "return a + b" in copied
    await (
        ada.said("bot")
        .last.locator("xpath=ancestor::*[.//button[@aria-label='Copy message']][1]")
        .last.locator("button[aria-label='Copy message']")
        .last.click()
    )
    await wait_until(
        lambda: ada.page.evaluate("said => navigator.clipboard.readText().then((text) => text == said)", CODE),
        description="a copy of what was written",
    )
    await ada.page.locator("#chat [aria-label$='message']").first.wait_for()


async def test_a_megabyte_is_taken_and_does_not_choke_the_page(visit: Open) -> None:
    """The model is shown what fits, and says so."""
    ada = await visit("megabyte")
    await ada.ask("x" * 500_000 + " middle " + "y" * 500_000)
    await ada.sees("(1,000,008 characters in all)")
    await ada.sees("too long for the model")
    await ada.idle()
    await ada.ask("z" * 1_100_001)
    await ada.page.locator("text=It's still in the box").first.wait_for()
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
    dark = scheme == "dark"
    ada = await visit(f"axe-{scheme}", "Ada", **({"color_scheme": "dark"} if dark else {}))
    rules = ["color-contrast"] if dark else []  # nothing else differs
    shade = await ada.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
    assert (shade < 64) == dark
    await ada.page.locator(".examples[role=group]").wait_for()
    assert await ada.findings(AXE_SCRIPT, rules) == []
    await ada.ask("code")
    await ada.sees("return a + b")
    await ada.idle()
    await ada.page.click("#clear")
    assert await ada.findings(AXE_SCRIPT, rules) == []
    for tab, there in (("Complete", "#complete"), ("Memory", "#export"), ("Status", "text=Redis")):
        await ada.tab(tab)
        await ada.page.locator(there).first.wait_for()
        assert await ada.findings(AXE_SCRIPT, rules) == [], tab
    await ada.tab("Chat")
    await ada.page.click("#forget")
    await ada.page.locator(".toast-header:not([role])").first.wait_for()

    async def well() -> bool:
        return not await ada.findings(AXE_SCRIPT, ["nested-interactive", "color-contrast"])

    await wait_until(well, description="what was told, in full colour")


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
