"""What each message says in a prompt, whatever the family: who speaks, and on which day.

A person's words begin with their name, so that several people in one conversation are told apart. The date stands
with the first message of each day: it depends on nothing but that message and the one before it, so a
prompt's beginning stays the same from turn to turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from core.guard import guard, name
from core.types import Role, Window


def spoken(window: Window) -> Iterator[tuple[Role, str]]:
    """Role and words of each message, guarded against forged roles and control tokens."""
    last = ""
    for message in window.messages:
        words = guard(message.text)
        if message.role is Role.USER:
            if message.author and message.author.name:
                words = f"{name(message.author.name)}: {words}"
            today = day(message.at)
            if today and today != last:
                last, words = today, f"({today}) {words}"
        yield message.role, words


def day(at: float) -> str:
    """``Monday, 23 November 2026`` where this process runs; empty for a message without a time."""
    return f"{datetime.fromtimestamp(at).astimezone():%A, %-d %B %Y}" if at else ""
