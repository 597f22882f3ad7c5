"""Prompt templates: how a window becomes the text that one family of models was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from core.model_types import Prompt, PromptWindow


class PromptTemplate(Protocol):
    """Writes a conversation as one family of models was trained to read it."""

    name: str

    def render(self, window: PromptWindow) -> Prompt:
        """Write the window as a prompt that the assistant continues."""
        ...


def open_template(name: str, setting: str = "PROMPT_TEMPLATE") -> PromptTemplate:
    """Open a template: a family by name, ``chat`` for servers that apply their own, or the chat template at a path.

    Raises:
        SettingsError: there is no such template, or it cannot be read; the text names the ``setting``.
    """
    from core.errors import SettingsError
    from core.prompts.families import FAMILIES, ChatTemplate, FamilyTemplate

    if name.lower() == ChatTemplate.name:
        return ChatTemplate()
    if family := FAMILIES.get(name.lower()):
        return FamilyTemplate(family)
    if path := template_file(name):
        from core.prompts.huggingface import HuggingFaceTemplate

        return HuggingFaceTemplate.read(path, setting)
    raise SettingsError(
        f"{setting}: no template family and no file '{name[:200]}'",
        remedy=f"The families are {', '.join(FAMILIES)}. A path may name a model's chat_template.jinja.",
    )


def template_file(name: str) -> Path | None:
    """The file or folder of that name, ``~`` being the home folder; None if there is none."""
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long, nobody's home, or with a NUL in it
        return None
