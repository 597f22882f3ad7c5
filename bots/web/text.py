"""What a board's entries look like in the chat window: Markdown that fetches nothing and forges no name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bots.web.board import Entry, Stage
from core.fences import fence_lines
from core.links import plain_links

MOST_VISIBLE = 40
"""Entries in the chat window; what is older is in the memory."""
CURSOR = " ▍"
THINKING = "*thinking …*"
_SIGNS = re.compile(r"([\\`*_{}\[\]<>()#+!|~-])")
_CODE = re.compile(r"(`+)(?!`)(?:(?!\n[ \t]*\n).)+?(?<!`)\1(?!`)|<https?://[^\s<>]*>", re.DOTALL)
_TAG = re.compile(r"<(?=[a-zA-Z/!?])")


def markdown(text: str) -> str:
    """``text`` as Markdown in which nothing is fetched, and HTML is shown, not obeyed: ``List<String>`` stays whole."""
    return plain_links(_show_tags(text))


def _show_tags(text: str) -> str:
    """``text`` with tags outside of code as text."""
    if "<" not in text:
        return text
    parts: list[str] = []
    at = 0
    for line, fence in fence_lines(text):
        if fence:
            parts.append(_outside_blocks(text[at : line.start()]))
            at = line.start()
        else:
            parts.append(text[at : line.end()])
            at = line.end()
    rest = text[at:]
    return "".join(parts) + (rest if rest.lstrip().startswith(("```", "~~~")) else _outside_blocks(rest))


def _outside_blocks(text: str) -> str:
    """What is no code block, with tags as text outside of inline code."""
    parts: list[str] = []
    at = 0
    for code in _CODE.finditer(text):
        parts += [_TAG.sub("&lt;", text[at : code.start()]), code[0]]
        at = code.end()
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
