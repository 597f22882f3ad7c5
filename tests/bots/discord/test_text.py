"""Discord's markup, both ways."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bots.discord.editor import LIMITS
from bots.discord.text import cut, readable, shown, shown_units, units, without_mention
from core.markdown.fences import fences_balanced
from core.markdown.healing import heal
from core.markdown.splitting import split
from tests.core.markdown.test_links import PIECES, fetches, flat, links
from tests.examples import examples

ADA, PARLEY = "300000000000000001", "900000000000000001"
MARKDOWN = st.lists(
    st.sampled_from(
        ["| a | b |\n", "|---|:-:|\n", "| **1** | `2\\|3` |\n", "|", "```py\n", "```\n", "~~~\n", "- item\n", "\n\n",
         "#### Heading\n", "---\n", "***", "word ", "😀", "日本", "<@300000000000000001>", "@everyone ", "1. ",
         "`code`", "**bold** ", "[a](https://a.example) ", "    ", "x" * 300]
    ),
    max_size=60,
).map("".join)  # fmt: skip


def test_people_channels_emoji_and_times_are_read_in_words() -> None:
    """What the model sees holds no ids."""
    text = f"<@{ADA}> and <@&400000000000000001> in <#200000000000000001> <:party:123456789012345678>"
    text += " <t:0:R> </ask:123456789012345678> <id:customize>"
    names = {ADA: "Ada", "400000000000000001": "Mods", "200000000000000001": "general"}
    assert readable(text, names) == "@Ada and @Mods in #general :party: 1970-01-01 00:00 UTC /ask Channels & Roles"


def test_a_mention_that_only_addresses_is_dropped() -> None:
    """At the beginning and the end; within a sentence it belongs to what is said."""
    assert without_mention(f"<@{PARLEY}>, hello <@!{PARLEY}>", PARLEY) == "hello"
    assert without_mention(f"is <@{PARLEY}> here?", PARLEY) == f"is <@{PARLEY}> here?"


def test_a_table_stands_in_columns() -> None:
    """Discord would show the pipes."""
    table = "Look:\n| Name | Count |\n|---|--:|\n| **apples** | 3 |\n| 日本 | 12 |\n\nDone."
    assert shown(table) == ("Look:\n```\nName    Count\n──────  ─────\napples  3\n日本    12\n```\n\nDone.")


def test_a_table_in_a_block_of_code_stays_as_it_is() -> None:
    """There it is text."""
    text = "```\n| a | b |\n|---|---|\n```\n"
    assert shown(text) == text


def test_headings_and_rules_that_discord_lacks() -> None:
    """Bold, and a line."""
    assert shown("# One\n#### Four ##\n---\nend") == "# One\n**Four**\n———\nend"


def test_images_become_links() -> None:
    """Nothing is fetched because a model wrote it."""
    assert shown("![x](https://a.example/p.png)") == "[x](https://a.example/p.png)"


@examples(200)
@given(st.lists(st.sampled_from((*PIECES, "#### ", "###### ", "**", "]**(", "\n#### [https://good.com")), max_size=20))
@example(["#### [https://good.com]**(https://evil.com)"])
@example(["#### !**[x](https://evil.com)"])
def test_what_discord_lacks_is_rewritten_without_making_a_lie(pieces: list[str]) -> None:
    """A whole parser finds nothing to fetch, and no link that shows another address than its own."""
    parsed = MarkdownIt("commonmark", {"html": True}).parse(shown("".join(pieces)))
    assert not [token for token in flat(parsed) if fetches(token)]
    assert not [label for label, target in links(parsed) if "://" in label and not target.startswith(label)]


@given(st.text(), st.integers(1, 50))
def test_a_text_is_cut_in_discords_units(text: str, most: int) -> None:
    """An emoji counts twice."""
    assert units(cut(text, most)) <= most


@given(MARKDOWN)
def test_no_part_is_too_long_and_nothing_is_lost(text: str) -> None:
    """Parts joined are what was generated; what is shown of each fits, healed or not, with its fences balanced."""
    parts = split(text, LIMITS)
    assert "".join(part.raw for part in parts) == text
    for part in parts:
        assert units(shown(part.text)) <= 2000
    for part in parts[:-1]:
        assert fences_balanced(shown(part.text))
    if parts:
        preview = shown(heal(parts[-1].text))
        assert units(preview) <= 2000
        assert fences_balanced(preview)


@given(MARKDOWN, st.integers(0, 400))
def test_more_text_never_measures_less(text: str, at: int) -> None:
    """On that, a part that was posted stays as it is while the answer grows."""
    assert shown_units(text[:at]) <= shown_units(text)
    assert shown_units(text) >= units(shown(text))
