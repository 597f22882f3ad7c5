"""The pictures of README.md, with a scripted model: the page, a terminal, and Slack's double. ``make pictures``.

All are taken in a real Chromium; the terminal's is a real ``parley chat``, drawn there from what it wrote.
"""

from __future__ import annotations

import asyncio
import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.async_api import Browser, ViewportSize

from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.browser import Visit, open_browser, serving_page
from tests.journeys.process import GENERAL, finished, in_slack, reply
from tests.journeys.test_terminal import window
from tests.screen import Screen

DOCS = Path(__file__).parents[1] / "docs"
SIZE: ViewportSize = {"width": 960, "height": 720}
SLACK_SIZE: ViewportSize = {"width": 760, "height": 400}
TERMINAL = """<!doctype html><meta charset="utf-8">
<style>
  body { margin: 0; }
  main { display: inline-block; padding: 14px 18px; background: #fafaf8; color: #1e1e1e; border: 1px solid #d2d2cb; }
  pre { margin: 0; font: 13px/1.35 Menlo, Consolas, "DejaVu Sans Mono", monospace; }
</style>
<main><pre>SCREEN</pre></main>
"""
FRAMES, PAUSE = 26, 0.16
WIDE = 800
"""Pixels of the moving picture; more makes it heavy."""

QUESTIONS = ("How do I find out which process holds port 8080?", "And what if it is inside a container?")
ANSWERS = (
    "Ask the kernel who listens there:\n\n```sh\nss -ltnp 'sport = :8080'\n```\n\n"
    "The last column names the process. Without root you only see your own; `sudo` shows all of them.",
    "Then the port on the host belongs to the container runtime, not to your program. Look from the inside:\n\n"
    "```sh\ndocker ps --filter publish=8080\ndocker exec app ss -ltnp\n```\n\n"
    "1. The first line names the container.\n2. The second shows what listens **in** it.",
)
IN_SLACK = "Port 8080 is taken on the host: which container has it?"
ENDS = ("shows all of them.", "listens in it.")
"""How they end, where nothing is wrapped and signs of emphasis are gone."""


def answer(inputs: str) -> str:
    """What the scripted model says."""
    return ANSWERS["container" in inputs]


async def picture(browser: Browser, url: str, name: str, *, tab: str = "Chat", **options: object) -> None:
    """One still picture."""
    context = await browser.new_context(**{"viewport": SIZE, "device_scale_factor": 1.5, **options})  # type: ignore[arg-type]
    visit = await Visit(context, await context.new_page(), url).open()
    await visit.sees(ANSWERS[1][-12:].replace("**", ""))
    await visit.tab(tab)
    await asyncio.sleep(1.5)
    await visit.page.screenshot(path=DOCS / f"{name}.png")
    await context.close()


async def film(browser: Browser, url: str) -> None:
    """Two people in one channel, one of them seen from over the shoulder."""
    ada = await Visit(context := await browser.new_context(viewport=SIZE), await context.new_page(), url).open()
    await ada.call_me("Ada")
    frames: list[Image.Image] = []

    async def watch(count: int) -> None:
        for _ in range(count):
            shot = Image.open(io.BytesIO(await ada.page.screenshot())).convert("RGB")
            frames.append(shot.resize((WIDE, WIDE * SIZE["height"] // SIZE["width"]), Image.Resampling.LANCZOS))
            await asyncio.sleep(PAUSE)

    await ada.page.type("#box textarea", QUESTIONS[0], delay=5)
    await watch(2)
    await ada.page.press("#box textarea", "Enter")
    await watch(FRAMES // 2)
    await ada.idle()
    await watch(2)
    bob = await Visit(context := await browser.new_context(viewport=SIZE), await context.new_page(), url).open()
    await bob.call_me("Bob")
    await bob.ask(QUESTIONS[1])
    await watch(FRAMES // 2)
    await ada.idle()
    await watch(1)
    save_film(frames, "page", colours=64, each=200)


def save_film(frames: list[Image.Image], name: str, *, colours: int, each: int) -> None:
    """Frames as a moving picture, whose end stands for a while."""
    palette = frames[-1].quantize(colours)
    small = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    times = [each] * (len(small) - 1) + [4000]
    small[0].save(DOCS / f"{name}.gif", save_all=True, append_images=small[1:], duration=times, loop=0, optimize=True)


async def film_slack(browser: Browser, tgi: TgiDouble, folder: Path) -> None:
    """A mention on the double's own page: its reply grows in a thread."""
    tgi.rate = 9
    async with SlackDouble() as slack, in_slack(slack, tgi, folder):
        context = await browser.new_context(viewport=SLACK_SIZE)
        page = await context.new_page()
        await page.goto(slack.url.removesuffix("/api/"))
        ts = await slack.mention(GENERAL, IN_SLACK)
        frames: list[Image.Image] = []
        posted = await reply(slack, GENERAL, ts, final=False)
        ended = asyncio.ensure_future(finished(slack, posted))
        while True:
            done = ended.done()
            await asyncio.sleep(2 * PAUSE)
            frames.append(Image.open(io.BytesIO(await page.screenshot())).convert("RGB"))
            if done:
                break
        await context.close()
    distinct = [frame for frame, next_ in zip(frames, [*frames[1:], None], strict=True) if frame != next_]
    save_film(distinct, "slack", colours=32, each=700)


async def picture_of_terminal(browser: Browser, tgi: TgiDouble, folder: Path) -> None:
    """``parley chat`` in a terminal of its own, after two questions."""
    tgi.rate = 0
    async with window(folder, MODEL_API="tgi", MODEL_URL=tgi.url) as opened:
        for number, question in enumerate(QUESTIONS, 1):
            await opened.prompts(number)
            opened.type(f"{question}\r")
            await opened.shows(ENDS[number - 1])
        await opened.prompts(len(QUESTIONS) + 1)
        written = opened.raw.decode("utf-8", "replace")
    screen = Screen(rows=60)  # what a person would scroll back to
    screen.feed(written)
    context = await browser.new_context(viewport={"width": 800, "height": 600}, device_scale_factor=1.5)
    page = await context.new_page()
    await page.set_content(TERMINAL.replace("SCREEN", screen.html()))
    shot = Image.open(io.BytesIO(await page.locator("main").screenshot())).convert("RGB")
    shot.quantize(32).save(DOCS / "terminal.png", optimize=True)
    await context.close()


async def main() -> None:
    """Take all of them."""
    async with TgiDouble(rate=25) as tgi, open_browser() as browser:
        tgi.answer = answer
        with tempfile.TemporaryDirectory() as tmp:
            folder = Path(tmp)
            async with serving_page(folder, MODEL_API="tgi", MODEL_URL=tgi.url) as (_, url):
                await film(browser, url)
                await picture(browser, url, "page-dark", color_scheme="dark")
                await picture(browser, url, "page-status", tab="Status")
                await picture(browser, url, "page-phone", viewport={"width": 390, "height": 780}, is_mobile=True)
            await film_slack(browser, tgi, folder)
            await picture_of_terminal(browser, tgi, folder)


if __name__ == "__main__":
    asyncio.run(main())
