"""No text makes the event loop stand: every pure function takes time in proportion to the length of what it reads.

Measured in CPU time of this thread, and as a ratio: eight times the text may take twenty-four times as long, where a
pattern that backtracks takes sixty-four times and more. Without Python's garbage collector, which looks through all
that the test process holds, and not at the text alone.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from bots import log
from bots.console import printing
from bots.discord import text as discord
from bots.discord.quotes import Reader, ids_in
from bots.slack import quotes as slack_quotes
from bots.slack import text as slack
from bots.web import board, markup, people
from core.assistant import commands
from core.markdown import fences, healing, links, splitting
from core.memory import choices as preferences
from core.models.backends.openai_stream import EventParser
from core.models.backends.refusals import Dialect, remedy
from core.models.backends.server import Server
from core.models.backends.untrusted import SurrogateJoiner, TooLarge, error_text
from core.models.control_tokens import ControlTrimmer
from core.models.generation import SpaceTrimmer, StopTrimmer
from core.models.reasoning import ReasoningOpened, ReasoningTrimmer
from core.prompts import guard, quoting, tokens
from core.quotes import Quote, QuoteKind
from core.types import Author, Fact, Message, MessageLimits, Role
from tests.examples import examples

SHORT = 5_000
"""Characters; eight times as many are what Slack delivers at most."""
QUICK_SECONDS = 0.005
"""What takes no longer than this is not measured any further."""
TIMES_LONGER = 8
RATIO = 3 * TIMES_LONGER
TRIES = 3
LIMITS = MessageLimits(1_800)
OURS = "123456789012345678"

PIECE = 24
"""Characters of a piece in which a model's text comes."""


def in_pieces(begin: Callable[[], Any], text: str) -> None:
    """A text in pieces through something that holds back what may become more with the next."""
    reader = begin()
    for place in range(0, len(text), PIECE):
        reader.feed(text[place : place + PIECE])
    reader.flush()


def in_events(text: str) -> None:
    """A text as bytes of a stream."""
    reader, data = EventParser(), text.encode("utf-8", "replace")
    with suppress(TooLarge):
        for place in range(0, len(data), PIECE):
            reader.feed(data[place : place + PIECE])


def read_anew(text: str) -> None:
    """A text as HTML, none of which is known from before."""
    markup._piece.cache_clear()
    markup.to_html(text)


def said(text: str) -> Message:
    """A message that a text is all of: its words, its quotes and who said it."""
    quotes = tuple(Quote(kind, text, by=text, origin=text) for kind in QuoteKind)
    return Message(Role.USER, text, author=Author("U1", text), quotes=quotes)


def shown_in_slack(text: str) -> dict[str, Any]:
    """A message of an app whose text, blocks and attachments all are one text."""
    plain, marked = {"type": "plain_text", "text": text}, {"type": "mrkdwn", "text": text}
    rich = {"type": "rich_text_section", "elements": [{"type": "text", "text": text}, {"type": "link", "url": text}]}
    cells = [[{"type": "raw_text", "text": text}, {"type": "rich_text", "elements": [rich]}]] * 2
    blocks = [
        {"type": "header", "text": plain},
        {"type": "section", "text": marked},
        {"type": "rich_text", "elements": [rich]},
        {"type": "table", "rows": cells},
    ]
    shared = {"is_share": True, "text": text, "from_url": text, "fallback": text, "message_blocks": blocks}
    card = {"title": text, "title_link": text, "fields": [{"title": text, "value": text}], "footer": text}
    return {"bot_id": "B1", "text": text, "blocks": blocks, "attachments": [shared, card]}


def shown_in_discord(text: str) -> dict[str, Any]:
    """A message whose content, embeds, components, poll and what it replies to and forwards all are one text."""
    embed = {"title": text, "url": text, "description": text, "fields": [{"name": text, "value": text}]}
    poll = {"question": {"text": text}, "answers": [{"poll_media": {"text": text}}]}
    components = [{"content": text, "items": [{"media": {"url": text}, "description": text}]}]
    message = {"content": text, "embeds": [embed], "components": components, "poll": poll}
    files = [{"filename": text, "description": text}]
    return {**message, "message_snapshots": [{"message": message}], "referenced_message": message, "attachments": files}


PURE: dict[str, Callable[[str], object]] = {
    "guard": guard.guard,
    "guard with control tokens of a template": partial(guard.guard, control_tokens=("<|im_end|>", "[END]", "\nUser:")),
    "name": guard.name,
    "words": lambda text: quoting.words(said(text), ("<|im_end|>",)),
    "room_block": lambda text: quoting.room_block([said(text)]),
    "facts_block": lambda text: quoting.facts_block([Fact(1, text, Author("U1", text), 0)]),
    "safe_links": links.safe_links,
    "heal": healing.heal,
    "split": partial(splitting.split, limits=LIMITS),
    "fences_balanced": fences.fences_balanced,
    "estimate": tokens.estimate_tokens,
    "find_command": commands.find,
    "is_stop": commands.is_stop,
    "find_setting": preferences.find_setting,
    "discord quotes": lambda text: Reader("1", {}).quotes(shown_in_discord(text)),
    "discord quote of all": lambda text: Reader("1", {}).whole(shown_in_discord(text)),
    "discord.ids_in": lambda text: ids_in([shown_in_discord(text)]),
    "slack.people": slack.people,
    "slack.unnamed": slack.unnamed,
    "slack.read_message": lambda text: slack_quotes.read_message(shown_in_slack(text)),
    "slack.read_message of a person": lambda text: slack_quotes.read_message({**shown_in_slack(text), "bot_id": ""}),
    "slack.in_words": lambda text: slack_quotes.in_words(said(text).quotes, {}),
    "slack.readable": partial(slack.readable, names={}),
    "slack.safe_markdown": slack.safe_markdown,
    "slack.fallback": slack.fallback,
    "slack.without_mention": partial(slack.without_mention, user="U0123"),
    "discord.readable": partial(discord.readable, names={}),
    "discord.without_mention": partial(discord.without_mention, user=OURS),
    "discord.shown": discord.shown,
    "discord.shown_units": discord.shown_units,
    "discord.cut": partial(discord.cut, most=2_000),
    "web.to_html": read_anew,
    "web.shown": board.shown,
    "channel_name": people.channel_name,
    "person_name": people.person_name,
    "printed": printing.plain,
    "redact": log.redact,
    "thoughts": partial(in_pieces, ReasoningTrimmer),
    "thoughts at once": lambda text: ReasoningTrimmer().feed(text),
    "thoughts kept back": partial(in_pieces, partial(ReasoningTrimmer, ReasoningOpened.MAYBE)),
    "thoughts opened": partial(in_pieces, partial(ReasoningTrimmer, ReasoningOpened.YES)),
    "controls": partial(in_pieces, partial(ControlTrimmer, ("</s>", "[END]"))),
    "controls at once": lambda text: ControlTrimmer().feed(text),
    "stops": partial(in_pieces, partial(StopTrimmer, ("\nUser:", "<|im_end|>"))),
    "spaces": partial(in_pieces, SpaceTrimmer),
    "halves": partial(in_pieces, SurrogateJoiner),
    "events": in_events,
    "said": error_text,
    "remedy": lambda text: remedy(error_text(text), "", 400, []),
    "dialect": lambda text: Dialect().after(error_text(text), "", {"max_tokens": 7, "temperature": 1}),
    "quote": lambda text: Server("http://gpu").quote(text, text),
}
UNITS = (
    *(
        " ",
        "\n",
        "\t",
        " \n",
        "\r",
        "a",
        "1",
        ".",
        "-",
        "_",
        "*",
        "~",
        "`",
        "[",
        "]",
        "(",
        "<",
        ">",
        "|",
        "\\",
        "#",
        "@",
    ),
    *(
        "](",
        "![",
        "[](",
        "[a](",
        "[a](b ",
        '[a](b "',
        "[x]: y\n",
        "[a.com](",
        "<a ",
        "<!--",
        "</",
        "<x>",
        "<think>",
        "</think>",
    ),
    *("<|", "|>", "<|im_end|>", "user:", "user:\n", "```\n", "~~~\n", "``` ", "> ", "- ", "1. ", "| a ", "|-", "`a\n"),
    *("a.", "a@", "www.", "http://", "https://a", "a.com ", "a://", "&lt;", "<@U0123>", "<@U0123> ", f"<@{OURS}>"),
    *("Bearer ", "ticket=", "eyJ", "eyJaaaaaaaaaaaaaaaaaa.", "xoxb-", "sk-", "settings ", "e\u0301", "\u0301"),
    *("\u200b", "\u200d", "\U0001f469\u200d", "\u202e", "\ud800", "\u6f22", "***\n", "- - -", "*a", "a\n\n"),
)
hostile_units = st.sampled_from(UNITS) | st.text(min_size=1, max_size=4)
edges = st.sampled_from(("", "a", "\n", "[", "`", "```\n", "<@U0123>", f"<@{OURS}>", ")", " x"))


def seconds(work: Callable[[str], object], text: str, *, times: int = 1) -> float:
    """CPU time of this thread, the least of so many tries."""
    taken = []
    for _ in range(times):
        gc.disable()
        try:
            began = time.thread_time()
            work(text)
            taken.append(time.thread_time() - began)
        finally:
            gc.enable()
    return min(taken)


def grows_faster(work: Callable[[str], object], short: str, long: str) -> bool:
    """Whether eight times the text takes much more than eight times as long, however often that is tried."""
    if seconds(work, short) <= QUICK_SECONDS:
        return False
    return all(seconds(work, long, times=2) > RATIO * seconds(work, short, times=3) for _ in range(TRIES))


@settings(examples(25), phases=(Phase.explicit, Phase.generate))
@given(hostile_units, edges, edges)
@example(" ", "<@U0123>", "x")
@example(" ", "a", "x")
@example("`", "<@U0123>", "")
@example("[](", "", "")
@example("<@U0123> ", "a", "")
@example("\n", "`", " x")
def test_time_grows_with_the_length_and_no_faster(unit: str, before: str, after: str) -> None:
    """A long run of whatever it is, with something before and after it.

    Without shrinking: a text that is shorter is quick, and what explains a failure slows down Python's code alone.
    """
    short, long = (before + (unit * (size // len(unit) + 1))[:size] + after for size in (SHORT, TIMES_LONGER * SHORT))
    assert not [name for name, work in PURE.items() if grows_faster(work, short, long)]
