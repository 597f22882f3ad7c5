"""Whatever people and models write, the page stays as it was: nothing is obeyed, fetched, or laid over the rest."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bots.web.board import Boards, Entry, Stage
from bots.web.people import People, Visitor, channel_name, person_name
from core.memory import Exchange, Memory
from core.store import open_redis
from core.types import Author, Message, Role
from tests.journeys.page.conftest import Open
from tests.waiting import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")

IMG = "<img src=/evil.png onerror=alert(1)>"
OVER = '<div style="position:fixed;inset:0;z-index:999;background:red" id="box" class="mermaid">over</div>'
END = "The end."
HOSTILE = {
    "tags": f"{IMG} {OVER} <script>alert(1)</script> <style>*{{display:none}}</style> <iframe src=/evil></iframe>",
    "blocks": f"<div>\n\n{IMG}\n\n</div>\n\n<details open ontoggle=alert(1)>\n\n{OVER}\n\n</details>",
    "code spans": f"`` ` `{IMG}` `` ` {OVER} `\n\n`\n\n{IMG}\n\n` \\` {IMG} `",
    "a fence that some parsers end": f"```\n```~~~\n{IMG}{OVER}\n```",
    "a fence that some parsers begin": f"~~~~ `x`\n~~~\n{IMG}\n~~~~\n\n```a`b\n{IMG}\n```",
    "fences in lists": f"- ```\n{IMG}\n  ```\n1. a\n   ```py\n   {IMG}\n- x\n  {OVER}\n   ```\n\n  {IMG}",
    "fences in quotes": f"> ```\n{IMG}\n> ```\n> {OVER}\n\n> ~~~\n> {IMG}",
    "an indented block": f"    {IMG}\n\n\t{OVER}\n\n- a\n\n      {IMG}",
    "a diagram": f'```mermaid\n{IMG}{OVER}\n```\n\n```mermaid\ngraph TD; A["{IMG}"]; click A href "/evil"\n```',
    "a diagram with settings": '```mermaid\n%%{init: {"themeCSS": "*{position:fixed}"}}%%\npie\n"a" : 1\n```',
    "a diagram in a list": f"- ```mermaid\n  graph TD; A[{IMG}]\n  ```\n\n> ```mermaid\n> {OVER}\n> ```",
    "formulas": f"$$ \\rule{{500em}}{{500em}} $$ $$\\href{{/evil}}{{x}}$$ $$\\includegraphics{{/evil.png}}$$ {END}",
    "formulas over HTML": f"$$ ` $$ {IMG} ` $$ {OVER} $$\n\n$$\\htmlStyle{{position:fixed}}{{x}}$$ \\(x\\) \\[y\\]",
    "formulas over text": "$$\\raisebox{20em}{\\colorbox{red}{over}}$$ $$\\htmlId{box}{x}$$ $$\\smash{\\llap{over}}$$",
    "place-holders": f"$$a$$ %%%LATEX_BLOCK_0%%% {IMG}%%%LATEX_BLOCK_1%%%",
    "images": "![x](/evil.png) ![y](data:image/png;base64,AAAA) ![z][r] ![](http://t.example/p)\n\n[r]: /evil.png",
    "links": "[a](javascript:alert(1)) [b](data:text/html,x) [c](JaVaScRiPt&colon;alert(1)) [d](vbscript:x) [e](/evil)",
    "links by reference": "[a] [b][a] <javascript:alert(1)> <data:text/html,x>\n\n[a]: javascript:alert(1) 'x'",
    "links that lie": "[https://bank.example](https://evil.example) [x](//evil.example) [ ](https://evil.example)",
    "links with more": '[x](https://evil.example "\\" onclick=alert(1) x=\\"") https://evil.example/"onclick=alert(1)',
    "links turned round": "\u202e[moc.knab](https://evil.example/\u202e) https://evil.example/\u202emoc.knab",
    "attributes": "# Title {#box .fixed style=position:fixed}\n\n[x](https://a.example){target=_self onclick=alert(1)}",
    "anchors": '<a id="box" name="send" href="#x">a</a>\n\n# box\n\n## send\n\n[x](#box) [^1]\n\n[^1]: a note',
    "tables": f"| {IMG} | `a\\|{IMG}` |\n|:-:|--|\n| {OVER} | <b>x</b> |\n{IMG}|`",
    "task lists": f"- [ ] {IMG}\n- [x] <input autofocus onfocus=alert(1)>",
    "forms": '<form action=/logout><input name=x><button formaction="javascript:alert(1)">go</button></form>',
    "other namespaces": "<svg onload=alert(1)><use href=/evil></svg> <math><mi href=javascript:alert(1)>x</mi></math>",
    "comments": f"<!-- {IMG} --> <!--end--> <?php {IMG} ?> <![CDATA[ {IMG} ]]> <!DOCTYPE x> --> {OVER}",
    "half tags": f"<img src=/evil.png\n\nonerror=alert(1)> <a href='\n\n{IMG}' <b <i <{IMG}",
    "entities": "&lt;img src=/evil.png&gt; &#60;img src=/evil.png&#62; &amp;lt;b&amp;gt; <b&gt;",
    "languages that are functions": "".join(
        f"```{name}\n{IMG}\n```\n\n"
        for name in ("constructor", "__proto__", "extend", "DFS", "insertBefore", "toString")
    ),
    "languages with more": f'```py" onclick=alert(1) class=fixed\n{IMG}\n```\n\n```{IMG}\n{IMG}\n```',
    "nesting": "> " * 60 + IMG + "\n\n" + "- " * 60 + IMG + "\n\n" + "*" * 200 + IMG + "[" * 400 + IMG,
    "tall letters": "Z" + "\u0301\u0316" * 300 + " " + "W" * 3000,
    "line ends": f"a\r{IMG}\r\n\r\n\u2028{IMG}\u0085{OVER}\x0b{IMG}\x00{IMG}",
}

LOOK = """(allowed) => {
  const outside = (part, whole) => part.width > 1 && part.height > 1 && (part.left < whole.left - 1 ||
    part.right > whole.right + 1 || part.top < whole.top - 1 || part.bottom > whole.bottom + 1);
  const found = [];
  for (const said of document.querySelectorAll("#chat .message .md")) {
    if (getComputedStyle(said).contain !== "paint") found.push("a bubble that does not clip");
    for (const one of said.querySelectorAll("*")) {
      if (one.closest(".copy_code_button")) continue;
      const place = getComputedStyle(one).position, tag = one.tagName.toLowerCase();
      if (!allowed.tags.includes(tag)) found.push(`<${tag}>`);
      for (const name of one.getAttributeNames())
        if (!allowed.attributes.includes(name)) found.push(`<${tag} ${name}>`);
      if (["fixed", "absolute", "sticky"].includes(place)) found.push(`${tag} is ${place}`);
      if (tag === "a" && !/^(https?|mailto):/.test(one.protocol)) found.push(`a link to ${one.href}`);
      if (tag === "a" && one.hostname === location.hostname) found.push(`a link to ourselves: ${one.href}`);
      if (tag === "a" && !one.rel.includes("noopener")) found.push(`a link without rel: ${one.href}`);
      if (/[\\u202a-\\u202e]/.test(tag === "a" ? one.textContent : "")) found.push("a link turned round");
    }
    for (const copy of said.querySelectorAll(".copy_code_button"))
      if (outside(copy.getBoundingClientRect(), said.getBoundingClientRect())) found.push("a button outside");
  }
  return found;
}"""
AROUND = """() => {
  const bare = [...document.querySelectorAll("body *")].filter((one) => !one.closest("#chat .message .md"));
  const tags = "img,iframe,style,script,form,object,embed,base,link,meta,input,textarea,select,svg,math,details";
  const counts = Object.fromEntries(tags.split(",").map((tag) => [tag, 0]));
  for (const one of bare) if (one.tagName.toLowerCase() in counts) counts[one.tagName.toLowerCase()] += 1;
  counts.fixed = bare.filter((one) => getComputedStyle(one).position === "fixed" && one.offsetWidth).length;
  for (const id of ["box", "send", "chat", "channel", "name"])
    counts[id] = document.querySelectorAll(`[id="${id}"], [name="${id}"]`).length;
  return counts;
}"""
TAGS = "p br h1 h2 h3 h4 h5 h6 ul ol li blockquote hr table thead tbody tr th td strong em s a code"
ALLOWED = {
    "tags": [*TAGS.split(), "pre", "span", "div", "button"],
    "attributes": ["class", "href", "target", "rel", "start", "title"],
}


async def test_nothing_that_is_written_changes_the_page(visit: Open, folder: Path) -> None:
    """As a question, an answer, a note, a name, a channel, a system message, and in the memory."""
    ada = await visit("harmless", "Mallory")
    asked: list[str] = []
    ada.page.on("request", lambda request: asked.append(request.url))
    ada.page.on("dialog", lambda dialog: ada.complaints.append(f"dialog: {dialog.message}"))
    key, place = Visitor("v-1").key(channel_name(IMG)), channel_name(IMG)
    async with open_redis(None, folder / "data") as redis:
        boards, memory = Boards(redis, retention=3600), Memory(redis, retention=3600)
        for number, text in enumerate(HOSTILE.values()):
            author, at = Author(f"v-{number}", person_name(text)), time.time() + number
            entry = Entry(f"web:{number}", author, text, at, stage=Stage.DONE, answer=f"{text}\n\n{END}", note=text)
            said = Message(Role.USER, text, id=entry.turn, at=at, author=author)
            both = (said, Message(Role.ASSISTANT, text, id=f"{number}/a", at=at))
            await memory.append(Exchange(key, 0, entry.turn, "", both))
            for channel, one in (("harmless", replace_words(entry)), (place, entry)):
                await boards.show(Visitor("v-1").key(channel), one)
            for length in range(1, 8):
                growing = text[: len(text) * length // 8]
                entry = Entry(f"web:growing-{number}", author, text, at, stage=Stage.GROWING, answer=growing)
                await boards.show(Visitor("v-1").key("half-said"), entry)
        await memory.choose(key, "system", IMG + OVER)
        await People(redis, retention=3600).set_channel("v-1", place)
    count = len(HOSTILE)

    async def shown() -> bool:
        ends = await ada.page.locator("#chat .message.bot", has_text=END).count()
        return ends == count

    await wait_until(shown, description="all that is harmless")
    around = await ada.page.evaluate(AROUND)
    await ada.go(place)
    await ada.page.locator("#chat", has_text="over").wait_for()
    await wait_until(shown, description="all that is hostile")
    assert sorted(set(await ada.page.evaluate(LOOK, ALLOWED))) == []
    assert await ada.page.evaluate(AROUND) == around
    written = await ada.text()
    for piece in (IMG, OVER, "<script>alert(1)</script>", "graph TD", "\\rule{500em}{500em}"):
        assert piece in written
    await ada.options()
    assert await ada.page.input_value("#system textarea") == IMG + OVER
    await ada.go("half-said")
    await ada.page.locator("#chat", has_text="▍").first.wait_for()
    assert sorted(set(await ada.page.evaluate(LOOK, ALLOWED))) == []
    await ada.go(place)
    await ada.tab("Memory")
    await ada.page.locator("#remembered", has_text="tall").or_(ada.page.locator("#remembered li").last).wait_for()
    inside = "[...new Set([...document.querySelectorAll('#remembered *')].map((one) => one.tagName))].sort()"
    tags = await ada.page.evaluate(inside)
    assert set(tags) <= {"DIV", "OL", "LI", "B", "BDI", "SPAN", "STYLE"}, tags
    await ada.tab("Chat")
    assert [url for url in asked if "evil" in url or "logout" in url] == []


def replace_words(entry: Entry) -> Entry:
    """The same number of messages, of words."""
    return Entry(entry.turn, Author(entry.author.id, "Ada"), "Why?", entry.at, stage=Stage.DONE, answer=END)
