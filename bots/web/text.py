"""What a board's entries look like in the chat window."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache

from bots.web.board import Entry, Stage
from bots.web.markup import escape, to_html

MOST_VISIBLE = 40
"""Entries in the chat window; what is older is in the memory."""
CURSOR = " ▍"


@lru_cache(maxsize=4 * MOST_VISIBLE)
def _shown(said: str, head: str = "", note: str = "") -> str:
    """Markdown that somebody wrote as blocks between ours, with what to copy of it."""
    copied = b64encode(said.encode("utf-8", "replace")).decode()
    blocks = (f"<!--said:{copied}-->", head, to_html(said), note, "<!--end-->")
    return "\n\n".join(block for block in blocks if block)


def chat_messages(entries: Sequence[Entry]) -> list[dict[str, str]]:
    """What the chat window shows, oldest first."""
    messages = []
    for entry in entries[-MOST_VISIBLE:]:
        name = f"<p><strong>{escape(entry.author.name)}</strong></p>"
        messages.append({"role": "user", "content": _shown(entry.question, head=name)})
        messages.append({"role": "assistant", "content": _reply(entry)})
    return messages


def _reply(entry: Entry) -> str:
    if entry.stage is Stage.WAITING:
        return _shown("*thinking …*")
    if entry.stage is Stage.GROWING:
        # What follows a fence on its line would keep the block open.
        return _shown(entry.answer + CURSOR * (not entry.answer.endswith(("```", "~~~"))))
    note = f"<p><em>{escape(entry.note)}</em></p>" if entry.note else ""
    return _shown(entry.answer if note or entry.answer.strip() else "*No answer.*", note=note)


def progress(entries: Sequence[Entry]) -> str:
    """Who is being answered, in a line."""
    names = list(dict.fromkeys(entry.author.name for entry in entries if entry.open))
    if not names:
        return ""
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"Answering {shown} …"
