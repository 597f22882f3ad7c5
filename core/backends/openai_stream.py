"""What an OpenAI stream says: bytes cut into events, and events added up to an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp

from core.types import Delta, Ending, Streamed, Thinking, Usage


class Lines:
    """Cuts bytes into the data of events."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of each line that is whole now."""
        lines = (self.rest + chunk if self.rest else chunk).split(b"\n")
        self.rest = lines.pop()
        return [line[5:] for line in lines if line.startswith(b"data:")]


class Reader:
    """What one stream has said so far."""

    def __init__(self) -> None:
        self.spoke = self.finished = self.done = False
        self.ending, self.usage = Ending.COMPLETE, Usage()

    def take(self, event: Mapping[str, Any]) -> list[Streamed]:
        """What one event adds."""
        if usage := event.get("usage"):
            self.usage = Usage(usage.get("prompt_tokens"), usage.get("completion_tokens"))
        choices = event.get("choices")
        if not choices:
            if choices is None and "usage" not in event:
                raise KeyError("choices")
            return []
        choice = choices[0]
        said = choice.get("delta") or choice.get("message") or choice
        text = said.get("content") or said.get("text") or ""
        found: list[Streamed] = []
        if said.get("reasoning_content") or said.get("reasoning"):
            found.append(Thinking())
        if text:
            self.spoke = True
            found.append(Delta(text))
        if reason := choice.get("finish_reason"):
            if reason in ("abort", "error"):
                raise ValueError(reason)
            self.finished = True
            self.ending = Ending.LENGTH if reason == "length" else Ending.COMPLETE
        return found


async def next_chunk(content: aiohttp.StreamReader, within: float | None) -> bytes:
    """The next bytes; none at the end, and none if they are not there ``within`` so many seconds."""
    if within is None:
        return await content.readany()
    try:
        async with asyncio.timeout(within):
            return await content.readany()
    except TimeoutError:
        return b""
