"""Complete, Memory and Status, in a real Chromium: each control, and what an operator reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.browser import Visit
from tests.journeys.page.conftest import NOTES, Open
from tests.journeys.process import GENERAL, in_slack, reply
from tests.waiting import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_prompt_is_completed_as_it_stands(visit: Open, tgi: TgiDouble) -> None:
    """Without a template and without a memory; with its reason and its tokens."""
    ada = await visit()
    await ada.tab("Complete")
    await ada.page.fill("#prompt textarea", "")
    await ada.page.click("#complete")
    await ada.page.locator("#completed", has_text="Write a prompt first.").wait_for()
    await ada.page.fill("#prompt textarea", "Once upon a long time")
    await ada.page.click("#complete")
    await ada.page.locator("text=cut off at the maximum of new tokens. 20 tokens").wait_for()
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


async def test_a_completion_has_sliders_and_a_choice_of_models(visit: Open, small: TgiDouble) -> None:
    """They say what the chosen model is asked for."""
    ada = await visit("", "Bob")
    await ada.tab("Complete")
    ends = {"#tokens": ("1", "1024", "20"), "#temperature": ("0", "1", "0.7")}
    for slider, expected in ends.items():
        handle = ada.page.locator(f"{slider} input[type=range]")
        found = [await handle.get_attribute("min"), await handle.get_attribute("max"), await handle.input_value()]
        assert tuple(found) == expected
        await handle.press("ArrowLeft")
    await ada.pick("#completing-model", "small")
    await ada.page.fill("#prompt textarea", "Say it at long last")
    await ada.page.click("#complete")
    await ada.page.locator("text=cut off at the maximum of new tokens. 19 tokens").wait_for()
    asked = small.requests[-1]
    assert (asked.inputs, asked.parameters["max_new_tokens"]) == ("Say it at long last", 19)
    assert asked.parameters["temperature"] == pytest.approx(0.65)
    await ada.page.fill("#temperature input[type=number]", "0")
    await ada.page.press("#temperature input[type=number]", "Tab")
    await ada.page.fill("#prompt textarea", "Say it coldly")
    await ada.page.click("#complete")
    await ada.page.locator("#completed", has_text="the model finished").wait_for()
    assert not small.requests[-1].parameters.get("do_sample")


async def test_the_memory_shows_what_the_model_will_see(visit: Open) -> None:
    """Who said what, how much room it takes, and for how long."""
    ada, bob = await visit("remembered", "Ada"), await visit("remembered", "Bob")
    await ada.tab("Memory")
    await ada.page.locator("text=Nothing is remembered of remembered yet.").wait_for()
    await ada.tab("Chat")
    await _talk(ada, "apples")
    await ada.tab("Memory")
    await _listed(ada, 2)
    await _talk(bob, "pears")
    await ada.page.get_by_role("button", name="Refresh").click()
    await _listed(ada, 4)
    listed = await ada.page.inner_text("#remembered")
    assert [name in listed for name in ("Ada", "Bob", "Parley")] == [True] * 3
    assert "Forgotten in 30 days" in await ada.page.inner_text(".facts >> nth=0")
    assert await ada.page.locator("[role=meter]").get_attribute("aria-valuenow") not in ("0", None)
    await ada.page.get_by_role("button", name="What the model will see").click()
    rendered = await ada.page.input_value("#rendered textarea")
    assert "User: " in rendered
    assert "Bob: pears" in rendered


async def test_what_is_remembered_can_be_searched_taken_along_and_forgotten(visit: Open) -> None:
    """By words and by names; as JSON; after it was asked whether that is meant."""
    ada = await visit("searched", "Ada")
    await _talk(ada, "plums")
    await _talk(ada, "cherries")
    await ada.tab("Memory")
    await _listed(ada, 4)
    for words, found in (("CHERRIES", 2), ("parley", 2), ("ada", 2), ("", 4)):
        await ada.page.fill("#search input", words)
        await _listed(ada, found)
    await ada.page.fill("#search input", "durian")
    await ada.page.locator("text=Nothing found.").wait_for()
    async with ada.page.expect_download() as download:
        await ada.page.click("#export")
    file = await download.value
    assert file.suggested_filename == "parley-searched.json"
    exported = json.loads((await file.path()).read_text())
    assert exported["conversation"] == "web:page:searched"
    said = [(message["role"], message.get("name"), message["text"]) for message in exported["messages"]]
    assert said[0] == ("user", "Ada", "plums")
    assert [text for role, _, text in said if role == "user"] == ["plums", "cherries"]
    await ada.page.fill("#search input", "")
    await ada.page.click("#forget-memory")
    await ada.page.click("#keep-memory")
    await ada.page.locator("#forget-memory-now").wait_for(state="hidden")
    await ada.page.get_by_role("button", name="Refresh").click()
    await _listed(ada, 4)
    await ada.page.click("#forget-memory")
    await ada.page.click("#forget-memory-now")
    await ada.page.locator("text=Nothing is remembered of searched yet.").wait_for()


async def test_what_to_remember_is_added_corrected_and_removed(visit: Open, tgi: TgiDouble) -> None:
    """By anybody in the channel, with the keyboard; the model is told. What was written is never HTML."""
    ada, bob = await visit("told", "Ada"), await visit("told", "Bob")
    await ada.tab("Memory")
    await ada.page.locator("#fact-list", has_text="Nothing yet.").wait_for()
    await ada.page.fill("#fact-text textarea", "<b>standup</b> is at 9:15")
    await ada.page.press("#fact-text textarea", "Enter")
    await _told(ada, "1 Ada", "<b>standup</b> is at 9:15")
    assert await ada.page.input_value("#fact-text textarea") == ""
    await ada.page.fill("#fact-text textarea", "we use Go")
    await ada.page.locator("#fact-text textarea").press("Tab")
    await ada.page.keyboard.press("Enter")  # on Save
    await _told(ada, "2 Ada", "we use Go")

    await bob.tab("Memory")
    await _told(bob, "1 Ada", "<b>standup</b> is at 9:15")
    await bob.pick("#fact-entry", "1: <b>standup</b> is at 9:15")
    await bob.page.wait_for_function("document.querySelector('#fact-text textarea').value.includes('9:15')")
    await bob.page.fill("#fact-text textarea", "standup is at 9:30")
    await bob.page.click("#save-fact")
    await _told(bob, "1 corrected by Bob", "standup is at 9:30")
    await bob.tab("Chat")
    await _talk(bob, "when is standup")
    assert "standup is at 9:30" in tgi.requests[-1].inputs
    assert "we use Go" in tgi.requests[-1].inputs

    await ada.page.get_by_role("button", name="Refresh").click()
    await _told(ada, "1 corrected by Bob", "standup is at 9:30")
    await ada.page.click("#remove-fact")
    await ada.page.locator(".toast-wrap", has_text="Choose the entry to remove first.").wait_for()
    await ada.pick("#fact-entry", "2: we use Go")
    await ada.page.click("#remove-fact")
    await ada.page.locator("#fact-list li").nth(1).wait_for(state="detached")
    async with ada.page.expect_download() as download:
        await ada.page.click("#export")
    [kept] = json.loads((await (await download.value).path()).read_text())["facts"]
    assert (kept["number"], kept["text"], kept["author"]["name"]) == (1, "standup is at 9:30", "Bob")
    await ada.page.fill("#fact-text textarea", "x" * 501)
    await ada.page.click("#save-fact")
    await ada.page.locator(".toast-wrap", has_text="That's 501 characters").wait_for()
    assert await ada.page.input_value("#fact-text textarea") == "x" * 501


async def test_a_summary_of_what_no_longer_fits_can_be_read(visit: Open) -> None:
    """And which messages the model no longer sees."""
    ada = await visit("summed", "Ada")
    await ada.options()
    await ada.pick("#model", "small")
    for number in range(5):
        await _talk(ada, f"round {number}: " + "so many apples " * 30)
    await ada.tab("Memory")

    async def summed() -> bool:
        await ada.page.get_by_role("button", name="Refresh").click()
        return bool(await ada.page.locator(".facts", has_text="Summary of what came before").count())

    await wait_until(summed, description="the summary", pause=0.2)
    facts = "\n".join(await ada.page.locator(".facts").all_inner_texts())
    assert NOTES in facts
    assert "no longer sees the oldest" in facts
    assert await ada.page.locator("#remembered li.unseen").count() > 0


async def test_the_status_says_what_is_wrong_and_what_is_not(visit: Open, tgi: TgiDouble) -> None:
    """In words, and again when it has changed."""
    ada = await visit("status")
    await _talk(ada, "hello")
    await ada.tab("Status")
    await ada.page.locator("text=All well.").wait_for()
    cards = await ada.page.inner_text("#cards")
    assert "1 worker" in cards
    assert "The page: open. Slack and Discord are not set up." in cards
    assert "on this page" in await ada.page.inner_text("#covers")
    assert await ada.page.locator("#plots svg").count() == 4
    tgi.ready = False
    await ada.page.locator("text=Look at: Model.").wait_for()
    tgi.ready = True
    await ada.page.locator("text=All well.").wait_for()


async def test_the_status_covers_what_another_process_does_in_slack(visit: Open, tgi: TgiDouble, folder: Path) -> None:
    """An edit that Slack refuses there is seen on the page, and a connection that is lost."""
    ada = await visit()
    await ada.tab("Status")
    cards, covers = ada.page.locator("#cards"), ada.page.locator("#covers")
    await covers.filter(has_text="0 edits refused.").wait_for()
    async with SlackDouble() as slack:
        async with in_slack(slack, tgi, folder, MODELS_FILE=""):
            await cards.filter(has_text="Slack: connected.").wait_for()
            slack.rate_limit("chat.update")
            await reply(slack, GENERAL, await slack.mention(GENERAL, "something long"))
            await covers.filter(has_text="1 in Slack").wait_for()
            await covers.filter(has_text="1 edit refused.").wait_for()
            assert await ada.page.get_by_label("Refused edits: 1 for the last answer").count() == 1
            slack.fail("apps.connections.open", "fatal_error", times=None)
            await slack.drop_sockets()
            await cards.filter(has_text="Slack: not connected, trying again.").wait_for()
            await ada.page.locator("text=Look at: Platforms.").wait_for()
        await cards.filter(has_text="Slack and Discord are not set up.").wait_for()


async def _talk(who: Visit, words: str) -> None:
    """Ask, and wait for the whole answer."""
    await who.ask(words)
    await who.sees(f"You said {words.strip()} and that is all.")
    await who.idle()


async def _told(who: Visit, *texts: str) -> None:
    """Wait until the list of what to remember has an entry with these texts."""
    entries = who.page.locator("#fact-list li")
    for text in texts:
        entries = entries.filter(has_text=text)
    await entries.wait_for()


async def _listed(who: Visit, number: int) -> None:
    """Wait until so many messages are listed in the memory."""

    async def found() -> bool:
        return await who.page.locator("#remembered li").count() == number

    await wait_until(found, description=f"{number} messages")
