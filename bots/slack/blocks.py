"""Reads blocks: what people see of Slack's Block Kit, as text in Slack's markup, for ``bots.slack.text.readable``.

All blocks come down to pieces: text, a table as Markdown, or what can't be read, named in a few words. Blocks are
untrusted: a field of the wrong type counts as missing, and only so much of them is read, only so deep. Pure.

Text of ``mrkdwn`` objects is Slack's markup already. All other text is plain and is escaped here, so that ``readable``
unescapes everything once. The kinds are those of docs.slack.dev/reference/block-kit/blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from bots.slack.text import escape, unescape

MAX_DEPTH = 8
"""How deep blocks are read that contain others."""
MAX_ITEMS = 200
"""Items of one list that are read."""
MAX_TEXT = 8_000
"""Characters of one piece."""
MAX_COLUMNS = 20
SILENT = {"actions", "button", "context_actions", "divider", "input"}
"""Kinds of what people press or fill in, and of lines: nothing is said with them."""
UNREADABLE_KINDS = {"call": "a call", "file": "a file", "canvas": "a canvas", "list": "a list"}
WORDS_OF_BLOCKS = (
    "title subtitle author_name label name text body description details output summary caption alt_text title_url"
    " fallback value status fields elements blocks cards items tasks accessory"
)
"""Fields of a block that say something, in reading order. A field that its kind doesn't have is missing."""
_NUMBER = re.compile(r"[-+\u2212]?[^\w\s]{0,3}\s?\d[\d\s.,'%\u2019]*\s?\w{0,3}[%\u20ac$]?")
"""A number as people write one in a table: 412, -3.5 %, $1,200, 97 GB."""


class PieceKind(Enum):
    """What a piece is."""

    TEXT = "text"
    TABLE = "table"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of what blocks show. ``rich`` is text that a person wrote, which stands in the message's ``text``, too."""

    kind: PieceKind
    text: str
    rich: bool = False


def read_blocks(blocks: Any, depth: int = 0) -> Iterator[Piece]:
    """All that blocks show, in reading order."""
    for block in items(blocks):
        if isinstance(block, Mapping) and depth < MAX_DEPTH:
            yield from _read_block(block, depth + 1)


def read_rich_text(block: Mapping[str, Any]) -> Iterator[str]:
    """The paragraphs, lists, quotes and code of a ``rich_text`` block."""
    for element in items(block.get("elements")):
        if isinstance(element, Mapping) and (text := _rich_element(element)):
            yield clip(text, MAX_TEXT)


def read_table(rows: Any, size: int = MAX_TEXT) -> str:
    """Rows of cells as a Markdown table of at most about ``size`` characters; it says how many rows are left out.

    The first row is its head, unless it holds a number: pasted tables often have none.
    """
    cells = [[_cell(cell) for cell in items(row)[:MAX_COLUMNS]] for row in items(rows)]
    cells = [row for row in cells if any(row)]
    if not cells:
        return ""
    width = max(map(len, cells))
    cells = [row + [""] * (width - len(row)) for row in cells]
    if any(_NUMBER.fullmatch(cell) for cell in cells[0]):
        cells.insert(0, [""] * width)
    lines = [_row(cells[0]), _row(["---"] * width)]
    room = size - sum(map(len, lines))
    for place, row in enumerate(cells[1:], 1):
        line = _row(row)
        room -= len(line) + 1
        if room < 0:
            return "\n".join([*lines, f"({len(cells) - place} more rows left out)"])
        lines.append(line)
    return "\n".join(lines)


def items(value: Any) -> list[Any]:
    """The first items of a list; none of anything else."""
    return value[:MAX_ITEMS] if isinstance(value, list) else []


def text_in(value: Mapping[str, Any], name: str) -> str:
    """A field of text; "" if it is missing or of another type."""
    text = value.get(name)
    return text if isinstance(text, str) else ""


def raw(text: str) -> str:
    """Plain text as markup; Slack delivers some of it escaped, and some not."""
    return escape(unescape(text))


def clip(text: str, size: int) -> str:
    """Markup of at most ``size`` characters, cut between what stands in angle brackets, and said to be cut."""
    if len(text) <= size:
        return text
    cut = text[: size - 2]
    opened = cut.rfind("<")
    if opened > cut.rfind(">") and size - opened < 500:
        cut = cut[:opened]
    return re.sub(r"&\w{0,3}$", "", cut).rstrip() + " …"


def _read_block(block: Mapping[str, Any], depth: int) -> Iterator[Piece]:
    kind = text_in(block, "type")
    if kind in SILENT:
        return
    if kind in UNREADABLE_KINDS:
        yield Piece(PieceKind.UNREADABLE, UNREADABLE_KINDS[kind])
    elif kind == "rich_text":
        yield from (Piece(PieceKind.TEXT, text, rich=True) for text in read_rich_text(block))
    elif kind in {"table", "data_table"}:
        table = read_table(block.get("rows"))
        if caption := _words_of(block.get("caption")):
            yield Piece(PieceKind.TEXT, caption)
        yield Piece(PieceKind.TABLE, table) if table else Piece(PieceKind.UNREADABLE, "a table")
    elif kind == "markdown":
        if text := raw(text_in(block, "text")).strip():
            yield Piece(PieceKind.TEXT, clip(text, MAX_TEXT))
    elif kind == "image":
        shown = dict.fromkeys(filter(None, (_words_of(block.get("title")), _words_of(block.get("alt_text")))))
        words = clip(f"(image: {', '.join(shown)})", MAX_TEXT)
        yield Piece(PieceKind.TEXT, words) if shown else Piece(PieceKind.UNREADABLE, "an image")
    else:
        found = list(_read_fields(block, depth))
        yield from found
        if not found and kind not in {"section", "context", "container", "carousel"}:
            yield Piece(PieceKind.UNREADABLE, named(kind))


def named(kind: str) -> str:
    """A kind of block or file that nothing is known of, in words."""
    words = kind.replace("_", " ") if re.fullmatch(r"[a-z][a-z_]{0,30}", kind) else "part of the message"
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _read_fields(block: Mapping[str, Any], depth: int) -> Iterator[Piece]:
    """What the fields of a block say, one after the other; what it contains is read as a block of its own."""
    line: list[str] = []
    for name in WORDS_OF_BLOCKS.split():
        value = block.get(name)
        if isinstance(value, str | Mapping) and (text := _words_of(value)):
            line.append(text)
            continue
        for part in value if isinstance(value, list) else [value]:
            if text := _words_of(part):
                line.append(text)
            elif (
                isinstance(part, Mapping) and depth < MAX_DEPTH and (name != "accessory" or part.get("type") == "image")
            ):
                yield from _flushed(line)
                yield from _read_block(part, depth + 1) if "type" in part else _read_fields(part, depth + 1)
    yield from _flushed(line)


def _flushed(lines: list[str]) -> Iterator[Piece]:
    text = "\n".join(dict.fromkeys(lines))
    lines.clear()
    if text:
        yield Piece(PieceKind.TEXT, clip(text, MAX_TEXT))


def _words_of(value: Any) -> str:
    """A text, or a text object, in markup; "" of anything else."""
    if isinstance(value, str):
        return raw(value.strip())
    if not isinstance(value, Mapping) or text_in(value, "type") not in {"mrkdwn", "plain_text", ""}:
        return ""
    text = text_in(value, "text").strip()
    return text if value.get("type") == "mrkdwn" else raw(text)


def _rich_element(element: Mapping[str, Any]) -> str:
    """One paragraph, list, quote or piece of code."""
    kind = text_in(element, "type")
    if kind == "rich_text_list":
        return _list(element)
    text = _inline(element.get("elements"))
    if kind == "rich_text_quote":
        return "\n".join(f"&gt; {line}" for line in text.strip().split("\n")) if text.strip() else ""
    if kind == "rich_text_preformatted":
        return f"```\n{_inline(element.get('elements'), styled=False)}\n```" if text.strip() else ""
    return text.strip("\n") if "elements" in element else _inline([element])


def _list(element: Mapping[str, Any]) -> str:
    """A list, numbered or not, at its depth."""
    indent, offset = element.get("indent"), element.get("offset")
    before = "  " * min(indent, MAX_DEPTH) if isinstance(indent, int) and indent > 0 else ""
    first = offset + 1 if isinstance(offset, int) and 0 < offset < 10_000 else 1
    ordered = element.get("style") == "ordered"
    lines = []
    for number, item in enumerate(items(element.get("elements")), first):
        text = _inline(item.get("elements")) if isinstance(item, Mapping) else ""
        lines.append(f"{before}{f'{number}.' if ordered else '-'} {text}")
    return "\n".join(lines)


def _inline(elements: Any, *, styled: bool = True) -> str:
    """Words, names and links in a line."""
    parts = []
    for element in items(elements):
        if not isinstance(element, Mapping):
            continue
        text = _inline_element(element)
        style = element.get("style")
        if styled and text.strip() and isinstance(style, Mapping):
            if style.get("code") is True:
                text = f"`{text}`"
            elif style.get("strike") is True:
                text = f"~{text}~"
        parts.append(text)
    return "".join(parts)


def _inline_element(element: Mapping[str, Any]) -> str:
    kind = text_in(element, "type")
    if kind == "text":
        return escape(text_in(element, "text"))
    if kind == "link":
        url, text = escape(re.sub(r"[<>|\s]", "", text_in(element, "url"))), escape(text_in(element, "text"))
        return f"<{url}|{text}>" if url and text and text != url else f"<{url}>" if url else text
    if kind == "emoji":
        tone = element.get("skin_tone")
        return f":{escape(text_in(element, 'name'))}:" + (f":skin-tone-{tone}:" if isinstance(tone, int) else "")
    if kind == "date":
        stamp, text = element.get("timestamp"), re.sub(r"[<>|]", "", text_in(element, "fallback"))
        known = isinstance(stamp, int) and not isinstance(stamp, bool)
        return f"<!date^{stamp}^{{date}}{f'|{escape(text)}' if text else ''}>" if known else escape(text)
    for name, opening in (("user_id", "@"), ("channel_id", "#"), ("usergroup_id", "!subteam^"), ("range", "!")):
        if re.fullmatch(r"\w{1,40}", text_in(element, name), re.ASCII):
            return f"<{opening}{element[name]}>"
    said = (text_in(element, name) for name in ("text", "title", "name", "fallback", "value", "url"))
    return escape(next(filter(None, said), ""))


def _cell(cell: Any) -> str:
    """One cell of a table, in a line."""
    if isinstance(cell, Mapping) and cell.get("type") == "rich_text":
        text = " ".join(read_rich_text(cell))
    elif isinstance(cell, Mapping):
        number = cell.get("value")
        text = text_in(cell, "text") or (str(number) if isinstance(number, str | int | float) else "")
        text = raw(text) if text else _inline(cell.get("elements")) or _words_of(cell.get("text"))
    else:
        text = raw(str(cell)) if isinstance(cell, str | int | float) and not isinstance(cell, bool) else ""
    return " ".join(clip(text, 500).split()).replace("|", "\\|") if "<" not in text else _escaped_bars(text)


def _escaped_bars(text: str) -> str:
    """A cell in which bars inside angle brackets separate an address from its words."""
    parts = re.split(r"(<[^<>]*>)", " ".join(clip(text, 500).split()))
    return "".join(part if part.startswith("<") else part.replace("|", "\\|") for part in parts)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
