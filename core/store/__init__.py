"""Redis: the connection, a redis-server of our own, all key names, and how Lua scripts are run."""

from core.store.catalog import StoredKey, declare, kind_of
from core.store.connection import lone_connection, open_redis, redis_errors
from core.store.embedded import find_server
from core.store.keys import TURN_TTL, Keys
from core.store.scripts import Script

__all__ = [
    "TURN_TTL",
    "Keys",
    "Script",
    "StoredKey",
    "declare",
    "find_server",
    "kind_of",
    "lone_connection",
    "open_redis",
    "redis_errors",
]
