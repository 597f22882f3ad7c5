"""The beginning of an answer can be shown before the rest of it is there."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from core.markdown.fences import fences_balanced
from core.markdown.healing import MAX_ADDED_CHARACTERS, heal
from tests.examples import examples

PIECES = (
    *("*", "**", "_", "__", "~~", "~", "`", "``", "```", "~~~", "```py\n", "\n```\n"),
    *("[", "]", "](", "(", ")", "![", "http://a.b/c_d", "\\", "> ", "| ", "- ", "* ", "1. ", "# "),
    *("\n", "\n\n", " ", " \n", "word", "é", "漢字", "."),
)
scribbles = st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=60)

MARKS = "*_~`[]()"
words = st.lists(st.sampled_from(("some", "words", "é", "漢字", "the end.", "x,")), min_size=1, max_size=3).map(
    " ".join
)
forms = st.sampled_from(
    (
        *("{0}", "{0}", "**{0}**", "*{0}*", "_{0}_", "__{0}__", "***{0}***", "~~{0}~~", "`{0}`", "``{0} ` {1}``"),
        *("[{0}](https://example.org/a_b)", '![{0}](https://example.org "{1}")', "**[{0}](http://a.b)**"),
        *("**{0} *{1}* {0}**", "*{0} **{1}***", "**`{0}` {1}**", "~~{0} **{1}**~~"),
    )
)
spans = st.builds(lambda form, a, b: form.format(a, b), forms, words, words)
lines = st.lists(spans, min_size=1, max_size=4).map(" ".join)
blocks = st.one_of(
    st.builds("{}\n{}".format, lines, lines),
    st.builds("- {}\n- {}\n  * {}".format, lines, lines, lines),
    st.builds("1. {}\n\n   ```\n   {}\n   ```\n2. {}".format, lines, words, lines),
    st.builds("## {}".format, lines),
    st.builds("```py\n{}\n**{}\n```".format, words, words),
    st.builds("~~~~\n```\n{}\n~~~~".format, words),
    st.builds("| {} | {} |\n|---|---|\n| {} | {} |".format, words, words, lines, lines),
)
documents = st.lists(blocks, min_size=1, max_size=3).map("\n\n".join)


@pytest.mark.parametrize(
    ("beginning", "preview"),
    [
        # Code blocks
        ("Look:\n```py\nprint(1)", "Look:\n```py\nprint(1)\n```"),
        ("Look:\n```py\nprint(1)\n", "Look:\n```py\nprint(1)\n```"),
        ("Look:\n```py\nprint(1)\n``", "Look:\n```py\nprint(1)\n```"),
        ("Look:\n```py", "Look:\n```py\n```"),
        ("~~~~\n```\na", "~~~~\n```\na\n~~~~"),
        ("1. One\n\n   ```\n   a", "1. One\n\n   ```\n   a\n   ```"),
        ("- ```\n  a", "- ```\n  a\n  ```"),
        ("```\n**a", "```\n**a\n```"),
        ("Look:\n``", "Look:\n"),
        # Lists
        ("Look:\n-", "Look:\n"),
        ("* **one\n* ", "* **one**\n"),
        ("* one\n  * **", "* one\n"),
        # Inline code
        ("call `f(x", "call `f(x`"),
        ("call ``f(`x`", "call ``f(`x``"),
        ("call `", "call "),
        ("call `a *b [c", "call `a *b [c`"),
        # Emphasis
        ("some **bold", "some **bold**"),
        ("some **bold*", "some **bold**"),
        ("some **bold ", "some **bold** "),
        ("some *slanted", "some *slanted*"),
        ("some __bold _both", "some __bold _both___"),
        ("some **bold *both*", "some **bold *both***"),
        ("some ***both**", "some ***both***"),
        ("~~gone", "~~gone~~"),
        ("~~gone~", "~~gone~~"),
        ("**bold `code", "**bold `code`**"),
        ("**bold\\", "**bold**"),
        ("some **", "some "),
        ("some **_", "some "),
        ("**粗体", "**粗体**"),
        ("* **bold", "* **bold**"),
        # Links
        ("see [the page](http://exam", "see the page"),
        ('see [the page](http://a.b "ti', "see the page"),
        ("see [the page](", "see the page"),
        ("see [the pa", "see the pa"),
        ("see ![a picture](http://exam", "see a picture"),
        ("see **[the page](http", "see **the page**"),
        ("see [the **page](http", "see the **page**"),
    ],
)
def test_what_is_open_is_closed(beginning: str, preview: str) -> None:
    """And what may yet become anything is not shown."""
    assert heal(beginning) == preview


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Plain words.",
        "2 * 3 is 6, 2*3 is 6 and 2**3 is 8",
        "snake_case and __init__ and a_b_",
        "* one\n* two",
        "a [1] and b[0]",
        "The answer is\n42.",
        "values[0",
        "- [ ] to do\n- [x] done",
        "one **two\n\nanother paragraph",
        "- one **two\n- another item",
        "Above\n\n***",
        "Above\n\n* * *",
        "| a | b |\n|---|",
        "[text](see the note below",
        "C:\\ and \\*this\\*",
        "```\n**a [b `c\n```",
        "https://a.b/_c and https://a.b/c_d_e",
        "a `b` and ``c ` d``\n",
    ],
)
def test_what_is_not_open_is_left_alone(text: str) -> None:
    """Marks have many meanings; most need no partner."""
    assert heal(text) == text


@given(documents)
def test_whole_text_is_left_alone(text: str) -> None:
    """An answer that closes all that it opens is its own preview."""
    assert heal(text) == text


@examples(200)
@given(documents, st.data())
def test_no_beginning_shows_a_stray_mark(text: str, data: st.DataObject) -> None:
    """Wherever an answer is cut off, a reader of Markdown finds a meaning for every mark in its preview."""
    beginning = text[: data.draw(st.integers(0, len(text)))]
    preview = heal(beginning)
    parsed = MarkdownIt("commonmark").enable(["strikethrough", "table"]).parse(preview)
    shown = [part.content for token in parsed for part in token.children or [] if part.type == "text"]
    # A label that has only just been closed may have been meant as it stands, like [1].
    assert beginning.endswith("]") or not [text for text in shown if set(text) & set(MARKS)]


@given(documents, st.data())
def test_a_preview_is_whole(text: str, data: st.DataObject) -> None:
    """It needs no healing itself."""
    preview = heal(text[: data.draw(st.integers(0, len(text)))])
    assert heal(preview) == preview


@examples(200)
@given(scribbles)
def test_no_preview_leaves_a_code_block_open(text: str) -> None:
    """Whatever the model writes."""
    assert fences_balanced(heal(text))


@given(scribbles)
def test_healing_adds_little(text: str) -> None:
    """So little that room for it can be kept free; only marks longer than anybody's need more."""
    longest = max((len(match[0]) for match in re.finditer(r"[ \t]+|`+|~+", text)), default=0)
    assert len(heal(text)) <= len(text) + MAX_ADDED_CHARACTERS + 2 * max(0, longest - 3)


@pytest.mark.parametrize(
    "text",
    [
        "[](" * 4000 + " x y",
        "*a " * 4000,
        "`a` " * 3000,
        " ".join("`" * n for n in range(1, 150)),
        "\n" * 12000,
        "[" * 12000,
        "``` a\n" * 2000,
    ],
    ids=lambda text: text[:4],
)
def test_no_text_takes_long(text: str) -> None:
    """Healing happens at every edit: a text made to be slow costs a fraction of a second, not minutes."""
    begun = time.process_time()  # others may share the core
    heal(text)
    assert time.process_time() - begun < 1
