"""What the double of Discord writes down: values for tests to read, and how Discord counts and pings."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

EPOCH_MS = 1_420_070_400_000
"""The first millisecond of 2015, from which snowflakes count."""
EPHEMERAL, LOADING, SUPPRESS_EMBEDS, COMPONENTS_V2 = 1 << 6, 1 << 7, 1 << 2, 1 << 15
STARTER = 21
"""Type of the first message of a thread on a message: Discord writes it, and it holds that message."""
PING = re.compile(r"@(?:everyone|here)\b|<@!?\d+>|<@&\d+>")
CODE = re.compile(r"```.*?```|``.*?``|`[^`\n]*`", re.DOTALL)


def units(text: str) -> int:
    """Length in UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def pings(content: str, allowed: Json | None, *, webhook: bool) -> list[str]:
    """Whom a message rings, given its ``allowed_mentions``; what stands in code rings nobody.

    Without ``allowed_mentions`` a bot's message rings everybody it names, and an interaction's response only people
    (docs.discord.com, resources/message, "Allowed Mentions Object").
    """
    if allowed is None:
        parse, users, roles = (["users"] if webhook else ["users", "roles", "everyone"]), [], []
    else:
        parse, users, roles = allowed.get("parse", []), allowed.get("users", []), allowed.get("roles", [])
    rung = []
    for token in PING.findall(CODE.sub("", content)):
        number = re.sub(r"\D", "", token)
        if token.startswith("<@&"):
            rings = "roles" in parse or number in map(str, roles)
        elif token.startswith("<@"):
            rings = "users" in parse or number in map(str, users)
        else:
            rings = "everyone" in parse
        if rings:
            rung.append(token)
    return rung


def file_json(number: str, name: str, data: bytes) -> Json:
    """An attachment object."""
    return {"id": number, "filename": name, "size": len(data), "url": "https://cdn", "proxy_url": ""}


def bare(message: Json) -> Json:
    """A message as an app gets it that may not read its content (docs.discord.com, events/gateway)."""
    told = {**message, "content": "", "attachments": [], "embeds": [], "components": []}
    told.pop("poll", None)
    if "message_snapshots" in told:
        told["message_snapshots"] = [{"message": bare(one["message"])} for one in told["message_snapshots"]]
    return told


def components(rows: list[Json]) -> Iterator[Json]:
    """Every interactive component in the rows of a message."""
    for row in rows:
        yield from row.get("components", [])


@dataclass(frozen=True, slots=True)
class Button:
    """A button as a person sees it."""

    custom_id: str
    label: str
    emoji: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """A message as it stood from ``at`` (monotonic seconds) on."""

    at: float
    content: str
    components: list[Json] = field(default_factory=list)
    attachments: tuple[tuple[str, bytes], ...] = ()
    rung: tuple[str, ...] = ()
    via: str = "bot"
    """Who wrote it: ``person``, ``bot`` (with its token) or ``webhook`` (with an interaction's)."""


@dataclass(slots=True, eq=False)
class Posted:
    """A message and all that it ever was, oldest version first; a deleted one is still here."""

    channel: str
    id: str
    author: str
    versions: list[Version]
    by_bot: bool = False
    flags: int = 0
    nonce: str = ""
    reference: str = ""
    """The message that it replies to."""
    interaction: str = ""
    """The interaction that it responds to."""
    seen_by: str = ""
    """The only person who sees it, if it is ephemeral."""
    deleted: bool = False
    edited: bool = False
    rung: list[str] = field(default_factory=list)
    attachments: list[Json] = field(default_factory=list)
    extra: Json = field(default_factory=dict)
    """Further fields of the message object: embeds, a poll, stickers, what was forwarded, another type."""

    @property
    def at(self) -> float:
        """When a person first saw it, in monotonic seconds."""
        return self.versions[0].at

    @property
    def now(self) -> Version:
        """The newest version."""
        return self.versions[-1]

    @property
    def text(self) -> str:
        """What a person sees now, buttons and files apart."""
        return self.now.content

    @property
    def shown(self) -> list[str]:
        """What a person saw, one after the other."""
        return [version.content for version in self.versions]

    @property
    def files(self) -> dict[str, str]:
        """The files beside it, as text."""
        return {name: data.decode() for name, data in self.now.attachments}

    @property
    def buttons(self) -> list[Button]:
        """The buttons under it now."""
        return [
            Button(one.get("custom_id", ""), one.get("label") or "", (one.get("emoji") or {}).get("name") or "")
            for one in components(self.now.components)
        ]

    @property
    def labels(self) -> list[str]:
        """What stands on the buttons now."""
        return [button.label or button.emoji for button in self.buttons]

    @property
    def ephemeral(self) -> bool:
        """Whether only one person sees it."""
        return bool(self.flags & EPHEMERAL)

    @property
    def thinking(self) -> bool:
        """Whether it only says that the bot is thinking."""
        return bool(self.flags & LOADING)

    @property
    def pinged(self) -> list[str]:
        """Whom any of its versions rang: edits ring nobody, so only the first counts."""
        return self.rung


@dataclass(slots=True)
class Call:
    """One call of the REST API."""

    at: float
    method: str
    path: str
    route: str
    """The path with its ids left out: ``POST /channels/:id/messages``."""
    status: int = 0
    code: int = 0
    """Discord's own code for a refusal."""
    body: Json = field(default_factory=dict)
    bucket: str = ""

    @property
    def refused(self) -> bool:
        """Whether Discord said no."""
        return self.status >= 400


@dataclass(slots=True, eq=False)
class Interaction:
    """A command, a button or a modal, and what the app answered to it."""

    id: str
    token: str
    user: str
    channel: str
    guild: str
    began: float
    owners: Json
    kind: int
    response: int = 0
    """The type of the first response; 0 while there is none."""
    answered_at: float = 0.0
    ephemeral: bool = False
    original: Posted | None = None
    followups: int = 0
    modal: Json = field(default_factory=dict)
    choices: list[Json] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What the person who acted sees in answer."""
        return self.original.text if self.original else ""

    @property
    def user_install_only(self) -> bool:
        """Whether the app is here only because that person installed it."""
        return "0" not in self.owners


class Clock:
    """Snowflakes that grow, and the time."""

    def __init__(self) -> None:
        self.behind = 0.0
        """Seconds that Discord's clock is behind everybody else's."""
        self._last = 0

    def now(self) -> float:
        """The time, as Discord has it."""
        return time.time() - self.behind

    def snowflake(self) -> str:
        """A new id."""
        wanted = (int(self.now() * 1000) - EPOCH_MS) << 22
        self._last = max(self._last + 1, wanted)
        return str(self._last)

    @staticmethod
    def seconds(snowflake: str) -> float:
        """When something was made, by its id."""
        return ((int(snowflake) >> 22) + EPOCH_MS) / 1000
