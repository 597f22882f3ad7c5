"""How a browser's chat window is kept up to date."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import redis.asyncio

from bots.web.board import Boards
from bots.web.chat import ChatActions
from bots.web.live import LiveBoards
from bots.web.people import People
from bots.web.settings import WebSettings
from bots.web.watching import Watches
from core.memory.conversations import Memory
from core.settings import load_settings
from core.turns.queue import TurnQueue


async def test_another_channel_ends_the_watch_before_it_at_once_and_without_a_word(client: redis.asyncio.Redis) -> None:
    """Gradio sends what a watch yielded last once more as it ends, after what the next one has shown already."""
    settings = load_settings(WebSettings, _env_file=None, web_auth_header="X-User")
    live, memory = LiveBoards(Boards(client, retention=3600)), Memory(client, retention=3600)
    actions = ChatActions(TurnQueue(client, memory), memory, People(client, retention=3600), live, settings)
    watches = Watches(actions, live)
    request = cast("gr.Request", SimpleNamespace(headers={"X-User": "ada"}, cookies={}, session_hash="ada"))
    first = watches.watch("general", request)
    await anext(first)
    rest = asyncio.create_task(_rest(first))
    second = watches.watch("plans", request)
    shown = await anext(second)
    assert "data-beat" in shown[-1]
    async with asyncio.timeout(10):  # without waiting for the next check of its browser
        *_, last = await rest
    assert last == (gr.skip(),) * 4
    watches.close()
    await _rest(second)


async def _rest(watch: AsyncIterator[Any]) -> list[Any]:
    return [shown async for shown in watch]
