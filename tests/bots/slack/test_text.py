"""Slack's markup becomes readable on the way in, and harmless on the way out."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.slack.text import fallback, mentions_others, people, readable, safe_markdown, without_mention
from tests.doubles.slack_records import Version

NAMES = {"U0BOB": "Bob", "U0PARLEY": "parley", "C2": "random", "S2": "support"}
MARKUP = st.sampled_from(
    ["<!channel>", "<!here|here>", "<!everyone>", "<!subteam^S1|@team>", "<@U0BOB>", "<@W1>", "<#C1|general>", "@here",
     "@channel", "<", ">", "!", "@", "`", "```\n", "&lt;", "![x](http://e.example/?a=b)", "<!", "<@", "|",
     " ", "\u200b"]
)  # fmt: skip
BROADCAST = re.compile(r"(?<!\w)@(channel|here|everyone)\b", re.IGNORECASE)
ANYTHING = st.lists(st.one_of(MARKUP, st.text(max_size=20)), max_size=30).map("".join)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("hello <@U0BOB>", "hello @Bob"),
        ("hello <@U0EVE|eve>", "hello @eve"),
        ("hello <@U0EVE>", "hello @U0EVE"),
        ("in <#C1|general> or <#C2>", "in #general or #random"),
        ("in <#C9> or <#C9|>", "in #a channel or #a channel"),
        ("<https://a.example/x>", "https://a.example/x"),
        ("<https://a.example/x|the page>", "the page (https://a.example/x)"),
        ("<http://a.example|a.example>", "http://a.example"),
        ("<mailto:a@b.example|a@b.example>", "a@b.example"),
        ("<!here> and <!subteam^S1|@team>", "@here and @team"),
        ("<!here|here> <!channel|@channel> <!everyone>", "@here @channel @everyone"),
        ("<!subteam^S2> and <!subteam^S9>", "@support and @a user group"),
        ("<!date^1392734382^{date}|yesterday>", "yesterday"),
        ("<!date^1392734382^{date}^https://a.example>", "2014-02-18 14:39 UTC"),
        ("<!date^soon^{date}>", "a date"),
        ("1 &lt; 2 &amp;&amp; 3 &gt; 2", "1 < 2 && 3 > 2"),
        ("&amp;lt; stays &lt;@U0BOB&gt;", "&lt; stays <@U0BOB>"),
        ("a < b", "a < b"),
    ],
)
def test_what_people_write_is_read_as_they_see_it(written: str, read: str) -> None:
    """Names, channels, links and escapes."""
    assert readable(written, NAMES) == read


def test_a_mention_that_only_addresses_is_dropped_and_one_that_speaks_of_us_stays() -> None:
    """At the beginning and at the end, however it is punctuated."""
    assert without_mention("<@U0PARLEY> what is up?", "U0PARLEY") == "what is up?"
    assert without_mention(" <@U0PARLEY|parley>: hi <@U0PARLEY>", "U0PARLEY") == "hi"
    assert without_mention("ask <@U0PARLEY> please", "U0PARLEY") == "ask <@U0PARLEY> please"
    assert people("<@U0BOB> and <@W1|w>, not <#C1>") == {"U0BOB", "W1"}


@given(ANYTHING)
def test_no_text_pings_anybody(text: str) -> None:
    """Whatever a model says; judged by the double, which believes the worst."""
    version = Version(0.0, fallback(text), [{"type": "markdown", "text": safe_markdown(text)}], {})
    assert version.notifies == []
    assert Version(0.0, fallback(text), [], {}).notifies == []
    assert not BROADCAST.search(fallback(text))
    assert not BROADCAST.search(safe_markdown(re.sub(r"[`~]", "", text)))


@given(ANYTHING)
def test_making_text_safe_twice_changes_nothing_more(text: str) -> None:
    """An edit shows what the edit before it showed."""
    assert safe_markdown(safe_markdown(text)) == safe_markdown(text)


@given(st.text(alphabet=st.characters(exclude_characters="<>@![]`~\r"), max_size=300))
def test_ordinary_text_is_posted_as_it_was_generated(text: str) -> None:
    """To the letter."""
    assert safe_markdown(text) == text


def test_code_stays_code() -> None:
    """Comparisons, decorators and doctypes are no mentions."""
    code = "```html\n<!DOCTYPE html>\n<a href='x'> a<b && c>d\n```\n```python\n@cache\ndef f(): ...\n```"
    assert safe_markdown(code) == code


@pytest.mark.parametrize(
    "code",
    [
        "```java\nMap<@NonNull String, Integer> m;\n@Group\nclass A {}\n```",
        "Write `@channel` or `@Here`, and `vector<!x>`.",
        "~~~\n#include <#define>\nList<@U> and <!DOCTYPE html> and @everyone\n~~~",
        "<details>\n\n```py\n@group\n@here.register\n```\n\n</details>",
        "```ts\n@Group\nclass A<@Min",
    ],
)
def test_code_is_copied_as_it_was_written(code: str) -> None:
    """No zero-width space is in it, and nothing in it was a mention."""
    assert safe_markdown(code) == code


def test_a_whole_mention_in_code_is_broken_by_a_space() -> None:
    """Slack may resolve it there as well; a zero-width space would be copied without being seen."""
    written = "```\n<!channel> <@U0BOB> <!subteam^S1|@team> <#C1|general>\n```"
    assert safe_markdown(written) == "```\n< !channel> < @U0BOB> < !subteam^S1|@team> < #C1|general>\n```"


def test_the_fallback_is_short_and_never_empty() -> None:
    """It is what a notification shows."""
    assert len(fallback("word " * 5000)) < 500
    assert fallback("") == "…"
    assert fallback("a < b & c") == "a &lt; b &amp; c"


@pytest.mark.parametrize(
    ("text", "others"),
    [
        ("hello", False),
        ("<@U0BOT> hello", False),
        ("<@U0BOT|parley> and <@U0BOB>", True),
        ("<@W0CLEO|cleo> look", True),
        ("<!here> look", True),
        ("<!channel|@channel> look", True),
        ("<!everyone> look", True),
        ("<!subteam^S1|@team> look", True),
        ("<!date^1392734382^{date}|Feb 18> is when", False),
        ("see <#C1|general> and <https://example.org|@bob>", False),
        ("mail <mailto:bob@example.org>", False),
        ("3 &lt; 4", False),
    ],
)
def test_who_else_is_mentioned(text: str, *, others: bool) -> None:
    """People other than Parley, groups and everybody; not channels, dates and links."""
    assert mentions_others(text, "U0BOT") == others
