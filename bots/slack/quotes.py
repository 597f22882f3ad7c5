"""Reads what a message says, and what comes with it: forwards, tables, alerts of apps, and what can't be read.

Slack puts words into three places: ``text``, ``blocks``, and ``attachments``, which may hold blocks, files and further
attachments. The same words often stand in several of them, so what says nothing new is left out. All texts here are
Slack's markup, because names are asked for later: see ``in_words``. Everything is untrusted and bounded. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bots.slack.blocks import MAX_DEPTH, Piece, PieceKind, clip, items, named, raw, read_blocks, text_in
from bots.slack.text import mentions, readable
from core.quotes import Quote, QuoteKind

MAX_QUOTES = 10
"""Quotes of one message."""
MAX_ATTACHMENTS = 20
"""Attachments of one message that are read; Slack advises apps to send no more."""
QUOTE_SIZE, POINTED_AT_SIZE, PREVIEW_SIZE = 2_000, 8_000, 500
"""Characters of a quote; of a forward or a table, which people ask about; and of the preview of a link."""
ALL_QUOTES_SIZE, OVERHEARD_SIZE = 20_000, 4_000
"""Characters of all quotes of a message to Parley, and of one that it overhears."""
NAME_SIZE, FILES_SIZE = 80, 200
PLACEHOLDERS = {
    "",
    "[no preview available]",
    "no preview available",
    "this content can't be displayed.",
    "this message contains interactive elements.",
}
"""What a ``fallback``, or an app's ``text``, says that stands for nothing."""
_WORD = re.compile(r"[^\W_]+")
_EMOJI, _MARKS = re.compile(r":[a-z0-9_+-]{1,80}:"), re.compile(r"[\W_]+")
"""The names of emoji, which may stand there as such, and what is no letter."""
_CHANNEL_IN_URL = re.compile(r"https://[\w.-]+/archives/([CDG][A-Z0-9]+)(?:/|$)")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a message says, and what comes with it, in Slack's markup.

    Args:
        text: what its author wrote, or what its app shows.
        quotes: what comes with it; their texts, authors and origins are markup, too.
    """

    text: str = ""
    quotes: tuple[Quote, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.text.strip() or self.quotes)


@dataclass(slots=True)
class _Found:
    """What was found so far."""

    quotes: list[Quote] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def is_app(message: Mapping[str, Any]) -> bool:
    """Whether an app wrote a message."""
    return bool(message.get("bot_id")) or message.get("subtype") == "bot_message"


def read_message(message: Mapping[str, Any], bot: str = "", *, previews: bool = True) -> Reading:
    """Read a message, without its files: see ``with_files``.

    Args:
        message: as events and the conversations methods have it.
        bot: Parley's user: where only the blocks mention it, their words are the text.
        previews: whether previews of links are quoted.
    """
    found = _Found()
    text, pieces = text_in(message, "text").strip(), list(read_blocks(message.get("blocks")))
    tables = [piece.text for piece in pieces if piece.kind is PieceKind.TABLE]
    found.quotes += [Quote(QuoteKind.TABLE, table) for table in tables]
    found.unreadable += [piece.text for piece in pieces if piece.kind is PieceKind.UNREADABLE]
    if isinstance(message.get("room"), Mapping):
        found.unreadable.append("a huddle")
    for attachment in items(message.get("attachments"))[:MAX_ATTACHMENTS]:
        if isinstance(attachment, Mapping) and (previews or not _is_preview(attachment)):
            _read_attachment(attachment, found)
    said = [piece.text for piece in pieces if piece.kind is PieceKind.TEXT]
    if is_app(message):
        text = _joined("" if text.lower() in PLACEHOLDERS else text, "\n".join(said))
        if text and _covers("\n".join(_told(found.quotes)), text):
            text = ""
    else:
        shown = "\n".join(said)
        if not text or (bot and mentions(shown, bot) and not (mentions(text, bot) or message.get("edited"))):
            text = _joined(text, shown)
        elif not message.get("edited"):  # what a person edited is ``text``
            text = "\n".join([text, *_new(text, said)])
    return Reading(text, _bounded(found, ALL_QUOTES_SIZE))


def file_names(message: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a message's files; of a canvas or a list, what it is and its title."""
    return tuple(_file_name(file) for file in items(message.get("files")) if isinstance(file, Mapping))


def with_files(quotes: Sequence[Quote], files: str) -> tuple[Quote, ...]:
    """Quotes with the names of the files that are attached, beside what else can't be read."""
    readable_ones = [quote for quote in quotes if quote.kind is not QuoteKind.UNREADABLE]
    names = ", ".join([*([files] if files else []), *(q.text for q in quotes if q.kind is QuoteKind.UNREADABLE)])
    return (*readable_ones, *([Quote(QuoteKind.UNREADABLE, clip(names, 2 * FILES_SIZE))] if names else []))


def in_words(quotes: Sequence[Quote], names: Mapping[str, str], *, size: int = ALL_QUOTES_SIZE) -> tuple[Quote, ...]:
    """Quotes as people read them: ``names`` for ids, no escapes; of ``size`` characters together, at most."""
    read = []
    for quote in quotes:
        text = readable(quote.text, names)
        by, origin = (readable(words, names)[:NAME_SIZE] for words in (quote.by, quote.origin))
        by = by.removeprefix("@") if quote.by.startswith("<@") else by
        origin = "" if origin == readable("<#C0>", {}) else origin  # a channel whose name we don't know
        read.append(replace(quote, text=text, by=by, origin=origin))
    return tuple(_within(read, size))


def markup_of(reading: Reading) -> str:
    """All that a reading says, to find the ids in it."""
    return "\n".join([reading.text, *_told(reading.quotes), *(quote.origin for quote in reading.quotes)])


def _told(quotes: Iterable[Quote]) -> list[str]:
    return [words for quote in quotes for words in (quote.text, quote.by)]


def _read_attachment(attachment: Mapping[str, Any], found: _Found) -> None:
    """Add what an attachment shows: a forward, the preview of a link, or an app's own words."""
    pieces = list(_pieces_of(attachment))
    tables = [piece.text for piece in pieces if piece.kind is PieceKind.TABLE]
    unreadable = [piece.text for piece in pieces if piece.kind is PieceKind.UNREADABLE]
    forwarded = _is_forward(attachment)
    by, origin = (_author(attachment), _origin(attachment)) if forwarded else (text_in(attachment, "author_name"), "")
    text = _attachment_text(attachment, pieces, forwarded=forwarded)
    if forwarded:
        found.quotes += [Quote(QuoteKind.FORWARD, "\n".join(filter(None, [text, *tables])), by, origin)]
        if not (text or tables):
            found.quotes.pop()
            unreadable = unreadable or ["a forwarded message"]
    elif _is_preview(attachment):
        if text:
            by = by or text_in(attachment, "service_name")
            found.quotes.append(Quote(QuoteKind.CARD, clip(text, PREVIEW_SIZE), clip(by, NAME_SIZE)))
        return
    elif tables and not text:
        found.quotes += [Quote(QuoteKind.TABLE, table) for table in tables]
    elif text:
        found.quotes.append(Quote(QuoteKind.CARD, "\n".join([text, *tables]), clip(by, NAME_SIZE)))
    elif not (unreadable or attachment.get("actions")):
        image = any(text_in(attachment, name) for name in ("image_url", "thumb_url"))
        unreadable = ["an image"] if image else ["an attachment"]
    found.unreadable += unreadable


def _pieces_of(attachment: Mapping[str, Any], depth: int = 0) -> Iterator[Piece]:
    """What the blocks of an attachment show, and of the message and the attachments in it, and what files there are."""
    yield from read_blocks(attachment.get("blocks"), depth)
    yield from (Piece(PieceKind.UNREADABLE, name) for name in file_names(attachment))
    if depth >= MAX_DEPTH:
        return
    for wrapper in items(attachment.get("message_blocks")):
        inside = wrapper.get("message") if isinstance(wrapper, Mapping) else None
        if isinstance(inside, Mapping):
            pieces = list(_pieces_of(inside, depth + 2))
            if text := _joined(text_in(inside, "text").strip(), "\n".join(_texts(pieces))):
                yield Piece(PieceKind.TEXT, text)
            yield from (piece for piece in pieces if piece.kind is not PieceKind.TEXT)
        else:
            yield from read_blocks([wrapper], depth)
    for inner in items(attachment.get("attachments")):
        if isinstance(inner, Mapping):
            pieces = list(_pieces_of(inner, depth + 2))
            forwarded = _is_forward(inner)
            if text := _attachment_text(inner, pieces, forwarded=forwarded):
                by = _author(inner) if forwarded else ""
                yield Piece(PieceKind.TEXT, f"{by}: {text}" if by else text)
            yield from (piece for piece in pieces if piece.kind is not PieceKind.TEXT)


def _attachment_text(attachment: Mapping[str, Any], pieces: Iterable[Piece], *, forwarded: bool) -> str:
    """The words of an attachment, each once; its ``fallback`` only where it has no others."""
    title, link = text_in(attachment, "title"), text_in(attachment, "title_link")
    titled = f"<{link}|{title}>" if title and re.fullmatch(r"https?://[^<>|\s]+", link) else title
    lines = [text_in(attachment, "pretext"), titled, text_in(attachment, "text")]
    fields = [shown for shown in items(attachment.get("fields")) if isinstance(shown, Mapping)]
    lines += [": ".join(filter(None, (text_in(shown, "title"), _value(shown)))) for shown in fields]
    text = _joined("\n".join(filter(None, map(str.strip, lines))), "\n".join(_texts(pieces)))
    # That of a preview describes its image, and that of buttons tells where to press them.
    if not text and not (_is_preview(attachment) or attachment.get("actions")):
        fallback = text_in(attachment, "fallback").strip()
        return "" if fallback.lower() in PLACEHOLDERS else fallback
    footer = "" if forwarded else text_in(attachment, "footer").strip()
    return f"{text}\n{footer}" if footer and not _covers(text, footer) else text


def _value(field: Mapping[str, Any]) -> str:
    """What a field says; some apps write numbers."""
    value = field.get("value")
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else text_in(field, "value")


def _texts(pieces: Iterable[Piece]) -> list[str]:
    return [piece.text for piece in pieces if piece.kind is PieceKind.TEXT]


def _is_forward(attachment: Mapping[str, Any]) -> bool:
    """Whether an attachment is somebody's message."""
    flagged = attachment.get("is_share") is True or attachment.get("is_msg_unfurl") is True
    return flagged or bool(text_in(attachment, "channel_id") and text_in(attachment, "ts"))


def _is_preview(attachment: Mapping[str, Any]) -> bool:
    """Whether Slack, or an app, shows a link that stands in the message; it comes and goes without its author."""
    linked = text_in(attachment, "original_url") or text_in(attachment, "from_url")
    return bool(linked or attachment.get("is_app_unfurl") is True) and attachment.get("is_share") is not True


def _author(attachment: Mapping[str, Any]) -> str:
    """Who wrote a forwarded message: the name that it comes with, else the id."""
    name = text_in(attachment, "author_subname") or text_in(attachment, "author_name")
    if not name and re.fullmatch(r"[UW][A-Z0-9]{1,30}", text_in(attachment, "author_id")):
        name = f"<@{attachment['author_id']}>"
    return clip(name, NAME_SIZE)


def _origin(attachment: Mapping[str, Any]) -> str:
    """Where a forwarded message was written."""
    address = _CHANNEL_IN_URL.match(text_in(attachment, "from_url"))
    channel = text_in(attachment, "channel_id") or (address[1] if address else "")
    name = text_in(attachment, "channel_name")
    if channel.startswith("D") or name == "Direct Message":
        return "a direct message"
    if name:
        return clip(f"#{raw(name)}", NAME_SIZE)
    return f"<#{channel}>" if re.fullmatch(r"[CG][A-Z0-9]{1,30}", channel) else ""


def _file_name(file: Mapping[str, Any]) -> str:
    """What people call a file."""
    kind = next((text_in(file, name) for name in ("mode", "filetype") if text_in(file, name) in _DOCUMENTS), "")
    name = text_in(file, "title" if kind else "name") or text_in(file, "name")
    if kind:
        return clip(f"{_DOCUMENTS[kind]} “{name}”" if name else named(_DOCUMENTS[kind].partition(" ")[2]), NAME_SIZE)
    return name or "a file"


_DOCUMENTS = {"canvas": "the canvas", "quip": "the canvas", "list": "the list"}
"""Documents of Slack's that come as files, by what their ``mode`` or ``filetype`` says."""


def _joined(text: str, shown: str) -> str:
    """Two texts that may say the same, once."""
    if not text or (shown and _covers(shown, text)):
        return shown
    return f"{text}\n{shown}" if shown and not _covers(text, shown) else text


def _covers(text: str, part: str) -> bool:
    """Whether every word of a part stands in a text."""
    return set(_WORD.findall(part.lower())) <= set(_WORD.findall(text.lower()))


def _new(text: str, parts: Sequence[str]) -> list[str]:
    """The parts that a text lacks. Slack writes some things in two ways: a word in five may differ, or no letter."""
    letters, words = _letters(text), set(_WORD.findall(text.lower()))
    lacking = [part for part in parts if _letters(part) not in letters]
    spoken = {part: set(_WORD.findall(part.lower())) for part in lacking}
    return [part for part in lacking if 5 * len(spoken[part] - words) > len(spoken[part])]


def _letters(text: str) -> str:
    return _MARKS.sub("", _EMOJI.sub("", text.lower()))


def _bounded(found: _Found, size: int) -> tuple[Quote, ...]:
    """So much of what was found as is kept; what can't be read is one quote, the last."""
    unreadable = list(dict.fromkeys(found.unreadable))
    more = [Quote(QuoteKind.UNREADABLE, clip(", ".join(unreadable), FILES_SIZE))] if unreadable else []
    kept = found.quotes[: MAX_QUOTES - len(more)]
    return (*_within(kept, size - FILES_SIZE), *more)


def _within(quotes: Iterable[Quote], size: int) -> Iterator[Quote]:
    """Quotes that are cut until they have ``size`` characters together."""
    for quote in quotes:
        own = POINTED_AT_SIZE if quote.kind in {QuoteKind.FORWARD, QuoteKind.TABLE} else QUOTE_SIZE
        text = clip(quote.text, min(own, size)) if size > 0 else ""
        size -= len(text)
        if text:
            yield replace(quote, text=text)
