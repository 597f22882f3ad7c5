"""Reading answers, in a real Chromium: formulas, tables, lists, code and words from right to left, also on a phone."""

from __future__ import annotations

import pytest

from bots.web.board import Stage
from tests.journeys.browser import Visit
from tests.journeys.page.conftest import Open, Show
from tests.waiting import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")

ANSWER = r"""It costs $5 and $10, and \(x_{1,2}\) is

\[
x_{1,2} = \frac{-b \pm \sqrt{b^2-4ac}}{2a}
\]

$$\begin{aligned} first(x) &= x + x + x + x + x + x + x + x \\ second(x)first(x) &= x \end{aligned}$$

- [ ] to be done
- [x] has been done

| A heading with words | Another with words | A third with words | A fourth with words |
|---|---|---|---|
| Analytical engines | Difference engines | Unforgettable notes | 1843 |

سلام

- أول

```python
word = "a line of code that is longer than a phone is wide, and that is not broken into two lines"
```

The end."""
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
LAID_OUT = """() => {
  const said = [...document.querySelectorAll("#chat .message.bot .md")].at(-1);
  const box = (one) => one.getBoundingClientRect();
  const find = (selector) => [...said.querySelectorAll(selector)];
  const words = (one) => { const range = document.createRange(); range.selectNodeContents(one); return box(range); };
  const [left, arabic] = [find("p")[0], find("p").find((one) => one.textContent === "سلام")];
  const equals = find("math mtr").map((row) => words(row.children[1]).left);
  return {
    formulas: find("math").length,
    blocks: find("div.formula math[display=block]").length,
    fraction: find("mfrac").every((one) => box(one.children[0]).bottom <= box(one.children[1]).top + 1),
    aligned: Math.abs(equals[0] - equals[1]) < 2,
    inside: box(said).right <= innerWidth && document.documentElement.scrollWidth <= innerWidth,
    scrolled: find(".table, div.formula, pre").filter((one) => one.scrollWidth > one.clientWidth + 1)
      .map((one) => [one.tagName, one.className, getComputedStyle(one).overflowX]),
    broken: find("th, td").some((one) => words(one).width < 30 && one.textContent.length > 5),
    rightToLeft: box(said).right - words(arabic).right < 40 && words(left).left - box(said).left < 40,
    bullet: find("ul").map((one) => getComputedStyle(one).direction),
    tasks: find(".task").map((one) => one.textContent),
    language: find(".language").map((one) => one.textContent),
  };
}"""


AT = "document.querySelector('#chat [role=log]').scrollTop"
BELOW = "({scrollHeight, scrollTop, clientHeight}) => scrollHeight - scrollTop - clientHeight"


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desk", "phone"])
async def test_an_answer_reads_as_it_was_meant(visit: Open, show: Show, options: dict[str, object]) -> None:
    """What is wider than its bubble is scrolled; nothing is broken into letters, and nothing moves the page."""
    await show("reading", ANSWER)
    ada = await visit("reading", "Ada", **options)
    await ada.sees("The end.")
    found = await ada.page.evaluate(LAID_OUT)
    wide = found.pop("scrolled")
    assert found == {
        "formulas": 3,
        "blocks": 2,
        "fraction": True,
        "aligned": True,
        "inside": True,
        "broken": False,
        "rightToLeft": True,
        "bullet": ["ltr", "rtl"],
        "tasks": ["☐", "☑"],
        "language": ["python"],
    }
    if options:
        assert [how for _, _, how in wide] == ["auto"] * len(wide)
        assert {"table", "PRE"} <= {name if tag == "DIV" else tag for tag, name, _ in wide}
    assert "It costs $5 and $10" in await ada.text()


async def test_the_window_follows_until_somebody_scrolls_up(visit: Open, show: Show) -> None:
    """From then on it stays where it is, whatever is said; the button at its end leads back."""
    ada = await visit("scrolled", "Ada")
    text = "A line.\n\n" * 40
    await show("scrolled", text, stage=Stage.GROWING)
    await ada.sees("A line.")
    await wait_until(lambda: _below(ada, 0), description="the newest words")
    text += "More.\n\n" * 40
    await show("scrolled", text, stage=Stage.GROWING)
    await ada.sees("More.")
    assert await _below(ada, 0)
    box = await ada.page.locator("#chat").bounding_box()
    assert box
    await ada.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    await ada.page.mouse.wheel(0, -300)
    at = await wait_until(lambda: _scrolled(ada), description="a window that was scrolled")
    for word in ("Even", "Most"):
        text += f"{word}.\n\n" * 20
        await show("scrolled", text, stage=Stage.GROWING)
        await ada.sees(f"{word}.")
    assert await ada.page.evaluate(AT) == at
    await ada.page.get_by_role("button", name="Newest").click()
    await wait_until(lambda: _below(ada, 0), description="the newest words again")
    await show("scrolled", text + "Done.")
    await ada.sees("Done.")
    assert await _below(ada, 0)


async def test_what_is_selected_stays_selected(visit: Open, show: Show) -> None:
    """Also in the paragraph that grows, and once the answer is done."""
    ada = await visit("selected", "Ada")
    growing = "First.\n\n- alpha **beta** gamma"
    await show("selected", growing, stage=Stage.GROWING)
    await ada.sees("gamma")
    await ada.page.locator("#chat li strong").dblclick()
    selected = "getSelection().toString().trim()"
    assert await ada.page.evaluate(selected) == "beta"
    for stage in (Stage.GROWING, Stage.GROWING, Stage.DONE):
        growing += " and `delta`"
        await show("selected", growing + f" {len(growing)}", stage=stage)
        await ada.sees(str(len(growing)))
        assert await ada.page.evaluate(selected) == "beta"
    await ada.page.locator("#chat li").click()
    assert await ada.page.evaluate(selected) == ""


async def test_a_screen_reader_hears_an_answer_once(visit: Open, show: Show) -> None:
    """When it is done, and nothing of what another channel says."""
    ada = await visit("heard", "Ada")
    await show("unheard", "elsewhere", stage=Stage.DONE)
    assert await ada.page.locator("#chat [aria-live=off]").count() == 1
    await ada.page.evaluate(
        """() => {
          window.told = [];
          const heard = document.querySelector("#heard[role=status]");
          new MutationObserver(() => window.told.push(heard.textContent)).observe(heard, {childList: true});
        }"""
    )
    for words, stage in (
        ("", Stage.WAITING),
        ("So", Stage.GROWING),
        ("So it", Stage.GROWING),
        ("So it is.", Stage.DONE),
    ):
        await show("heard", words, stage=stage)
        await ada.sees(words or "thinking …")
    await ada.go("unheard")
    await ada.sees("elsewhere")
    assert await ada.page.evaluate("window.told") == ["So it is."]


async def _below(ada: Visit, pixels: int) -> bool:
    """Whether so much of the conversation is below what the window shows, or less."""
    return float(await ada.page.evaluate(f"({BELOW})(document.querySelector('#chat [role=log]'))")) <= pixels + 1


async def _scrolled(ada: Visit) -> float:
    """How far the window is scrolled, once it has come to rest above the end; 0 before."""
    before = await ada.page.evaluate(AT)
    await ada.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    at = float(await ada.page.evaluate(AT))
    return 0 if before != at or await _below(ada, 250) else at
