"""What people may choose for a conversation, in their own words: checked before it is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from core.types import ConversationSettings

LONGEST_SYSTEM = 8000
"""Characters of a system prompt that people write; a longer one leaves no room for the conversation."""
MOST_TOKENS = 100_000

NAMES: dict[str, str] = {
    "system": "who I am here and how I should answer",
    "persona": "one of the system prompts that were prepared",
    "temperature": "0 gives the same answer each time, 0.7 is lively; up to 2",
    "top_p": "only the likeliest words, up to this share of all; 1 is all of them",
    "max": "the longest answer, in tokens",
    "model": "which model is asked first",
}
"""What can be set, and what it means."""
_FIELDS = {"max": "max_new_tokens"}
_RESET = ("", "reset", "default")


class WrongChoice(ValueError):
    """A value that cannot be chosen; the message says so to the person who chose it."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What there is to choose from, and what serves where nobody chose."""

    system: str = ""
    temperature: float = 0.7
    top_p: float | None = None
    max_new_tokens: int = 1024
    models: tuple[str, ...] = ()
    personas: Mapping[str, str] = field(default_factory=dict)
    persona: str = ""

    def change(self, settings: ConversationSettings, name: str, value: str) -> ConversationSettings:
        """The settings with one changed; "" or ``reset`` is its default.

        Raises:
            WrongChoice: there is no such setting, or it cannot have that value.
        """
        if name not in NAMES:
            raise WrongChoice(f"There is no setting called `{name[:40]}`. There are {_listed(NAMES)}.")
        value = value.strip()
        if name in ("system", "persona") and value.lower() not in _RESET:
            settings = replace(settings, system=None, persona=None)  # one takes the place of the other
        if value.lower() in _RESET:
            return replace(settings, **{_FIELDS.get(name, name): None})
        chosen: Any
        match name:
            case "system":
                chosen = _checked_system(value)
            case "persona":
                chosen = _one_of(value, tuple(self.personas), "persona")
            case "model":
                chosen = _one_of(value, self.models, "model")
            case "temperature":
                chosen = _number(value, 0, 2, "`temperature` is a number from 0 to 2")
            case "top_p":
                chosen = _number(value, 0.01, 1, "`top_p` is a number from 0.01 to 1")
            case _:
                chosen = _whole(value, MOST_TOKENS, f"`max` is a whole number of tokens, from 1 to {MOST_TOKENS:,}")
        return replace(settings, **{_FIELDS.get(name, name): chosen})

    def resolved(self, settings: ConversationSettings) -> ConversationSettings:
        """The same with the persona's text in its place; a persona that is no more is as if nobody had chosen it."""
        if settings.persona is None and (settings.system is not None or not self.persona):
            return settings
        return replace(settings, system=self.personas.get(settings.persona or self.persona))

    def describe(self, settings: ConversationSettings) -> str:
        """All settings of a conversation as Markdown, and how to change them."""
        lines = ["Settings of this conversation:", ""]
        lines += [f"- `{name}`: {self._value(settings, name)}" for name in NAMES if self.offers(name)]
        lines += [
            "",
            "Change one with `settings temperature 0.2`; `settings temperature reset` brings its default back, and "
            "`settings reset` all of them.",
        ]
        return "\n".join(lines)

    def offers(self, name: str) -> bool:
        """Whether there is anything to choose."""
        return (name != "persona" or bool(self.personas)) and (name != "model" or len(self.models) > 1)

    def _value(self, settings: ConversationSettings, name: str) -> str:
        chosen = getattr(settings, _FIELDS.get(name, name))
        value = chosen if chosen is not None else getattr(self, _FIELDS.get(name, name), None)
        match name:
            case "system":
                shown = f"“{_line(settings.system or self.system)}”" if not settings.persona else "that of the persona"
            case "persona":
                shown = f"{value or 'none'} (there are {_listed(self.personas)})"
            case "model":
                shown = f"{value or self.models[0]} (there are {_listed(self.models)})"
            case "max":
                shown = f"{value:,} tokens"
            case _:
                shown = "all words" if value is None else f"{value:g}"
        return shown if chosen is not None else f"{shown}, the default"


def find_setting(text: str) -> tuple[str, str] | None:
    """The name and value in ``temperature 0.2``; ("", "") for ``reset``; None if a text is nothing of the kind."""
    name, _, value = text.strip().partition(" ")
    name = name.strip("`:=").lower()
    if name == "reset" and not value.strip():
        return "", ""
    name = "max" if name in ("max_new_tokens", "max-new-tokens") else name.replace("-", "_")
    return (name, value.strip().removeprefix("=").strip()) if name in NAMES and value.strip() else None


def trace(value: str) -> str:
    """By which a form that is sent tells whether a value is still the one it showed; there is no room for all of it."""
    return hashlib.sha256("\n".join(value.split("\r\n")).strip().encode()).hexdigest()[:8]


def _number(value: str, least: float, most: float, says: str) -> float:
    try:
        number = float(value.replace(",", "."))
    except ValueError:
        raise WrongChoice(f"{says}, not “{_line(value, 40)}”.") from None
    if not least <= number <= most:
        raise WrongChoice(f"{says}, not {value}.")
    return number


def _whole(value: str, most: int, says: str) -> int:
    number = _number(value.replace(",", ""), 1, most, says)
    if number != int(number):
        raise WrongChoice(f"{says}, not {value}.")
    return int(number)


def _checked_system(value: str) -> str:
    if len(value) > LONGEST_SYSTEM:
        raise WrongChoice(
            f"That system prompt has {len(value):,} characters; {LONGEST_SYSTEM:,} are the most, so that the "
            "conversation still fits."
        )
    return value


def _one_of(value: str, known: tuple[str, ...], what: str) -> str:
    found = next((name for name in known if name.casefold() == value.casefold()), None)
    if found is None:
        there = f"There are {_listed(known)}." if known else f"There is no {what} to choose from here."
        raise WrongChoice(f"There is no {what} called “{_line(value, 40)}”. {there}")
    return found


def _listed(names: tuple[str, ...] | Mapping[str, str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _line(text: str, most: int = 120) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
