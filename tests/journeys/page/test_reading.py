"""Reading answers, in a real Chromium: formulas, tables, lists, code and words from right to left, also on a phone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bots.web.board import Boards, Entry, Stage
from bots.web.people import Visitor
from core.store import open_redis
from core.types import Author
from tests.journeys.page.conftest import Open

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


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desk", "phone"])
async def test_an_answer_reads_as_it_was_meant(visit: Open, folder: Path, options: dict[str, object]) -> None:
    """What is wider than its bubble is scrolled; nothing is broken into letters, and nothing moves the page."""
    async with open_redis(None, folder / "data") as redis:
        entry = Entry("web:read", Author("v-1", "Ada"), "Why?", time.time(), stage=Stage.DONE, answer=ANSWER)
        await Boards(redis, retention=3600).show(Visitor("v-1").key("reading"), entry)
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
