"""Discord's REST API: who may call what, counted and refused as Discord does, and written down."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from aiohttp import BodyPartReader, web

from tests.doubles.discord_interactions import Interactions
from tests.doubles.discord_limits import VIA, Fault, Limits, Refusal
from tests.doubles.discord_messages import Messages
from tests.doubles.discord_records import Call, Json
from tests.doubles.discord_world import APP, THREAD, World

Files = tuple[tuple[str, bytes], ...]
Handler = Callable[..., Any]


class RestApi:
    """Everything under ``/api/v10``."""

    def __init__(self, world: World, token: str, messages: Messages, interactions: Interactions) -> None:
        self.world = world
        self.token = token
        self.limits = Limits()
        self.calls: list[Call] = []
        self.commands: dict[str, list[Json]] = {}
        """What is registered, by scope: ``global`` or a guild's id."""
        self.syncs = 0
        self.closing = asyncio.Event()
        self.gateway_url = ""
        self.typing: list[tuple[float, str]] = []
        """When the bot was typing, and in which channel."""
        self.date: str | None = None
        """What answers say the time is; None for what ``clock`` says."""
        self._messages = messages
        self._interactions = interactions
        m, i = messages, interactions
        self._routes: list[tuple[str, re.Pattern[str], Handler, bool]] = [
            self._route("GET", "/users/@me", self._me),
            self._route("GET", "/users/@me/guilds", self._my_guilds),
            self._route("POST", "/users/@me/channels", self._dm),
            self._route("GET", "/oauth2/applications/@me", self._application),
            self._route("GET", "/applications/@me", self._application),
            self._route("GET", "/gateway", self._gateway),
            self._route("GET", "/gateway/bot", self._gateway),
            self._route("GET", "/guilds/:guild", self._guild),
            self._route("GET", "/guilds/:guild/channels", self._channels),
            self._route("GET", "/guilds/:guild/roles", self._roles),
            self._route("GET", "/guilds/:guild/members/:user", self._member),
            self._route("GET", "/channels/:channel", self._channel),
            self._route("PATCH", "/channels/:channel", self._change_channel),
            self._route("POST", "/channels/:channel/typing", self._typing),
            self._route("GET", "/channels/:channel/messages", m.history),
            self._route("POST", "/channels/:channel/messages", m.create),
            self._route("GET", "/channels/:channel/messages/:message", m.get),
            self._route("PATCH", "/channels/:channel/messages/:message", m.edit),
            self._route("DELETE", "/channels/:channel/messages/:message", m.delete),
            self._route("POST", "/channels/:channel/messages/:message/threads", self._thread),
            self._route("GET", "/applications/:app/commands", self._get_commands),
            self._route("PUT", "/applications/:app/commands", self._put_commands),
            self._route("POST", "/interactions/:interaction/:token/callback", i.callback, bound=False),
            self._route("POST", "/webhooks/:app/:token", i.follow_up, bound=False),
            self._route("GET", "/webhooks/:app/:token/messages/:message", i.get, bound=False),
            self._route("PATCH", "/webhooks/:app/:token/messages/:message", i.edit, bound=False),
            self._route("DELETE", "/webhooks/:app/:token/messages/:message", i.delete, bound=False),
        ]

    @staticmethod
    def _route(method: str, path: str, handler: Handler, *, bound: bool = True) -> Any:
        return method, re.compile(re.sub(r":(\w+)", r"(?P<\1>[^/]+)", path)), handler, bound

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One call, from its arrival to what is sent back."""
        path = "/" + request.match_info["path"]
        name = re.sub(r"/\d{15,}|/@original", "/:id", path)
        name = re.sub(r"/(webhooks|interactions)/:id/[^/]+", r"/\1/:id/:token", name)
        call = Call(time.monotonic(), request.method, path, f"{request.method} {name}")
        self.calls.append(call)
        fault = self.limits.fault(call.route)
        try:
            if fault and not fault.after:
                await self._be_unkind(fault, request)
            headers, body = await self._handle(request, call)
            if fault and fault.after:
                await self._be_unkind(fault, request)
            call.status = 204 if body is None else 200
            if fault and fault.page:
                return web.Response(text="<!doctype html><p>Log in to this network", content_type="text/html")
            return self._respond(call.status, body, headers)
        except Refusal as refusal:
            call.status, call.code = refusal.status, refusal.body.get("code", 0)
            return self._respond(refusal.status, refusal.body, refusal.headers)

    async def _handle(self, request: web.Request, call: Call) -> tuple[dict[str, str], Any]:
        for method, pattern, handler, bound in self._routes:
            match = pattern.fullmatch(call.path)
            if method != call.method or not match:
                continue
            where = match.groupdict()
            if bound and request.headers.get("Authorization") != f"Bot {self.token}":
                raise Refusal(401, 0, "401: Unauthorized", dict(VIA))
            major = where.get("channel") or where.get("token") or where.get("guild") or ""
            headers = self.limits.count(call.route, major, bound=bound)
            call.bucket = headers.get("X-RateLimit-Bucket", "")
            body, files = await self._body(request)
            call.body = body
            try:
                result = handler(body=body, files=files, query=request.query, **where)
                return headers, (await result if isinstance(result, Awaitable) else result)
            except Refusal as refusal:
                refusal.headers = {**headers, **refusal.headers}
                raise
        raise Refusal(404, 0, "404: Not Found", dict(VIA))

    async def _body(self, request: web.Request) -> tuple[Any, Files]:
        """The JSON of a call, and its files where it is multipart."""
        if request.content_type == "application/json":
            return (await request.json() if request.can_read_body else {}), ()
        if not request.content_type.startswith("multipart/"):
            return {}, ()
        body: Json = {}
        files: list[tuple[str, bytes]] = []
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            if part.name == "payload_json":
                body = json.loads(await part.text())
            else:
                data = bytes(await part.read())
                if len(data) > 10 * 2**20:
                    raise Refusal(413, 40005, "Request entity too large")
                files.append((part.filename or "file", data))
        return body, tuple(files)

    def _respond(self, status: int, body: Any, headers: dict[str, str]) -> web.Response:
        # Exactly this content type: discord.py takes anything longer for text.
        data = b"" if body is None else json.dumps(body).encode()
        date = format_datetime(datetime.fromtimestamp(self.world.clock.now(), UTC), usegmt=True)
        base = {"Content-Type": "application/json", "Date": date if self.date is None else self.date}
        return web.Response(status=status, body=data, headers={**base, **headers})

    async def _be_unkind(self, fault: Fault, request: web.Request) -> None:
        if fault.delay:
            try:
                async with asyncio.timeout(fault.delay):
                    await self.closing.wait()
            except TimeoutError:
                pass
        if fault.drop:
            assert request.transport
            request.transport.abort()
            raise asyncio.CancelledError
        if fault.status:
            raise Refusal(
                fault.status, fault.code, fault.message or "as the test wants it", fault.headers, **fault.more
            )

    # Small things.

    def _me(self, **_: Any) -> Json:
        return self.world.user_json(APP)

    def _my_guilds(self, **_: Any) -> list[Json]:
        return [{"id": g.id, "name": g.name, "icon": None, "owner": False, "permissions": "0", "features": []}
                for g in self.world.guilds.values() if g.installed]  # fmt: skip

    def _application(self, **_: Any) -> Json:
        return {
            "id": APP,
            "name": "Parley",
            "icon": None,
            "description": "",
            "bot_public": True,
            "bot_require_code_grant": False,
            "verify_key": "key",
            "flags": self.application_flags,
            "owner": self.world.user_json(APP),
            "team": None,
            "summary": "",
        }

    application_flags = 0

    def _gateway(self, **_: Any) -> Json:
        limit = {"total": 1000, "remaining": self.identifies_left, "reset_after": self.reset_after_ms}
        limit["max_concurrency"] = 1
        return {"url": self.gateway_url, "shards": 1, "session_start_limit": limit}

    identifies_left, reset_after_ms = 999, 0

    def _dm(self, body: Json, **_: Any) -> Json:
        return self.world.channel_json(self.world.dm_with(str(body["recipient_id"])))

    def _guild(self, guild: str, **_: Any) -> Json:
        known = self.world.guilds.get(guild)
        if not known or not known.installed:
            raise Refusal(404, 10004, "Unknown Guild")
        return self.world.guild_json(known)

    def _channels(self, guild: str, **_: Any) -> list[Json]:
        return [self.world.channel_json(c) for c in self.world.channels.values() if c.guild == guild and not c.parent]

    def _roles(self, guild: str, **_: Any) -> list[Json]:
        return self.world.roles_json(self.world.guilds[guild])

    def _member(self, guild: str, user: str, **_: Any) -> Json:
        return self.world.member_json(guild, user)

    def _channel(self, channel: str, **_: Any) -> Json:
        return self.world.channel_json(self._messages.place(channel))

    def _change_channel(self, channel: str, body: Json, **_: Any) -> Json:
        place = self._messages.place(channel, "SEND_MESSAGES")
        if place.kind != THREAD or place.locked:
            raise Refusal(403, 50013, "Missing Permissions")
        place.archived = body.get("archived", place.archived)
        return self.world.channel_json(place)

    def _typing(self, channel: str, **_: Any) -> None:
        self._messages.place(channel, "SEND_MESSAGES")
        self.typing.append((time.monotonic(), channel))

    def _thread(self, channel: str, message: str, body: Json, **_: Any) -> Json:
        place = self._messages.place(channel, "CREATE_PUBLIC_THREADS")
        if message in self.world.channels:
            raise Refusal(400, 160004, "A thread has already been created for this message")
        if message not in place.messages or place.messages[message].deleted:
            raise Refusal(404, 10008, "Unknown Message")
        if not 1 <= len(body.get("name", "")) <= 100 or place.kind == THREAD:
            raise Refusal(400, 50035, "Invalid Form Body")
        return self.world.channel_json(self.world.open_thread(place, message, body["name"], APP))

    # Commands.

    def _get_commands(self, **_: Any) -> list[Json]:
        return self.commands.get("global", [])

    def _put_commands(self, body: list[Json], **_: Any) -> list[Json]:
        if sum(command.get("type", 1) == 1 for command in body) > 100:
            raise Refusal(400, 30032, "Maximum number of application commands reached (100).")
        self.syncs += 1
        known = {(c["name"], c.get("type", 1)): c["id"] for c in self.commands.get("global", [])}
        kept = []
        for command in body:
            identity = known.get((command["name"], command.get("type", 1))) or self.world.clock.snowflake()
            kept.append({"version": "1", "application_id": APP, "type": 1, **command, "id": identity})
        self.commands["global"] = kept
        return kept
