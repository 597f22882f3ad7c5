"""A double of Discord: its REST API and its gateway on loopback, with the platform's rules.

It is stateful. Tests let people talk, use commands and press buttons, and then read what a person would have seen:
every version of every message, whom it rang, which calls were refused. The real discord.py talks to it::

    async with DiscordDouble() as discord:
        ...  # DISCORD_API_URL=discord.url DISCORD_GATEWAY_URL=discord.gateway_url DISCORD_TOKEN=discord.token
        asked = discord.mention("what is up?")
        await wait_until(lambda: discord.replies())

By hand: ``python -m tests.doubles.discord``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import copy
import secrets
import time
from typing import Any, Self

from aiohttp import web

from tests.doubles.discord_gateway import MESSAGE_CONTENT, Gateway
from tests.doubles.discord_interactions import Interactions
from tests.doubles.discord_limits import Fault, Limits
from tests.doubles.discord_messages import Messages
from tests.doubles.discord_records import EPHEMERAL, Call, Interaction, Json, Posted, Version, components
from tests.doubles.discord_rest import RestApi
from tests.doubles.discord_world import (
    ADA,
    APP,
    BOB,
    GENERAL,
    GUILD,
    OTHER_BOT,
    PERMISSIONS,
    Channel,
    User,
    World,
)

__all__ = ["ADA", "APP", "BOB", "EPHEMERAL", "GENERAL", "GUILD", "DiscordDouble"]


class DiscordDouble(World):
    """Discord, as far as a bot can tell."""

    def __init__(self, *, port: int = 0) -> None:
        super().__init__()
        self.token = "MTA.double.token"
        self.gateway = Gateway(self, self.token)
        self.interaction_rules = Interactions(self)
        self._messages = Messages(self, Limits())
        self.rest = RestApi(self, self.token, self._messages, self.interaction_rules)
        self._messages.limits = self.rest.limits
        self.base = ""
        self._port = port
        application = web.Application(client_max_size=30 * 2**20)
        application.router.add_get("/gateway/", self.gateway.accept)
        application.router.add_route("*", "/api/v10/{path:.*}", self.rest.answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.gateway.url = self.rest.gateway_url = self.gateway_url
        return self

    async def __aexit__(self, *_: object) -> None:
        self.rest.closing.set()
        await self.gateway.close()
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """``DISCORD_API_URL``."""
        return f"{self.base}/api/v10"

    @property
    def gateway_url(self) -> str:
        """``DISCORD_GATEWAY_URL``."""
        return f"{self.base.replace('http', 'ws', 1)}/gateway/"

    def allow_message_content(self) -> None:
        """Switch the Message Content intent on in the developer portal."""
        self.gateway.enabled |= MESSAGE_CONTENT
        self._messages.content_intent = True
        self.rest.application_flags |= 1 << 19

    # What people do.

    def say(self, text: str, *, channel: str = GENERAL, user: str = ADA, reply_to: str = "", **more: Any) -> Posted:
        """A person (or another bot) writes."""
        return self.post(self.channels[channel], user, text, reference=reply_to, **more)

    def mention(self, text: str, **more: Any) -> Posted:
        """A person writes to the bot, where others read it too."""
        return self.say(f"<@{APP}> {text}", **more)

    def dm(self, text: str, *, user: str = ADA, **more: Any) -> Posted:
        """A person writes to the bot alone."""
        return self.say(text, channel=self.dm_with(user).id, user=user, **more)

    def forward(self, message: Posted, *, channel: str = GENERAL, user: str = ADA) -> Posted:
        """A person forwards a message: nothing can be written beside it."""
        told = self.message_json(message)
        kept = ("type", "content", "embeds", "attachments", "timestamp", "edited_timestamp", "flags", "components")
        snapshot = {name: told[name] for name in (*kept, "mentions", "mention_roles")}
        there = self.channels[message.channel]
        reference = {"type": 1, "message_id": message.id, "channel_id": there.id}
        if there.guild:
            reference["guild_id"] = there.guild
        extra = {"message_reference": reference, "message_snapshots": [{"message": snapshot}]}
        return self.say("", channel=channel, user=user, extra=extra)

    def alert(self, *, channel: str = GENERAL, text: str = "", **embed: Any) -> Posted:
        """Another bot posts an embed."""
        return self.say(text, channel=channel, user=OTHER_BOT, extra={"embeds": [{"type": "rich", **embed}]})

    def update(self, message: Posted, *, text: str | None = None, **extra: Any) -> None:
        """Another bot changes its message."""
        message.extra = {**message.extra, **extra}
        self.edit(message, message.text if text is None else text)

    def unfurl(self, message: Posted, **embed: Any) -> None:
        """Discord adds the preview of a link."""
        message.extra = {**message.extra, "embeds": [{"type": "article", **embed}]}
        self.change(message, message.now, edited=False)

    def proxy(self, message: Posted, *, webhook: str = "500000000000000001", name: str = "Nova") -> Posted:
        """Another bot deletes what a person wrote, and writes it again through a webhook, under another name."""
        self.users[webhook] = User(webhook, name, name, bot=True)
        self.webhooks.add(webhook)
        self.remove(message)
        return self.say(message.text, channel=message.channel, user=webhook)

    def edit(self, message: Posted, text: str) -> None:
        """A person changes what they said."""
        self.change(message, Version(time.monotonic(), text, via="person"))

    def delete(self, message: Posted) -> None:
        """A message is deleted, by its author or an administrator."""
        self.remove(message)

    def thread(self, message: Posted | None = None, *, channel: str = GENERAL, owner: str = BOB) -> Channel:
        """A person opens a thread on a message."""
        parent = self.channels[message.channel if message else channel]
        return self.open_thread(parent, message.id if message else "", "a thread", owner)

    def invite(self, guild: str, name: str = "Another") -> str:
        """The bot is added to a server. Returns a channel of it."""
        known = self.guilds.get(guild) or self.add_guild(guild, name)
        known.installed = True
        channel = str(int(guild) + 1)
        if channel not in self.channels:
            self.add_channel(channel, "general", guild)
        data = self.guild_json(known)
        del data["unavailable"]  # so a new server is told from one that is there again
        self.emit("GUILD_CREATE", data, guild=guild)
        return channel

    def kick(self, guild: str) -> None:
        """The bot is removed from a server."""
        self.guilds[guild].installed = False
        self.emit("GUILD_DELETE", {"id": guild}, guild=guild)

    def command(
        self, name: str, *, channel: str = GENERAL, user: str = ADA, user_install: bool = False, **options: Any
    ) -> Interaction:
        """A person uses a slash command."""
        known = self._registered(name, 1)
        kinds = {option["name"]: option["type"] for option in known.get("options", [])}
        chosen = [{"name": key, "type": kinds[key], "value": value} for key, value in options.items()]
        data = {"id": known["id"], "name": name, "type": 1, "options": chosen}
        return self._interact(2, data, channel, user, user_install=user_install)

    def ask_about(self, message: Posted, name: str = "Ask about this message", *, user: str = ADA) -> Interaction:
        """A person chooses an entry of a message's menu."""
        known = self._registered(name, 3)
        resolved = {"messages": {message.id: self.message_json(message)}}
        data = {"id": known["id"], "name": name, "type": 3, "target_id": message.id, "resolved": resolved}
        return self._interact(2, data, message.channel, user)

    def autocomplete(
        self, name: str, option: str, typed: str, *, user: str = ADA, channel: str = GENERAL
    ) -> Interaction:
        """A person types into an option of a command."""
        known = self._registered(name, 1)
        chosen = [{"name": option, "type": 3, "value": typed, "focused": True}]
        return self._interact(4, {"id": known["id"], "name": name, "type": 1, "options": chosen}, channel, user)

    def press(self, message: Posted, label: str, *, user: str = ADA, custom_id: str = "") -> Interaction:
        """A person presses a button, known by its label or emoji; a forger sends another ``custom_id`` for it."""
        found = [button for button in message.buttons if label in (button.label, button.emoji)]
        if message.deleted or not found:
            raise LookupError(f"no {label!r} under this message, only {message.labels}")
        if custom_id:
            message = copy.deepcopy(message)
            for one in components(message.now.components):
                one["custom_id"] = custom_id
        data = {"custom_id": custom_id or found[0].custom_id, "component_type": 2}
        return self._interact(3, data, message.channel, user, message=message)

    def submit(self, opened: Interaction, **values: Any) -> Interaction:
        """A person fills a modal in, by the custom ids of its fields."""
        rows = []
        for row in opened.modal["components"]:
            part = row["component"] if "component" in row else row["components"][0]
            value = values.get(part["custom_id"], part.get("value", ""))
            answer: Json = {"type": part["type"], "custom_id": part["custom_id"], "id": 1}
            answer |= {"values": [value] if value else []} if part["type"] == 3 else {"value": value}
            rows.append({"type": row["type"], "id": 2, "component": answer} if "component" in row
                        else {"type": 1, "id": 2, "components": [answer]})  # fmt: skip
        data = {"custom_id": opened.modal["custom_id"], "components": rows}
        return self._interact(5, data, opened.channel, opened.user)

    def _registered(self, name: str, kind: int) -> Json:
        for command in self.rest.commands.get("global", []):
            if command["name"] == name and command.get("type", 1) == kind:
                return command
        raise LookupError(f"no command {name!r} is registered")

    def _interact(
        self,
        kind: int,
        data: Json,
        channel: str,
        user: str,
        *,
        user_install: bool = False,
        message: Posted | None = None,
    ) -> Interaction:
        place = self.channels[channel]
        installed = not user_install and (not place.guild or self.guilds[place.guild].installed)
        owners = {"0": place.guild or "0"} if installed else {"1": user}
        interaction = Interaction(
            self.clock.snowflake(),
            secrets.token_urlsafe(40),
            user,
            channel,
            place.guild,
            time.monotonic(),
            owners,
            kind,
        )
        interaction.original = message
        self.interactions[interaction.token] = interaction
        payload: Json = {
            "id": interaction.id,
            "application_id": APP,
            "type": kind,
            "data": data,
            "channel": self.channel_json(place),
            "channel_id": channel,
            "token": interaction.token,
            "version": 1,
            "locale": "en-US",
            "app_permissions": str(place.permissions),
            "entitlements": [],
            "authorizing_integration_owners": owners,
            "attachment_size_limit": 10 * 2**20,
            "context": 0 if place.guild else 1 if installed else 2,
        }
        if place.guild:
            payload |= {"guild_id": place.guild, "guild_locale": "en-US", "guild": {"id": place.guild, "features": []}}
            everybody = sum(PERMISSIONS[name] for name in PERMISSIONS if name != "MANAGE_MESSAGES")
            payload["member"] = self.member_json(place.guild, user, permissions=everybody)
        else:
            payload["user"] = self.user_json(user)
        if message:
            payload["message"] = self.message_json(message)
        self.emit("INTERACTION_CREATE", payload, guild=place.guild)
        return interaction

    def resend(self, message: Posted) -> None:
        """Deliver a message's event again, as to a second connection."""
        self.emit("MESSAGE_CREATE", self.message_json(message, event=True), self.channels[message.channel])

    # What was seen.

    def messages(self, channel: str = GENERAL) -> list[Posted]:
        """Every message of a channel, oldest first, that is still there."""
        return [message for message in self.channels[channel].messages.values() if not message.deleted]

    def replies(self, to: Posted | None = None, *, channel: str = GENERAL) -> list[Posted]:
        """The bot's messages in a channel, or those that reply to a message."""
        place = to.channel if to else channel
        return [m for m in self.messages(place) if m.by_bot and (not to or m.reference == to.id)]

    @property
    def pings(self) -> list[str]:
        """Whom the bot rang, in all of its messages."""
        return [token for channel in self.channels.values() for m in channel.messages.values() if m.by_bot
                for token in m.rung]  # fmt: skip

    @property
    def calls(self) -> list[Call]:
        """Every call of the REST API, in order of arrival."""
        return self.rest.calls

    @property
    def refused(self) -> list[Call]:
        """The calls to which Discord said no."""
        return [call for call in self.calls if call.refused]

    # Unkindness.

    def fail(self, route: str, status: int, code: int = 0, *, times: int = 1, after: bool = False, **more: Any) -> None:
        """Refuse the next calls of a route (``POST /channels/:id/messages``); ``after`` it was done all the same."""
        self.rest.limits.faults.append(Fault(route, times, status, code, after=after, **more))

    def block(self, word: str, status: int = 400, code: int = 200000) -> None:
        """Take no message that holds a word: AutoMod, or a harmful link."""
        self.blocked[word] = (status, code)

    def slow(self, route: str, seconds: float, *, times: int = 1_000_000) -> None:
        """Let a route take its time."""
        self.rest.limits.faults.append(Fault(route, times, delay=seconds))


async def _by_hand() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.doubles.discord", description="Discord, with two people.")
    parser.add_argument("--port", type=int, default=8099)
    async with DiscordDouble(port=parser.parse_args().port) as discord:
        print(
            f"DISCORD_API_URL={discord.url}\nDISCORD_GATEWAY_URL={discord.gateway_url}\nDISCORD_TOKEN={discord.token}",
            flush=True,
        )
        print("Write a question, and see what is answered in #general.")
        while line := await asyncio.to_thread(input, "> "):
            asked = discord.mention(line)
            seen = ""
            async with asyncio.timeout(60):
                while not (replies := discord.replies(asked)) or any(b.label == "Stop" for b in replies[-1].buttons):
                    await asyncio.sleep(0.1)
                    if replies and replies[-1].text != seen:
                        seen = replies[-1].text
                        print(seen, "\n--")
            print(replies[-1].text, replies[-1].labels)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, EOFError):
        asyncio.run(_by_hand())
