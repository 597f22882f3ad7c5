"""What the chat window makes of text that people and models wrote."""

from __future__ import annotations

import html
import re
from base64 import b64decode
from html.parser import HTMLParser
from itertools import takewhile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bots.web.board import Entry, Stage, shown
from bots.web.markup import to_html
from bots.web.people import PRIVATE, Visitor, channel_name, person_name, visitor_id
from bots.web.text import chat_messages, progress
from core.types import Author

ADA = Author("v-1", "Ada")
PIECES = (
    *("<b>", "<img src=x>", "</div>", "<!--", "-->", "<?x?>", "<![CDATA[", "<a href='", "<http://a.b>", "<script>"),
    *(
        "`",
        "``",
        "```",
        "```\n",
        "```mermaid\n",
        "~~~\n",
        "```~~~",
        "\\",
        "<",
        ">",
        "&lt;",
        "a",
        " ",
        "    ",
        "\n",
        "\n\n",
    ),
    *("\r", "> ", "- ", "1. ", "| a |\n|---|\n|", "![x](http://t.example)", "[", "](", ")", '"', "$$", "*", "~~", "# "),
    *("[x](javascript:y)", "[x](http://a.example 'y')", "https://a.example/(b)", "[r]: /u\n", "%%%LATEX_BLOCK_0%%%"),
)


def entry(**more: object) -> Entry:
    """A question of Ada's."""
    return Entry(**{"turn": "web:1", "author": ADA, "question": "Why?", "at": 1.0, **more})  # type: ignore[arg-type]


LINK = '<a href="{0}" target="_blank" rel="noopener noreferrer">{1}</a>'


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("List<String> a", "<p>List&lt;String&gt; a</p>"),
        ("`a<b>` *a*\n**b**  \nc", "<p><code>a&lt;b&gt;</code> <em>a</em><br><strong>b</strong><br>c</p>"),
        ("```py\na<b>\n```\na<b>", "```python\na<b>\n```\n\n<p>a&lt;b&gt;</p>"),
        ("```mermaid\na", "```\na\n```"),
        ("```\n```~~~\n<img>\n```", "````\n```~~~\n<img>\n````"),
        ("1. a\n   ```\n   b\n   ```\n   c", "<ol><li><p>a</p>\n\n```\nb\n```\n\n<p>c</p></li></ol>"),
        ("3. a\n\n> b", '<ol start="3"><li><p>a</p></li></ol>\n\n<blockquote><p>b</p></blockquote>'),
        ("![x](http://t.example/x.png)", f"<p>{LINK.format('http://t.example/x.png', 'x')}</p>"),
        ("![x](data:image/png;base64,A)", "<p>![x](data:image/png;base64,A)</p>"),
        ("[*x*](mailto:a@b.example)", f"<p>{LINK.format('mailto:a@b.example', '<em>x</em>')}</p>"),
        ("[a.com](http://b.com)", f"<p>{LINK.format('http://b.com', 'http://b.com')}</p>"),
        ("[\u202emoc](http://b.com)", f"<p>{LINK.format('http://b.com', 'moc')}</p>"),
        ("[](http://b.com)", f"<p>{LINK.format('http://b.com', 'http://b.com')}</p>"),
        ("[x](/logout) [y](#box)", "<p>[x](/logout) [y](#box)</p>"),
        ("(see http://a.b/c_(d)_e).", f"<p>(see {LINK.format('http://a.b/c_(d)_e', 'http://a.b/c_(d)_e')}).</p>"),
        ("[x][1]\n\n[1]: http://b.com", f"<p>{LINK.format('http://b.com', 'x')}</p>"),
        ("a\n\nb\n", "<p>a</p>\n\n<p>b</p>"),
    ],
)
def test_markdown_becomes_lines_of_html_and_fenced_code(written: str, seen: str) -> None:
    """Tags are shown, links lead where they say, and nothing is fetched."""
    assert to_html(written) == seen


TAGS = set("p br h1 h2 h3 ul ol li blockquote hr table thead tbody tr th td strong em s a code".split())  # noqa: SIM905


class Page(HTMLParser):
    """What a browser finds in a line."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.targets += [str(value) for name, value in attrs if name == "href"]

    def handle_comment(self, data: str) -> None:
        self.tags.add("!")


@given(st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
@example("`\n\n<img src=x>`")
@example("```\n```~~~\n<img src=x>\n```")
@example("- ```\n<img src=x>\n  ```")
@example("$$ ` $$ <img src=x> `")
def test_gradio_gets_our_tags_and_code_and_nothing_to_read_by_itself(text: str) -> None:
    """Each block is one line of HTML, which no Markdown parser changes, or a fence that only its own end closes."""
    lines = iter(to_html(text).split("\n"))
    for line in lines:
        if fence := re.match(r"`{3,}", line):
            assert re.fullmatch(r"`{3,}[a-z]*", line)
            assert "mermaid" not in line
            inside = list(takewhile(lambda one, end=fence[0]: one != end, lines))  # type: ignore[misc]
            assert not [one for one in inside if fence[0] in one]
        elif line:
            assert re.match(r"</?(?:p|h[1-6]|[uo]l|li|blockquote|hr|t[rdh]|table|thead|tbody)[ >]", line)
            page = Page()
            page.feed(line)
            assert page.tags <= TAGS
            assert page.attributes <= {"href", "target", "rel", "start"}
            assert all(re.match("https?://|mailto:", target, re.IGNORECASE) for target in page.targets)


@pytest.mark.parametrize("text", ["[" * 20_000, "|" + "a|" * 3_000 + "\n|" + "-|" * 3_000 + "\n|" * 3_000])
def test_what_is_no_text_is_shown_as_it_is(text: str) -> None:
    """A parser would take seconds."""
    assert html.unescape(to_html(text).replace("<br>", "\n")) == f"<p>{text}</p>"


def test_what_is_copied_is_what_was_written() -> None:
    """And neither the HTML that shows it nor the name above it."""
    [question, _] = chat_messages([entry(question="**Ä** <b>")])
    said = re.match(r"<!--said:([\w+/=]*)-->\n\n.*\n\n<!--end-->$", question["content"], re.DOTALL)
    assert said
    assert b64decode(said[1]).decode() == "**Ä** <b>"


def test_a_name_is_no_markup() -> None:
    """Whoever is called ``**`` or ``<b>`` is shown so."""
    [question, _] = chat_messages([entry(author=Author("v-1", "**<b>**"))])
    assert "<p><strong>**&lt;b&gt;**</strong></p>" in question["content"]


def test_each_stage_says_what_it_is() -> None:
    """Waiting, growing, ended with or without text."""
    replies = [
        re.sub(r"<!--.*?-->|\n\n", "", chat_messages([one])[1]["content"])
        for one in (
            entry(),
            entry(stage=Stage.GROWING, answer="Because"),
            entry(stage=Stage.GROWING, answer="```\na\n```"),
            entry(stage=Stage.DONE, answer="Because.", note="Stopped."),
            entry(stage=Stage.DONE),
        )
    ]
    assert replies == [
        "<p><em>thinking …</em></p>",
        "<p>Because ▍</p>",
        "```\na\n```",
        "<p>Because.</p><p><em>Stopped.</em></p>",
        "<p><em>No answer.</em></p>",
    ]
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
