"""The memory's scripts and their arguments. Each script's comment says what it does."""

from __future__ import annotations

from redis.asyncio import Redis

from core.store import Script


class MemoryScripts:
    """The memory's scripts: each is one atomic operation on one conversation."""

    def __init__(self, redis: Redis) -> None:
        stored = ["messages", "state"]
        self.load = Script(
            redis,
            "core/memory/load",
            keys=[*stored, "settings", "parent", "parent_state", "forks", "parent_settings", "facts"],
            args={"has_parent": bool, "root": str, "root_at": float, "ttl": int, "name": str},
        )
        self.append = Script(
            redis,
            "core/memory/append",
            "core/memory/exchange",
            keys=["messages", "memory", "forks"],
            args={"exchange": dict},
        )
        self.find = Script(
            redis, "core/memory/find", keys=[*stored, "forks"], args={"text": str, "name": str, "said": float}
        )
        self.swap = Script(redis, "core/memory/swap", keys=stored, args={"swaps": list})
        self.forget = Script(
            redis,
            "core/memory/forget",
            keys=[*stored, "retries", "board", "facts", "forks", "chosen", "own_forks"],
            args={"ttl": int, "boards": str, "thread": str, "whole": bool},
        )
        self.withdraw_author = Script(
            redis,
            "core/memory/withdraw_author",
            keys=[*stored, "retries", "board", "facts"],
            args={"user": str, "quoted": str, "boards": str},
        )
        self.fold = Script(
            redis,
            "core/memory/fold",
            keys=["state"],
            args={"epoch": str, "changes": str, "summary": str, "folded": str, "voices": str},
        )
