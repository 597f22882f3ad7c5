"""Guilds, channels, people and messages of the double of Discord, and their JSON."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.doubles.discord_records import (
    EPHEMERAL,
    STARTER,
    Clock,
    Interaction,
    Json,
    Posted,
    Version,
    file_json,
    pings,
)

APP, GUILD, GENERAL, RANDOM = "900000000000000001", "100000000000000001", "200000000000000001", "200000000000000002"
ADA, BOB, CLEO, OTHER_BOT = "300000000000000001", "300000000000000002", "300000000000000003", "300000000000000009"
MODERATORS = "400000000000000001"
TEXT, DM, VOICE, GROUP, THREAD, STAGE = 0, 1, 2, 3, 11, 13

PERMISSIONS = {
    "VIEW_CHANNEL": 1 << 10,
    "SEND_MESSAGES": 1 << 11,
    "MANAGE_MESSAGES": 1 << 13,
    "EMBED_LINKS": 1 << 14,
    "ATTACH_FILES": 1 << 15,
    "READ_MESSAGE_HISTORY": 1 << 16,
    "USE_APPLICATION_COMMANDS": 1 << 31,
    "CREATE_PUBLIC_THREADS": 1 << 35,
    "SEND_MESSAGES_IN_THREADS": 1 << 38,
    "USE_EXTERNAL_APPS": 1 << 50,
}
EVERYBODY = sum(value for name, value in PERMISSIONS.items() if name != "MANAGE_MESSAGES")


@dataclass(slots=True)
class User:
    """A person or a bot."""

    id: str
    name: str
    display: str
    bot: bool = False


@dataclass(slots=True)
class Guild:
    """A server; ``members`` maps people to their roles and ``nicks`` to other names."""

    id: str
    name: str
    members: dict[str, list[str]] = field(default_factory=dict)
    nicks: dict[str, str] = field(default_factory=dict)
    roles: dict[str, tuple[str, int]] = field(default_factory=dict)
    installed: bool = True


@dataclass(slots=True)
class Channel:
    """A text channel, a thread, or a direct message; ``denied`` are permissions that the bot lacks there."""

    id: str
    guild: str = ""
    name: str = ""
    kind: int = TEXT
    parent: str = ""
    owner: str = ""
    people: tuple[str, ...] = ()
    archived: bool = False
    locked: bool = False
    denied: set[str] = field(default_factory=set)
    messages: dict[str, Posted] = field(default_factory=dict)

    @property
    def permissions(self) -> int:
        """What the bot may do there."""
        return EVERYBODY & ~sum(PERMISSIONS[name] for name in self.denied)


class World:
    """All that Discord knows; ``emit`` sends an event to whoever may have it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.terse_edits = False
        """Whether an edit does not tell the message that is replied to, which Discord leaves open."""
        self.blocked: dict[str, tuple[int, int]] = {}
        """Words that no message may hold, with status and code of the refusal: AutoMod, harmful links."""
        self.users: dict[str, User] = {}
        self.guilds: dict[str, Guild] = {}
        self.channels: dict[str, Channel] = {}
        self.webhooks: set[str] = set()
        """Those of ``users`` that are webhooks."""
        self.interactions: dict[str, Interaction] = {}
        self.emit: Callable[..., None] = lambda *_, **__: None
        for user in (
            User(APP, "parley", "Parley", bot=True),
            User(ADA, "ada_l", "Ada"),
            User(BOB, "bob", "Bob"),
            User(CLEO, "cleo", "Cleo"),
            User(OTHER_BOT, "otherbot", "Other", bot=True),
        ):
            self.users[user.id] = user
        self.add_guild(GUILD, "Test")
        self.guilds[GUILD].roles[MODERATORS] = ("Moderators", PERMISSIONS["MANAGE_MESSAGES"])
        self.guilds[GUILD].members[CLEO] = [MODERATORS]
        self.add_channel(GENERAL, "general")
        self.add_channel(RANDOM, "random")

    def add_guild(self, guild: str, name: str, *, installed: bool = True) -> Guild:
        """A server with everybody in it."""
        members: dict[str, list[str]] = {user: [] for user in self.users}
        self.guilds[guild] = Guild(guild, name, members, installed=installed)
        return self.guilds[guild]

    def add_channel(self, channel: str, name: str, guild: str = GUILD, *, kind: int = TEXT) -> Channel:
        """A text channel; or one to speak in, with a chat beside it."""
        self.channels[channel] = Channel(channel, guild, name, kind)
        return self.channels[channel]

    def dm_with(self, user: str) -> Channel:
        """The direct messages between the bot and a person."""
        for channel in self.channels.values():
            if channel.kind == DM and user in channel.people:
                return channel
        channel = Channel(self.clock.snowflake(), kind=DM, people=(user, APP))
        self.channels[channel.id] = channel
        return channel

    # Messages.

    def post(
        self,
        channel: Channel,
        author: str,
        content: str,
        *,
        allowed: Json | None = None,
        via: str = "person",
        announce: bool = True,
        **more: Any,
    ) -> Posted:
        """Put a message into a channel."""
        rung = pings(content, allowed, webhook=via == "webhook") if via != "person" else []
        version = Version(
            time.monotonic(),
            content,
            components=more.pop("components", []),
            attachments=more.pop("files", ()),
            rung=tuple(rung),
            via=via,
        )
        message = Posted(channel.id, self.clock.snowflake(), author, [version], by_bot=author == APP, rung=rung, **more)
        channel.messages[message.id] = message
        channel.archived = False
        if announce and not message.ephemeral:
            self.emit("MESSAGE_CREATE", self.message_json(message, event=True), channel)
        return message

    def change(self, message: Posted, version: Version, *, edited: bool = True) -> None:
        """Give a message a new version; Discord itself adds the preview of a link, which is no edit."""
        message.versions.append(version)
        message.edited = message.edited or edited
        channel = self.channels[message.channel]
        if not message.ephemeral:
            data = self.message_json(message, event=True)
            if self.terse_edits:
                data.pop("referenced_message", None)
            self.emit("MESSAGE_UPDATE", data, channel)

    def remove(self, message: Posted) -> None:
        """Delete a message."""
        message.deleted = True
        channel = self.channels[message.channel]
        data: Json = {"id": message.id, "channel_id": channel.id}
        if channel.guild:
            data["guild_id"] = channel.guild
        if not message.ephemeral:
            self.emit("MESSAGE_DELETE", data, channel)

    def open_thread(self, parent: Channel, message: str, name: str, owner: str) -> Channel:
        """A thread on a message, with its id; or on none."""
        thread = Channel(
            message or self.clock.snowflake(), parent.guild, name, THREAD, parent.id, owner, denied=set(parent.denied)
        )
        self.channels[thread.id] = thread
        self.emit("THREAD_CREATE", {**self.channel_json(thread), "newly_created": True}, parent)
        if begun := parent.messages.get(message):
            self.post(thread, begun.author, "", reference=message, extra={"type": STARTER}).by_bot = False
        return thread

    def archive(self, thread: Channel) -> None:
        """Nobody wrote in a thread for long: clients that connect later are not told of it, and others drop it."""
        thread.archived = True
        self.emit("THREAD_UPDATE", self.channel_json(thread), thread)

    def close(self, channel: Channel) -> None:
        """Delete a channel with its threads, of which nobody is told one by one; or a thread."""
        for one in [c for c in self.channels.values() if channel.id in (c.id, c.parent)]:
            del self.channels[one.id]
        if channel.kind == THREAD:
            data = {"id": channel.id, "guild_id": channel.guild, "parent_id": channel.parent, "type": THREAD}
            self.emit("THREAD_DELETE", data, channel)
        else:
            self.emit("CHANNEL_DELETE", self.channel_json(channel), channel)

    # JSON.

    def user_json(self, user: str) -> Json:
        """A user object."""
        who = self.users[user]
        return {
            "id": who.id,
            "username": who.name,
            "global_name": who.display,
            "discriminator": "0",
            "avatar": None,
            "bot": who.bot,
            "public_flags": 0,
        }

    def member_json(self, guild: str, user: str, *, permissions: int | None = None) -> Json:
        """A guild member object; interactions tell the permissions in the channel as well."""
        place = self.guilds[guild]
        roles = place.members.get(user, [])
        member: Json = {
            "user": self.user_json(user),
            "nick": place.nicks.get(user),
            "roles": roles,
            "joined_at": "2024-01-01T00:00:00+00:00",
            "deaf": False,
            "mute": False,
            "flags": 0,
            "avatar": None,
        }
        if permissions is not None:
            extra = 0
            for role in roles:
                extra |= place.roles[role][1]
            member["permissions"] = str(permissions | extra)
        return member

    def channel_json(self, channel: Channel) -> Json:
        """A channel object."""
        newest = max(channel.messages, default=None, key=int)
        data: Json = {"id": channel.id, "type": channel.kind, "last_message_id": newest, "flags": 0}
        if channel.kind in (DM, GROUP):
            return {**data, "recipients": [self.user_json(user) for user in channel.people if user != APP]}
        data |= {"guild_id": channel.guild, "name": channel.name, "position": 0, "nsfw": False, "topic": None}
        data |= {"rate_limit_per_user": 0, "parent_id": channel.parent or None}
        if channel.kind == THREAD:
            data |= {
                "owner_id": channel.owner,
                "message_count": len(channel.messages),
                "member_count": 1,
                "total_message_sent": len(channel.messages),
                "thread_metadata": {
                    "archived": channel.archived,
                    "locked": channel.locked,
                    "auto_archive_duration": 1440,
                    "archive_timestamp": "2026-01-01T00:00:00+00:00",
                },
            }
        else:
            if channel.kind in (VOICE, STAGE):
                data |= {"bitrate": 64_000, "user_limit": 0, "rtc_region": None, "video_quality_mode": 1}
            denied = sum(PERMISSIONS[name] for name in channel.denied)
            overwrite = {"id": APP, "type": 1, "allow": "0", "deny": str(denied)}
            data["permission_overwrites"] = [overwrite] if denied else []
        return data

    def roles_json(self, guild: Guild) -> list[Json]:
        """The roles of a guild, @everyone first."""
        known = {guild.id: ("@everyone", EVERYBODY), **guild.roles}
        return [
            {
                "id": role,
                "name": name,
                "permissions": str(permissions),
                "position": place,
                "color": 0,
                "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
                "hoist": False,
                "managed": False,
                "mentionable": True,
                "flags": 0,
            }
            for place, (role, (name, permissions)) in enumerate(known.items())
        ]

    def guild_json(self, guild: Guild) -> Json:
        """A guild as GUILD_CREATE tells of it."""
        places = [channel for channel in self.channels.values() if channel.guild == guild.id]
        return {
            "id": guild.id,
            "name": guild.name,
            "icon": None,
            "splash": None,
            "discovery_splash": None,
            "description": None,
            "owner_id": CLEO,
            "afk_channel_id": None,
            "afk_timeout": 300,
            "verification_level": 0,
            "default_message_notifications": 0,
            "explicit_content_filter": 0,
            "roles": self.roles_json(guild),
            "emojis": [],
            "features": [],
            "mfa_level": 0,
            "application_id": None,
            "system_channel_id": next((c.id for c in places if c.kind == TEXT), None),
            "system_channel_flags": 0,
            "rules_channel_id": None,
            "public_updates_channel_id": None,
            "safety_alerts_channel_id": None,
            "vanity_url_code": None,
            "banner": None,
            "premium_tier": 0,
            "preferred_locale": "en-US",
            "nsfw_level": 0,
            "stickers": [],
            "premium_progress_bar_enabled": False,
            "joined_at": datetime.now(UTC).isoformat(),
            "large": False,
            "unavailable": False,
            "member_count": len(guild.members),
            "members": [self.member_json(guild.id, APP)],
            "channels": [self.channel_json(c) for c in places if c.kind in (TEXT, VOICE, STAGE)],
            "threads": [self.channel_json(c) for c in places if c.kind == THREAD and not c.archived],
            "presences": [],
            "voice_states": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
            "soundboard_sounds": [],
        }

    def mentioned(self, message: Posted) -> list[str]:
        """Everybody whom a message names, and the author of what it replies to."""
        named = [user for user in re.findall(r"<@!?(\d+)>", message.text) if user in self.users]
        if message.reference:
            places = [channel.messages for channel in self.channels.values()]
            named += [known[message.reference].author for known in places if message.reference in known]
        return list(dict.fromkeys(named))

    def message_json(self, message: Posted, *, event: bool = False, nested: bool = False) -> Json:
        """A message object; ``event`` adds what only the gateway tells."""
        channel = self.channels[message.channel]
        made = datetime.fromtimestamp(((int(message.id) >> 22) + 1_420_070_400_000) / 1000, UTC).isoformat()
        data: Json = {
            "id": message.id,
            "channel_id": channel.id,
            "author": self.user_json(message.author),
            "content": message.text,
            "timestamp": made,
            "edited_timestamp": datetime.now(UTC).isoformat() if message.edited else None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [self.user_json(user) for user in self.mentioned(message)],
            "mention_roles": [],
            "attachments": [file_json("1", *file) for file in message.now.attachments] + message.attachments,
            "embeds": [],
            "pinned": False,
            "type": 19 if message.reference else 0,
            "flags": message.flags,
            "components": message.now.components,
            "nonce": message.nonce or None,
        }
        if message.author in self.webhooks:
            data["webhook_id"] = message.author
        if message.interaction:
            known = self.interactions[message.interaction]
            data |= {"type": 20, "application_id": APP}
            data["interaction_metadata"] = {
                "id": known.id,
                "type": known.kind,
                "user": self.user_json(known.user),
                "authorizing_integration_owners": known.owners,
            }
        if message.reference:
            starter = message.extra.get("type") == STARTER
            there = self.channels[channel.parent] if starter else channel
            data["message_reference"] = {"type": 0, "message_id": message.reference, "channel_id": there.id}
            replied = there.messages.get(message.reference)
            if not nested:
                gone = not replied or replied.deleted
                data["referenced_message"] = None if gone else self.message_json(replied, nested=True)  # type: ignore[arg-type]
        data |= message.extra
        if event and channel.guild:
            data["guild_id"] = channel.guild
            if message.author not in self.webhooks:
                member = self.member_json(channel.guild, message.author)
                del member["user"]
                data["member"] = member
        if event and message.flags & EPHEMERAL:
            raise AssertionError("an ephemeral message is told to nobody else")
        return data
