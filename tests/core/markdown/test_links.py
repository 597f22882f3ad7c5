"""Nothing is fetched unasked, and no link lies about where it leads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from core.markdown.healing import heal
from core.markdown.links import safe_links
from tests.examples import examples

# Words without anything that Markdown, HTML or an address is made of.
words = st.text(st.characters(categories=["L", "N", "Zs"], include_characters=".,;?\n"), max_size=60)

PIECES = (
    *("![", "!", "[", "]", "](", "(", ")", "[r]", "]: http://e.x\n", "[r]: http://e.x\n"),
    *("http://e.x/a", "https://good.com", "evil.com", "![a](http://e.x/i)", "[https://good.com](http://e.x)"),
    *("<img src=x>", "<img ", "<a href=x>", "<div>", "<!--", "-->", "<http://a`>", "<", ">"),
    *("`", "``", "```", "```\n", "~~~\n", "\\", "*", '"', "a", " ", "  ", "    ", "\t", "\n", "\n\n", "\r"),
    *("- ", "1. ", "> ", "# ", "| ", "\n| a | b |\n|---|---|\n|"),
)
traps = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("![alt](http://a.b/c.png)", "[alt](http://a.b/c.png)"),
        ('see ![alt](http://a.b/c.png "title") there', 'see [alt](http://a.b/c.png "title") there'),
        ("![alt][ref] and ![ref]", "[alt][ref] and [ref]"),
        ("!![alt](http://a.b)", "[alt](http://a.b)"),
        ('before <img src="http://a.b"> after', 'before \u2039img src="http://a.b"> after'),
        ("<IMG\nSRC=http://a.b>", "\u2039IMG\nSRC=http://a.b>"),
        ('<a href="http://evil.org">http://good.org</a>', '\u2039a href="http://evil.org">http://good.org</a>'),
    ],
)
def test_what_would_be_fetched_is_only_named(text: str, plain: str) -> None:
    """Images become links, and HTML becomes text."""
    assert safe_links(text) == plain


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("[https://good](https://evil)", "https://evil"),
        ("go[https://good](https://evil)now", "go https://evil now"),
        ("[good.com](https://evil.com/login)", "https://evil.com/login"),
        ("[www.good.com](<https://evil.com> 'www.good.com')", "https://evil.com"),
        ("[`https://good.com`](https://evil.com)", "https://evil.com"),
        ("[**https://good.com**](https://evil.com)", "https://evil.com"),
        ("[[https://good.com]](https://evil.com)", "https://evil.com"),
        ("[https&#58;//good.com](https://evil.com)", "https://evil.com"),
        ("[\uff48ttps://good.com](https://evil.com)", "https://evil.com"),
        ("[ht\u200btps://good.com](https://evil.com)", "https://evil.com"),
        ("[https://good.com](https://good.com@evil.com)", "https://good.com@evil.com"),
        ("[https://good.com](https://good.com.evil.com)", "https://good.com.evil.com"),
        ("[log in at https://good.com](https://evil.com)", "https://evil.com"),
        ("[https://evil.com or https://good.com](https://evil.com)", "https://evil.com"),
        ('[https://good.com](https://evil.com "a \\" quote")', "https://evil.com"),
        ("[https://good.com](https://evil.com 'it\\'s')", "https://evil.com"),
        ("[https://good.com](https://evil.com (a \\) there))", "https://evil.com"),
        ("[good.io](https://evil.com)", "https://evil.com"),
        ("[good.co.uk/login](https://evil.com)", "https://evil.com"),
        ("[sign in at bank.example.dev](https://evil.com)", "https://evil.com"),
        ("[good\\.app](https://evil.com)", "https://evil.com"),
        ("[g*oo*d.zip](https://evil.com/good.zip)", "https://evil.com/good.zip"),
        ("[b\u00fccher.\u4e2d\u56fd](https://evil.com)", "https://evil.com"),
        ("[xn--bcher-kva.xn--fiqs8s](https://evil.com)", "https://evil.com"),
        ("[good.com:8443](https://evil.com)", "https://evil.com"),
        ("[127.0.0.1](https://evil.com)", "https://evil.com"),
        ("[localhost:3000](https://evil.com)", "https://evil.com"),
        ("[ops@good.com](mailto:ops@evil.com)", "mailto:ops@evil.com"),
        ("[README.md](https://evil.com/README.md)", "https://evil.com/README.md"),
        ("[https://good.com][1]\n\n[1]: https://evil.com", "https://good.com[1]\n\n[1]: https://evil.com"),
        (
            "[https://good.com]\n\n[https://good.com]: https://evil.com",
            "[https://good.com]\n\nhttps://good.com: https://evil.com",
        ),
    ],
)
def test_a_label_that_lies_gives_way_to_the_target(text: str, plain: str) -> None:
    """However the address in it is written."""
    assert safe_links(text) == plain


@pytest.mark.parametrize(
    "text",
    [
        "[a page](https://a.org/page)",
        "[https://a.org/page](https://a.org/page)",
        "[a.com](https://www.a.com/page?q=1)",
        "[http://a.org](https://a.org/#top)",
        "[https://en.wikipedia.org/wiki/A_(b)](https://en.wikipedia.org/wiki/A_(b))",
        "[`os.path.join`](https://docs.python.org/3/), [Node.js](https://nodejs.org), [config.yaml](https://a.org/c)",
        "[Version 1.2.3 of v2.10](https://a.org), e.g. [i.e. this](https://a.org), [So.This is it](https://a.org)",
        "[ada@a.org](mailto:ada@a.org), [README.md](README.md), [socket.io](https://socket.io/docs)",
        "<https://a.org> and a[0](x), x < a, List<int>, <abbr> and 3! [sic]",
        "- [ ] one\n- [x] two\n",
    ],
)
def test_honest_links_are_left_alone(text: str) -> None:
    """So is everything that only looks a little like one."""
    assert safe_links(text) == text


@pytest.mark.parametrize(
    "code",
    [
        "`![alt](http://a.b)`",
        "as in `` <img src=`x`> `` here",
        "```html\n<img src=x>\n[https://good](https://evil)\n```\n",
        "~~~\n![alt](http://a.b)\n",
        "1. A step:\n\n   ```html\n   <img src=x>\n   ```\n\nAnd `![]` again.",
    ],
)
def test_code_is_left_alone(code: str) -> None:
    """What people want to copy stays as it was written."""
    assert safe_links(code) == code


@pytest.mark.parametrize(
    "text",
    [
        "`\n\n![alt](http://a.b)\n\n`",
        "`a\n`![alt](http://a.b)`",
        "- ```\n![alt](http://a.b)\n  ```",
        "text\n\n        ```\n\n![alt](http://a.b)\n",
        '<b title="`">![alt](http://a.b)`',
        "| a | b |\n|---|---|\n| ` | ![alt](http://a.b) ` |",
    ],
)
def test_what_only_looks_like_code_hides_nothing(text: str) -> None:
    """In doubt it is no code."""
    assert "![" not in safe_links(text)


@given(words)
def test_ordinary_text_is_unchanged(text: str) -> None:
    """There is nothing in it to be plain about."""
    assert safe_links(text) == text


@examples(200)
@given(traps)
def test_a_whole_parser_finds_nothing_to_fetch_and_no_lie(text: str) -> None:
    """Whatever is nested in whatever, even for a reader that passes HTML on."""
    plain = safe_links(text)
    parsed = MarkdownIt("commonmark", {"html": True}).enable("table").parse(plain)
    assert not [token for token in flat(parsed) if fetches(token)]
    assert not [label for label, target in links(parsed) if "://" in label and not target.startswith(label)]


@examples(200)
@given(traps, st.data())
def test_a_preview_is_as_strict_as_the_end(text: str, data: st.DataObject) -> None:
    """Wherever the answer has got to, its healed beginning fetches nothing and holds no lie."""
    beginning = text[: data.draw(st.integers(0, len(text)))]
    parsed = MarkdownIt("commonmark", {"html": True}).enable("table").parse(safe_links(heal(beginning)))
    assert not [token for token in flat(parsed) if fetches(token)]
    assert not [label for label, target in links(parsed) if "://" in label and not target.startswith(label)]


@examples(200)
@given(traps)
def test_plain_text_stays_as_it_is_and_grows_no_longer(text: str) -> None:
    """Once is enough, and a part that fitted into a message still does."""
    plain = safe_links(text)
    assert safe_links(plain) == plain
    assert len(plain) <= len(text)


def flat(tokens: Sequence[Token]) -> Iterator[Token]:
    """All tokens, and those inside them."""
    for token in tokens:
        yield token
        yield from flat(token.children or [])


def fetches(token: Token) -> bool:
    """Whether a reader that passes HTML on would load an image or make a link of it."""
    if token.type.startswith("html_") and not token.content.startswith("<!--"):
        return bool(re.search(r"<(img|a)[\s/>]", token.content, re.IGNORECASE))
    return token.type == "image"


def links(tokens: Sequence[Token]) -> Iterator[tuple[str, str]]:
    """Label and target of each link that is not just an address in angle brackets."""
    label, target = "", None
    for token in flat(tokens):
        if token.type == "link_open":
            label, target = "", None if token.info == "auto" else str(token.attrs["href"])
        elif token.type == "link_close":
            if target is not None:
                yield label.strip(), target
            target = None
        else:
            label += token.content
