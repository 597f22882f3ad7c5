"""The page as a whole: a masthead and its tabs, behind its login and a guard of requests."""

from __future__ import annotations

from typing import Any

import fastapi
import gradio as gr
from starlette.requests import Request
from starlette.types import ASGIApp

from bots.platform import Start
from bots.web.chat import ChatActions
from bots.web.chat_tab import build_chat, build_masthead
from bots.web.complete_tab import build_complete
from bots.web.live import LiveBoards
from bots.web.memory_tab import build_memory
from bots.web.options_tab import build_options
from bots.web.people import People, visitor_id
from bots.web.server import RequestGuard
from bots.web.settings import WebSettings
from bots.web.status_tab import build_status
from bots.web.theme import CSS, JAVASCRIPT, theme
from core.turns import TurnQueue

DEMO = (
    "**This is the demo: no model is connected.** To connect one, set `MODEL_URL` (its server's address) in `.env`, "
    "and `MODEL_API_KEY` if the server needs a key."
)

QUEUE_POLL_SECONDS = 0.01
"""Seconds between two looks of Gradio for something to do. Its own are ten times as many: 8 % of a core for nothing."""


class Page:
    """What people see and do; ``app`` serves it."""

    def __init__(self, start: Start[WebSettings], queue: TurnQueue, live_boards: LiveBoards) -> None:
        core, self._settings = start.core, start.settings
        self._live_boards = live_boards
        people = People(core.redis, retention=core.settings.retention_seconds)
        self._actions = ChatActions(queue, core.memory, people, live_boards, start.settings)
        self._blocks = self._build(start)

    def app(self) -> ASGIApp:
        """The page behind its login and its guard."""
        settings, header = self._settings, self._settings.web_auth_header
        password = settings.web_password

        def named(request: Request) -> str | None:
            return visitor_id(request.headers, {}, header) or None

        app = gr.mount_gradio_app(
            fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
            self._blocks,
            path="/",
            footer_links=[],
            app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
            auth=(settings.web_user, password.get_secret_value()) if password else None,
            auth_message="Parley, the team's assistant",
            auth_dependency=named if header else None,
            show_error=True,
            max_file_size=0,
            ssr_mode=False,
            enable_monitoring=False,
            mcp_server=False,
            pwa=False,
            theme=theme(),
            css_paths=CSS,
            head='<meta name="color-scheme" content="light dark">',
        )
        return RequestGuard(
            app, local=not (password or header), cookie=not header, password=bool(password), header=header
        )

    def close(self) -> None:
        """Let go of the browsers that watch."""
        self._actions.close()

    def _build(self, start: Start[WebSettings]) -> Any:
        core = start.core
        with gr.Blocks(title="Parley", analytics_enabled=False) as blocks:
            channel, name = build_masthead()
            with gr.Tabs():
                with gr.Tab("Chat", id="chat") as chat:
                    on_load = build_chat(self._actions, channel, name, DEMO if core.settings.backend == "demo" else "")
                    build_options(core, self._actions, channel)
                with gr.Tab("Complete", id="complete") as complete:
                    build_complete(core.models, core.assistant.answer_settings.deadlines, self._actions)
                with gr.Tab("Memory", id="memory") as memory:
                    build_memory(core, self._actions, channel)(memory)
                with gr.Tab("Status", id="status") as status:
                    build_status(start)(status, [chat, complete, memory])
            on_load(blocks)
            blocks.load(None, None, None, js=JAVASCRIPT)
        blocks.queue(default_concurrency_limit=None, api_open=False)
        blocks._queue.sleep_when_free = QUEUE_POLL_SECONDS
        return blocks
