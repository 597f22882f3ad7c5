"""What a board's entries look like in the chat window."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from zlib import crc32

from bots.web.board import Entry, Stage
from bots.web.markup import escape, to_html

MOST_VISIBLE = 40
"""Entries in the chat window; what is older is in the memory."""
CURSOR = " ▍"
HUES = 8
"""Colours of initials in ``page.css``."""


@lru_cache(maxsize=8 * MOST_VISIBLE)
def _shown(said: str, head: str = "", note: str = "") -> str:
    """Markdown that somebody wrote as blocks between ours, with what to copy of it."""
    copied = b64encode(said.encode("utf-8", "replace")).decode()
    blocks = (f"<!--said:{copied}-->", head, to_html(said), note, "<!--end-->")
    return "\n\n".join(block for block in blocks if block)


def chat_messages(entries: Sequence[Entry], viewer: str = "") -> list[dict[str, str]]:
    """What the chat window of a viewer, a person's id, shows, oldest first."""
    ahead = _ahead(entries)
    messages = []
    for entry in entries[-MOST_VISIBLE:]:
        head = _head(entry.author.id, entry.author.name, entry.turn, entry.stage, mine=entry.author.id == viewer)
        messages.append({"role": "user", "content": _shown(entry.question, head=head)})
        messages.append({"role": "assistant", "content": _reply(entry, ahead.get(entry.turn, 0))})
    return messages


def _head(person: str, name: str, turn: str, stage: Stage, *, mine: bool) -> str:
    """Who asks, above a question. Its classes tell ``page.js`` and ``page.css`` whose it is, and how far its answer."""
    classes = f"who {'mine' if mine else 'theirs'} {stage} t-{escape(turn)}"
    if mine:
        return f'<p class="{classes}"><strong>{escape(name)}</strong></p>'
    hue = crc32(person.encode("utf-8", "replace")) % HUES
    initial = f'<span class="initial hue{hue}">{escape(name[:1].upper())}</span>'
    return f'<p class="{classes}">{initial}<strong>{escape(name)}</strong></p>'


def _ahead(entries: Sequence[Entry]) -> dict[str, int]:
    """For each waiting question, how many of the same person are answered before it."""
    ahead, unfinished = {}, Counter[str]()
    for entry in sorted((entry for entry in entries if entry.open), key=lambda entry: entry.stage is not Stage.GROWING):
        ahead[entry.turn] = unfinished[entry.author.id]
        unfinished[entry.author.id] += 1
    return ahead


def _reply(entry: Entry, ahead: int) -> str:
    if entry.stage is Stage.WAITING:
        return _shown(f"*Waiting, {ahead} ahead*" if ahead else "*thinking …*")
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
