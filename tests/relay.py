"""A relay between clients and a server on a unix socket: it counts round trips, and can lead to another server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any


class Relay:
    """``target`` is where new connections lead; ``round_trips`` counts how often clients waited for an answer."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.connections = 0
        self.round_trips = 0
        self.url = ""
        self._sinks: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes, both ways."""
        self.connections += 1
        self.round_trips += 1  # to connect takes one as well
        there, back = await asyncio.open_unix_connection(str(self.target))
        answered = asyncio.Event()
        answered.set()
        self._begin(self._ask(reader, back, answered), back)
        self._begin(self._answer(there, writer, answered), writer)

    def _begin(self, passing: Coroutine[Any, Any, None], sink: asyncio.StreamWriter) -> None:
        self._sinks.append(sink)
        task = asyncio.create_task(passing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, answered: asyncio.Event) -> None:
        with suppress(ConnectionError):
            while data := await source.read(2**20):
                self.round_trips += answered.is_set()
                answered.clear()
                sink.write(data)
        sink.close()

    async def _answer(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, answered: asyncio.Event) -> None:
        with suppress(ConnectionError):
            while data := await source.read(2**20):
                answered.set()
                sink.write(data)
        sink.close()

    async def close(self) -> None:
        """Let go of everything."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sink in self._sinks:
            sink.close()
        await asyncio.gather(*(sink.wait_closed() for sink in self._sinks), return_exceptions=True)


@asynccontextmanager
async def relaying(target: Path) -> AsyncIterator[Relay]:
    """One that listens on TCP."""
    relay = Relay(target)
    server = await asyncio.start_server(relay.connected, "127.0.0.1", 0)
    relay.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield relay
    finally:
        server.close()
        await relay.close()
