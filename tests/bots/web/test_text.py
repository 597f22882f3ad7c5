"""What the chat window makes of text that people and models wrote."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bots.web.board import Entry, Stage, shown
from bots.web.people import PRIVATE, Visitor, channel_name, person_name, visitor_id
from bots.web.text import chat_messages, literal, markdown, progress
from core.types import Author

ADA = Author("v-1", "Ada")
PIECES = (
    *("<b>", "<img src=x>", "</div>", "<!--", "-->", "<?x?>", "<![CDATA[", "<a href='", "<http://a.b>", "<script>"),
    *("`", "``", "```", "```\n", "~~~\n", "\\", "<", ">", "&lt;", "a", " ", "    ", "\n", "\n\n", "\r"),
    *("> ", "- ", "| a |\n|---|\n|", "![x](http://t.example)", "[", "](", ")", '"'),
)


def entry(**more: object) -> Entry:
    """A question of Ada's."""
    return Entry(**{"turn": "web:1", "author": ADA, "question": "Why?", "at": 1.0, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("List<String> a", "List&lt;String> a"),
        ("<b>x</b>", "&lt;b>x&lt;/b>"),
        ("1 < 2", "1 < 2"),
        ("`a<b>` and a<b>", "`a<b>` and a&lt;b>"),
        ("```\na<b>\n```\na<b>", "```\na<b>\n```\na&lt;b>"),
        ("```\na<b>", "```\na<b>"),
        ("![x](http://t.example/x.png)", "[x](http://t.example/x.png)"),
        ("<http://example.org/>", "<http://example.org/>"),
    ],
)
def test_tags_are_shown_and_images_are_links(written: str, seen: str) -> None:
    """Outside of code; nothing that stands there is lost."""
    assert markdown(written) == seen


@given(st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
@example("`\n\n<img src=x>`")
@example("`a` <b>\n\n- `<i>\n\n  <i>`")
def test_a_whole_parser_finds_no_html(text: str) -> None:
    """Whatever stands around it, a reader that obeys HTML has none to obey, and loads no image."""
    parsed = MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown(text))
    tokens = [token for one in parsed for token in (one, *(one.children or []))]
    assert not [token for token in tokens if token.type in ("html_inline", "html_block", "image")]


def test_a_name_is_no_markup() -> None:
    """Whoever is called ``**`` or ``[x](y)`` is shown so."""
    assert literal("*[x](y)*") == r"\*\[x\]\(y\)\*"


def test_each_stage_says_what_it_is() -> None:
    """Waiting, growing, ended with or without text."""
    replies = [
        chat_messages([one])[1]["content"]
        for one in (
            entry(),
            entry(stage=Stage.GROWING, answer="Because"),
            entry(stage=Stage.GROWING, answer="```\na\n```"),
            entry(stage=Stage.DONE, answer="Because.", note="Stopped."),
            entry(stage=Stage.DONE),
        )
    ]
    assert replies == ["*thinking …*", "Because ▍", "```\na\n```", "Because.\n\n*Stopped.*", "*No answer.*"]
    assert progress([entry(), entry(turn="web:2")]) == "Answering Ada …"
    assert progress([entry(stage=Stage.DONE)]) == ""


def test_an_entry_reads_back_as_it_was_stored() -> None:
    """Half a character of a pair included; a newer version's fields are passed over."""
    stored = entry(stage=Stage.GROWING, answer="\ud83d", retry=True).to_json()
    assert Entry.from_json(stored.replace('"v":1', '"v":2,"new":3')).answer == "?"
    assert Entry.from_json(entry(note="x").to_json()) == entry(note="x")


def test_a_very_long_question_shows_its_beginning_and_its_size() -> None:
    """The model gets the whole."""
    assert shown("x" * 20_000) == "x" * 20_000
    assert shown("x" * 30_000).endswith("… (30,000 characters in all)")


@given(st.text(max_size=60))
def test_nobody_can_name_somebody_elses_private_channel(typed: str) -> None:
    """Every name but one's own leads to a shared one."""
    ada, bob = Visitor("v-ada"), Visitor("v-bob")
    assert ada.key(typed) != bob.key(PRIVATE)
    if typed != PRIVATE:
        assert ada.key(typed) == bob.key(typed)
        assert channel_name(channel_name(typed)) == channel_name(typed)


def test_a_page_that_does_not_know_yet_where_one_is_leads_to_where_one_was() -> None:
    """What is sent in its first moments does not go to everybody, and waits in line with the rest."""
    ada = Visitor("v-ada", channel=PRIVATE)
    assert ada.key("") == ada.key(PRIVATE)
    assert ada.lane(ada.key(""), ada.id) == str(ada.key(PRIVATE))
    assert Visitor("v-ada", channel="plans").key("") == ada.key("plans")


def test_an_id_does_not_lead_back_to_the_cookie() -> None:
    """It is stored with every message; the cookie is what lets one in."""
    who = visitor_id({}, {"parley_visitor": "secret"}, "")
    assert who.startswith("v-")
    assert "secret" not in who
    assert visitor_id({}, {}, "") == visitor_id({}, {"parley_visitor": "secret"}, "X-User") == ""
    assert visitor_id({"X-User": "ada"}, {}, "X-User") == "p-ada"


def test_names_are_one_short_line() -> None:
    """Whatever was pasted."""
    assert person_name("  Ada\n Lovelace ") == "Ada Lovelace"
    assert len(person_name("x" * 99)) == len(channel_name("x" * 99)) == 40
    assert channel_name(" #Ops / On Call ") == "ops-on-call"
