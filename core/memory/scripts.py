"""The memory's scripts and their arguments. Each script's comment says what it does."""

from __future__ import annotations

from redis.asyncio import Redis

from core.store import Script

ADDING = ("core/memory/bounds", "core/memory/following", "core/memory/exchange")
"""Libraries of the scripts that add an exchange."""
_CHANGES = "core/memory/changes"


class MemoryScripts:
    """The memory's scripts: each is one atomic operation on one conversation."""

    def __init__(self, redis: Redis) -> None:
        stored = ["messages", "state"]
        self.load = Script(
            redis,
            "core/memory/load",
            keys=[
                *stored,
                "settings",
                "room",
                "parent",
                "parent_state",
                "forks",
                "parent_settings",
                "facts",
                "listening",
            ],
            args={"has_parent": bool, "root": str, "root_at": float, "ttl": int, "name": str, "fields": list},
        )
        self.append = Script(
            redis,
            "core/memory/append",
            *ADDING,
            keys=["messages", "memory", "forks", "following"],
            args={"exchange": dict},
        )
        heard = {"said": str, "id": str, "quoted": str, "ttl": int, "most": int}
        self.overhear = Script(
            redis,
            "core/memory/overhear",
            "core/memory/bounds",
            _CHANGES,
            keys=[*stored, "forks", "changed"],
            args=heard | {"edited": float, "most_bytes": int, "thread": str},
        )
        self.overhear_room = Script(redis, "core/memory/overhear_room", keys=["room"], args=heard)
        self.read_changes = Script(redis, "core/memory/read_changes", keys=["state", "changed"])
        self.find = Script(
            redis,
            "core/memory/find",
            _CHANGES,
            keys=[*stored, "room", "changed", "facts", "forks"],
            args={"text": str, "name": str, "said": float, "change": str},
        )
        self.swap = Script(redis, "core/memory/swap", keys=[*stored, "room"], args={"swaps": list})
        self.forget = Script(
            redis,
            "core/memory/forget",
            keys=[*stored, "retries", "board", "facts", "room", "changed", "forks", "following", "chosen", "own_forks"],
            args={"ttl": int, "boards": str, "thread": str, "whole": bool},
        )
        self.withdraw_author = Script(
            redis,
            "core/memory/withdraw_author",
            _CHANGES,
            "core/memory/following",
            keys=[*stored, "retries", "board", "facts", "room", "changed", "following"],
            args={"user": str, "quoted": str, "boards": str},
        )
        self.fold = Script(
            redis,
            "core/memory/fold",
            keys=["state"],
            args={"epoch": str, "changes": str, "summary": str, "folded": str, "voices": str},
        )
