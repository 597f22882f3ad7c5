"""What log lines say instead of ids: enough to follow one turn through all processes, and nobody's name."""

from __future__ import annotations

from hashlib import blake2b

from core.types import Turn


def tag(name: str) -> str:
    """Ten hex digits that are the same for the same ``name``: an id of a turn or a conversation, never a text.

    There is no key in it, so that every process gives the same; whoever has an id can find its lines.
    """
    return blake2b(name.encode("utf-8", "replace"), digest_size=5).hexdigest()


def turn_fields(turn: Turn) -> dict[str, str | int]:
    """The fields by which the log lines of one turn are found."""
    return {
        "platform": turn.key.platform,
        "conv": tag(str(turn.key)),
        "turn": tag(turn.id),
        "attempt": turn.attempt,
    }
