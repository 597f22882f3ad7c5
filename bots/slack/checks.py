"""What ``parley doctor`` looks at in Slack: both tokens, the scopes, and whether events can reach us."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Collection
from dataclasses import dataclass
from typing import Any

import aiohttp
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse
from yarl import URL

from bots.findings import CHECK_TIMEOUT, Finding, Say, clock_check, ms
from bots.slack.errors import slack_errors
from bots.slack.manifest import NECESSARY, SCOPES
from bots.slack.settings import SlackSettings
from core.clock import seconds_ahead
from core.errors import PlatformError, PlatformUnauthorized, PlatformUnavailable, RateLimited

GET_BOT_KEY = (
    "Copy the Bot User OAuth Token (xoxb-…) from api.slack.com/apps > OAuth & Permissions into SLACK_BOT_TOKEN."
)
GET_APP_KEY = (
    "Generate an app-level token (xapp-…) with the scope connections:write at api.slack.com/apps > Basic Information, "
    "and copy it into SLACK_APP_TOKEN."
)
REINSTALL = "Paste the output of `parley slack manifest` at api.slack.com/apps > App Manifest, then reinstall the app."
SOCKET_MODE = "Turn Socket Mode on at api.slack.com/apps > Socket Mode."
HUNG_UP = {
    "link_disabled": SOCKET_MODE,
    "too_many_websockets": "A Slack app can have ten connections: stop some of the Parley processes.",
}
"""What to do about the reasons that Slack gives for closing a socket."""


@dataclass(frozen=True, slots=True)
class _Half:
    """What was found with one of the two tokens; ``app`` is the app that it belongs to, if known."""

    checks: list[Finding]
    app: str = ""


async def examine_slack(settings: SlackSettings, wrong: Collection[str], say: Say) -> None:
    """Try both tokens at once. The socket is open for a moment: what Slack sends to it, it sends again."""
    if "slack_api_url" in wrong:
        say(Finding("slack", "warning", "Slack", "not checked, because SLACK_API_URL is wrong"))
        return
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        token = settings.slack_bot_token
        client = AsyncWebClient(
            token=token.get_secret_value() if token else None,
            base_url=settings.slack_api_url,
            session=session,
            retry_handlers=[],
        )
        bot = group.create_task(_examine_bot(settings, wrong, client))
        app = group.create_task(_examine_app(settings, wrong, client, session))
    for check in [*bot.result().checks, *app.result().checks]:
        say(check)
    ours, theirs = bot.result().app, app.result().app
    if ours and theirs and ours != theirs:
        found = f"the bot token is for app {ours}, the app token for app {theirs}, so no event would arrive"
        say(Finding("slack.app", "error", "Slack, one app", found, "Take both tokens from the same app."))


async def _examine_bot(settings: SlackSettings, wrong: Collection[str], client: AsyncWebClient) -> _Half:
    """Who the bot is, and what it may do."""
    name, tried, began = "slack.bot", "Slack, bot token", time.perf_counter()
    if not settings.slack_bot_token:
        return _Half([_unset(name, tried, "SLACK_BOT_TOKEN", GET_BOT_KEY, wrong)])
    try:
        me = await _call("auth.test", client.auth_test())
    except PlatformError as error:
        return _Half([Finding(name, "error", tried, *_refusal(error, GET_BOT_KEY, settings), ms(began))])
    who = Finding(name, "ok", tried, f"@{me.get('user')} in the workspace {me.get('team')}", ms=ms(began))
    checks = [who, *_scopes(me), *clock_check("slack.clock", "Slack", seconds_ahead(me.headers.get("date")))]
    try:
        about = await _call("bots.info", client.bots_info(bot=me.get("bot_id")))
    except PlatformError:
        return _Half(checks)
    return _Half(checks, str((about.get("bot") or {}).get("app_id") or ""))


def _scopes(me: AsyncSlackResponse) -> list[Finding]:
    """What was granted, against what the manifest asks for."""
    name, tried = "slack.scopes", "Slack, scopes"
    header = me.headers.get("x-oauth-scopes")
    if header is None:
        return [Finding(name, "warning", tried, "Slack does not say which were granted")]
    granted = {scope.strip() for scope in header.split(",")}
    missing = [scope for scope in SCOPES if scope not in granted]
    if not missing:
        return [Finding(name, "ok", tried, f"all {len(SCOPES)} are granted")]
    checks = []
    if lacking := [scope for scope in missing if scope in NECESSARY]:
        checks.append(Finding(name, "error", tried, _without(lacking), REINSTALL))
    if lacking := [scope for scope in missing if scope not in NECESSARY]:
        checks.append(Finding(name, "warning", tried, _without(lacking), REINSTALL))
    return checks


def _without(scopes: Collection[str]) -> str:
    return "\n".join(["some are missing, so Parley cannot", *(f"  {SCOPES[scope]} ({scope})" for scope in scopes)])


async def _examine_app(
    settings: SlackSettings, wrong: Collection[str], client: AsyncWebClient, session: aiohttp.ClientSession
) -> _Half:
    """Open a socket as the bot does, wait until Slack says hello, and close it."""
    name, tried, began = "slack.socket", "Slack, Socket Mode", time.perf_counter()
    if not settings.slack_app_token:
        return _Half([_unset(name, tried, "SLACK_APP_TOKEN", GET_APP_KEY, wrong)])
    token = settings.slack_app_token.get_secret_value()
    try:
        opened = await _call("apps.connections.open", client.apps_connections_open(app_token=token))
    except PlatformError as error:
        return _Half([Finding(name, "error", tried, *_refusal(error, GET_APP_KEY, settings), ms(began))])
    try:
        with slack_errors("the socket"):
            async with asyncio.timeout(CHECK_TIMEOUT):
                hello = await _hello(session, client, str(opened.get("url")))
    except PlatformError as error:
        found = f"Slack gave an address, but connecting to it failed ({error})"
        remedy = (
            "Allow secure WebSockets (wss, port 443) from this machine to Slack; set HTTPS_PROXY if it needs a proxy."
        )
        return _Half([Finding(name, "error", tried, found, remedy, ms(began))])
    if hello.get("type") != "hello":
        reason = str(hello.get("reason") or "no hello")
        remedy = HUNG_UP.get(reason, "Try again in a minute.")
        return _Half([Finding(name, "error", tried, f"Slack closed the connection: {reason}", remedy, ms(began))])
    others = int(hello.get("num_connections") or 1) - 1
    beside = f"; {others} more open, and each event goes to one of them" if others else ""
    found = f"connected, hello after {ms(began):,} ms{beside}"
    app = str((hello.get("connection_info") or {}).get("app_id") or "")
    return _Half([Finding(name, "ok", tried, found, ms=ms(began))], app)


async def _hello(session: aiohttp.ClientSession, client: AsyncWebClient, url: str) -> dict[str, Any]:
    """The first thing that Slack says over the socket; empty if it says nothing that we understand."""
    close = aiohttp.ClientWSTimeout(ws_close=2)
    async with session.ws_connect(url, proxy=client.proxy, timeout=close) as socket:
        frame = await socket.receive()
        said = frame.json() if frame.type is aiohttp.WSMsgType.TEXT else {}
        return said if isinstance(said, dict) else {}


async def _call(method: str, call: Awaitable[AsyncSlackResponse]) -> AsyncSlackResponse:
    with slack_errors(method):
        async with asyncio.timeout(CHECK_TIMEOUT):
            return await call


def _unset(name: str, tried: str, setting: str, remedy: str, wrong: Collection[str]) -> Finding:
    """A token that is not there, or not usable, which was said before."""
    if setting.lower() in wrong:
        return Finding(name, "warning", tried, f"not checked, because {setting} is wrong")
    return Finding(name, "error", tried, f"{setting} is not set", remedy)


def _refusal(error: PlatformError, token: str, settings: SlackSettings) -> tuple[str, str]:
    """What Slack's refusal means to who sets it up, and the remedy; ``token`` says how to get the right one."""
    match error:
        case PlatformUnauthorized():
            return f"Slack rejects it ({error})", token
        case RateLimited():
            return str(error), f"Try again in {error.retry_after or 1:g} s."
        case PlatformUnavailable():
            remedy = "Check this machine's network access to it; set HTTPS_PROXY if it needs a proxy."
            return f"Slack cannot be reached at {URL(settings.slack_api_url).host} ({error})", remedy
        case _:
            return str(error), error.remedy or SOCKET_MODE
