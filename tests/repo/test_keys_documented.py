"""docs/redis.md is the reference of all keys in Redis, and true."""

from __future__ import annotations

from pathlib import Path

from bots.platforms import PLATFORMS
from core.store.catalog import STORED, key_table

KEYS = [*STORED, *(key for platform in PLATFORMS for key in platform.stored_keys())]


def test_the_documents_table_is_made_of_what_is_declared() -> None:
    """`python -m tests.repo.test_keys_documented` prints it."""
    assert key_table(KEYS) in Path("docs/redis.md").read_text(encoding="utf-8")


def test_no_key_lives_for_ever() -> None:
    """Of the core, or of a platform."""
    assert all(key.until for key in KEYS)


def test_platforms_keep_apart_from_the_core_and_from_each_other() -> None:
    """Each under a first word of its own."""
    words = [{key.name.split(":")[0] for key in STORED}]
    words += [{key.name.split(":")[0] for key in platform.stored_keys()} for platform in PLATFORMS]
    assert sum(map(len, words)) == len(set().union(*words))


if __name__ == "__main__":
    print(key_table(KEYS), end="")  # noqa: T201
