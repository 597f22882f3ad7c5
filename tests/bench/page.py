"""The page's process while many browsers watch one answer grow: its memory, its CPU, and how fresh the text is."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tests.bench.figures import Figure
from tests.doubles.tgi import TgiDouble
from tests.journeys.browser import serving_page
from tests.waiting import wait_until

WORDS = " ".join(f"word{i}" for i in range(400)) + "."
LOOKS = 20


class Watcher:
    """What a browser's tab does: one stream in which the chat window is kept up to date. ``updates`` counts it."""

    def __init__(self, session: aiohttp.ClientSession, url: str, config: dict[str, Any]) -> None:
        self.updates = 0
        self._session, self._url = session, url
        chatbot = next(one["id"] for one in config["components"] if one["type"] == "chatbot")
        self._watch = next(one["id"] for one in config["dependencies"] if one["outputs"][:1] == [chatbot])
        box = next(one["id"] for one in config["components"] if one["props"].get("elem_id") == "box")
        self._submit = next(one["id"] for one in config["dependencies"] if [box, "submit"] in one["targets"])
        self._hash = uuid.uuid4().hex[:11]

    async def run(self) -> None:
        """Watch until cancelled."""
        await self.join(self._watch, ["general"])
        async with self._session.get(f"{self._url}gradio_api/queue/data?session_hash={self._hash}") as stream:
            async for line in stream.content:
                self.updates += b"process_generating" in line

    async def ask(self, text: str) -> None:
        """Submit a message."""
        await self.join(self._submit, [text, "general"])

    async def join(self, number: int, data: list[str]) -> None:
        """Cause an event."""
        asked = {"data": data, "fn_index": number, "session_hash": self._hash, "event_data": None, "trigger_id": None}
        async with self._session.post(f"{self._url}gradio_api/queue/join", json=asked) as response:
            response.raise_for_status()


async def measure(quick: bool) -> list[Figure]:
    """Twenty browsers in one channel."""
    browsers = 3 if quick else 20
    async with TgiDouble(rate=40) as tgi:
        tgi.answer = WORDS
        with tempfile.TemporaryDirectory() as tmp:
            async with serving_page(Path(tmp), MODEL_API="tgi", MODEL_URL=tgi.url) as (parley, url):
                return await _watch(psutil.Process(parley.process.pid), url, browsers)


async def _watch(process: psutil.Process, url: str, browsers: int) -> list[Figure]:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookies={"parley_visitor": "bench"},
        timeout=aiohttp.ClientTimeout(total=None),
        read_bufsize=2**22,
    ) as session:
        async with session.get(f"{url}config") as response:
            config = json.loads(await response.text())
        rest = most = process.memory_info().rss
        watchers = [Watcher(session, url, config) for _ in range(browsers)]
        tasks = [asyncio.create_task(watcher.run()) for watcher in watchers]
        await watchers[0].ask("go")
        await wait_until(lambda: all(watcher.updates > 5 for watcher in watchers), timeout=30, description="updates")
        began, busy, seen = time.monotonic(), _cpu(process), sum(watcher.updates for watcher in watchers)
        for _ in range(LOOKS):
            await asyncio.sleep(0.2)
            most = max(most, process.memory_info().rss)
        took = time.monotonic() - began
        updates = sum(watcher.updates for watcher in watchers) - seen
        cpu = (_cpu(process) - busy) / took
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    name = f"the page with {browsers} browsers, one answer growing"
    return [
        Figure("the page's process at rest, worker and Gradio in it", round(rest / 2**20), "MB"),
        Figure(f"{name}: its memory", round(most / 2**20), "MB"),
        Figure(f"{name}: CPU", round(100 * cpu), "% of a core"),
        Figure(f"{name}: updates a second in each", round(updates / browsers / took, 1), "/s"),
    ]


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
