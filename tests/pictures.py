"""The pictures of README.md: the page in a real Chromium, with a scripted model. ``make pictures`` takes them."""

from __future__ import annotations

import asyncio
import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.async_api import Browser, ViewportSize

from tests.doubles.tgi import TgiDouble
from tests.journeys.browser import Visit, open_browser, serving_page

DOCS = Path(__file__).parents[1] / "docs"
SIZE: ViewportSize = {"width": 960, "height": 720}
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
    palette = frames[-1].quantize(64)
    small = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    times = [200] * (len(small) - 1) + [4000]
    small[0].save(DOCS / "page.gif", save_all=True, append_images=small[1:], duration=times, loop=0, optimize=True)


async def main() -> None:
    """Take all of them."""
    async with TgiDouble(rate=25) as tgi, open_browser() as browser:
        tgi.answer = lambda inputs: ANSWERS[QUESTIONS[1] in inputs]
        with tempfile.TemporaryDirectory() as tmp:
            async with serving_page(Path(tmp), MODEL_API="tgi", MODEL_URL=tgi.url) as (_, url):
                await film(browser, url)
                await picture(browser, url, "page-dark", color_scheme="dark")
                await picture(browser, url, "page-status", tab="Status")
                await picture(browser, url, "page-phone", viewport={"width": 390, "height": 780}, is_mobile=True)


if __name__ == "__main__":
    asyncio.run(main())
