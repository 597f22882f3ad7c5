"""Interactions: the first response within three seconds, and a token that is good for a while."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tests.doubles.discord_limits import Refusal
from tests.doubles.discord_messages import Files, check, moderate, revised
from tests.doubles.discord_records import EPHEMERAL, LOADING, SUPPRESS_EMBEDS, Interaction, Json, Posted
from tests.doubles.discord_world import APP, World

MESSAGE, DEFERRED, DEFERRED_UPDATE, UPDATE, AUTOCOMPLETE, MODAL = 4, 5, 6, 7, 8, 9
FOLLOW_UPS = 5
"""For an app that only the person who acts has installed."""


class Interactions:
    """The routes that are opened by an interaction's token."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.first_response = 3.0
        self.life = 900.0
        """Seconds for which a token is good."""

    def callback(
        self, interaction: str, token: str, body: Json, query: Mapping[str, str], files: Files, **_: Any
    ) -> Any:
        """The first response."""
        known = self.world.interactions.get(token)
        now = time.monotonic()
        if not known or known.id != interaction or now - known.began > self.first_response:
            raise Refusal(404, 10062, "Unknown interaction")
        if known.response:
            raise Refusal(400, 40060, "Interaction has already been acknowledged.")
        kind, data = body["type"], body.get("data") or {}
        if kind in (MESSAGE, UPDATE):
            check(data, files, before=known.original if kind == UPDATE else None)
        known.response, known.answered_at = kind, now
        if kind in (MESSAGE, DEFERRED):
            flags = data.get("flags", 0) & (EPHEMERAL | SUPPRESS_EMBEDS) | (LOADING if kind == DEFERRED else 0)
            if self._forced(known):
                flags |= EPHEMERAL
            known.original = self._post(known, data, flags, files)
        elif kind == UPDATE:
            assert known.original
            self.world.change(known.original, revised(known.original, data, files, via="webhook"))
        elif kind == AUTOCOMPLETE:
            known.choices = data.get("choices", [])
        elif kind == MODAL:
            known.modal = data
        if query.get("with_response") not in ("1", "true"):
            return None
        answer: Json = {"interaction": {"id": known.id, "type": known.kind}}
        if known.original and kind in (MESSAGE, DEFERRED):
            answer["interaction"] |= {
                "response_message_id": known.original.id,
                "response_message_loading": known.original.thinking,
                "response_message_ephemeral": known.original.ephemeral,
            }
            answer["resource"] = {"type": kind, "message": self.world.message_json(known.original)}
        return answer

    def follow_up(self, token: str, body: Json, files: Files, **_: Any) -> Json:
        """A further message; the first after a deferral takes the place of "thinking…"."""
        known = self._open(token)
        check(body, files)
        if known.original and known.original.thinking:
            return self._write(known.original, body, files)
        if known.user_install_only and known.followups >= FOLLOW_UPS:
            raise Refusal(400, 40094, "This interaction has reached its limit of follow-up messages.")
        known.followups += 1
        flags = body.get("flags", 0) & (EPHEMERAL | SUPPRESS_EMBEDS)
        if self._forced(known):
            flags |= EPHEMERAL
        return self.world.message_json(self._post(known, body, flags, files))

    def get(self, token: str, message: str, **_: Any) -> Json:
        """A message of the interaction."""
        return self.world.message_json(self._message(self._open(token), message))

    def edit(self, token: str, message: str, body: Json, files: Files, **_: Any) -> Json:
        """Edit a message of the interaction."""
        known = self._message(self._open(token), message)
        check(body, files, before=known)
        moderate(self.world, body)
        return self._write(known, body, files)

    def delete(self, token: str, message: str, **_: Any) -> None:
        """Delete a message of the interaction."""
        self.world.remove(self._message(self._open(token), message))

    def _open(self, token: str) -> Interaction:
        known = self.world.interactions.get(token)
        if not known or time.monotonic() - known.began > self.life:
            raise Refusal(401, 50027, "Invalid Webhook Token")
        if not known.response:
            raise Refusal(404, 10015, "Unknown Webhook")
        return known

    def _message(self, known: Interaction, message: str) -> Posted:
        if message in ("@original", "%40original"):
            found = known.original
        else:
            found = self.world.channels[known.channel].messages.get(message)
        if not found or found.deleted or found.author != APP:
            raise Refusal(404, 10008, "Unknown Message")
        return found

    def _write(self, message: Posted, body: Json, files: Files) -> Json:
        message.flags &= ~LOADING
        if "flags" in body:
            message.flags = message.flags & ~SUPPRESS_EMBEDS | body["flags"] & SUPPRESS_EMBEDS
        self.world.change(message, revised(message, body, files, via="webhook"))
        return self.world.message_json(message)

    def _post(self, known: Interaction, data: Json, flags: int, files: Files) -> Posted:
        return self.world.post(
            self.world.channels[known.channel],
            APP,
            data.get("content") or "",
            allowed=data.get("allowed_mentions"),
            via="webhook",
            components=data.get("components") or [],
            files=files,
            flags=flags,
            interaction=known.token,
            seen_by=known.user if flags & EPHEMERAL else "",
        )

    def _forced(self, known: Interaction) -> bool:
        """Without USE_EXTERNAL_APPS a user-installed app answers its user alone."""
        return known.user_install_only and "USE_EXTERNAL_APPS" in self.world.channels[known.channel].denied
