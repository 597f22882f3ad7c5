"""The Lua scripts, each one atomic step in Redis; they stand beside the Python that calls them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

_ROOT = Path(__file__).parents[2]

_READ: Mapping[type, str] = {
    str: "ARGV[{}]",
    int: "tonumber(ARGV[{}])",
    float: "tonumber(ARGV[{}])",
    bool: 'ARGV[{}] == "1"',
    list: "cjson.decode(ARGV[{}])",
    dict: "cjson.decode(ARGV[{}])",
}
"""How Lua reads an argument, by its type in Python."""


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_SEND: Mapping[type, Callable[[Any], str | int]] = {bool: int, list: _as_json, dict: _as_json}
"""Converts arguments that can't be sent as they are, by type."""


@cache
def source(name: str, *libraries: str, keys: tuple[str, ...] = (), args: tuple[tuple[str, type], ...] = ()) -> str:
    """The text of ``core/turns/claim``, say: the libraries it uses, what it is given as locals, then itself.

    ``core/store/stored`` is a library of every script.
    """
    *before, body = (
        _ROOT.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in ("core/store/stored", *libraries, name)
    )
    given = [f"local {key} = KEYS[{number}]" for number, key in enumerate(keys, 1)]
    given += [f"local {arg} = {_READ[kind].format(number)}" for number, (arg, kind) in enumerate(args, 1)]
    return "\n".join([*before, *given, body])


class Script:
    """A Lua script, called by its hash; if Redis doesn't know it, it is sent whole, in one more round trip.

    redis-py's own needs two more, and one for each pipeline: too many if Redis is far away.

    Args:
        redis: the client.
        name: the file, such as ``core/turns/release``.
        libraries: files of functions that it uses.
        keys: what its keys are called, in the script and in calls; None if it takes any number of them, as ``KEYS``.
        args: what its arguments are called, and their types: str, int, float, bool, or list and dict, which Lua gets as
            tables.

    Example:
        >>> release = Script(redis, "core/turns/release", "core/turns/lanes", args={"lane": str, "failed": bool})
        >>> await release(lane="slack:T1:C1", failed=True)
    """

    def __init__(
        self,
        redis: Redis,
        name: str,
        *libraries: str,
        keys: Sequence[str] | None = (),
        args: Mapping[str, type] | None = None,
    ) -> None:
        self._redis: Any = redis
        self._keys, self._args = keys, dict(args or {})
        self.name = name
        self.takes = (*(["keys"] if keys is None else keys), *self._args)
        self.source = source(name, *libraries, keys=tuple(keys or ()), args=tuple(self._args.items()))
        self.sha: str = redis.register_script(self.source).sha

    async def __call__(self, **given: Any) -> Any:
        """Run it. Raises TypeError if it takes other keys and arguments."""
        count, values = self._values(given)
        try:
            return await self._redis.evalsha(self.sha, count, *values)
        except NoScriptError:
            return await self._redis.eval(self.source, count, *values)

    async def each(self, calls: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Run it with each of ``calls``, in one round trip; it may run twice for some."""
        if not calls:
            return []
        first = await self(**calls[0])
        if len(calls) == 1:
            return [first]
        while True:
            try:
                async with self._redis.pipeline(transaction=False) as pipe:
                    for given in calls[1:]:
                        count, values = self._values(given)
                        pipe.evalsha(self.sha, count, *values)
                    return [first, *await pipe.execute()]
            except NoScriptError:  # it was restarted in between
                await self._redis.script_load(self.source)

    def _values(self, given: Mapping[str, Any]) -> tuple[int, list[Any]]:
        """The number of keys, and the keys and arguments to send."""
        if given.keys() != set(self.takes):
            raise TypeError(f"{self.name} takes {[*self.takes]}, not {[*given]}")
        keys = given["keys"] if self._keys is None else [given[name] for name in self._keys]
        args = [_SEND[kind](given[name]) if kind in _SEND else given[name] for name, kind in self._args.items()]
        return len(keys), [*keys, *args]
