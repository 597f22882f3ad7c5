"""What comes with a message in Slack is read: forwards, tables, alerts of apps, and words in blocks alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.slack.blocks import WORDS_OF_BLOCKS, read_blocks, read_table
from bots.slack.events import read_change, read_question, read_talk
from bots.slack.quotes import ALL_QUOTES_SIZE, MAX_QUOTES, in_words, read_message
from bots.slack.text import readable
from core.quotes import Quote, QuoteKind
from tests.bots.slack.test_events import JSON
from tests.examples import examples

BOT = "U0PARLEY"
NAMES = {"U0BOB": "Bob", "C0RANDOM": "random", "S0SUPPORT": "support", BOT: "Parley"}
TABLE = {
    "type": "table",
    "rows": [
        [{"type": "raw_text", "text": "Oslo"}, {"type": "raw_text", "text": "412"}],
        [{"type": "raw_text", "text": "Bern"}, {"type": "raw_number", "value": 388}],
    ],
}
OSLO = "|  |  |\n| --- | --- |\n| Oslo | 412 |\n| Bern | 388 |"


def text(words: str, **style: bool) -> dict[str, Any]:
    """Words in a rich text."""
    return {"type": "text", "text": words, **({"style": style} if style else {})}


def rich(*elements: dict[str, Any], kind: str = "rich_text_section") -> dict[str, Any]:
    """A block of rich text with one paragraph, list or the like."""
    return {"type": "rich_text", "elements": [{"type": kind, "elements": list(elements)}]}


def section(words: str) -> dict[str, Any]:
    """A paragraph of an app."""
    return {"type": "section", "text": {"type": "mrkdwn", "text": words}}


def told(message: dict[str, Any]) -> tuple[str, list[tuple[str, ...]]]:
    """What is read of a message, in words: its text, and each quote's kind, text, author and origin."""
    reading = read_message(message, BOT)
    quotes = in_words(reading.quotes, NAMES)
    return readable(reading.text, NAMES), [(q.kind, q.text, *filter(None, (q.by, q.origin))) for q in quotes]


MOVE = "The move of the office is on the ninth."
FORWARD = {"is_share": True, "is_msg_unfurl": True, "author_name": "Bob", "text": MOVE, "fallback": "[x] The move"}


@pytest.mark.parametrize(
    ("message", "said", "quotes"),
    [
        ({"user": "U1", "text": "hi"}, "hi", []),
        # Forwards: of a person, from a channel by name or by id, from nowhere, of an app, with files, of a forward.
        ({"text": "short?", "attachments": [FORWARD]}, "short?", [("forward", MOVE, "Bob")]),
        ({"text": "", "attachments": [{**FORWARD, "channel_name": "general"}]}, "",
         [("forward", MOVE, "Bob", "#general")]),
        ({"attachments": [{**FORWARD, "from_url": "https://x.slack.com/archives/C0RANDOM/p1"}]}, "",
         [("forward", MOVE, "Bob", "#random")]),
        ({"attachments": [{**FORWARD, "channel_id": "C9", "author_name": "", "author_id": "U0BOB"}]}, "",
         [("forward", MOVE, "Bob")]),
        ({"attachments": [{**FORWARD, "channel_id": "D1"}]}, "", [("forward", MOVE, "Bob", "a direct message")]),
        ({"attachments": [{"channel_id": "C1", "ts": "1.2", "text": MOVE}]}, "", [("forward", MOVE)]),
        ({"attachments": [{"is_share": True, "message_blocks": [{"team": "T1", "message": {"blocks": [
            rich(text("a < b & "), {"type": "user", "user_id": "U0BOB"}), TABLE]}}]}]}, "",
         [("forward", f"a < b & @Bob\n{OSLO}")]),
        ({"attachments": [{"is_share": True, "message_blocks": [section("*late* by &lt;5")]}]}, "",
         [("forward", "*late* by <5")]),
        ({"attachments": [{"is_share": True, "message_blocks": [{"message": {"text": "as it was", "attachments": [
            {"title": "Nested", "fields": [{"title": "Env", "value": "prod"}]}]}}]}]}, "",
         [("forward", "as it was\nNested\nEnv: prod")]),
        ({"attachments": [{**FORWARD, "channel_name": "Direct Message"}]}, "",
         [("forward", MOVE, "Bob", "a direct message")]),
        ({"attachments": [{**FORWARD, "text": "see", "attachments": [{"title": "Disk full", "text": "db-7"}]}]}, "",
         [("forward", "see\nDisk full\ndb-7", "Bob")]),
        ({"attachments": [{**FORWARD, "text": "see", "attachments": [{**FORWARD, "author_name": "Cleo"}]}]}, "",
         [("forward", f"see\nCleo: {MOVE}", "Bob")]),
        ({"attachments": [{**FORWARD, "files": [{"name": "plan.pdf"}]}]}, "",
         [("forward", MOVE, "Bob"), ("unreadable", "plan.pdf")]),
        ({"attachments": [{"is_share": True, "fallback": "[1 May] Bob: a"}]}, "", [("forward", "[1 May] Bob: a")]),
        ({"attachments": [{"is_share": True}]}, "", [("unreadable", "a forwarded message")]),
        # Tables.
        ({"text": "largest?", "blocks": [rich(text("largest?")), TABLE]}, "largest?", [("table", OSLO)]),
        ({"text": "largest?", "attachments": [{"id": 1, "fallback": "[no preview available]", "blocks": [TABLE]}]},
         "largest?", [("table", OSLO)]),
        # Words of a person that stand in blocks alone, and ones that stand in both places.
        ({"text": "", "blocks": [rich(text("hello "), {"type": "emoji", "name": "wave"})]}, "hello :wave:", []),
        ({"text": "1 &lt; 2 and <https://a.example|there>", "blocks": [
            rich(text("1 < 2 and "), {"type": "link", "url": "https://a.example", "text": "there"})]},
         "1 < 2 and there (https://a.example)", []),
        ({"text": "thoughts?", "blocks": [rich(text("the quoted words"), kind="rich_text_quote")]},
         "thoughts?\n> the quoted words", []),
        ({"text": "which?", "blocks": [rich({"type": "user", "user_id": BOT}, text(" which?"))]}, "@Parley which?", []),
        # Alerts of apps: in attachments, blocks, both, and in text as well.
        ({"bot_id": "B1", "text": "", "attachments": [{"pretext": "Alarm", "title": "Disk", "title_link": "https://a.b",
            "text": "db-7", "fields": [{"title": "used", "value": "97%"}, 3], "footer": "ops", "fallback": "no"}]}, "",
         [("card", "Alarm\nDisk (https://a.b)\ndb-7\nused: 97%\nops")]),
        ({"bot_id": "B1", "text": "Disk almost full", "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": "Disk almost full & slow"}},
            {"type": "section", "fields": [{"type": "mrkdwn", "text": "*host*\ndb-7"}]}]},
         "Disk almost full & slow\n*host*\ndb-7", []),
        ({"bot_id": "B1", "text": "", "attachments": [{"fallback": "[no preview available]",
            "blocks": [section("db-7: 97%")]}]}, "", [("card", "db-7: 97%")]),
        ({"bot_id": "B1", "text": "Alert", "attachments": [{"text": "db-7: 97%", "fallback": "x"}]}, "Alert",
         [("card", "db-7: 97%")]),
        ({"bot_id": "B1", "attachments": [{"title": "Disk", "fields": [{"title": "used", "value": 97},
            {"title": "free", "value": 0}, {"title": "?", "value": True}]}]}, "",
         [("card", "Disk\nused: 97\nfree: 0\n?")]),
        ({"bot_id": "B1", "text": "db-7 is full", "attachments": [{"fallback": "db-7 is full"}]}, "",
         [("card", "db-7 is full")]),
        ({"subtype": "bot_message", "attachments": [{"author_name": "Ada &amp; Co", "text": "pushed"}]}, "",
         [("card", "pushed", "Ada & Co")]),
        ({"bot_id": "B1", "text": "This content can't be displayed.", "blocks": [section("2 of 3 passed")]},
         "2 of 3 passed", []),
        ({"bot_id": "B1", "text": "", "attachments": [{"title": "Lunch?", "fields": [{"title": "", "value": "1: yes"}]},
            {"fallback": "Open Slack to vote", "actions": [{"type": "button", "text": "1"}]}]}, "",
         [("card", "Lunch?\n1: yes")]),
        ({"text": "l_*e*_ bol 🤣", "blocks": [rich(text("l"), text("e", bold=True), text(" bol "),
            {"type": "emoji", "name": "rofl"})]}, "l_*e*_ bol 🤣", []),
        ({"text": "_maybe_", "blocks": [rich(text("maybe", italic=True))]}, "_maybe_", []),
        # Previews of links.
        ({"text": "<https://a.b/c.gif>", "attachments": [{"from_url": "https://a.b/c.gif", "image_url": "https://a.b/c.gif",
            "fallback": "640x356px image"}]}, "https://a.b/c.gif", []),
        ({"text": "<https://a.b>", "attachments": [{"from_url": "https://a.b", "service_name": "A", "title": "Page",
            "text": "word " * 300}]}, "https://a.b", [("card", f"Page\n{'word ' * 98}wor …", "A")]),
        # What can't be read, in one line.
        ({"text": "see", "blocks": [{"type": "call", "call_id": "R1"}, {"type": "from_the_future"}], "files": [
            {"name": "a.pdf"}, {"mode": "quip", "title": "Plan"}, {"mode": "list", "filetype": "list"}],
          "attachments": [{"image_url": "https://a.b/c.png"}, {"color": "red"}, {"id": 3}]}, "see",
         [("unreadable", "a call, a from the future, an image, an attachment")]),
        ({"text": "see", "attachments": [{**FORWARD, "files": [{"name": "a.pdf"}, {"mode": "quip", "title": "Plan"},
            {"mode": "list", "filetype": "list"}]}]}, "see",
         [("forward", MOVE, "Bob"), ("unreadable", "a.pdf, the canvas “Plan”, a list")]),
        ({"subtype": "huddle_thread", "text": "A huddle started", "room": {"id": "R1"}}, "A huddle started",
         [("unreadable", "a huddle")]),
        # An edit is what ``text`` says now.
        ({"text": "now", "edited": {"ts": "1.2"}, "blocks": [rich(text("before it was edited"))]}, "now", []),
    ],
)  # fmt: skip
def test_what_comes_with_a_message_is_read(message: dict[str, Any], said: str, quotes: list[Any]) -> None:
    """Each word once, with its author and origin; what Slack escapes is unescaped once."""
    assert told(message) == (said, quotes)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (rich(text("gone", strike=True), text(" x<y ", code=True), text("bold", bold=True)), "~gone~` x<y `bold"),
        (rich({"type": "channel", "channel_id": "C0RANDOM"}, {"type": "usergroup", "usergroup_id": "S0SUPPORT"}),
         "#random@support"),
        (rich({"type": "broadcast", "range": "here"}, {"type": "color", "value": "#ff0000"}), "@here#ff0000"),
        (rich({"type": "date", "timestamp": 1392734382, "format": "{date}", "fallback": "in spring"}), "in spring"),
        (rich({"type": "date", "timestamp": 1392734382, "format": "{date}"}), "2014-02-18 14:39 UTC"),
        (rich(text("a"), text(" <b>"), kind="rich_text_preformatted"), "```\na <b>\n```"),
        ({"type": "rich_text", "elements": [
            {"type": "rich_text_list", "style": "ordered", "offset": 1, "elements": [{"elements": [text("two")]}]},
            {"type": "rich_text_list", "style": "bullet", "indent": 1, "elements": [{"elements": [text("deep")]}]}]},
         "2. two\n  - deep"),
        (rich({"type": "link", "url": "https://a.b"}, {"type": "mystery", "text": "new"}), "https://a.bnew"),
        (rich({"type": "link", "url": "https://a.b/?x=1&lt=2", "text": "a&b"}), "a&b (https://a.b/?x=1&lt=2)"),
        ({"type": "context", "elements": [{"type": "image", "alt_text": "a cat", "image_url": "u"},
            {"type": "plain_text", "text": "1 &lt; 2"}]}, "(image: a cat)\n1 < 2"),
        ({"type": "image", "image_url": "u", "alt_text": "chart", "title": {"type": "plain_text", "text": "Sales"}},
         "(image: Sales, chart)"),
        ({"type": "video", "title": {"type": "plain_text", "text": "Demo"}, "title_url": "https://v", "alt_text":
            "how"}, "Demo\nhow\nhttps://v"),
        ({"type": "markdown", "text": "# Plan\n- `a<b>`"}, "# Plan\n- `a<b>`"),
        ({"type": "section", "text": {"type": "mrkdwn", "text": "pick"}, "accessory": {"type": "button", "text": {
            "type": "plain_text", "text": "Press"}}}, "pick"),
        ({"type": "actions", "elements": [{"type": "button", "text": {"type": "plain_text", "text": "Press"}}]}, ""),
        ({"type": "card", "title": {"type": "mrkdwn", "text": "T"}, "body": {"type": "mrkdwn", "text": "B"}}, "T\nB"),
        ({"type": "container", "blocks": [section("inside"), {"type": "divider"}]}, "inside"),
        ({"type": "carousel", "elements": [{"type": "card", "title": {"type": "plain_text", "text": "One"}}]}, "One"),
        ({"type": "task_card", "title": "Dig", "status": "complete", "details": rich(text("deep"))},
         "Dig\ndeep\ncomplete"),
        ({"type": "made_up", "summary": {"type": "plain_text", "text": "still read"}}, "still read"),
        ({"type": "data_table", "caption": "Cities", "rows": TABLE["rows"]}, f"Cities\n{OSLO}"),
    ],
)  # fmt: skip
def test_all_blocks_are_read(block: dict[str, Any], words: str) -> None:
    """As people see them; what they can press says nothing."""
    assert readable("\n".join(piece.text for piece in read_blocks([block])), NAMES) == words


def test_the_first_row_of_a_table_is_its_head_unless_it_holds_a_number() -> None:
    """So a model takes no row for a heading; bars and line breaks in a cell break no row."""
    head = [["City", "People"], ["Os|lo", "4\n12"]]
    assert read_table(head) == "| City | People |\n| --- | --- |\n| Os\\|lo | 4 12 |"
    assert read_table([["Oslo"], ["Bern", "-3.5 %"]]).splitlines()[-1] == "| Bern | -3.5 % |"
    assert read_table([["$1,200"], ["x"]]).startswith("|  |\n| --- |\n| $1,200 |")
    assert read_table([]) == read_table([[], ["", None]]) == read_table("no rows") == ""


def test_a_long_table_says_how_many_rows_are_left_out() -> None:
    """And is cut between rows."""
    table = read_table([["n", "square"], *([str(n), str(n * n)] for n in range(100))], 400)
    lines = table.splitlines()
    assert len(table) < 450
    assert lines[-1] == f"({100 - (len(lines) - 3)} more rows left out)"


KINDS = ["rich_text", "section", "table", "data_table", "image", "context", "call", "made_up", "rich_text_list", "text"]
KINDS += ["rich_text_section", "rich_text_quote", "link", "date", "user", "mrkdwn", "plain_text", "raw_text", "card"]
FIELDS = [
    *WORDS_OF_BLOCKS.split(),
    "type",
    "rows",
    "message",
    "message_blocks",
    "attachments",
    "files",
    "style",
    "url",
    "offset",
]
FIELDS += ["timestamp", "user_id", "is_share", "pretext", "title_link", "from_url", "channel_id", "ts", "author_name"]
ODD = st.recursive(
    st.sampled_from([*KINDS, None, True, 0, -1, 10**30, 1e308, "<@U1>", "<", "x|y", "&lt;", "w " * 3000])
    | st.text(max_size=8),
    lambda some: st.lists(some, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), some, max_size=6),
    max_leaves=30,
)


@examples(300)
@given(ODD | JSON, ODD | JSON, ODD | JSON)
def test_nothing_that_comes_breaks_anything(blocks: Any, attachments: Any, files: Any) -> None:
    """Whatever types, sizes and depths: it is read as far as it makes sense, within the bounds."""
    message = {"channel": "C1", "ts": "1700000000.000100", "user": "U1", "text": f"<@{BOT}> hi", "blocks": blocks}
    message |= {"attachments": attachments, "files": files}
    for one in (message, {**message, "blocks": [blocks] * 30, "attachments": [attachments] * 30, "bot_id": "B1"}):
        reading = read_message(one, BOT)
        for quotes in (reading.quotes, in_words(reading.quotes, NAMES)):
            assert len(quotes) <= MAX_QUOTES
            assert sum(len(quote.text) for quote in quotes) <= ALL_QUOTES_SIZE
            assert all(quote.text and len(quote.by) <= 80 and len(quote.origin) <= 80 for quote in quotes)
            assert sum(quote.kind is QuoteKind.UNREADABLE for quote in quotes) <= 1
    read_question({"team_id": "T1", "event": message}, BOT)
    read_talk({"team_id": "T1", "event": {**message, "type": "message"}}, BOT)
    for event in ({"message": message, "previous_message": {}}, {"message": {}, "previous_message": message}):
        read_change({"event": {"subtype": "message_changed", "channel": "C1", **event}}, BOT)


def test_depth_has_an_end() -> None:
    """No nesting is too deep for the stack."""
    deep: dict[str, Any] = {"type": "section", "text": {"type": "mrkdwn", "text": "bottom"}}
    shared: dict[str, Any] = {"is_share": True, "text": "inner"}
    for _ in range(400):
        deep, shared = {"type": "container", "blocks": [deep]}, {"is_share": True, "attachments": [shared]}
    assert read_message({"blocks": [deep]}).text == ""
    assert read_message({"attachments": [shared]}).quotes in {(), (Quote(QuoteKind.UNREADABLE, "a forwarded message"),)}


def test_of_many_quotes_the_first_are_kept_and_long_ones_are_cut() -> None:
    """Where they are cut is said, and no mention is cut in two."""
    many = read_message({"attachments": [{"text": f"alert {n}"} for n in range(40)]}).quotes
    assert [quote.text for quote in many] == [f"alert {n}" for n in range(MAX_QUOTES)]
    for size in range(1990, 2010):
        (quote,) = read_message({"attachments": [{"text": "x" * size + "<@U0BOB> &amp; more " * 50}]}).quotes
        assert len(quote.text) <= 2000
        assert quote.text.endswith("x …") or quote.text[size:].startswith("<@U0BOB>")


WORDS = st.lists(st.sampled_from([f"w{n}" for n in range(8)]), unique=True)


@given(WORDS, WORDS)
def test_no_word_of_an_app_is_lost(first: list[str], second: list[str]) -> None:
    """Whichever of text and blocks has it."""
    message = {"bot_id": "B1", "text": " ".join(first), "blocks": [section(" ".join(second) or "-")]}
    assert set(read_message(message).text.split()) >= {*first, *second}
