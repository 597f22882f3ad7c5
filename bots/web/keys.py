"""What the page's adapter keeps in Redis for itself."""

from __future__ import annotations

from core.store import Keys, StoredKey

STORED = (
    StoredKey(
        "page:channels",
        "zset",
        "the page's shared channels, and when each was last opened",
        "`RETENTION_DAYS` after it was last opened",
    ),
    StoredKey(
        "page:person:<person>", "hash", "`name` and `channel` of somebody at the page", "`RETENTION_DAYS` after a visit"
    ),
)

CHANNELS = Keys.own("page", "channels")
"""The page's shared channels."""


def person_key(person: str) -> str:
    """How somebody on the page is called, and where they are."""
    return Keys.own("page", f"person:{person}")
