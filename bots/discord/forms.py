"""Forms that can be sent after a restart, and to any process, as buttons can be pressed.

discord.py keeps a form in the process that showed it, and drops the input for one that it does not know, and with it
what a person wrote. Ours is not kept. What it was about stands in its id, as on our buttons, and the process that gets
the interaction reads it with ``sent``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import discord
from discord.ui import Label, Modal

PREFIX = "p1"
"""Of the ids of today's forms; other versions of Parley may be there at the same time."""


class Form(Modal):
    """A form called ``title``, for what is done with ``kind``; ``about`` has up to 60 characters."""

    def __init__(self, kind: str, about: str, *, title: str, fields: Sequence[Label[Any]]) -> None:
        super().__init__(title=title, custom_id=f"{PREFIX}:{kind}:{about}")
        for field in fields:
            self.add_item(field)


def sent(interaction: discord.Interaction) -> tuple[str, str, dict[str, str]]:
    """What kind of form was sent, what it was about, and what stands in its text fields; "" if none of ours was."""
    data: Any = interaction.data or {}
    prefix, _, rest = str(data.get("custom_id", "")).partition(":")
    if interaction.type is not discord.InteractionType.modal_submit or prefix != PREFIX:
        return "", "", {}
    kind, _, about = rest.partition(":")
    fields = [label["component"] for label in data["components"]]
    return kind, about, {field["custom_id"]: field["value"] for field in fields}
