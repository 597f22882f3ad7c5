"""Slack, connected: from tokens to a workspace whose turns are taken and answered."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import structlog
from pydantic import SecretStr
from redis.asyncio import Redis
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_sdk.web.async_client import AsyncWebClient

from bots.listening import keep_listening
from bots.slack.cleanup import Cleanup
from bots.slack.errors import slack_errors
from bots.slack.listener import SlackListener
from bots.slack.settings import PERSON, SlackSettings
from bots.slack.socket import Socket
from bots.slack.surface import SlackSurface
from bots.stopping import Stopping
from core.errors import SettingsError
from core.memory import Listening, Memory
from core.pacing import CallBudgets
from core.tasks import end_tasks
from core.turns import TurnQueue
from core.version import parley_version

log = structlog.get_logger()

CALL_TIMEOUT = 10
"""Seconds that one call of the Web API may take; Slack answers in well under one."""


def open_client(settings: SlackSettings, session: aiohttp.ClientSession | None = None) -> AsyncWebClient:
    """A client of the Web API, with the bot's token.

    It does not try again on its own: its waits would hold back newer text, and a post that is sent twice appears twice.
    """
    return AsyncWebClient(
        token=_token(settings.slack_bot_token, "SLACK_BOT_TOKEN", "xoxb-…"),
        base_url=settings.slack_api_url,
        timeout=CALL_TIMEOUT,
        session=session,
        retry_handlers=[],
        # Slack's own logs, and a proxy's, then tell which of our processes called.
        user_agent_suffix=f"Parley/{parley_version()} (process {os.getpid()})",
    )


class Slack:
    """One workspace: where its turns are answered, and where they come from."""

    def __init__(
        self,
        settings: SlackSettings,
        client: AsyncWebClient,
        who: dict[str, str],
        stopping: Stopping,
        budgets: CallBudgets,
    ) -> None:
        first_words = settings.first_words_ms / 1000
        self.surface = SlackSurface(
            client,
            who["user_id"],
            who["user"],
            budgets=budgets,
            first_words=first_words,
            contact=settings.contact_among(PERSON),
            allow_users=settings.slack_allow_users,
        )
        self._settings = settings
        self._client = client
        self._who = who
        self._stopping = stopping
        self._socket: Socket | None = None

    @property
    def connected(self) -> bool:
        """Whether what people say reaches us."""
        return self._socket is not None and self._socket.connected

    @property
    def place(self) -> str:
        """The workspace, by its name."""
        return f"Slack ({self._who['team']})"

    @asynccontextmanager
    async def listening(self, queue: TurnQueue, memory: Memory, redis: Redis) -> AsyncIterator[None]:
        """Take what Slack sends while inside; afterwards nothing new comes, and what came was acknowledged.

        Raises:
            PlatformUnauthorized: Slack does not accept the app-level token.
        """
        settings = self._settings
        app_token = _token(settings.slack_app_token, "SLACK_APP_TOKEN", "xapp-…")
        grace = settings.slack_leave_days * 86_400
        cleanup = Cleanup(self._client, self._who["team_id"], redis, memory, grace=grace)
        listening = Listening(redis, "slack", settings.hear)
        listener = SlackListener(settings, self.surface, queue, memory, cleanup=cleanup, listening=listening)
        # Bolt warns at each start that it makes no use of SLACK_BOT_TOKEN, which is as it should be.
        bolt_log = logging.getLogger("bots.slack.bolt")
        bolt_log.setLevel(logging.ERROR)
        app = AsyncApp(
            logger=bolt_log,
            client=self._client,
            authorize=_authorize(self._who, self._client),
            process_before_response=True,
        )
        listener.attach(app)
        socket = self._socket = Socket(app, app_token)
        keeping: list[asyncio.Task[None]] = []
        try:
            if await self._stopping.connect("slack", socket.open):
                log.info("connected to Slack", workspace=self._who["team"], bot=self._who["user"])
                keeping.append(asyncio.create_task(cleanup.keep()))
                keeping.append(asyncio.create_task(keep_listening(listening, lambda: socket.connected)))
            yield
        finally:
            await end_tasks(keeping)
            await socket.close()
            await listener.drain()


@asynccontextmanager
async def open_slack(
    settings: SlackSettings, stopping: Stopping, budgets: CallBudgets, *, listens: bool
) -> AsyncIterator[Slack | None]:
    """Slack, as soon as it can be reached: it is waited for. None if we are asked to stop meanwhile.

    Raises:
        SettingsError: the bot's token is missing; or the app's, for a process that ``listens``.
        PlatformUnauthorized: Slack does not accept it.
    """
    if listens:
        _token(settings.slack_app_token, "SLACK_APP_TOKEN", "xapp-…")
    # A session of our own, since its timeout is the one that counts.
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT)) as session:
        client = open_client(settings, session)
        who = await stopping.connect("slack", lambda: _ask_who_we_are(client))
        yield Slack(settings, client, who, stopping, budgets) if who else None


async def _ask_who_we_are(client: AsyncWebClient) -> dict[str, str]:
    with slack_errors("auth.test"):
        response = await client.auth_test()
    return {field: response[field] for field in ("user_id", "user", "team", "team_id", "bot_id")}


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
