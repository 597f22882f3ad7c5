"""The Lua scripts, each one atomic step in Redis; they stand beside the Python that calls them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

_ROOT = Path(__file__).parents[2]


@cache
def script(name: str, *libraries: str) -> str:
    """The source of ``core/turns/claim``, say, after the libraries it uses; ``core/store/stored`` is one of all."""
    parts = ("core/store/stored", *libraries, name)
    return "\n".join(_ROOT.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in parts)


class Script:
    """One script, called by its hash; where Redis does not know that, it is sent whole, in one round trip more.

    redis-py's own takes two more, and one for each pipeline: too many where Redis is far away.
    """

    def __init__(self, redis: Redis, name: str, *libraries: str) -> None:
        self._redis: Any = redis
        self.source = script(name, *libraries)
        self.sha: str = redis.register_script(self.source).sha

    async def __call__(self, keys: Sequence[str] = (), args: Sequence[Any] = ()) -> Any:
        """Run it."""
        try:
            return await self._redis.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await self._redis.eval(self.source, len(keys), *keys, *args)

    async def each(self, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        """Run it for each of ``calls``, keys and arguments, in one round trip; it may run twice for some."""
        if not calls:
            return []
        first = await self(*calls[0])
        if len(calls) == 1:
            return [first]
        while True:
            try:
                async with self._redis.pipeline(transaction=False) as pipe:
                    for keys, args in calls[1:]:
                        pipe.evalsha(self.sha, len(keys), *keys, *args)
                    return [first, *await pipe.execute()]
            except NoScriptError:  # it was restarted in between
                await self._redis.script_load(self.source)
