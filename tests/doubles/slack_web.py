"""The Web API of the double: what every call has in common, whatever its method."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from itertools import count

from aiohttp import web

from tests.doubles.slack_methods import Method, Methods
from tests.doubles.slack_records import Call, Json, Posted
from tests.doubles.slack_refusals import Refused, Unkindness, content, refuse
from tests.doubles.slack_workspace import Workspace

Wait = Callable[[float | None], Awaitable[None]]

ANSWERS = 5
"""How often a ``response_url`` may be used."""


class WebApi:
    """Answers ``POST /api/<method>`` and keeps a record of each call. ``wait`` ends early when the server closes."""

    def __init__(self, slack: Workspace, faults: Unkindness, wait: Wait, *, tiers: bool) -> None:
        self.slack, self.faults, self.wait = slack, faults, wait
        self.methods = Methods(slack, tiers=tiers)
        self.calls: list[Call] = []
        self._answers: dict[str, tuple[str, str, Posted | None]] = {}
        self._uses: dict[str, int] = {}
        self._numbers = count(1)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one call, if it is answered at all."""
        args = await _arguments(request)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ") or args.get("token", "")
        args.pop("token", None)
        call = Call(request.match_info["method"], args, token, time.monotonic())
        call.agent = request.headers.get("User-Agent", "")
        self.calls.append(call)
        headers = {"x-oauth-scopes": ",".join(self.slack.scopes), "x-slack-req-id": f"req-{len(self.calls)}"}
        if self.slack.date is not None:
            headers["Date"] = self.slack.date
        try:
            body = await self._run(call, request)
        except Refused as no:
            call.status, call.error, body = no.status, no.error, no.body
            if no.retry_after is not None:
                headers["Retry-After"] = str(no.retry_after)
        call.finished_at = time.monotonic()
        if body is None:
            return web.Response(
                status=call.status, text="<html>upstream error</html>", content_type=self.faults.gateway
            )
        return web.json_response(body, status=call.status, headers=headers)

    async def _run(self, call: Call, request: web.Request) -> Json | None:
        """What the method answers; None where what comes back is not Slack's (or is nothing)."""
        method = self.methods.table.get(call.method)
        if method is None:
            refuse("unknown_method")
        self._authorize(call, method)
        delay, fault = self.faults.take_faults(call.method, call.args)
        if fault and fault.retry_after is not None:
            raise Refused(fault.error, status=fault.status, retry_after=fault.retry_after)
        if self.methods.tiers and method.per_minute:
            self.methods.pace.call(call.method, method.per_minute)
        if delay:
            await self.wait(delay)
        if fault is None:
            return {"ok": True} | method.run(call.args)
        if fault.applied:
            method.run(call.args)
        if fault.error:
            refuse(fault.error)
        call.status, call.error = fault.status, "cut" if fault.cut else "silent" if fault.silent else "broken"
        if fault.silent:
            await self.wait(None)
        if (fault.cut or fault.silent) and request.transport:
            request.transport.close()
        return None

    def _authorize(self, call: Call, method: Method) -> None:
        mine, other = self.slack.bot_token, self.slack.app_token
        if call.method.startswith("apps."):
            mine, other = other, mine
        if call.token in {"", other}:
            refuse("not_allowed_token_type" if call.token else "not_authed")
        if call.token != mine:
            refuse("invalid_auth")
        channel = self.slack.channels.get(str(call.args.get("channel", "")))
        needed = method.scope.replace("*", channel.scope if channel else "channels")
        if needed and needed not in self.slack.scopes:
            raise Refused("missing_scope", needed=needed, provided=",".join(self.slack.scopes))

    # Answers without a token, to the address that came with a press or a command.

    def response_url(self, base: str, channel: str, user: str, message: Posted | None) -> str:
        """An address good for five answers."""
        name = f"answer-{next(self._numbers)}"
        self._answers[name], self._uses[name] = (channel, user, message), 0
        return f"{base}response/{name}"

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """``POST`` to a ``response_url``."""
        name = request.match_info["name"]
        if self._uses.get(name, ANSWERS) >= ANSWERS:
            return web.Response(status=404, text="used_url")
        self._uses[name] += 1
        call = Call("response_url", await _arguments(request), "", time.monotonic())
        self.calls.append(call)
        try:
            self._respond(call.args, *self._answers[name])
        except Refused as no:
            call.status, call.error = 500, no.error
        call.finished_at = time.monotonic()
        return web.Response(status=call.status, text=call.error or "ok")

    def _respond(self, args: Json, channel: str, user: str, message: Posted | None) -> None:
        place, thread_ts = self.slack.channels[channel], args.get("thread_ts")
        if message and message.deleted:
            refuse("message_not_found")
        if args.get("delete_original") and message:
            self.slack.remove(message)
        elif args.get("replace_original") and message:
            self.slack.update(message, *content(args))
        elif args.get("response_type") == "in_channel":
            text, blocks = content(args)
            self.slack.post(place, self.slack.bot_user, text or "", blocks, thread_ts=thread_ts)
        else:
            self.methods.whisper(place, user, args, thread_ts)


async def _arguments(request: web.Request) -> Json:
    """Arguments come in the address, in a form or as JSON; wherever they come, a structure may be JSON in text."""
    args: Json = {**request.query}
    if request.content_type == "application/json":
        args |= json.loads(await request.text() or "{}")
    else:
        args |= {key: value for key, value in (await request.post()).items() if isinstance(value, str)}
    for key in ("blocks", "metadata", "view", "attachments", "loading_messages"):
        if isinstance(args.get(key), str):
            with contextlib.suppress(ValueError):  # it stays text, and the method refuses it
                args[key] = json.loads(args[key])
    return args
