"""A double of Slack: the Web API and Socket Mode of one workspace, on loopback, with the platform's rules.

It is stateful. Tests let people talk and press buttons, and then read what a person would have seen: every version
of every message, who was notified, which calls were refused. It answers the real slack_sdk and slack_bolt::

    async with SlackDouble() as slack:
        client = AsyncWebClient(token=slack.bot_token, base_url=slack.url)
        ...
        ts = await slack.mention("C0GENERAL", "what is up?")
        reply = await wait_until(lambda: slack.replies("C0GENERAL", ts))

By hand, with a page that shows the channels: ``python -m tests.doubles.slack``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Self

from aiohttp import web

from tests.doubles.slack_page import PAGE, live
from tests.doubles.slack_records import Call, Envelope, Json, Posted, elements, escape
from tests.doubles.slack_refusals import Unkindness
from tests.doubles.slack_web import WebApi
from tests.doubles.slack_workspace import Workspace


class SlackDouble(Workspace, Unkindness):
    """Slack, as far as an app can tell. ``tiers`` says whether rate limits are enforced."""

    def __init__(self, *, tiers: bool = True, port: int = 0) -> None:
        Workspace.__init__(self)
        Unkindness.__init__(self)
        self.base = ""
        self._port = port
        self._closing = asyncio.Event()
        self._web = WebApi(self, self, self._wait, tiers=tiers)
        application = web.Application()
        application.router.add_get("/", self._page)
        application.router.add_get("/live", self._live)
        application.router.add_get("/link/", self.socket_mode.accept)
        application.router.add_route("*", "/api/{method}", self._web.answer)
        application.router.add_post("/response/{name}", self._web.respond)
        # Nobody waits at the end of a test for a call that hangs.
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"
        self._web.methods.socket_url = f"{self.base.replace('http', 'ws', 1)}link/"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        await self.socket_mode.close()
        await self._runner.cleanup()

    async def _wait(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    @property
    def url(self) -> str:
        """Where the Web API is: ``SLACK_API_URL``, ``AsyncWebClient(base_url=…)``."""
        return f"{self.base}api/"

    @property
    def tiers(self) -> bool:
        """Whether rate limits are enforced."""
        return self._web.methods.tiers

    @tiers.setter
    def tiers(self, enforced: bool) -> None:
        self._web.methods.tiers = enforced

    # What people do.

    async def say(
        self, channel: str, text: str, *, user: str = "U0ADA", thread: str | None = None, **extra: Any
    ) -> str:
        """A person writes plain text; ``thread`` is any message of the thread. Further fields go into the event.

        Where the text mentions the app, ``app_mention`` is delivered beside ``message``: another event about the
        same channel and ts, as Slack has it.
        """
        place = self.channels[channel]
        root = (place.messages[thread].thread_ts or thread) if thread else None
        if "files" in extra:
            extra.setdefault("subtype", "file_share")
        message = self.post(place, user, escape(text), thread_ts=root, extra=extra)
        await asyncio.sleep(0)  # the delivery is on its way
        return message.ts

    async def mention(
        self, channel: str, text: str, *, user: str = "U0ADA", thread: str | None = None, **extra: Any
    ) -> str:
        """A person writes to the app, where others read it too."""
        return await self.say(channel, f"<@{self.bot_user}> {text}", user=user, thread=thread, **extra)

    async def dm(self, text: str, *, user: str = "U0ADA", thread: str | None = None, **extra: Any) -> str:
        """A person writes to the app alone."""
        return await self.say(self.dm_with(user).id, text, user=user, thread=thread, **extra)

    async def edit(self, channel: str, ts: str, text: str, **extra: Any) -> None:
        """A person changes what they said. Where it mentions the app it is mentioned once more."""
        self.update(self.channels[channel].messages[ts], escape(text), extra=extra)
        await asyncio.sleep(0)

    async def app_says(
        self, channel: str, text: str = "", *, thread: str | None = None, name: str = "Alertbot", **extra: Any
    ) -> str:
        """Another app writes, as its incoming webhook does: without a user."""
        place = self.channels[channel]
        root = (place.messages[thread].thread_ts or thread) if thread else None
        who = {"subtype": "bot_message", "bot_id": "B0ALERT", "username": name}
        message = self.post(place, "", text, thread_ts=root, extra=who | extra)
        await asyncio.sleep(0)
        return message.ts

    async def app_edits(self, channel: str, ts: str, text: str = "", **extra: Any) -> None:
        """Another app changes its message, which Slack does not mark as edited."""
        self.update(self.channels[channel].messages[ts], text, extra=extra, mark=False)
        await asyncio.sleep(0)

    async def preview(self, channel: str, ts: str) -> None:
        """Slack adds the preview of a link to a message."""
        self.unfurl(self.channels[channel], self.channels[channel].messages[ts])
        await asyncio.sleep(0)

    async def delete(self, channel: str, ts: str) -> None:
        """A person deletes a message: their own, or (an administrator) the app's."""
        self.remove(self.channels[channel].messages[ts])
        await asyncio.sleep(0)

    async def invite(self, channel: str, *, inviter: str = "U0ADA") -> None:
        """The app joins a channel."""
        place = self.channels[channel]
        place.members.add(self.bot_user)
        event = {"type": "member_joined_channel", "user": self.bot_user, "channel": channel, "inviter": inviter}
        kind = "G" if place.private else "C"
        if f"{place.scope}:read" not in self.scopes:
            return  # Slack tells only apps that may look at channels
        await self.send_event(event | {"channel_type": kind, "team": self.team, "event_ts": self.new_ts()})

    async def open_home(self, user: str = "U0ADA", *, tab: str = "messages") -> None:
        """A person opens the app's page, at one of its tabs."""
        event = {"type": "app_home_opened", "user": user, "channel": self.dm_with(user).id, "tab": tab}
        await self.send_event(event | {"event_ts": self.new_ts()})

    async def send_event(self, event: Json) -> None:
        """Anything else of the Events API."""
        self.emit(event)
        await asyncio.sleep(0)

    async def resend(self, ts: str) -> list[Envelope]:
        """Deliver every event about a message again, as if no acknowledgement had come: the same ``event_id``."""
        sent = [
            self.socket_mode.send("events_api", payload, attempt=1, reason="timeout") for payload in self.events[ts]
        ]
        await asyncio.sleep(0)
        return sent

    async def press(
        self, message: Posted, action_id: str, *, user: str = "U0ADA", value: str | None = None
    ) -> Envelope:
        """A person presses a button. ``value`` chooses among several with one ``action_id`` (feedback buttons)."""
        matching = [(block, one) for block, one in elements(message.now.blocks) if one["action_id"] == action_id]
        if message.deleted or not matching:
            raise LookupError(f"no {action_id!r} under this message, only {[one.action_id for one in message.buttons]}")
        block_id, element = matching[0]
        chosen = {"type": element["type"], "action_id": action_id, "block_id": block_id, "action_ts": self.new_ts()}
        first = next(button.value for button in message.buttons if button.action_id == action_id)
        chosen["value"] = first if value is None else value
        if "text" in element:
            chosen["text"] = element["text"]
        channel = self.channels[message.channel]
        name = "directmessage" if channel.user else channel.name
        container = {"type": "message", "message_ts": message.ts, "channel_id": channel.id, "is_ephemeral": False}
        if message.thread_ts:
            container["thread_ts"] = message.thread_ts
        payload: Json = {
            "type": "block_actions",
            "user": {
                "id": user,
                "username": self.users[user].name,
                "name": self.users[user].name,
                "team_id": self.team,
            },
            "api_app_id": self.app_id,
            "token": "verification-token",
            "container": container,
            "trigger_id": self._web.methods.trigger(),
            "team": {"id": self.team, "domain": "double"},
            "enterprise": None,
            "is_enterprise_install": False,
            "channel": {"id": channel.id, "name": name},
            "message": self.as_json(message),
            "state": {"values": {}},
            "response_url": self._web.response_url(self.base, channel.id, user, message),
            "actions": [chosen],
        }
        envelope = self.socket_mode.send("interactive", payload)
        await asyncio.sleep(0)
        return envelope

    async def command(
        self, command: str, text: str = "", *, channel: str = "C0GENERAL", user: str = "U0ADA"
    ) -> Envelope:
        """A person types a slash command."""
        place = self.channels[channel]
        payload = {
            "token": "verification-token",
            "team_id": self.team,
            "team_domain": "double",
            "channel_id": channel,
            "channel_name": "directmessage" if place.user else place.name,
            "user_id": user,
            "user_name": self.users[user].name,
            "command": command,
            "text": text,
            "api_app_id": self.app_id,
            "is_enterprise_install": "false",
            "response_url": self._web.response_url(self.base, channel, user, None),
            "trigger_id": self._web.methods.trigger(),
        }
        envelope = self.socket_mode.send("slash_commands", payload)
        await asyncio.sleep(0)
        return envelope

    def trigger(self) -> str:
        """What lets an app open a view for the person who pressed something, for three seconds."""
        return self._web.methods.trigger()

    # What was seen.

    def messages(self, channel: str, thread: str | None = None) -> list[Posted]:
        """Every message of a channel, or of one thread with its root, oldest first; deleted ones too."""
        known = self.channels[channel].messages.values()
        return [message for message in known if thread is None or thread in {message.ts, message.thread_ts}]

    def replies(self, channel: str, ts: str | None = None) -> list[Posted]:
        """The app's messages in the thread under ``ts``; without it, all of the channel."""
        return [message for message in self.messages(channel, ts) if message.by_bot]

    @property
    def calls(self) -> list[Call]:
        """Every call of the Web API, in order of arrival."""
        return self._web.calls

    def calls_of(self, method: str) -> list[Call]:
        """The calls of one method."""
        return [call for call in self.calls if call.method == method]

    @property
    def refused(self) -> list[Call]:
        """The calls to which Slack said no, or nothing."""
        return [call for call in self.calls if call.refused]

    # The sockets.

    @property
    def sockets(self) -> int:
        """How many are connected now."""
        return self.socket_mode.sockets

    @property
    def envelopes(self) -> list[Envelope]:
        """Every delivery, the newest last; ``sent_at`` is None while it is held."""
        return self.socket_mode.envelopes

    def unacked(self) -> list[Envelope]:
        """What was delivered and never acknowledged."""
        return [envelope for envelope in self.envelopes if envelope.sent_at and envelope.acked_at is None]

    def undelivered(self) -> set[str]:
        """Events of which no delivery was acknowledged yet."""
        events = [envelope for envelope in self.envelopes if envelope.type == "events_api"]
        acked = {envelope.payload["event_id"] for envelope in events if envelope.acked_at}
        return {envelope.payload["event_id"] for envelope in events} - acked

    @property
    def ack_deadline(self) -> float:
        """How long an acknowledgement may take, in seconds."""
        return self.socket_mode.ack_deadline

    @ack_deadline.setter
    def ack_deadline(self, seconds: float) -> None:
        self.socket_mode.ack_deadline = seconds

    @property
    def retry_delays(self) -> Sequence[float]:
        """How long Slack waits after each failed attempt; there are as many retries."""
        return self.socket_mode.retry_delays

    @retry_delays.setter
    def retry_delays(self, seconds: Sequence[float]) -> None:
        self.socket_mode.retry_delays = seconds

    async def drop_sockets(self) -> None:
        """Cut every connection without a close frame."""
        self.socket_mode.drop()
        await asyncio.sleep(0)

    async def refresh_sockets(self, reason: str = "refresh_requested", *, grace: float = 0.2) -> None:
        """Ask every client to connect anew, and close the old connection after a moment."""
        await self.socket_mode.refresh(reason, grace)

    async def deafen_sockets(self) -> None:
        """Make every connection half-open: nothing arrives any more, on either side, and nobody is told."""
        self.socket_mode.deafen()
        await asyncio.sleep(0)

    # The page.

    async def _page(self, _: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def _live(self, request: web.Request) -> web.Response:
        return web.Response(text=live(self, request.query.get("channel", "")), content_type="text/html")


if __name__ == "__main__":
    from tests.doubles.slack_hand import main

    main()
