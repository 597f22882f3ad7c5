"""Messages of the double of Discord, as the bot posts and edits them with its token."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tests.doubles.discord_limits import Limits, Refusal
from tests.doubles.discord_records import (
    COMPONENTS_V2,
    EPHEMERAL,
    SUPPRESS_EMBEDS,
    Json,
    Posted,
    Version,
    bare,
    components,
    units,
)
from tests.doubles.discord_world import APP, DM, THREAD, Channel, World

Files = tuple[tuple[str, bytes], ...]
NONCE_SECONDS = 300
"""How long a nonce is remembered: "the past few minutes"."""


def check(body: Json, files: Files, *, before: Posted | None = None) -> None:
    """Refuse what Discord does not take."""
    content = body.get("content", before.text if before else "") or ""
    if units(content) > 2000:
        error = {"code": "BASE_TYPE_MAX_LENGTH", "message": "Must be 2000 or fewer in length."}
        raise Refusal(400, 50035, "Invalid Form Body", errors={"content": {"_errors": [error]}})
    rows = body.get("components") or []
    kept = body.get("attachments", [] if before is None else before.now.attachments)
    if not content.strip() and not files and not rows and not kept and not body.get("embeds"):
        raise Refusal(400, 50006, "Cannot send an empty message")
    ids = [one["custom_id"] for one in components(rows) if "custom_id" in one]
    crowded = len(rows) > 5 or any(len(row.get("components", [])) > 5 for row in rows)
    if crowded or len(ids) != len(set(ids)) or any(not 1 <= len(one) <= 100 for one in ids):
        raise Refusal(400, 50035, "Invalid Form Body", errors={"components": {}})
    if len(str(body.get("nonce") or "")) > 25:
        raise Refusal(400, 50035, "Invalid Form Body", errors={"nonce": {}})
    if body.get("flags", 0) & COMPONENTS_V2:
        raise Refusal(400, 50035, "the double does not know components v2")


def moderate(world: World, body: Json) -> None:
    """Refuse what is blocked."""
    for word, (status, code) in world.blocked.items():
        if word in (body.get("content") or ""):
            raise Refusal(status, code, "Message was blocked")


def attached(body: Json, files: Files, before: Posted | None = None) -> Files:
    """The files of a message after a call: new ones, and those of before that ``attachments`` keeps."""
    if before and "attachments" not in body:
        return before.now.attachments
    return files


class Messages:
    """The routes below a channel."""

    def __init__(self, world: World, limits: Limits) -> None:
        self.world = world
        self.limits = limits
        self._nonces: dict[tuple[str, str], tuple[float, Posted]] = {}

    def place(self, channel: str, *needed: str) -> Channel:
        """A channel that the bot may see, with further permissions."""
        known = self.world.channels.get(channel)
        if not known:
            raise Refusal(404, 10003, "Unknown Channel")
        if known.guild and not self.world.guilds[known.guild].installed:
            raise Refusal(403, 50001, "Missing Access")
        if "VIEW_CHANNEL" in known.denied:
            raise Refusal(403, 50001, "Missing Access")
        names = ["SEND_MESSAGES_IN_THREADS" if n == "SEND_MESSAGES" and known.kind == THREAD else n for n in needed]
        if any(name in known.denied for name in names):
            raise Refusal(403, 50013, "Missing Permissions")
        return known

    def message(self, channel: Channel, message: str) -> Posted:
        """A message that is still there, for everybody to see."""
        known = channel.messages.get(message)
        if not known or known.deleted or known.flags & EPHEMERAL:
            raise Refusal(404, 10008, "Unknown Message")
        return known

    def history(self, channel: str, query: Mapping[str, str], **_: Any) -> list[Json]:
        """Newest first, or from ``after`` on. Content is there for those who may read it."""
        place = self.place(channel, "READ_MESSAGE_HISTORY")
        known = [m for m in place.messages.values() if not m.deleted and not m.ephemeral]
        if "before" in query:
            known = [m for m in known if int(m.id) < int(query["before"])]
        limit = int(query.get("limit", 50))
        if not 1 <= limit <= 100:
            raise Refusal(400, 50035, "Invalid Form Body", errors={"limit": {}})
        if "after" in query:
            known = [m for m in known if int(m.id) > int(query["after"])][:limit]
        return [self._read(message, place) for message in known[::-1][:limit]]

    content_intent = False

    def _read(self, message: Posted, place: Channel) -> Json:
        data = self.world.message_json(message)
        if self.content_intent or place.kind == DM:
            return data
        ours = message.author == APP or APP in self.world.mentioned(message)
        told = data if ours else bare(data)
        replied = told.get("referenced_message")
        if replied and replied["author"]["id"] != APP and not any(user["id"] == APP for user in replied["mentions"]):
            told = {**told, "referenced_message": bare(replied)}
        return told

    def get(self, channel: str, message: str, **_: Any) -> Json:
        """One message."""
        place = self.place(channel, "READ_MESSAGE_HISTORY")
        return self._read(self.message(place, message), place)

    def create(self, channel: str, body: Json, files: Files, **_: Any) -> Json:
        """Post. The same nonce again, if it is to be enforced, gives the message that is there."""
        place = self.place(channel, "SEND_MESSAGES", *(["ATTACH_FILES"] if files else []))
        nonce = str(body.get("nonce") or "")
        if nonce and body.get("enforce_nonce"):
            at, known = self._nonces.get((channel, nonce), (0.0, None))
            if known and time.monotonic() - at < NONCE_SECONDS:
                return self.world.message_json(known)
        check(body, files)
        moderate(self.world, body)
        if place.locked:
            raise Refusal(403, 160005, "Thread is locked")
        reference = body.get("message_reference") or {}
        replied = str(reference.get("message_id") or "")
        if replied:
            if "READ_MESSAGE_HISTORY" in place.denied:
                raise Refusal(403, 160002, "Cannot reply without permission to read message history")
            target = place.messages.get(replied)
            if not target or target.deleted:
                if reference.get("fail_if_not_exists", True):
                    raise Refusal(400, 50035, "Invalid Form Body", errors={"message_reference": {}})
                replied = ""
        allowed = body.get("allowed_mentions")
        message = self.world.post(
            place,
            APP,
            body.get("content") or "",
            allowed=allowed,
            via="bot",
            components=body.get("components") or [],
            files=files,
            flags=body.get("flags", 0) & SUPPRESS_EMBEDS,
            nonce=nonce,
            reference=replied,
        )
        if replied and (allowed is None or allowed.get("replied_user")):
            message.rung.append(f"<@{place.messages[replied].author}>")
        if nonce:
            self._nonces[channel, nonce] = (time.monotonic(), message)
        return self.world.message_json(message)

    def edit(self, channel: str, message: str, body: Json, files: Files, **_: Any) -> Json:
        """Edit the bot's own message."""
        place = self.place(channel, *(["ATTACH_FILES"] if files else []))
        known = self.message(place, message)
        if known.author != APP:
            raise Refusal(403, 50005, "Cannot edit a message authored by another user")
        if place.archived:
            raise Refusal(400, 50083, "Thread is archived")
        age = self.world.clock.now() - self.world.clock.seconds(known.id)
        if age > 3600:
            self.limits.count_old(channel)
        check(body, files, before=known)
        moderate(self.world, body)
        if "flags" in body:
            known.flags = known.flags & ~SUPPRESS_EMBEDS | body["flags"] & SUPPRESS_EMBEDS
        self.world.change(known, revised(known, body, files, via="bot"))
        return self.world.message_json(known)

    def delete(self, channel: str, message: str, **_: Any) -> None:
        """Delete the bot's own message, or another's with permission."""
        place = self.place(channel)
        known = self.message(place, message)
        if known.author != APP and "MANAGE_MESSAGES" not in place.denied:
            raise Refusal(403, 50003, "Cannot execute action on this channel type")
        self.world.remove(known)


def revised(known: Posted, body: Json, files: Files, *, via: str) -> Version:
    """The next version of a message."""
    content = body.get("content", known.text)
    rows = body.get("components", known.now.components)
    return Version(time.monotonic(), content or "", rows or [], attached(body, files, known), via=via)
