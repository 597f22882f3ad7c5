"""Advanced options of a channel, in a real Chromium: each control, and what the model is asked because of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import pytest

from tests.doubles.tgi import TgiDouble
from tests.journeys.browser import Visit
from tests.journeys.page.conftest import PIRATE, Open
from tests.waiting import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def asked(by: Visit, words: str, model: TgiDouble) -> dict[str, Any]:
    """Ask something; what that model was given for it, nothing if it was not asked."""
    await by.ask(words)
    await by.sees(f"You said {words} and that is all.")
    await by.idle()
    given = [{"inputs": seen.inputs, **seen.parameters} for seen in model.requests if words in seen.inputs]
    return given[-1] if given else {}


async def until(by: Visit, words: str, model: TgiDouble, holds: Callable[[dict[str, Any]], bool]) -> None:
    """Ask until that model was given what it should: a change is kept a moment after it shows."""
    numbers = count(1)

    async def told() -> bool:
        given = await asked(by, f"{words} {next(numbers)}", model)
        return bool(given) and holds(given)

    await wait_until(told, description=f"what is given for {words!r}")


async def follows(by: Visit, words: str, model: TgiDouble, **expected: float) -> None:
    """Ask until that model was given these parameters."""
    given = {name: pytest.approx(value) for name, value in expected.items()}
    await until(by, words, model, lambda told: all(told.get(name) == value for name, value in given.items()))


async def test_a_channel_keeps_its_own_options(visit: Open, tgi: TgiDouble) -> None:
    """For everybody in it, and for nobody elsewhere; "as it was set up" brings the others back."""
    ada, bob = await visit("tuned", "Ada"), await visit("tuned", "Bob")
    page = ada.page
    await ada.options()
    await page.fill("#system textarea", "You are terse.")
    await page.press("#system textarea", "Tab")
    for slider, value in (("#warmth", "0.3"), ("#most", "33"), ("#top-p", "0.5")):
        await page.fill(f"{slider} input[type=number]", value)
        await page.press(f"{slider} input[type=number]", "Tab")
    await until(bob, "hey", tgi, lambda given: "You are terse." in given["inputs"])
    await follows(bob, "ahoy", tgi, temperature=0.3, top_p=0.5, max_new_tokens=33)
    await page.check("#greedy input")
    await page.locator("#warmth input[type=number]:disabled").wait_for()
    assert not (await asked(bob, "avast", tgi)).get("do_sample")
    await ada.go("plain")
    await wait_until(lambda: ada.holds("#system textarea", ""), description="the options of the other channel")
    assert (await asked(ada, "hello", tgi))["max_new_tokens"] == 1024
    await ada.go("tuned")
    await wait_until(lambda: ada.holds("#system textarea", "You are terse."), description="the first channel's")
    await page.click("#reset")
    await wait_until(lambda: ada.holds("#system textarea", ""), description="the defaults")
    assert (await asked(ada, "again", tgi))["max_new_tokens"] == 1024


async def test_each_slider_can_be_moved(visit: Open, tgi: TgiDouble) -> None:
    """With arrows, between its ends; what it says then is what the model is asked for."""
    ada = await visit("sliding")
    await ada.options()
    sliders = {
        "#warmth": ("temperature", "0.1", "1", 0.7, 0.65),
        "#most": ("max_new_tokens", "1", "1024", 1024, 1023),
        "#top-p": ("top_p", "0.05", "1", 1, 0.95),
    }
    shows = "([slider, value]) => document.querySelector(`${slider} input[type=number]`).value == value"
    for slider, (_, least, most, before, after) in sliders.items():
        handle = ada.page.locator(f"{slider} input[type=range]")
        assert (await handle.get_attribute("min"), await handle.get_attribute("max")) == (least, most)
        await ada.page.wait_for_function(shows, arg=[slider, before])
        await handle.press("ArrowLeft")
        await ada.page.wait_for_function(shows, arg=[slider, after])
    await follows(ada, "moved", tgi, **{name: after for name, *_, after in sliders.values()})


async def test_what_lies_beyond_a_slider_is_shown_as_it_is(visit: Open, tgi: TgiDouble) -> None:
    """A command sets what the sliders don't reach."""
    ada = await visit("beyond")
    for setting in ("temperature 1.6", "max 2000", "top_p 0.02"):
        await ada.ask(f"settings {setting}")
        await ada.sees(f"settings {setting}")
        await wait_until(lambda: ada.holds("#box textarea", ""), description="an empty box")
    await follows(ada, "beyond", tgi, temperature=1.6, max_new_tokens=2000, top_p=0.02)
    await ada.go("before")
    await ada.go("beyond")
    await ada.options()
    for slider, value in (("#warmth", "1.6"), ("#most", "2000"), ("#top-p", "0.02")):
        for kind in ("range", "number"):
            shows = partial(ada.holds, f"{slider} input[type={kind}]", value)
            await wait_until(shows, description=f"{value} in {slider}")


async def test_a_persona_can_be_picked_and_laid_down(visit: Open, tgi: TgiDouble) -> None:
    """It speaks for all in the channel."""
    ada, bob = await visit("deck", "Ada"), await visit("deck", "Bob")
    await ada.options()
    await ada.pick("#persona", "pirate")
    await wait_until(lambda: ada.holds("#persona input", "pirate"), description="the persona")
    await until(bob, "who are you", tgi, lambda given: PIRATE in given["inputs"])
    await ada.pick("#persona", "None")
    await until(ada, "and now", tgi, lambda given: PIRATE not in given["inputs"])


async def test_a_model_can_be_picked(visit: Open, tgi: TgiDouble, small: TgiDouble) -> None:
    """That one answers here from then on, and the memory is measured by what it reads; elsewhere the first does."""
    ada = await visit("picking")
    await ada.options()
    assert await ada.holds("#model input", "large")
    await asked(ada, "large it is", tgi)
    await ada.pick("#model", "small")
    await until(ada, "small it is", small, lambda given: True)
    assert await asked(ada, "small it stays", small)
    assert not any("small it stays" in seen.inputs for seen in tgi.requests)
    await ada.tab("Memory")
    meter = ada.page.locator("[role=meter]")
    await meter.wait_for()
    assert 0 < int(await meter.get_attribute("aria-valuemax") or 0) < 1024
    await ada.tab("Chat")
    await ada.go("elsewhere")
    await wait_until(lambda: ada.holds("#model input", "large"), description="the other channel's model")
