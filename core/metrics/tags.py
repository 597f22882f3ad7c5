"""Tags in log lines in place of ids: they follow one turn through all processes, and reveal no name."""

from __future__ import annotations

from hashlib import blake2b

from core.types import Turn


def tag(name: str) -> str:
    """Ten hex digits of a hash of ``name``, which is an id and never a text.

    Every process computes the same, so an operator who has an id can find its lines.
    """
    return blake2b(name.encode("utf-8", "replace"), digest_size=5).hexdigest()


def turn_fields(turn: Turn) -> dict[str, str | int]:
    """The fields that find the log lines of one turn."""
    return {
        "platform": turn.key.platform,
        "conv": tag(str(turn.key)),
        "turn": tag(turn.id),
        "attempt": turn.attempt,
    }
