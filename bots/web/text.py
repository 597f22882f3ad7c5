"""What a board's entries look like in the chat window: Markdown that fetches nothing and forges no name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bots.web.board import Entry, Stage
from core.markdown import certain_code, plain_links

MOST_VISIBLE = 40
"""Entries in the chat window; what is older is in the memory."""
CURSOR = " ▍"
THINKING = "*thinking …*"
_SIGNS = re.compile(r"([\\`*_{}\[\]<>()#+!|~-])")
_TAG = re.compile(r"<(?!https?://[^\s<>`]*>)(?=[a-zA-Z/!?])")
"""What may begin a tag; an address in angle brackets does not."""


def markdown(text: str) -> str:
    """``text`` as Markdown in which nothing is fetched, and HTML is shown, not obeyed: ``List<String>`` stays whole."""
    return plain_links(_show_tags(text))


def _show_tags(text: str) -> str:
    """``text`` with every tag as text, except where it is code to every reader of Markdown."""
    if "<" not in text:
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    parts: list[str] = []
    at = 0
    for start, end in certain_code(text, html=False):
        parts += [_TAG.sub("&lt;", text[at:start]), text[start:end]]
        at = end
    return "".join([*parts, _TAG.sub("&lt;", text[at:])])


def literal(text: str) -> str:
    """``text`` as Markdown that shows it as it is."""
    return _SIGNS.sub(r"\\\1", text)


def chat_messages(entries: Sequence[Entry]) -> list[dict[str, str]]:
    """What the chat window shows, oldest first."""
    messages = []
    for entry in entries[-MOST_VISIBLE:]:
        said = f"**{literal(entry.author.name)}**\n\n{markdown(entry.question)}"
        messages.append({"role": "user", "content": said})
        messages.append({"role": "assistant", "content": _reply(entry)})
    return messages


def _reply(entry: Entry) -> str:
    if entry.stage is Stage.WAITING:
        return THINKING
    text = markdown(entry.answer)
    if entry.stage is Stage.GROWING:
        # What follows a fence on its line would keep the block open.
        return text if text.endswith(("```", "~~~")) else text + CURSOR
    note = f"*{literal(entry.note)}*" if entry.note else ""
    return "\n\n".join(part for part in (text, note) if part) or "*No answer.*"


def progress(entries: Sequence[Entry]) -> str:
    """Who is being answered, in a line."""
    names = list(dict.fromkeys(entry.author.name for entry in entries if entry.open))
    if not names:
        return ""
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"Answering {shown} …"
