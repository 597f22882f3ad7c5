"""The methods of the double's Web API: what each checks, and what it does to the workspace."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from tests.doubles.slack_records import Channel, Ephemeral, Json, Ping, Posted, Status, Unfurl, Version
from tests.doubles.slack_refusals import (
    GENEROUS,
    LINKED,
    POST_TEXT,
    TIER_2,
    TIER_3,
    TIER_4,
    UPDATE_TEXT,
    Pace,
    content,
    refuse,
)
from tests.doubles.slack_workspace import Workspace


@dataclass(frozen=True, slots=True)
class Method:
    """What a method does, the scope it needs ("*" stands for the kind of channel) and its calls per minute."""

    run: Callable[[Json], Json]
    scope: str = ""
    per_minute: int | None = None


class Methods:
    """Every method by its name, in ``table``. Each takes the arguments of a call, and answers or refuses."""

    def __init__(self, slack: Workspace, *, tiers: bool) -> None:
        self.slack, self.tiers = slack, tiers
        self.pace = Pace()
        self.socket_url = ""
        self._triggers: dict[str, float] = {}
        self._numbers = count(1)
        self.table = {
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
            "usergroups.list": Method(self._groups, "usergroups:read", TIER_2),
            "users.conversations": Method(self._own_conversations, "*:read", TIER_3),
            "users.info": Method(self._user, "users:read", TIER_4),
            "users.list": Method(self._users, "users:read", TIER_3),
            "reactions.add": Method(self._react, "reactions:write", TIER_3),
            "reactions.remove": Method(self._unreact, "reactions:write", TIER_3),
            "agents.sessions.setStatus": Method(self._session, "chat:write", TIER_3),
            "assistant.threads.setStatus": Method(self._assistant, "chat:write", GENEROUS),
            "views.publish": Method(self._publish, "", TIER_4),
            "views.open": Method(self._view, "", TIER_4),
        }

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

    def _groups(self, _: Json) -> Json:
        listed = [
            {"id": group, "is_usergroup": True, "name": handle.title(), "handle": handle}
            for group, handle in self.slack.groups.items()
        ]
        return {"usergroups": listed}

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
            self.pace.post(channel.id)
        message = self.slack.post(
            channel, self.slack.bot_user, (text or "")[:POST_TEXT], blocks, thread_ts=thread_ts, metadata=metadata
        )
        self._linked(message, args)
        if not (_is(args.get("unfurl_links"), "false", "0") and _is(args.get("unfurl_media"), "false", "0")):
            urls = dict.fromkeys(message.now.urls)
            self.slack.unfurls += [Unfurl(channel.id, message.ts, url) for url in urls]
        answer: Json = {"channel": channel.id, "ts": message.ts, "message": self.slack.as_json(message)}
        if text and len(text) > POST_TEXT:
            answer |= {"warning": "message_truncated", "response_metadata": {"warnings": ["message_truncated"]}}
        return answer

    def _linked(self, message: Posted, args: Json) -> None:
        if args.get("parse") == "full" or _is(args.get("link_names"), "true", "1"):
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
        return {"message_ts": self.whisper(channel, args["user"], args, self._thread(channel, args))}

    def whisper(self, channel: Channel, user: str, args: Json, thread_ts: str | None) -> str:
        """Show something to one person alone."""
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
        if channel.private and self.slack.bot_user not in channel.members:
            refuse("channel_not_found")
        shown: Json = {"id": channel.id, "is_archived": channel.archived, "is_im": bool(channel.user), "is_mpim": False}
        if channel.user:
            return {"channel": shown | {"user": channel.user, "is_open": True, "is_org_shared": False}}
        shown |= {"name": channel.name, "is_channel": not channel.private, "is_group": channel.private}
        shown |= {"is_private": channel.private, "is_member": self.slack.bot_user in channel.members}
        shared = {"is_shared": channel.external, "is_ext_shared": channel.external, "is_org_shared": False}
        return {"channel": shown | shared | {"num_members": len(channel.members)}}

    def _own_conversations(self, args: Json) -> Json:
        """The public and private channels that the app is in, a page at a time; archived ones among them."""
        kinds = str(args.get("types") or "public_channel").split(",")
        for kind, scope in (("public_channel", "channels"), ("private_channel", "groups")):
            if kind in kinds and f"{scope}:read" not in self.slack.scopes:
                refuse("missing_scope")
        wanted = [channel for channel in self.slack.channels.values() if not channel.user]
        mine = [c for c in wanted if self.slack.bot_user in c.members and f"{_kind(c)}_channel" in kinds]
        start, limit = int(args.get("cursor") or 0), int(args.get("limit") or 100)
        following = str(start + limit) if start + limit < len(mine) else ""
        shown = [self._conversation({"channel": channel.id})["channel"] for channel in mine[start : start + limit]]
        return {"channels": shown, "response_metadata": {"next_cursor": following}}

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
        with_metadata = _is(args.get("include_all_metadata"), "true", "1")
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
        at = self._triggers.pop(str(args.get("trigger_id")), None)
        if at is None:
            refuse("invalid_trigger_id")
        if time.monotonic() - at > 3:
            refuse("expired_trigger_id")
        view = args.get("view", {})
        ids = [block["block_id"] for block in view.get("blocks", ())]
        if len(view["title"]["text"]) > 24 or len(ids) != len(set(ids)) or len(view.get("private_metadata", "")) > 3000:
            refuse("invalid_arguments")
        self.slack.views.append(view)
        return {"view": {"id": f"V{next(self._numbers)}", **args.get("view", {})}}

    def trigger(self) -> str:
        """What lets an app open a view for the person who pressed something."""
        name = f"trigger-{next(self._numbers)}"
        self._triggers[name] = time.monotonic()
        return name


def _kind(channel: Channel) -> str:
    return "private" if channel.private else "public"


def _metadata(args: Json) -> Json | None:
    metadata = args.get("metadata")
    if metadata and (not isinstance(metadata, dict) or "event_type" not in metadata or "event_payload" not in metadata):
        refuse("invalid_metadata_format")
    return metadata


def _is(value: Any, *names: str) -> bool:
    """Forms say "true" and "1" where JSON says true."""
    return str(value).lower() in names


def _within(ts: str, args: Json) -> bool:
    inclusive = _is(args.get("inclusive"), "true", "1")
    oldest, latest = str(args.get("oldest") or "0"), str(args.get("latest") or "9999999999.999999")
    return oldest < ts < latest or (inclusive and ts in {oldest, latest})
