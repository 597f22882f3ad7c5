"""How a window becomes the text that one family of models was trained on."""

from __future__ import annotations

from typing import Protocol

from core.types import Prompt, Window


class PromptTemplate(Protocol):
    """One family's way of writing a conversation down."""

    name: str

    def render(self, window: Window) -> Prompt:
        """Write the window down, ready for the assistant to speak."""
        ...
