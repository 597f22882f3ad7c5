"""Slack, connected: from tokens to a bot that answers, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import TypeVar

import aiohttp
import structlog
from pydantic import SecretStr
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_sdk.web.async_client import AsyncWebClient

from bots.app import Core, Stopping
from bots.slack.errors import slack_errors
from bots.slack.listener import SlackListener
from bots.slack.socket import Socket
from bots.slack.surface import SlackSurface
from core.budgets import Budgets
from core.errors import PlatformUnavailable, RateLimited, SettingsError
from core.settings import Settings
from core.worker import Worker

log = structlog.get_logger()
T = TypeVar("T")

CALL_TIMEOUT = 10
"""Seconds that one call of the Web API may take; Slack answers in well under one."""
WAITS = (1, 2, 4, 8, 15, 30)
"""Seconds between tries to reach Slack at the start; the last one for ever."""


def open_client(settings: Settings, session: aiohttp.ClientSession | None = None) -> AsyncWebClient:
    """A client of the Web API, with the bot's token.

    It does not try again by itself: its waits would hold back newer text, and a post that is sent twice appears twice.
    """
    return AsyncWebClient(
        token=_token(settings.slack_bot_token, "SLACK_BOT_TOKEN", "xoxb-…"),
        base_url=settings.slack_api_url,
        timeout=CALL_TIMEOUT,
        session=session,
        retry_handlers=[],
    )


async def serve(core: Core, stopping: Stopping) -> None:
    """Answer in Slack until we are asked to stop; then take nothing new, and let running answers end.

    A Slack that is away at the start is waited for.

    Raises:
        SettingsError: a token is missing.
        PlatformUnauthorized: Slack does not accept a token.
    """
    settings = core.settings
    app_token = _token(settings.slack_app_token, "SLACK_APP_TOKEN", "xapp-…")
    # A session of our own, since its timeout is the one that counts.
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT)) as session:
        client = open_client(settings, session)
        who = await _insist(lambda: _ask_who_we_are(client), stopping)
        if not who:
            return
        budgets = Budgets(core.redis)
        first_words = settings.first_words_ms / 1000
        surface = SlackSurface(client, who["user_id"], who["user"], budgets=budgets, first_words=first_words)
        worker = Worker(core.assistant, core.turns, {"slack": surface})
        listener = SlackListener(settings, surface, worker, core.turns, core.memory)
        secret = settings.slack_signing_secret
        # Bolt warns at each start that it makes no use of SLACK_BOT_TOKEN, which is as it should be.
        bolt_log = logging.getLogger("bots.slack.bolt")
        bolt_log.setLevel(logging.ERROR)
        app = AsyncApp(
            logger=bolt_log,
            client=client,
            authorize=_authorize(who, client),
            signing_secret=secret.get_secret_value() if secret else None,
            process_before_response=True,
        )
        listener.attach(app)
        socket = Socket(app, app_token)
        try:
            if await _insist(socket.open, stopping):
                log.info("in Slack", workspace=who["team"], bot=who["user"])
                await stopping.asked.wait()
        finally:
            await socket.close()
            await worker.drain(hurry=stopping.hurried)
            await listener.drain()
            await budgets.aclose()


async def _ask_who_we_are(client: AsyncWebClient) -> dict[str, str]:
    with slack_errors("auth.test"):
        response = await client.auth_test()
    return {field: response[field] for field in ("user_id", "user", "team", "team_id", "bot_id")}


async def _insist(work: Callable[[], Coroutine[None, None, T]], stopping: Stopping) -> T | None:
    """Do what a start needs, again and again while Slack is away; None if we are asked to stop meanwhile."""
    for attempt in count():
        task = asyncio.create_task(work())
        stop = asyncio.create_task(stopping.asked.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        except (PlatformUnavailable, RateLimited) as error:
            wait = error.retry_after or WAITS[min(attempt, len(WAITS) - 1)]
            log.warning("Slack is not reachable", error=str(error), again_in=wait)
            await asyncio.wait({stop}, timeout=wait)
        finally:
            stop.cancel()
            task.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)
        if stopping.asked.is_set():
            break
    return None


def _authorize(who: dict[str, str], client: AsyncWebClient) -> Callable[..., Awaitable[AuthorizeResult]]:
    """One workspace, one token, known from the start.

    Bolt's own way calls auth.test for every event that comes before the first of these calls is answered: a burst after
    a start is held up by it.
    """
    result = AuthorizeResult(
        enterprise_id=None,
        team_id=who["team_id"],
        bot_token=client.token,
        bot_id=who["bot_id"],
        bot_user_id=who["user_id"],
    )

    async def authorize() -> AuthorizeResult:
        return result

    return authorize


def _token(secret: SecretStr | None, name: str, example: str) -> str:
    if not secret:
        raise SettingsError(f"{name}: is needed for Slack. Example: {name}={example}")
    return secret.get_secret_value()
