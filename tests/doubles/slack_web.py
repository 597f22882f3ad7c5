"""The Web API of the double: which methods there are, and what each does to the workspace."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from aiohttp import web

from tests.doubles.slack_records import Call, Channel, Ephemeral, Json, Ping, Posted, Status, Unfurl, Version
from tests.doubles.slack_refusals import (
    GENEROUS,
    LINKED,
    POST_TEXT,
    TIER_3,
    TIER_4,
    UPDATE_TEXT,
    Pace,
    Refused,
    Unkindness,
    content,
    refuse,
)
from tests.doubles.slack_workspace import Workspace

Wait = Callable[[float | None], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Method:
    """What a method does, the scope it needs ("*" stands for the kind of channel) and its calls per minute."""

    run: Callable[[Json], Json]
    scope: str = ""
    per_minute: int | None = None


class WebApi:
    """Answers ``POST /api/<method>`` and keeps a record of each call. ``wait`` ends early when the server closes."""

    def __init__(self, slack: Workspace, faults: Unkindness, wait: Wait, *, tiers: bool) -> None:
        self.slack, self.faults, self.wait = slack, faults, wait
        self.tiers = tiers
        self.socket_url = ""
        self.calls: list[Call] = []
        self.responses: dict[str, Posted] = {}
        self._uses: dict[str, int] = {}
        self.triggers: dict[str, float] = {}
        self._numbers = count(1)
        self._pace = Pace()
        self._methods = {
            "apps.connections.open": Method(self._connections_open, "", GENEROUS),
            "auth.test": Method(self._auth_test, "", GENEROUS),
            "bots.info": Method(self._bots_info, "users:read", TIER_3),
            "chat.postMessage": Method(self._post, "chat:write"),
            "chat.update": Method(self._update, "chat:write", TIER_3),
            "chat.delete": Method(self._delete, "chat:write", TIER_3),
            "chat.postEphemeral": Method(self._ephemeral, "chat:write", TIER_4),
            "conversations.info": Method(self._conversation, "*:read", TIER_3),
            "conversations.open": Method(self._open, "im:write", TIER_3),
            "conversations.history": Method(self._history, "*:history", TIER_3),
            "conversations.replies": Method(self._replies, "*:history", TIER_3),
            "users.info": Method(self._user, "users:read", TIER_4),
            "users.list": Method(self._users, "users:read", TIER_3),
            "reactions.add": Method(self._react, "reactions:write", TIER_3),
            "reactions.remove": Method(self._unreact, "reactions:write", TIER_3),
            "agents.sessions.setStatus": Method(self._session, "chat:write", TIER_3),
            "assistant.threads.setStatus": Method(self._assistant, "chat:write", GENEROUS),
            "views.publish": Method(self._publish, "", TIER_4),
            "views.open": Method(self._view, "", TIER_4),
        }

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one call, if it is answered at all."""
        args = await _arguments(request)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ") or args.get("token", "")
        args.pop("token", None)
        call = Call(request.match_info["method"], args, token, time.monotonic())
        self.calls.append(call)
        headers = {"x-oauth-scopes": ",".join(self.slack.scopes), "x-slack-req-id": f"req-{len(self.calls)}"}
        try:
            body = await self._run(call, request)
        except Refused as no:
            call.status, call.error, body = no.status, no.error, no.body
            if no.retry_after is not None:
                headers["Retry-After"] = str(no.retry_after)
        call.finished_at = time.monotonic()
        if body is None:
            return web.Response(status=call.status, text="<html>upstream error</html>", content_type="text/html")
        return web.json_response(body, status=call.status, headers=headers)

    async def _run(self, call: Call, request: web.Request) -> Json | None:
        """What the method answers; None where what comes back is not Slack's (or is nothing)."""
        method = self._methods.get(call.method)
        if method is None:
            refuse("unknown_method")
        self._authorize(call, method)
        delay, fault = self.faults.take_faults(call.method)
        if fault and fault.retry_after is not None:
            raise Refused(fault.error, status=fault.status, retry_after=fault.retry_after)
        if self.tiers and method.per_minute:
            self._pace.call(call.method, method.per_minute)
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
        if call.token != mine:
            refuse(
                "not_authed" if not call.token else "not_allowed_token_type" if call.token == other else "invalid_auth"
            )
        channel = self.slack.channels.get(str(call.args.get("channel", "")))
        needed = method.scope.replace("*", channel.scope if channel else "channels")
        if needed and needed not in self.slack.scopes:
            raise Refused("missing_scope", needed=needed, provided=",".join(self.slack.scopes))

    # Identity.

    def _connections_open(self, _: Json) -> Json:
        return {"url": f"{self.socket_url}?ticket={self.slack.socket_mode.ticket()}&app_id={self.slack.app_id}"}

    def _auth_test(self, _: Json) -> Json:
        slack = self.slack
        names = {"url": "https://double.slack.com/", "team": "Double", "user": slack.users[slack.bot_user].name}
        ids = {"team_id": slack.team, "user_id": slack.bot_user, "bot_id": slack.bot_id}
        return names | ids | {"is_enterprise_install": False}

    def _bots_info(self, args: Json) -> Json:
        if args.get("bot", self.slack.bot_id) != self.slack.bot_id:
            refuse("bot_not_found")
        bot = {"id": self.slack.bot_id, "app_id": self.slack.app_id, "user_id": self.slack.bot_user, "deleted": False}
        return {"bot": bot | {"name": self.slack.users[self.slack.bot_user].name}}

    def _user(self, args: Json) -> Json:
        if args.get("user") not in self.slack.users:
            refuse("user_not_found")
        return {"user": self._user_json(args["user"])}

    def _users(self, _: Json) -> Json:
        return {"members": [self._user_json(user) for user in self.slack.users], "cache_ts": int(time.time())}

    def _user_json(self, user: str) -> Json:
        known = self.slack.users[user]
        profile = {"display_name": known.display_name, "real_name": known.display_name, "team": self.slack.team}
        shown = {"id": user, "team_id": self.slack.team, "name": known.name, "real_name": known.display_name}
        return shown | {"deleted": False, "is_bot": known.is_bot, "is_app_user": False, "profile": profile}

    # Writing.

    def _channel(self, args: Json, key: str = "channel") -> Channel:
        channel = self.slack.channels.get(str(args.get(key, "")))
        if channel is None or (channel.private and self.slack.bot_user not in channel.members):
            refuse("channel_not_found")
        return channel

    def _writable(self, args: Json) -> Channel:
        if args.get("channel") in self.slack.users:  # a user's ID posts to the direct message with them
            return self.slack.dm_with(args["channel"])
        channel = self._channel(args)
        if channel.archived:
            refuse("is_archived")
        if self.slack.bot_user not in channel.members and "chat:write.public" not in self.slack.scopes:
            refuse("not_in_channel")
        return channel

    def _thread(self, channel: Channel, args: Json) -> str | None:
        if not (ts := args.get("thread_ts")):
            return None
        root = channel.messages.get(ts)
        if root is None or (root.deleted and not root.tombstone):
            refuse("thread_not_found")
        if root.thread_ts:  # "Avoid using a reply's ts value; use its parent instead." The double insists.
            refuse("cannot_reply_to_message")
        return str(ts)

    def _post(self, args: Json) -> Json:
        channel = self._writable(args)
        text, blocks = content(args)
        if not text and not blocks and not args.get("attachments"):
            refuse("no_text")
        thread_ts, metadata = self._thread(channel, args), _metadata(args)
        if self.tiers:
            self._pace.post(channel.id)
        message = self.slack.post(
            channel, self.slack.bot_user, (text or "")[:POST_TEXT], blocks, thread_ts=thread_ts, metadata=metadata
        )
        self._linked(message, args)
        if not (_is_off(args.get("unfurl_links")) and _is_off(args.get("unfurl_media"))):
            urls = dict.fromkeys(message.now.urls)
            self.slack.unfurls += [Unfurl(channel.id, message.ts, url) for url in urls]
        answer: Json = {"channel": channel.id, "ts": message.ts, "message": self.slack.as_json(message)}
        if text and len(text) > POST_TEXT:
            answer |= {"warning": "message_truncated", "response_metadata": {"warnings": ["message_truncated"]}}
        return answer

    def _linked(self, message: Posted, args: Json) -> None:
        if args.get("parse") == "full" or args.get("link_names") in {True, 1, "1", "true"}:
            for name in LINKED.findall(message.fallback):
                self.slack.pings.append(Ping(message.channel, message.ts, f"@{name}", message.now.at))

    def _own(self, channel: Channel, ts: Any, refusal: str) -> Posted:
        message = channel.messages.get(str(ts))
        if message is None or message.deleted:
            refuse("message_not_found")
        if not message.by_bot:
            refuse(refusal)
        return message

    def _update(self, args: Json) -> Json:
        channel = self._channel(args)
        if channel.archived:
            refuse("is_inactive")
        message = self._own(channel, args.get("ts"), "cant_update_message")
        text, blocks = content(args)
        if not text and not blocks and "metadata" not in args:
            refuse("no_text")
        if text and len(text) > UPDATE_TEXT:
            refuse("msg_too_long")
        self.slack.update(message, text, blocks, metadata=_metadata(args))
        self._linked(message, args)
        shown = self.slack.as_json(message)
        return {"channel": channel.id, "ts": message.ts, "text": message.fallback, "message": shown}

    def _delete(self, args: Json) -> Json:
        channel = self._channel(args)
        message = self._own(channel, args.get("ts"), "cant_delete_message")
        self.slack.remove(message)
        return {"channel": channel.id, "ts": message.ts}

    def _ephemeral(self, args: Json) -> Json:
        channel = self._writable(args)
        if args.get("user") not in channel.members:
            refuse("user_not_in_channel")
        return {"message_ts": self._whisper(channel, args["user"], args, self._thread(channel, args))}

    def _whisper(self, channel: Channel, user: str, args: Json, thread_ts: str | None) -> str:
        text, blocks = content(args)
        if not text and not blocks:
            refuse("no_text")
        now = Version(time.monotonic(), text or "", blocks or [], {})
        self.slack.ephemerals.append(Ephemeral(channel.id, user, now.text, thread_ts, now.at, now.blocks))
        return self.slack.new_ts()

    def _react(self, args: Json) -> Json:
        message, reaction = self._reaction(args)
        if reaction in message.reactions:
            refuse("already_reacted")
        message.reactions.append(reaction)
        return {}

    def _unreact(self, args: Json) -> Json:
        message, reaction = self._reaction(args)
        if reaction not in message.reactions:
            refuse("no_reaction")
        message.reactions.remove(reaction)
        return {}

    def _reaction(self, args: Json) -> tuple[Posted, tuple[str, str]]:
        message = self._writable(args).messages.get(str(args.get("timestamp")))
        if message is None or message.deleted:
            refuse("message_not_found")
        return message, (str(args.get("name")), self.slack.bot_user)

    # Reading.

    def _conversation(self, args: Json) -> Json:
        channel = self._channel(args)
        shown: Json = {"id": channel.id, "is_archived": channel.archived, "is_im": bool(channel.user), "is_mpim": False}
        if channel.user:
            return {"channel": shown | {"user": channel.user, "is_open": True, "is_org_shared": False}}
        shown |= {"name": channel.name, "is_channel": not channel.private, "is_group": channel.private}
        shown |= {"is_private": channel.private, "is_member": self.slack.bot_user in channel.members}
        shared = {"is_shared": channel.external, "is_ext_shared": channel.external, "is_org_shared": False}
        return {"channel": shown | shared | {"num_members": len(channel.members)}}

    def _open(self, args: Json) -> Json:
        if (user := str(args.get("users", ""))) not in self.slack.users:
            refuse("user_not_found")
        return {"channel": {"id": self.slack.dm_with(user).id}}

    def _readable(self, args: Json) -> Channel:
        channel = self._channel(args)
        if self.slack.bot_user not in channel.members:
            refuse("not_in_channel")
        return channel

    def _history(self, args: Json) -> Json:
        messages = [message for message in self._readable(args).messages.values() if not message.thread_ts]
        return self._page([message for message in reversed(messages) if _within(message.ts, args)], args, 100)

    def _replies(self, args: Json) -> Json:
        channel = self._readable(args)
        root = channel.messages.get(str(args.get("ts")))
        if root is None or (root.deleted and not root.tombstone):
            refuse("thread_not_found")
        # The root always stands first, whatever the range of time.
        found = [message for message in channel.replies(root.ts) if _within(message.ts, args)]
        return self._page([root, *found], args, 1000)

    def _page(self, messages: list[Posted], args: Json, most: int) -> Json:
        messages = [message for message in messages if message.tombstone or not message.deleted]
        try:
            start = int(base64.b64decode(args.get("cursor") or base64.b64encode(b"0")))
        except ValueError:
            refuse("invalid_cursor")
        end = start + min(int(args.get("limit") or most), 1000)
        with_metadata = args.get("include_all_metadata") in {True, 1, "1", "true"}
        shown = [self.slack.as_json(message, metadata=with_metadata) for message in messages[start:end]]
        answer: Json = {"messages": shown, "has_more": end < len(messages)}
        if end < len(messages):
            answer["response_metadata"] = {"next_cursor": base64.b64encode(str(end).encode()).decode()}
        return answer

    # Agents and views.

    def _session(self, args: Json) -> Json:
        # An app that is not declared as an agent cannot have sessions.
        if not self.slack.agent_view:
            refuse("not_authorized")
        if args.get("status") not in {"active", "processing", "suspended", "closed"}:
            refuse("invalid_status")
        channel = self._channel(args, "channel_id")
        if not args.get("thread_ts"):
            refuse("thread_ts_required")
        self._status("agents.sessions.setStatus", channel, args)
        return {"status": args["status"], "agent_status": args["status"]}

    def _assistant(self, args: Json) -> Json:
        self._status("assistant.threads.setStatus", self._channel(args, "channel_id"), args)
        return {}

    def _status(self, method: str, channel: Channel, args: Json) -> None:
        said = Status(method, channel.id, str(args.get("thread_ts", "")), str(args.get("status", "")), time.monotonic())
        self.slack.statuses.append(said)

    def _publish(self, args: Json) -> Json:
        if args.get("user_id") not in self.slack.users:
            refuse("user_not_found")
        self.slack.homes[args["user_id"]] = args.get("view", {})
        return {"view": {"id": f"V{next(self._numbers)}", **args.get("view", {})}}

    def _view(self, args: Json) -> Json:
        # "Triggers expire in three seconds", and each opens one view.
        at = self.triggers.pop(str(args.get("trigger_id")), None)
        if at is None:
            refuse("invalid_trigger_id")
        if time.monotonic() - at > 3:
            refuse("expired_trigger_id")
        self.slack.views.append(args.get("view", {}))
        return {"view": {"id": f"V{next(self._numbers)}", **args.get("view", {})}}

    def trigger(self) -> str:
        """What lets an app open a view for the person who pressed something."""
        name = f"trigger-{next(self._numbers)}"
        self.triggers[name] = time.monotonic()
        return name

    # Answers without a token, to the address that came with a press or a command.

    def response_url(self, base: str, channel: str, user: str, message: Posted | None) -> str:
        """An address good for five answers."""
        name = f"{channel}-{user}-{next(self._numbers)}"
        self._uses[name] = 0
        if message:
            self.responses[name] = message
        return f"{base}response/{name}"

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """``POST`` to a ``response_url``."""
        name = request.match_info["name"]
        args = await _arguments(request)
        self._uses[name] = self._uses.get(name, 5) + 1
        if self._uses[name] > 5:
            return web.Response(status=404, text="used_url")
        call = Call("response_url", args, "", time.monotonic())
        self.calls.append(call)
        channel_id, user, _ = name.split("-")
        channel, message = self.slack.channels[channel_id], self.responses.get(name)
        try:
            if args.get("delete_original") and message:
                self.slack.remove(message)
            elif args.get("replace_original") and message:
                self.slack.update(message, *content(args))
            elif args.get("response_type") == "in_channel":
                text, blocks = content(args)
                self.slack.post(channel, self.slack.bot_user, text or "", blocks, thread_ts=args.get("thread_ts"))
            else:
                self._whisper(channel, user, args, args.get("thread_ts"))
        except Refused as no:
            call.status, call.error = 500, no.error
        call.finished_at = time.monotonic()
        return web.Response(status=call.status, text=call.error or "ok")


async def _arguments(request: web.Request) -> Json:
    """Arguments come in the address, in a form or as JSON; in the first two, what is not text is JSON in text."""
    form: Json = {**request.query}
    if request.content_type == "application/json":
        body = await request.text()
        return form | (json.loads(body) if body else {})
    form |= {key: value for key, value in (await request.post()).items() if isinstance(value, str)}
    for key in ("blocks", "metadata", "view", "attachments", "loading_messages"):
        if isinstance(form.get(key), str):
            try:
                form[key] = json.loads(form[key])
            except ValueError:
                continue  # it stays text, and the method refuses it
    return form


def _metadata(args: Json) -> Json | None:
    metadata = args.get("metadata")
    if metadata and (not isinstance(metadata, dict) or "event_type" not in metadata or "event_payload" not in metadata):
        refuse("invalid_metadata_format")
    return metadata


def _is_off(value: Any) -> bool:
    return value is not None and value in {False, 0, "0", "false", "False"}


def _within(ts: str, args: Json) -> bool:
    inclusive = args.get("inclusive") in {True, 1, "1", "true"}
    oldest, latest = str(args.get("oldest") or "0"), str(args.get("latest") or "9999999999.999999")
    return oldest < ts < latest or (inclusive and ts in {oldest, latest})
