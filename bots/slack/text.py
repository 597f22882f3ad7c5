"""Slack's markup and plain Markdown: what comes in becomes readable, what goes out can ping nobody.

Slack escapes ``&``, ``<`` and ``>`` in what people write and puts mentions, channels and links in angle brackets
(docs.slack.dev/messaging/formatting-message-text). Answers go out as Markdown in ``markdown`` blocks. Whether
those resolve mentions is not documented, so nothing that would be one leaves whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from bots.addressing import without_mentions_at_ends
from core.markdown import certain_code_spans, fence_lines, safe_links

ENTITY = re.compile(r"<([^<>\s][^<>]*)>")
_PERSON = re.compile(r"<@([UW][A-Z0-9]+)(?:\|[^<>]*)?>")
_UNNAMED = re.compile(r"<(?:#|!subteam\^)([CGS][A-Z0-9]+)\|?>")
_PING = re.compile(r"<(?=!(?:channel|here|everyone|group|subteam\b)|[@#][A-Z0-9])", re.IGNORECASE)
_MENTION = re.compile(
    r"<(?=!(?i:channel|here|everyone|group)(?:\|[^<>\n]*)?>|!subteam\^[^<>\n]*>|[@#][UWCG][A-Z0-9]+(?:\|[^<>\n]*)?>)"
)
"""The beginning of what Slack would show as a mention or a channel, and nothing that only begins like one."""
_BROADCAST = re.compile(r"(?<!\w)@(?=(?:channel|here|everyone|group)\b)", re.IGNORECASE)
_EVERYBODY = re.compile(r"<!(?:subteam\^|here\b|channel\b|everyone\b|group\b)[^<>]*>")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
BREAK = "\u200b"
"""Zero-width space: breaks a mention, and is not seen."""
FALLBACK = 300
"""Characters of a reply that notifications show; the blocks carry the whole."""


def people(text: str) -> set[str]:
    """The ids of everybody mentioned."""
    return set(_PERSON.findall(text))


def unnamed(text: str) -> set[str]:
    """The ids of all people in a text, and of channels and groups whose names don't stand there."""
    return people(text) | set(_UNNAMED.findall(text))


def mentions(text: str, user: str) -> bool:
    """Whether a text mentions ``user``."""
    return f"<@{user}>" in text or f"<@{user}|" in text


def mentions_others(text: str, user: str) -> bool:
    """Whether a text mentions other people than ``user``, a user group, or everybody."""
    return bool(people(text) - {user} or _EVERYBODY.search(text))


def readable(text: str, names: Mapping[str, str]) -> str:
    """What a person wrote, as people read it: ``names`` for ids, bare links, no escapes."""
    return unescape(ENTITY.sub(lambda match: _entity(match[1], names), text)).strip()


def unescape(text: str) -> str:
    """Undo Slack's three escapes."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def escape(text: str) -> str:
    """Escape for mrkdwn: afterwards nothing in it is a mention, a link or a command."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def safe_markdown(text: str) -> str:
    """Markdown that pings nobody and loads no image; text without mentions or images is unchanged.

    In code, which people copy, there is no zero-width space: only what Slack would take for a whole mention is broken,
    by a space.
    """
    text, parts, at = safe_links(text), list[str](), 0
    for start, end in certain_code_spans(text, html=False):
        parts += [_without_pings(text[at:start]), _MENTION.sub("< ", text[start:end])]
        at = end
    return "".join([*parts, _without_pings(text[at:])])


def _without_pings(prose: str) -> str:
    return _BROADCAST.sub("@" + BREAK, _PING.sub("<" + BREAK, prose))


def tables_as_code(text: str) -> str:
    """Markdown whose tables are blocks of code: Slack takes one table in a message, and these in any number."""
    turns = {line.start(): after for line, after in fence_lines(text)}
    lines: list[str] = []
    at, in_code, in_table = 0, False, False
    for line in _LINE.findall(text):
        in_code = turns[at] is not None if at in turns else in_code
        row = not in_code and at not in turns and line.lstrip(" \t").startswith("|")
        if row != in_table:
            lines.append("```\n")
        in_table = row
        lines.append(line)
        at += len(line)
    return "".join(lines) + ("\n```" if in_table else "")


def plain(text: str) -> str:
    """All of a text as mrkdwn in which nothing is a mention, a link or a command: what Slack takes if nothing else."""
    return _BROADCAST.sub("@" + BREAK, escape(text))


def fallback(text: str) -> str:
    """The beginning of a reply in mrkdwn, for notifications and old clients."""
    short = text if len(text) <= FALLBACK else text[:FALLBACK].rstrip() + " …"
    return plain(short) or "…"


def without_mention(text: str, user: str) -> str:
    """Drop a mention of ``user`` from the beginning and the end, where it only addresses."""
    return without_mentions_at_ends(text, re.compile(rf"<@{re.escape(user)}(?:\|[^<>]*)?>"))


def _entity(inside: str, names: Mapping[str, str]) -> str:
    """One thing in angle brackets."""
    target, _, label = inside.partition("|")
    for sign, show in _SIGNS.items():
        if target.startswith(sign):
            return show(target.removeprefix(sign), label, names)
    address = target.removeprefix("mailto:").removeprefix("tel:")
    return address if not label or label in address else f"{label} ({address})"


def _channel(target: str, label: str, names: Mapping[str, str]) -> str:
    """``<#C1|general>``, ``<#C1>``."""
    return "#" + (label or names.get(target) or "a channel")


def _special(target: str, label: str, names: Mapping[str, str]) -> str:
    """``<!here>``, ``<!subteam^S1|@team>``, ``<!date^…|yesterday>``."""
    kind, _, rest = target.partition("^")
    if kind == "subteam":
        return "@" + ((label or names.get(rest) or "").lstrip("@") or "a user group")
    if kind == "date":
        return label or _date(rest.partition("^")[0])
    return f"@{kind}" if kind in BROADCASTS else label or f"@{kind}"


def _date(seconds: str) -> str:
    """A date of Slack's that comes without words."""
    if not re.fullmatch(r"[0-9]{1,11}", seconds):
        return "a date"
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M UTC")


BROADCASTS = {"here", "channel", "everyone", "group"}
_SIGNS: dict[str, Callable[[str, str, Mapping[str, str]], str]] = {
    "@": lambda target, label, names: "@" + (names.get(target) or label or target),
    "#": _channel,
    "!": _special,
}
