"""Writing to the page: keys, edits, drafts, what waits in line, and how much room the conversation has."""

from __future__ import annotations

import pytest

from tests.doubles.tgi import TgiDouble
from tests.journeys.browser import Visit
from tests.journeys.page.conftest import Open
from tests.waiting import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")

BOX = "#box textarea"


async def _holds(who: Visit, text: str) -> None:
    """Wait until the box has this text."""
    await wait_until(lambda: who.holds(BOX, text), description=f"{text!r} in the box")


async def test_stop_ends_what_grows_and_a_waiting_question_can_be_taken_back(visit: Open) -> None:
    """Each by itself: Escape and Stop end the answer that is written, and the question behind it is answered."""
    ada = await visit("in line", "Ada")
    await ada.ask("something endless and long")
    await ada.sees("word3")
    await ada.ask("second")
    await ada.ask("third")
    await ada.sees("Waiting, 1 ahead")
    await ada.sees("Waiting, 2 ahead")
    await ada.tool("Take back", 0)
    await _holds(ada, "second")
    await ada.page.fill(BOX, "")
    await wait_until(lambda: _count(ada, "user", 2), description="two questions")
    await ada.sees("Waiting, 1 ahead")
    await ada.page.press(BOX, "Escape")
    await ada.sees("Stopped.")
    await ada.sees("You said third and that is all.")
    await ada.idle()
    assert "second" not in await ada.text()
    assert (await ada.text()).count("Stopped.") == 1


@pytest.mark.slow
async def test_the_last_question_is_edited_and_asked_again_from_there(visit: Open, tgi: TgiDouble) -> None:
    """With the arrow in the empty box, or under the message; what came after it is gone, for the model as well."""
    ada = await visit("edited", "Ada")
    for words in ("first apples", "second pears"):
        await ada.ask(words)
        await ada.sees(f"You said {words} and that is all.")
        await ada.idle()
    await ada.page.press(BOX, "ArrowUp")
    await _holds(ada, "second pears")
    await ada.page.locator("#editing", has_text="Escape leaves it as it was").wait_for()
    await ada.page.press(BOX, "Escape")
    await _holds(ada, "")
    await ada.page.locator("#editing").wait_for(state="hidden")
    await ada.said("user").first.hover()
    await ada.tool("Edit and ask again from here", 0)
    await _holds(ada, "first apples")
    await ada.ask("first plums")
    await ada.sees("You said first plums and that is all.")
    await ada.idle()
    assert not {"apples", "pears"} & set((await ada.text()).split())
    assert "apples" not in tgi.requests[-1].inputs


@pytest.mark.slow
async def test_what_others_asked_since_stays(visit: Open) -> None:
    """An edited question is asked as a new one then."""
    ada, bob = await visit("edited by two", "Ada"), await visit("edited by two", "Bob")
    await ada.ask("apples")
    await bob.sees("You said apples and that is all.")
    await bob.ask("pears")
    await ada.sees("You said pears and that is all.")
    await ada.idle()
    await ada.page.press(BOX, "ArrowUp")
    await _holds(ada, "apples")
    await ada.ask("plums")
    await ada.page.locator(".toast-body", has_text="Others have asked here since").wait_for()
    await bob.sees("You said plums and that is all.")
    assert {"apples", "pears"} <= set((await bob.text()).split())


@pytest.mark.slow
async def test_what_is_typed_right_after_enter_stays(visit: Open) -> None:
    """The box is emptied at once, and never again by an answer of the server."""
    ada = await visit("quick", "Ada")
    for number in range(3):
        await ada.ask(f"quick {number}")
        assert await ada.page.input_value(BOX) == ""
    await ada.page.type(BOX, "half a th")
    for number in range(3):
        await ada.sees(f"You said quick {number} and that is all.")
    assert await ada.page.input_value(BOX) == "half a th"
    await ada.page.fill(BOX, "")


async def test_a_draft_survives_a_reload_and_the_box_has_the_focus(visit: Open) -> None:
    """Also that of a prompt."""
    ada = await visit("drafts", "Ada")
    await ada.page.fill(BOX, "half a thought")
    await ada.tab("Complete")
    await ada.page.fill("#prompt textarea", "Once upon")
    await ada.page.reload()
    await ada.ready()
    await _holds(ada, "half a thought")
    await ada.page.wait_for_function("document.activeElement.matches('#box textarea')")
    await ada.tab("Complete")
    await wait_until(lambda: ada.holds("#prompt textarea", "Once upon"), description="the prompt")
    await ada.page.fill("#prompt textarea", "")
    await ada.tab("Chat")
    await ada.page.fill(BOX, "")


async def test_a_question_mark_shows_the_keys(visit: Open) -> None:
    """Outside of the box; in it, it is a question mark."""
    ada = await visit("keys", "Ada")
    await ada.page.press(BOX, "?")
    await _holds(ada, "?")
    await ada.page.fill(BOX, "")
    await ada.page.get_by_role("tab", name="Chat").focus()
    await ada.page.keyboard.press("?")
    await ada.page.locator("#keys", has_text="edit your last question").wait_for()
    await ada.page.keyboard.press("Escape")
    await ada.page.locator("#keys").wait_for(state="hidden")


@pytest.mark.slow
async def test_the_conversation_has_the_room(visit: Open) -> None:
    """600 pixels of 800, and 60 % of a phone; Stop stands where Submit stood."""
    ada = await visit("room", "Ada")
    phone = await visit("room", "Bob", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    await ada.page.set_viewport_size({"width": 1280, "height": 800})
    for who, height, least in ((ada, 800, 600), (phone, 844, 507)):
        box = await who.page.locator("#chat").bounding_box()
        assert box
        assert box["height"] >= least
        options = await who.page.locator("#options").bounding_box()
        assert options
        assert options["y"] + options["height"] <= height
    place = await _corner(ada, "#send")
    await ada.ask("something long")
    await ada.page.locator("#stop").wait_for()
    assert await _corner(ada, "#stop") == place
    assert not await ada.page.locator("#send").is_visible()
    await ada.page.type(BOX, "more")
    assert await ada.page.locator("#send").is_visible()
    await ada.page.fill(BOX, "")
    await ada.page.click("#stop")
    await ada.idle()
    await ada.page.set_viewport_size({"width": 1100, "height": 800})


@pytest.mark.slow
async def test_who_is_who(visit: Open) -> None:
    """One's own questions stand on the right, others' on the left, with a coloured initial and a name."""
    ada, bob = await visit("who", "Ada"), await visit("who", "Bob")
    await ada.ask("from Ada")
    await bob.sees("You said from Ada and that is all.")
    initial = bob.page.locator("#chat .initial")
    assert await initial.inner_text() == "A"
    assert await ada.page.locator("#chat .initial").count() == 0
    middle = 550  # of the window's 1100
    mine, theirs = await ada.said("user").bounding_box(), await bob.said("user").bounding_box()
    assert mine
    assert theirs
    assert mine["x"] > middle
    assert theirs["x"] + theirs["width"] < middle


@pytest.mark.slow
async def test_a_link_leads_to_a_channel(visit: Open, url: str) -> None:
    """And an answer can be rated there."""
    ada, bob = await visit("linked", "Ada"), await visit("", "Bob")
    await ada.ask("hello")
    await ada.sees("You said hello and that is all.")
    await bob.page.goto(f"{url}c/linked")
    await bob.ready()
    await bob.sees("You said hello and that is all.")
    assert await bob.page.input_value("#channel input") == "linked"
    await bob.said("bot").hover()
    await bob.tool("Good answer")
    await bob.page.locator(".toast-body", has_text="Thanks, noted.").wait_for()
    assert await bob.page.locator("#chat .tools [aria-pressed=true]").get_attribute("title") == "Good answer"
    await bob.go("left-behind")
    await bob.sees("Ask something")
    await bob.page.reload()
    await bob.ready()
    assert await bob.page.input_value("#channel input") == "left-behind"


async def _count(who: Visit, role: str, number: int) -> bool:
    return await who.said(role).count() == number


async def _corner(who: Visit, selector: str) -> tuple[int, int]:
    """Where something stands."""
    box = await who.page.locator(selector).bounding_box()
    assert box
    return round(box["x"]), round(box["y"])
