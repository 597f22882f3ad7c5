"""The order in which what was said is read: what was overheard stands where it was said, not where it was stored."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from core.types import Message


def in_order(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Put overheard messages before the first other message that is later than they are.

    The others keep their order: that of their answers. An answer has the time of its question, so what was said while
    it was written stands after it.

    >>> from core.types import Role
    >>> asked = Message(Role.USER, "When?", "q", at=1.0), Message(Role.ASSISTANT, "At ten.", "a", at=9.0, reply_to="q")
    >>> corrected = Message(Role.USER, "No, at nine.", "m", at=5.0, overheard=True)
    >>> [message.text for message in in_order([corrected, *asked])]
    ['When?', 'At ten.', 'No, at nine.']
    """
    others = [message for message in messages if not message.overheard]
    asked = {message.id: message.at for message in others if message.id and not message.reply_to}
    latest: list[float] = []
    for message in others:
        at = asked.get(message.reply_to, message.at)
        latest.append(max(at, latest[-1] if latest else at))
    merged: list[Message] = []
    done = 0
    for message in sorted((one for one in messages if one.overheard), key=lambda one: one.at):
        place = bisect_right(latest, message.at)
        merged += [*others[done:place], message]
        done = place
    return (*merged, *others[done:])
