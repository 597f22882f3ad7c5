"""What comes with a message beside its text, read from Discord's JSON, and from what discord.py makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.discord.events import Place, is_talk, overheard, wording
from bots.discord.quotes import MAX_QUOTE_UNITS, MAX_QUOTES, Reader, ids_in
from bots.discord.text import units
from core.quotes import Quote, QuoteKind
from tests.bots.discord.test_events import ADA, BOB, DM, GENERAL, GUILD, PARLEY, World, person
from tests.examples import examples

CARD, FORWARD, REPLY, UNREADABLE = QuoteKind.CARD, QuoteKind.FORWARD, QuoteKind.REPLY, QuoteKind.UNREADABLE
V2 = 1 << 15
OTHER_GUILD = "100000000000000002"
BUILD = {
    "type": "rich",
    "author": {"name": "CI"},
    "title": "Build 4411 failed",
    "url": "https://ci.example/4411",
    "description": "test_login timed out after 30 s",
    "fields": [{"name": "branch", "value": "spring", "inline": True}, {"name": "\u200b", "value": "rerun?"}],
    "footer": {"text": "main"},
}
PREVIEW = {
    "type": "article",
    "url": "https://news.example/a",
    "provider": {"name": "News"},
    "title": "The title",
    "description": "word " * 200,
}
POLL = {
    "question": {"text": "When?"},
    "answers": [
        {"answer_id": 1, "poll_media": {"text": "Thursday"}},
        {"answer_id": 2, "poll_media": {"text": "Friday", "emoji": {"id": None, "name": "🎉"}}},
    ],
    "expiry": "2016-05-01T00:00:00+00:00",
    "allow_multiselect": False,
    "layout_type": 1,
}
COUNTS = [{"id": 1, "count": 1, "me_voted": False}, {"id": 2, "count": 3, "me_voted": False}]
POLL_RESULT = {
    "type": "poll_result",
    "fields": [
        {"name": "poll_question_text", "value": "When?", "inline": False},
        {"name": "victor_answer_votes", "value": "3", "inline": False},
        {"name": "total_votes", "value": "4", "inline": False},
        {"name": "victor_answer_text", "value": "Friday", "inline": False},
    ],
}


def file(name: str, **more: Any) -> dict[str, Any]:
    """An attachment."""
    return {"id": "1", "filename": name, "size": 1, "url": "", "proxy_url": "", **more}


def media(about: str) -> dict[str, Any]:
    """A picture among components."""
    return {"type": 11, "media": {"url": "https://cdn.example/p.png"}, "description": about}


def snapshot(content: str, **more: Any) -> dict[str, Any]:
    """A message that was forwarded, as Discord shows it."""
    told = {"type": 0, "content": content, "embeds": [], "attachments": [], "flags": 0, "components": [],
            "timestamp": "2016-04-30T11:18:25Z", "edited_timestamp": None}  # fmt: skip
    return {"message": {**told, **more}}


def forwarded(*snapshots: dict[str, Any], channel: str = GENERAL, guild: str = GUILD) -> dict[str, Any]:
    """What a forward has beside its own text, which is empty."""
    reference = {"type": 1, "message_id": "10", "channel_id": channel, "guild_id": guild}
    return {"message_reference": reference, "message_snapshots": list(snapshots)}


def replied(content: str, by: str = BOB, **more: Any) -> dict[str, Any]:
    """What a reply has beside its own text."""
    there = {"id": "10", "channel_id": GENERAL, "author": person(by), "content": content, "tts": False, "mentions": [],
             "timestamp": "2016-04-30T11:18:25Z", "edited_timestamp": None, "mention_everyone": False,
             "mention_roles": [], "attachments": [], "embeds": [], "pinned": False, "type": 0, **more}  # fmt: skip
    reference = {"type": 0, "message_id": "10", "channel_id": GENERAL, "guild_id": GUILD}
    return {"type": 19, "message_reference": reference, "referenced_message": there}


ROWS: dict[str, tuple[str, dict[str, Any], tuple[Quote, ...]]] = {
    "nothing": ("hello", {}, ()),
    "a forward": ("", forwarded(snapshot("The move is on the ninth.")),
                  (Quote(FORWARD, "The move is on the ninth.", origin="#general"),)),
    "a forward from a channel that we don't know": (
        "", forwarded(snapshot("Hi."), channel="77"), (Quote(FORWARD, "Hi."),)),
    "a forward from another server": (
        "", forwarded(snapshot("Hi."), guild=OTHER_GUILD), (Quote(FORWARD, "Hi.", origin="another server"),)),
    "a forward of an alert with a file": (
        "", forwarded(snapshot("", embeds=[{"type": "rich", "title": "Disk full"}], attachments=[file("log.txt")])),
        (Quote(FORWARD, "Disk full\n(log.txt)", origin="#general"),)),
    "a forward that tells nothing": (
        "", forwarded(snapshot("")), (Quote(UNREADABLE, "a forwarded message"),)),
    "a forward without what was forwarded": ("", forwarded(), (Quote(UNREADABLE, "a forwarded message"),)),
    "a reply": ("why?", replied("The plan."), (Quote(REPLY, "The plan.", "Bob"),)),
    "a reply to us": ("why?", replied("The plan.", PARLEY), (Quote(REPLY, "The plan."),)),
    "a reply to an alert": ("why?", replied("", embeds=[BUILD]), (
        Quote(REPLY, "CI\nBuild 4411 failed (https://ci.example/4411)\ntest_login timed out after 30 s\n"
                     "branch: spring\nrerun?\nmain", "Bob"),)),
    "a reply to a forward": (
        "why?", replied("", **{**forwarded(snapshot("Hi.")), "type": 0}), (Quote(REPLY, "Hi.", "Bob"),)),
    "a reply to what is gone": ("why?", {**replied(""), "referenced_message": None}, ()),
    "an embed": ("look", {"embeds": [{"type": "rich", "title": "Build 4411", "description": "failed"}]},
                 (Quote(CARD, "Build 4411\nfailed"),)),
    "the preview of a link": (
        "see https://news.example/a", {"embeds": [PREVIEW]},
        (Quote(CARD, ("News: The title\n" + "word " * 200)[:299] + "…"),)),
    "a picture behind a link": (
        "https://p.example/1.png", {"embeds": [{"type": "image", "url": "https://p.example/1.png"}]}, ()),
    "a picture in an embed": (
        "look", {"embeds": [{"type": "rich", "image": {"url": "https://p.example/1.png"}}]},
        (Quote(UNREADABLE, "a picture"),)),
    "a small picture in an embed": (
        "look", {"embeds": [{"type": "rich", "thumbnail": {"url": "https://p.example/1.png"}}]},
        (Quote(UNREADABLE, "a picture"),)),
    "components": ("", {"flags": V2, "components": [
        {"type": 10, "id": 1, "content": "# Deploy"},
        {"type": 17, "id": 2, "components": [
            {"type": 9, "id": 3, "components": [{"type": 10, "id": 4, "content": "of **web**"}],
             "accessory": media("a green tick")},
            {"type": 14, "id": 6, "divider": True, "spacing": 1},
            {"type": 12, "id": 7, "items": [{"media": {"url": "https://c.example/g"}, "description": "a graph"}]},
            {"type": 1, "id": 8, "components": [
                {"type": 2, "id": 9, "style": 5, "label": "Open", "url": "https://ci.example"},
                {"type": 2, "id": 10, "style": 1, "label": "Rerun", "custom_id": "r"}]}]}]},
        (Quote(CARD, "# Deploy\nof **web**\na green tick\na graph\nOpen (https://ci.example)"),)),
    "pictures and files among components": ("", {"flags": V2, "components": [
        {"type": 12, "id": 1, "items": [{"media": {"url": "https://c.example/g"}}]},
        {"type": 13, "id": 2, "file": {"url": "attachment://game.zip"}, "name": "game.zip", "size": 1}]},
        (Quote(UNREADABLE, "game.zip, a picture"),)),
    "a poll": ("", {"poll": {**POLL, "results": {"is_finalized": False, "answer_counts": COUNTS}}},
               (Quote(CARD, "poll, still open: When?\n- Thursday\n- Friday"),)),
    "a poll that is over": ("", {"poll": {**POLL, "results": {"is_finalized": True, "answer_counts": COUNTS}}},
                            (Quote(CARD, "poll, ended: When?\n- Thursday (1 vote)\n- Friday (3 votes)"),)),
    "the result of a poll": (
        "", {"embeds": [POLL_RESULT]}, (Quote(CARD, "The poll has ended: When?\nWinner: Friday (3 of 4 votes)"),)),
    "a sticker": ("", {"sticker_items": [{"id": "1", "name": "Wave", "format_type": 1}]},
                  (Quote(CARD, "sticker: Wave"),)),
    "files": ("look", {"attachments": [file("a.pdf"), file("b.png", description="a\n graph")]},
              (Quote(UNREADABLE, "a.pdf, b.png (described as: a graph)"),)),
    "a voice message": ("", {"flags": 1 << 13, "attachments": [file("voice.ogg", waveform="", duration_secs=3)]},
                        (Quote(UNREADABLE, "a voice message"),)),
    "an invitation": ("", {"activity": {"type": 1}, "application": {"id": "1", "name": "Chess", "description": "",
                                                                   "icon": None}},
                      (Quote(UNREADABLE, "an invitation to Chess"),)),
    "names in an embed": ("", {"embeds": [{"type": "rich", "description": f"by <@{BOB}> in <#{GENERAL}>"}],
                               "mentions": [person(BOB)]},
                          (Quote(CARD, "by @Bob in #general"),)),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
async def test_what_comes_with_a_message_reads_the_same_from_json_and_from_discord_py(name: str) -> None:
    """Workers have the one, listeners the other."""
    text, more, quotes = ROWS[name]
    world = World()
    message = world.message(text, **more)
    assert wording(message, world.me) == (text, quotes)
    payload = {"content": text, **more}
    reader = Reader(PARLEY, {GENERAL: "general"}, GUILD)
    assert (reader.text(payload), reader.quotes(payload)) == (text, quotes)


@pytest.mark.parametrize(
    ("text", "more", "told"),
    [
        (f"<@{PARLEY}> why?", {}, "the message that this one replies to"),
        (f"<@{PARLEY}>", {}, "the message that this one replies to"),
        (f"<@{PARLEY}> why?", {"attachments": [file("a.pdf")]}, "a.pdf, the message that this one replies to"),
        ("why?", {}, ""),
    ],
)
async def test_a_question_says_that_what_it_replies_to_cannot_be_read(
    text: str, more: dict[str, Any], told: str
) -> None:
    """Discord shows a bot without the Message Content intent none of its words. Talk is not about us."""
    world = World()
    more = {**replied(""), "mentions": [person(PARLEY)] if PARLEY in text else [], **more}
    _, quotes = wording(world.message(text, **more), world.me)
    assert quotes == ((Quote(UNREADABLE, told),) if told else ())


async def test_the_same_in_a_direct_message() -> None:
    """Which has no server."""
    world = World()
    text, quotes = wording(world.message("", channel=DM, **forwarded(snapshot("Hi."))), world.me)
    assert (text, quotes) == ("", (Quote(FORWARD, "Hi.", origin="a server"),))


def test_quotes_are_bounded_and_what_cannot_be_read_is_among_them() -> None:
    """However much comes with a message."""
    embeds = [{"type": "rich", "title": f"{number}" * 5000} for number in range(30)]
    quotes = Reader(PARLEY, {}).quotes({"content": "", "embeds": embeds, "attachments": [file("a.pdf")]})
    assert len(quotes) == MAX_QUOTES
    assert all(units(quote.text) <= MAX_QUOTE_UNITS for quote in quotes)
    assert quotes[-1] == Quote(UNREADABLE, "a.pdf")


NAMES = ["content", "embeds", "components", "items", "accessory", "poll", "question", "answers", "poll_media",
         "results", "answer_counts", "sticker_items", "attachments", "filename", "description", "title", "url",
         "fields", "name", "value", "text", "footer", "author", "provider", "message_snapshots", "message",
         "message_reference", "flags", "referenced_message", "mentions", "id", "type", "channel_id", "guild_id",
         "activity", "application", "call", "username", "global_name", "member", "nick", "style", "label", "image",
         "count", "is_finalized"]  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(["x" * 9000, "<@1>", f"<@{ADA}> <#{GENERAL}> <t:99999999999999:R>", "9" * 30, PARLEY])
)  # fmt: skip
RECORDS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.sampled_from(NAMES), inner), max_leaves=40
)


@examples(400)
@given(st.dictionaries(st.sampled_from(NAMES), RECORDS))
def test_whatever_discord_sends_is_read_within_bounds(payload: dict[str, Any]) -> None:
    """Wrong types, endless lists, deep nesting: nothing raises, and nothing is larger than it may be."""
    reader = Reader(PARLEY, {}, GUILD)
    quotes = reader.quotes(payload)
    assert len(quotes) <= MAX_QUOTES
    assert all(0 < units(quote.text) <= MAX_QUOTE_UNITS for quote in quotes)
    assert units(reader.whole(payload)) <= MAX_QUOTE_UNITS
    assert isinstance(reader.text(payload), str)
    overheard(payload, reader, Place(GUILD, GENERAL))
    assert is_talk(payload) in (True, False)
    assert all(number.isdigit() for number in ids_in([payload]))


def test_nesting_ends() -> None:
    """A forward of a forward of a forward, and components in components."""
    message: dict[str, Any] = {"content": "bottom"}
    box: dict[str, Any] = {"type": 10, "content": "bottom"}
    for _ in range(500):
        message = {"content": "", **forwarded({"message": message}, {"message": message}, {"message": message})}
        box = {"type": 17, "components": [box] * 9}
    reader = Reader(PARLEY, {}, GUILD)
    assert reader.quotes(message) == (Quote(UNREADABLE, "a forwarded message"),)
    assert reader.quotes({"content": "", "components": [box]}) == ()
