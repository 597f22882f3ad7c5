"""The queue's scripts and their arguments. Each script's comment says what it does."""

from __future__ import annotations

from redis.asyncio import Redis

from core.memory import ADDING
from core.store import Script

_LANES = "core/turns/lanes"
"""The functions that they share."""


class QueueScripts:
    """The queue's scripts: each is one atomic step of a turn."""

    def __init__(self, redis: Redis) -> None:
        held, quotas = {"lane": str, "epoch": str}, (_LANES, "core/turns/quotas")
        self.submit = Script(
            redis,
            "core/turns/submit",
            *quotas,
            "core/memory/following",
            keys=["key", "following"],
            args={
                "token": str,
                "turn": str,
                "lane": str,
                "job": str,
                "most": int,
                "follow_up": str,
                "superseded": str,
                "limits": list,
                "asked": dict,
            },
        )
        self.admit = Script(redis, "core/turns/admit", *quotas, args={"name": str, "limits": list})
        self.charge = Script(redis, "core/turns/charge", *quotas, args={"scopes": str, "tokens": int})
        self.claim = Script(
            redis,
            "core/turns/claim",
            _LANES,
            keys=["last_epoch"],
            args={
                "worker": str,
                "lease": int,
                "most": int,
                "idle": bool,
                "newest": int,
                "together": int,
                "platforms": list,
            },
        )
        self.beat = Script(
            redis, "core/turns/beat", _LANES, keys=["workers"], args={"worker": str, "lease": int, "leases": list}
        )
        self.mark = Script(
            redis,
            "core/turns/mark",
            _LANES,
            keys=["retries"],
            args=held | {"lease": int, "kept": str, "turn": str, "fields": list},
        )
        self.commit = Script(
            redis,
            "core/turns/commit",
            *quotas,
            *ADDING,
            keys=["messages", "memory", "forks", "following", "retries"],
            args=held | {"job": str, "count": int, "tokens": int, "dead": str, "known": list, "exchange": dict},
        )
        self.release = Script(redis, "core/turns/release", _LANES, args=held | {"wait": int, "failed": bool})
        self.move_to_dead_letters = Script(
            redis, "core/turns/move_to_dead_letters", _LANES, args=held | {"first": int, "count": int, "why": str}
        )
        self.note = Script(
            redis, "core/turns/note", _LANES, keys=["key"], args={"turn": str, "note": str, "early": bool}
        )
        self.retry = Script(
            redis,
            "core/turns/retry",
            *quotas,
            keys=["retries", "key"],
            args={
                "turn": str,
                "token": str,
                "channel": str,
                "pressed": str,
                "unkept": str,
                "most": int,
                "scopes": str,
                "limits": list,
            },
        )
        self.replace_kept = Script(
            redis, "core/turns/replace_kept", keys=["retries"], args={"turn": str, "old": str, "new": str}
        )
        self.requeue_orphan = Script(redis, "core/turns/requeue_orphan", _LANES, args={"lane": str})
        self.sweep = Script(redis, "core/store/sweep", keys=None, args={"kinds": list})
        self.requeue = Script(redis, "core/turns/requeue", _LANES, keys=["key"])
        self.replay = Script(
            redis, "core/turns/replay", _LANES, keys=["dead"], args={"letter": str, "token": str, "again": bool}
        )
        self.backlog = Script(redis, "core/turns/backlog", _LANES, keys=["dead"], args={"most": int, "platforms": list})
