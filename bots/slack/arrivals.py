"""Which events reach this process: a channel's messages or only mentions, and which of a mention's two came first."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from bots.slack.events import event_of
from core.types import Turn

V = TypeVar("V")

MAX_KNOWN = 10_000
"""Channels, and messages to Parley, of which is known what arrived."""
OTHER_EVENT_SECONDS = 0.5
"""Seconds that an ``app_mention`` waits for the ``message`` event of the same mention."""


class Arrivals:
    """What arrived from Slack so far, in this process."""

    def __init__(self) -> None:
        self._heard: dict[str, bool] = {}
        self._messages: dict[str, asyncio.Event] = {}

    def note(self, body: dict[str, Any]) -> None:
        """Remember that a channel's plain messages reach us, which not every app subscribes to."""
        event = event_of(body)
        if event and event.get("type") == "message" and event.get("channel_type") != "im":
            _put(self._heard, event["channel"], True)

    def heard(self, channel: str) -> bool:
        """Whether all messages of a channel reach us; those of a direct message always do."""
        return channel.startswith("D") or self._heard.get(channel, False)

    async def let_message_come_first(self, body: dict[str, Any], turn: Turn) -> None:
        """Hold back an ``app_mention`` for a moment: ``message`` tells more, files and forwards among it.

        Where no messages reach us, only the first mention waits; the mention in an edit has no other event.
        """
        event, channel = body["event"], turn.place["channel"]
        if event.get("type") != "app_mention" or event.get("edited") or self._heard.get(channel) is False:
            return
        try:
            async with asyncio.timeout(OTHER_EVENT_SECONDS):
                await self._message(turn).wait()
        except TimeoutError:
            if channel not in self._heard:
                _put(self._heard, channel, False)

    def handled(self, body: dict[str, Any], turn: Turn) -> None:
        """A mention was handled: if it came as ``message``, its ``app_mention`` waits no longer."""
        if body["event"].get("type") == "message":
            self._message(turn).set()

    def _message(self, turn: Turn) -> asyncio.Event:
        if turn.id not in self._messages:
            _put(self._messages, turn.id, asyncio.Event())
        return self._messages[turn.id]


def _put(known: dict[str, V], name: str, value: V) -> None:
    """Set an entry of a bounded table."""
    known[name] = value
    if len(known) > MAX_KNOWN:
        del known[next(iter(known))]
