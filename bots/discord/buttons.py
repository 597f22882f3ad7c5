"""Buttons that work after a restart and in any process, because their ids hold everything that they need.

A ``custom_id`` has at most 100 characters, so numbers are written in base 36: guild, channel, thread, message, asker,
and the part of the reply.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol, Self

import discord
from discord.ui import Button, DynamicItem, View

from core.types import ConversationKey, Turn

DMS = "dm"
"""The workspace of direct messages and of other places outside servers."""
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_CODE = r"(?P<code>[0-9a-z]+(?:\.[0-9a-z]+){5})"


def identity(guild: str | int | None, channel: str | int, message: str | int) -> str:
    """A turn's id: the place of its message, and the message's id."""
    return f"discord:{guild or DMS}:{channel}:{message}"


@dataclass(frozen=True, slots=True)
class ButtonTarget:
    """The reply that a button belongs to, and its asker."""

    guild: int
    channel: int
    thread: int
    message: int
    author: int
    part: int = 0

    @classmethod
    def of(cls, turn: Turn, part: int = 0) -> Self:
        """The target for a button under the reply to a turn."""
        key = turn.key
        guild = 0 if key.workspace == DMS else int(key.workspace)
        message = int(turn.id.rpartition(":")[2])
        return cls(guild, int(key.channel), int(key.owner or key.thread or 0), message, int(turn.author.id), part)

    @classmethod
    def decode(cls, code: str) -> Self:
        """Read what ``encode`` wrote."""
        return cls(*(int(number, 36) for number in code.split(".")))

    def encode(self) -> str:
        """Write it in at most 80 characters."""
        numbers = (self.guild, self.channel, self.thread, self.message, self.author, self.part)
        return ".".join(map(_base36, numbers))

    @property
    def private(self) -> bool:
        """Whether the question was private: then ``thread`` is the asker's id."""
        return self.thread == self.author

    @property
    def key(self) -> ConversationKey:
        """The conversation that the turn belongs to."""
        thread = f"{'@' * self.private}{self.thread}" if self.thread else ""
        return ConversationKey("discord", str(self.guild) if self.guild else DMS, str(self.channel), thread)

    @property
    def turn(self) -> str:
        """The turn's id."""
        return identity(self.guild, self.channel if self.private else self.thread or self.channel, self.message)


class PressHandler(Protocol):
    """Handles presses of buttons."""

    async def stop(self, interaction: discord.Interaction, target: ButtonTarget) -> None:
        """Stop the answer."""
        ...

    async def forget(self, interaction: discord.Interaction, target: ButtonTarget) -> None:
        """Forget the conversation: the person confirms what they asked for."""
        ...

    async def regenerate(self, interaction: discord.Interaction, target: ButtonTarget) -> None:
        """Answer the question again, over the same messages."""
        ...

    async def rate(self, interaction: discord.Interaction, target: ButtonTarget, mark: str) -> None:
        """Store a person's rating of the answer; ``mark`` is up or down."""
        ...


class _ReplyButton(DynamicItem[Button[View]], template=r"parley:none"):
    """A button under a reply. The client that handles presses must have a ``listener``."""

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
        """The client's listener."""
        handler: PressHandler = interaction.client.listener  # type: ignore[attr-defined]
        return handler


class Stop(_ReplyButton, template=rf"p1:stop:{_CODE}"):
    """Stops an answer that is being written."""

    def __init__(self, target: ButtonTarget) -> None:
        super().__init__(target, Button(label="Stop", emoji="⏹️", custom_id=f"p1:stop:{target.encode()}"))

    async def callback(self, interaction: discord.Interaction) -> None:
        """See discord.py."""
        await self.handler(interaction).stop(interaction, self.target)


class Forget(_ReplyButton, template=rf"p1:forget:{_CODE}"):
    """Confirms that a conversation should be forgotten; the target's ``part`` is its epoch."""

    def __init__(self, target: ButtonTarget) -> None:
        button: Button[View] = Button(
            label="Forget", style=discord.ButtonStyle.danger, custom_id=f"p1:forget:{target.encode()}"
        )
        super().__init__(target, button)

    async def callback(self, interaction: discord.Interaction) -> None:
        """See discord.py."""
        await self.handler(interaction).forget(interaction, self.target)


class Regenerate(_ReplyButton, template=rf"p1:again:{_CODE}"):
    """Answers the question again, over the same messages."""

    def __init__(self, target: ButtonTarget, *, retry: bool) -> None:
        label, emoji = ("Retry", "🔁") if retry else ("Regenerate", "🔁")
        super().__init__(target, Button(label=label, emoji=emoji, custom_id=f"p1:again:{target.encode()}"))

    async def callback(self, interaction: discord.Interaction) -> None:
        """See discord.py."""
        await self.handler(interaction).regenerate(interaction, self.target)


class Rate(_ReplyButton, template=rf"p1:(?P<mark>up|down):{_CODE}"):
    """Rates an answer."""

    def __init__(self, target: ButtonTarget, mark: str) -> None:
        emoji = "👍" if mark == "up" else "👎"
        super().__init__(target, Button(emoji=emoji, custom_id=f"p1:{mark}:{target.encode()}"))

    async def callback(self, interaction: discord.Interaction) -> None:
        """See discord.py."""
        mark = "up" if self.custom_id.startswith("p1:up:") else "down"
        await self.handler(interaction).rate(interaction, self.target, mark)


BUTTONS = (Stop, Forget, Regenerate, Rate)
"""Register these with the client that handles presses."""


def growing(target: ButtonTarget) -> View:
    """The button under an answer that is being written."""
    return _view(Stop(target))


def confirming(target: ButtonTarget) -> View:
    """The button under the question whether to forget a conversation."""
    return _view(Forget(target))


def finished(target: ButtonTarget, *, retry: bool, answered: bool) -> View:
    """The buttons under a finished reply: Retry after an error, else Regenerate; ratings if there is an answer."""
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
