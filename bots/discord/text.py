"""Discord's markup and plain Markdown: what comes in becomes readable, what goes out is readable and rings nobody.

Discord shows most of Markdown, but no tables, no rules and no headings below the third
(docs.discord.com has no page on it; support.discord.com, "Markdown Text 101"). ``shown`` rewrites those. It sends
no mention that could ring, either: every call forbids that by ``allowed_mentions``, so here nothing has to be broken.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import takewhile

from bots.addressing import without_mentions_at_ends
from core.markdown import fence_lines, safe_links

SIZE = 2000
"""UTF-16 units of one message (docs.discord.com, resources/message)."""
_TOKEN = re.compile(
    r"<(?:@!?(?P<user>\d{15,20})|@&(?P<role>\d{15,20})|#(?P<channel>\d{15,20})"
    r"|a?:(?P<emoji>\w{2,32}):\d{15,20}|t:(?P<time>-?\d{1,13})(?::[tTdDfFRsS])?"
    r"|/(?P<command>[-\w ]{1,100}):\d{15,20}|id:(?P<guide>customize|browse|guide|linked-roles)(?::\d{15,20})?"
    r"|(?P<link>https?://[^\s<>]+))>"
)
_ROW = re.compile(r"[ \t]{0,3}\|")
_DELIMITER = re.compile(r"[ \t]*\|?(?:[ \t]*:?-+:?[ \t]*\|)*[ \t]*:?-+:?[ \t]*\|?[ \t]*")
_CELL_END = re.compile(r"(?<!\\)\|")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_HEADING = re.compile(r"[ \t]{0,3}#{4,6}[ \t]+(?P<title>.*?)[ \t]*#*[ \t]*")
_RULE = re.compile(r"[ \t]{0,3}(?P<mark>[-*_])(?:[ \t]*(?P=mark)){2,}[ \t]*")
_MAYBE_RULE = re.compile(r"[-*_][ \t]*[-*_][ \t]*[-*_]")
_MARKS = re.compile(r"(\*\*|__|~~|`)(.+?)\1")


def units(text: str) -> int:
    """Length as Discord counts it: in UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def cut(text: str, most: int) -> str:
    """``text`` in at most so many units, with an ellipsis where something is left out."""
    if units(text) <= most:
        return text
    while units(text) > most - 1:
        text = text[: max(0, len(text) - max(1, (units(text) - most + 1) // 2))]
    return text + "…"


# In.


def readable(text: str, names: Mapping[str, str]) -> str:
    """What a person wrote, as people read it: ``names`` for ids, emoji and times in words, no angle brackets."""
    return _TOKEN.sub(lambda token: _word(token, names), text).strip()


def without_mention(text: str, user: str) -> str:
    """Drop a mention of ``user`` from the beginning and the end, where it only addresses."""
    return without_mentions_at_ends(text, re.compile(rf"<@[!&]?{re.escape(user)}>"))


def _word(token: re.Match[str], names: Mapping[str, str]) -> str:
    kind = token.lastgroup or ""
    value = token[kind]
    if kind in _NAMED:
        sign, unknown = _NAMED[kind]
        return sign + names.get(value, unknown)
    if kind == "time":
        try:
            return datetime.fromtimestamp(int(value), UTC).strftime("%Y-%m-%d %H:%M UTC")
        except (ValueError, OverflowError, OSError):
            return token[0]
    if kind == "guide":
        return _GUIDES[value]
    return {"emoji": f":{value}:", "command": f"/{value}"}.get(kind, value)


_GUIDES = {
    "customize": "Channels & Roles",
    "browse": "Browse Channels",
    "guide": "Server Guide",
    "linked-roles": "Linked Roles",
}
"""Pages of a server that a message can point to (docs.discord.com, reference, "Message Formatting")."""
_NAMED = {"user": ("@", "somebody"), "role": ("@", "a role"), "channel": ("#", "a channel")}


# Out.


def shown(text: str) -> str:
    """Markdown as Discord can show it: tables in columns, headings in bold, no images, no links that lie."""
    return "".join(piece for piece, *_ in _pieces(safe_links(text)))


def without_links(text: str) -> str:
    """A text in which no address can be followed: for messages that are refused for one."""
    return text.replace("://", "[:]//")


def shown_units(text: str) -> int:
    """How long a text is when it is shown, at the most; more text never measures less."""
    return sum(max(most, units(raw)) for _, raw, most in _pieces(text))


def _pieces(text: str) -> Iterator[tuple[str, str, int]]:
    """Bit by bit: what is shown, what it stands for, and what it may take while the answer grows."""
    if "|" not in text and "#" not in text and not _MAYBE_RULE.search(text):
        yield text, text, 0
        return
    turns = {line.start(): after for line, after in fence_lines(text)}
    lines = _LINE.findall(text)
    at, inside, number = 0, False, 0
    while number < len(lines):
        line = lines[number]
        if inside or at in turns:
            inside = turns[at] is not None if at in turns else inside
            yield line, line, 0
        elif _ROW.match(line):
            rows = [line, *takewhile(_ROW.match, lines[number + 1 :])]
            raw = "".join(rows)
            table, most = _table(rows) if len(rows) > 1 else (raw, 0)
            yield table, raw, most
            number += len(rows) - 1
            at += len(raw) - len(line)
        else:
            yield _line(line), line, 0
        number += 1
        at += len(line)


def _line(line: str) -> str:
    body = line.rstrip("\r\n")
    end = line[len(body) :]
    if (heading := _HEADING.fullmatch(body)) and heading["title"]:
        title = safe_links(heading["title"].replace("**", ""))  # which may have kept a bracket from its address
        return f"**{title}**{end}" if title else line
    if end and _RULE.fullmatch(body):
        return "———" + end
    return line


def _table(rows: list[str]) -> tuple[str, int]:
    """Rows of a table, in columns, as a block of code; and the units that it may take while it is written."""
    raw = [_CELL_END.split(_inner(row)) for row in rows]
    columns = range(max(map(len, raw)))
    most = sum(max(max(units(row[n]), _width(row[n])) for row in raw if n < len(row)) + 2 for n in columns)
    cells = [[_plain(cell) for cell in row] for row, line in zip(raw, rows, strict=True) if not _is_delimiter(line)]
    if not cells:
        return "".join(rows), 0
    widths = [max((_width(row[n]) for row in cells if n < len(row)), default=0) for n in columns]
    lines = ["  ".join(_padded(cell, widths[n]) for n, cell in enumerate(row)).rstrip() for row in cells]
    if _is_delimiter(rows[1]):
        lines.insert(1, "  ".join("─" * width for width in widths))
    block = "\n".join(lines).replace("```", "'''")
    end = "\n" if rows[-1].endswith("\n") else ""
    return f"```\n{block}\n```{end}", (len(rows) + 1) * (most + 1) + 9


def _inner(row: str) -> str:
    inner = row.strip().removeprefix("|")
    return inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner


def _plain(cell: str) -> str:
    """A cell without the marks that a block of code would show."""
    return _MARKS.sub(r"\2", cell.strip().replace("\\|", "|").replace("<br>", " "))


def _is_delimiter(row: str) -> bool:
    return bool(_DELIMITER.fullmatch(row.rstrip("\r\n"))) and "-" in row


def _width(text: str) -> int:
    """Columns that a text takes in a font of equal widths."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))
