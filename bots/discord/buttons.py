"""Buttons that work after a restart and in any process: all that they need stands in their ids.

A ``custom_id`` has 100 characters, so numbers are written in base 36: guild, channel, thread, message, who asked, and
which part of the reply it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol, Self

import discord
from discord.ui import Button, DynamicItem, View

from core.types import ConversationKey, Turn

DMS = "dm"
"""The workspace of direct messages, and of what is said where no guild is."""
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_CODE = r"(?P<code>[0-9a-z]+(?:\.[0-9a-z]+){5})"


def identity(guild: str | int | None, channel: str | int, message: str | int) -> str:
    """A turn's name: where its message stands, and the message."""
    return f"discord:{guild or DMS}:{channel}:{message}"


@dataclass(frozen=True, slots=True)
class ButtonTarget:
    """Which reply a button stands under, and who asked for it."""

    guild: int
    channel: int
    thread: int
    message: int
    author: int
    part: int = 0

    @classmethod
    def of(cls, turn: Turn, part: int = 0) -> Self:
        """The target of a turn of Discord."""
        key = turn.key
        guild = 0 if key.workspace == DMS else int(key.workspace)
        message = int(turn.id.rpartition(":")[2])
        return cls(guild, int(key.channel), int(key.owner or key.thread or 0), message, int(turn.author.id), part)

    @classmethod
    def decode(cls, code: str) -> Self:
        """Read what ``encode`` wrote."""
        return cls(*(int(number, 36) for number in code.split(".")))

    def encode(self) -> str:
        """At most 80 characters."""
        numbers = (self.guild, self.channel, self.thread, self.message, self.author, self.part)
        return ".".join(map(_base36, numbers))

    @property
    def private(self) -> bool:
        """Whether it was asked in private: in the place of a thread stands who asked."""
        return self.thread == self.author

    @property
    def key(self) -> ConversationKey:
        """The conversation that the turn belongs to."""
        thread = f"{'@' * self.private}{self.thread}" if self.thread else ""
        return ConversationKey("discord", str(self.guild) if self.guild else DMS, str(self.channel), thread)

    @property
    def turn(self) -> str:
        """The turn's name."""
        return identity(self.guild, self.channel if self.private else self.thread or self.channel, self.message)


class PressHandler(Protocol):
    """Where presses are taken."""

    async def stop(self, interaction: discord.Interaction, target: ButtonTarget) -> None:
        """End the answer."""
        ...

    async def forget(self, interaction: discord.Interaction, target: ButtonTarget) -> None:
        """Forget the conversation, which somebody asked for."""
        ...

    async def regenerate(self, interaction: discord.Interaction, target: ButtonTarget) -> None:
        """Answer once more."""
        ...

    async def rate(self, interaction: discord.Interaction, target: ButtonTarget, mark: str) -> None:
        """Keep what somebody thinks of the answer."""
        ...


class _ReplyButton(DynamicItem[Button[View]], template=r"parley:none"):
    """A button of ours; a client that takes presses has a ``listener``."""

    def __init__(self, target: ButtonTarget, button: Button[View]) -> None:
        super().__init__(button)
        self.target = target

    @classmethod
    async def from_custom_id(cls, interaction: discord.Interaction, item: Any, match: re.Match[str]) -> Self:
        """See discord.py."""
        del interaction
        made = cls.__new__(cls)
        _ReplyButton.__init__(made, ButtonTarget.decode(match["code"]), item)
        return made

    def handler(self, interaction: discord.Interaction) -> PressHandler:
        """Where the press is taken."""
        handler: PressHandler = interaction.client.listener  # type: ignore[attr-defined]
        return handler


class Stop(_ReplyButton, template=rf"p1:stop:{_CODE}"):
    """Ends an answer that is being written."""

    def __init__(self, target: ButtonTarget) -> None:
        super().__init__(target, Button(label="Stop", emoji="⏹️", custom_id=f"p1:stop:{target.encode()}"))

    async def callback(self, interaction: discord.Interaction) -> None:
        """See discord.py."""
        await self.handler(interaction).stop(interaction, self.target)


class Forget(_ReplyButton, template=rf"p1:forget:{_CODE}"):
    """Confirms that a conversation is forgotten; the target's ``part`` is its epoch."""

    def __init__(self, target: ButtonTarget) -> None:
        button: Button[View] = Button(
            label="Forget", style=discord.ButtonStyle.danger, custom_id=f"p1:forget:{target.encode()}"
        )
        super().__init__(target, button)

    async def callback(self, interaction: discord.Interaction) -> None:
        """See discord.py."""
        await self.handler(interaction).forget(interaction, self.target)


class Regenerate(_ReplyButton, template=rf"p1:again:{_CODE}"):
    """Answers once more, over the same messages."""

    def __init__(self, target: ButtonTarget, *, retry: bool) -> None:
        label, emoji = ("Retry", "🔁") if retry else ("Regenerate", "🔁")
        super().__init__(target, Button(label=label, emoji=emoji, custom_id=f"p1:again:{target.encode()}"))

    async def callback(self, interaction: discord.Interaction) -> None:
        """See discord.py."""
        await self.handler(interaction).regenerate(interaction, self.target)


class Rate(_ReplyButton, template=rf"p1:(?P<mark>up|down):{_CODE}"):
    """Says whether an answer was any good."""

    def __init__(self, target: ButtonTarget, mark: str) -> None:
        emoji = "👍" if mark == "up" else "👎"
        super().__init__(target, Button(emoji=emoji, custom_id=f"p1:{mark}:{target.encode()}"))

    async def callback(self, interaction: discord.Interaction) -> None:
        """See discord.py."""
        mark = "up" if self.custom_id.startswith("p1:up:") else "down"
        await self.handler(interaction).rate(interaction, self.target, mark)


BUTTONS = (Stop, Forget, Regenerate, Rate)
"""To be registered with a client that takes presses."""


def growing(target: ButtonTarget) -> View:
    """Under a message that may still get more text."""
    return _view(Stop(target))


def confirming(target: ButtonTarget) -> View:
    """Under the question whether a conversation is to be forgotten."""
    return _view(Forget(target))


def finished(target: ButtonTarget, *, retry: bool, answered: bool) -> View:
    """Under a reply that is done: ``retry`` because something went wrong, and marks where there is an answer."""
    marks = (Rate(target, "up"), Rate(target, "down")) if answered else ()
    return _view(Regenerate(target, retry=retry), *marks)


def _view(*items: _ReplyButton) -> View:
    view = View(timeout=None)
    for item in items:
        view.add_item(item)
    return view


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = _DIGITS[rest] + digits
    return digits or "0"
