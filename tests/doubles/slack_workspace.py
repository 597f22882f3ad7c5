"""One workspace of Slack: its people, its channels, what was said, and which events of it the app is told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import count

from tests.doubles.slack_records import (
    Channel,
    Ephemeral,
    Json,
    Ping,
    Posted,
    Status,
    Unfurl,
    User,
    Version,
)
from tests.doubles.slack_socket import SocketMode

SCOPES = (
    "app_mentions:read assistant:write channels:history channels:read chat:write commands groups:history groups:read"
    " im:history im:read im:write reactions:write usergroups:read users:read"
)


class Workspace:
    """The state behind the Web API, and the record of what people saw of it.

    ``channel_messages`` says whether the app subscribed to ``message.channels`` (else it hears of a channel only
    where it is mentioned); ``own_messages`` whether its own posts and edits come back to it as events, which they
    do for every app that reads history.
    """

    team = "T0TEAM"
    app_id = "A0PARLEY"
    bot_user = "U0PARLEY"
    bot_id = "B0PARLEY"

    def __init__(self) -> None:
        self.bot_token = "xoxb-double"
        self.app_token = "xapp-double"
        self.scopes = SCOPES.split()
        self.date: str | None = None
        """What answers say the time is; None for the truth."""
        self.agent_view = True
        self.channel_messages = True
        self.own_messages = True
        self.socket_mode = SocketMode(self.app_id)
        self.users: dict[str, User] = {}
        self.channels: dict[str, Channel] = {}
        self.groups = {"S0SUPPORT": "support"}
        """The handles of user groups."""
        self.ephemerals: list[Ephemeral] = []
        self.statuses: list[Status] = []
        self.pings: list[Ping] = []
        self.unfurls: list[Unfurl] = []
        self.homes: dict[str, Json] = {}
        self.views: list[Json] = []
        self.watchers: list[Callable[[Posted], None]] = []
        """Called with each message of the app when it is posted, edited or deleted."""
        self.events: dict[str, list[Json]] = {}
        """The payloads of ``event_callback`` about each message, by its ts."""
        self._numbers = count(1)
        self._newest_ts = 0
        self.add_user(self.bot_user, "parley", display_name="Parley", is_bot=True)
        for name in ("ada", "bob", "cleo"):
            self.add_user(f"U0{name.upper()}", name)
        self.add_channel("C0GENERAL", "general")
        self.add_channel("C0RANDOM", "random")
        self.add_dm("D0ADA", user="U0ADA")

    def add_user(self, user: str, name: str, *, display_name: str = "", is_bot: bool = False) -> User:
        """A new member of the workspace and of all its channels."""
        for channel in self.channels.values():
            if not channel.user:
                channel.members.add(user)
        self.users[user] = User(user, name, display_name or name.title(), is_bot)
        return self.users[user]

    def add_channel(self, channel: str, name: str, *, external: bool = False, private: bool = False) -> Channel:
        """A channel with everybody in it; ``external`` shares it with another company."""
        self.channels[channel] = Channel(channel, name, external=external, private=private, members=set(self.users))
        return self.channels[channel]

    def add_dm(self, channel: str, *, user: str) -> Channel:
        """The direct message between a person and the app."""
        self.channels[channel] = Channel(channel, "", user=user, members={user, self.bot_user})
        return self.channels[channel]

    def dm_with(self, user: str) -> Channel:
        """The direct message with a person, opened if there is none."""
        known = (channel for channel in self.channels.values() if channel.user == user)
        return next(known, None) or self.add_dm(f"D{user[1:]}", user=user)

    def archive(self, channel: str) -> None:
        """Nobody can write there any more."""
        self.channels[channel].archived = True

    def kick(self, channel: str) -> None:
        """The app is removed from a channel, and hears nothing of it from now on but that."""
        self.channels[channel].members.discard(self.bot_user)
        self._tell_of(self.channels[channel], "left")

    def close(self, channel: str) -> None:
        """A channel is deleted."""
        self._tell_of(self.channels.pop(channel), "deleted")

    def _tell_of(self, channel: Channel, what: str) -> None:
        """What became of a channel: Slack tells only apps that may look at such."""
        if f"{channel.scope}:read" in self.scopes:
            kind = "group" if channel.private else "channel"
            self.emit({"type": f"{kind}_{what}", "channel": channel.id, "event_ts": self.new_ts()})

    def uninstall(self) -> None:
        """An administrator removes the app: its tokens are worth nothing from now on."""
        self.emit({"type": "tokens_revoked", "tokens": {"oauth": [], "bot": [self.bot_user]}})
        self.emit({"type": "app_uninstalled"})
        self.bot_token = "revoked"

    def new_ts(self) -> str:
        """The name of a message: seconds and microseconds, never the same twice."""
        self._newest_ts = max(time.time_ns() // 1000, self._newest_ts + 1)
        return f"{self._newest_ts // 1_000_000}.{self._newest_ts % 1_000_000:06d}"

    # What is said.

    def post(
        self,
        channel: Channel,
        user: str,
        text: str,
        blocks: list[Json] | None = None,
        *,
        thread_ts: str | None = None,
        metadata: Json | None = None,
        extra: Json | None = None,
    ) -> Posted:
        """A new message."""
        version = Version(time.monotonic(), text, _named(blocks or [], self._numbers), metadata or {})
        own = user == self.bot_user
        message = Posted(channel.id, self.new_ts(), user, thread_ts, [version], by_bot=own, extra=extra or {})
        channel.messages[message.ts] = message
        self._seen(message, [])
        event = self.as_json(message) | {"channel": channel.id, "event_ts": message.ts, "channel_type": channel.kind}
        self._tell(channel, message, event)
        self._mentioned(channel, message)
        return message

    def update(
        self,
        message: Posted,
        text: str | None,
        blocks: list[Json] | None = None,
        *,
        metadata: Json | None = None,
        extra: Json | None = None,
        mark: bool = True,
    ) -> None:
        """A new version of a message; what is None, and what ``extra`` doesn't name, stays as it was."""
        channel, old = self.channels[message.channel], message.now
        before = self.as_json(message)
        # "If the text argument is provided and blocks are not provided, the blocks will be removed."
        new_blocks = _named(blocks or [], self._numbers) if blocks is not None or text is not None else old.blocks
        if mark and not blocks:
            message.edited = self.new_ts()
        message.extra = message.extra | (extra or {})
        fallback = old.fallback if text is None else text
        kept = old.metadata if metadata is None else metadata
        message.versions.append(Version(time.monotonic(), fallback, new_blocks, kept))
        self._seen(message, old.notifies)
        self._changed(channel, message, self.as_json(message), before)
        # An edited mention is told once more, as the same message with `edited` in it.
        self._mentioned(channel, message)

    def remove(self, message: Posted) -> None:
        """Delete a message. Where replies hang under it a tombstone stays, and no deletion is told but a change."""
        channel, before = self.channels[message.channel], self.as_json(message)
        message.deleted = True
        self._watch(message)
        if channel.replies(message.ts):
            message.tombstone = True
            self._changed(channel, message, self.as_json(message), before)
            return
        ts = self.new_ts()
        event = {"type": "message", "subtype": "message_deleted", "hidden": True, "deleted_ts": message.ts}
        event |= {"channel": channel.id, "previous_message": before, "ts": ts, "event_ts": ts}
        self._tell(channel, message, event | {"channel_type": channel.kind})

    def unfurl(self, channel: Channel, message: Posted) -> None:
        """Slack shows a preview of a link: the message changes, and what somebody wrote does not."""
        before = self.as_json(message)
        shown = {"id": 1, "title": "A page", "title_link": "https://a.example", "from_url": "https://a.example"}
        message.extra = message.extra | {"attachments": [*message.extra.get("attachments", []), shown]}
        self._changed(channel, message, self.as_json(message), before)

    def _changed(self, channel: Channel, message: Posted, now: Json, before: Json) -> None:
        ts = self.new_ts()
        event = {"type": "message", "subtype": "message_changed", "hidden": True, "channel": channel.id}
        event |= {"message": now, "previous_message": before, "ts": ts, "event_ts": ts}
        self._tell(channel, message, event | {"channel_type": channel.kind})

    def _seen(self, message: Posted, known: list[str]) -> None:
        if message.by_bot:
            now = message.now
            self.pings += [
                Ping(message.channel, message.ts, token, now.at) for token in now.notifies if token not in known
            ]
            self._watch(message)

    def _watch(self, message: Posted) -> None:
        if message.by_bot:
            for watcher in self.watchers:
                watcher(message)

    # What the app is told.

    def _tell(self, channel: Channel, message: Posted, event: Json) -> None:
        heard = self.bot_user in channel.members and f"{channel.scope}:history" in self.scopes
        if heard and (self.channel_messages or channel.user) and (self.own_messages or not message.by_bot):
            self.emit(event, about=message.ts)

    def _mentioned(self, channel: Channel, message: Posted) -> None:
        # In a direct message nobody is mentioned: message.im is all that comes.
        named = f"<@{self.bot_user}" in message.fallback + json.dumps(message.extra.get("blocks", ""))
        named = named or f'"user_id": "{self.bot_user}"' in json.dumps(message.extra.get("blocks", ""))
        named = named and bool(message.user) and not message.by_bot
        if named and not channel.user and self.bot_user in channel.members and "app_mentions:read" in self.scopes:
            # Files and attachments are not told with a mention: they come with the message event alone.
            beside = {"files", "subtype", "attachments"}
            said = {key: value for key, value in self.as_json(message).items() if key not in beside}
            event = said | {"type": "app_mention", "channel": channel.id, "event_ts": message.edited or message.ts}
            self.emit(event, about=message.ts)

    def emit(self, event: Json, *, about: str = "") -> None:
        """Wrap an event as the Events API does, and deliver it."""
        channel = event.get("channel") or event.get("item", {}).get("channel")
        known = self.channels.get(channel) if isinstance(channel, str) else None
        authorization = {"enterprise_id": None, "team_id": self.team, "user_id": self.bot_user, "is_bot": True}
        number = next(self._numbers)
        payload = {
            "token": "verification-token",
            "team_id": self.team,
            "api_app_id": self.app_id,
            "event": event,
            "type": "event_callback",
            "event_id": f"Ev{number:09d}",
            "event_time": int(time.time()),
            "authorizations": [authorization | {"is_enterprise_install": False}],
            "is_ext_shared_channel": bool(known and known.external),
            "event_context": f"4-{number}",
        }
        if about:
            self.events.setdefault(about, []).append(payload)
        self.socket_mode.send("events_api", payload)

    def as_json(self, message: Posted, *, metadata: bool = False) -> Json:
        """A message as events and the conversations methods show it."""
        channel, now = self.channels[message.channel], message.now
        replies = channel.replies(message.ts)
        shown: Json = {"type": "message", "user": message.user, "ts": message.ts, "text": now.fallback}
        if message.tombstone:
            shown |= {"subtype": "tombstone", "user": "USLACKBOT", "hidden": True, "text": "This message was deleted."}
        elif message.by_bot:
            name = self.users[self.bot_user].name
            profile = {"id": self.bot_id, "app_id": self.app_id, "name": name, "team_id": self.team, "deleted": False}
            shown |= {"bot_id": self.bot_id, "app_id": self.app_id, "bot_profile": profile, "team": self.team}
            if now.blocks:
                shown["blocks"] = now.blocks
        else:
            if message.user:
                shown |= {"client_msg_id": f"00000000-0000-4000-8000-{message.ts[-12:].replace('.', ''):>012}"}
            else:  # an app's webhook has no user
                del shown["user"]
            shown |= {"team": self.team} | message.extra
        if message.edited and not message.tombstone:
            shown["edited"] = {"user": message.user, "ts": message.edited}
        if message.thread_ts:
            root = channel.messages[message.thread_ts]
            shown |= {"thread_ts": message.thread_ts, "parent_user_id": root.user}
        elif replies:
            users = sorted({reply.user for reply in replies})
            shown |= {"thread_ts": message.ts, "reply_count": len(replies), "reply_users_count": len(users)}
            shown |= {"latest_reply": replies[-1].ts, "reply_users": users}
        if message.reactions:
            names = dict.fromkeys(name for name, _ in message.reactions)
            who = {name: [user for known, user in message.reactions if known == name] for name in names}
            shown["reactions"] = [{"name": name, "users": who[name], "count": len(who[name])} for name in names]
        if metadata and now.metadata:
            shown["metadata"] = now.metadata
        return shown


def _named(blocks: list[Json], numbers: count[int]) -> list[Json]:
    """Slack gives a block_id to every block that has none."""
    return [{"block_id": f"b{next(numbers)}"} | block for block in blocks]
