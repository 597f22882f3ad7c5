"""What people can choose for a conversation: parsed from their words, and checked before it is stored."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from core.policy import Venue
from core.types import ConversationSettings, Follow
from core.typos import nearest

CHANGE = (
    "{/settings temperature 0.2} changes one, {/settings temperature reset} takes that back, and "
    "{/settings reset} restores the defaults."
)
MAX_SYSTEM_CHARACTERS = 8000
"""Longest system prompt that people can write; a longer one leaves no room for the conversation."""
MAX_ANSWER_TOKENS = 100_000

CHOICE_HELP: dict[str, str] = {
    "system": "who I am here and how I should answer",
    "persona": "a prepared system prompt",
    "temperature": "0 gives the same answer each time, 0.7 varies it; up to 2",
    "top_p": "use only the likeliest words, up to this share of all; 1 uses all",
    "max": "the longest answer, in tokens",
    "model": "the model I ask first",
    "follow": "when I answer in a thread without a mention: never (`mention`), while one person talks with me there "
    "(`auto`), or `always`",
}
"""The settings that people can choose, and what each means."""
_FIELDS = {"max": "max_new_tokens"}
_ALIASES = {"max_new_tokens": "max", "max_tokens": "max", "system_prompt": "system", "topp": "top_p"}
_RESET = ("", "reset", "default")
_NAME = re.compile(r"[`*]?([^\W\d][\w-]*)[`*]?(?:\s*[:=]\s*|\s+|$)(.*)", re.DOTALL)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
MAX_VALUE_WORDS = 3
"""Words in the value of a setting other than the system prompt; a longer one is a sentence about the setting."""


class WrongChoice(ValueError):
    """A value can't be chosen; the message tells the person why.

    ``instead`` is what they may have meant; "" if that is not known.
    """

    def __init__(self, message: str, instead: str = "") -> None:
        super().__init__(message)
        self.instead = instead


async def _own_name(model: str) -> str:
    return model


@dataclass(frozen=True, slots=True)
class Choices:
    """The values that people can choose, and the operator's defaults."""

    system: str = ""
    temperature: float = 0.7
    top_p: float | None = None
    max_new_tokens: int = 1024
    models: tuple[str, ...] = ()
    personas: Mapping[str, str] = field(default_factory=dict)
    persona: str = ""
    follow: Follow = "auto"
    label: Callable[[str], Awaitable[str]] = field(default=_own_name, compare=False)
    """Returns the display name of a model ("" for the first one); "" if not known."""

    def change(self, settings: ConversationSettings, name: str, value: str) -> ConversationSettings:
        """Return the settings with one changed; "" or ``reset`` restores its default.

        Raises:
            WrongChoice: there is no such setting, or it cannot have that value.
        """
        if name not in CHOICE_HELP:
            raise WrongChoice(f"No setting `{name[:40]}`. Choose: {_listed(CHOICE_HELP)}.")
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
            case "follow":
                chosen = _one_of(value, get_args(Follow), "way to follow threads")
            case "temperature":
                chosen = _number(value, 0, 2, "`temperature` is a number from 0 to 2", self.temperature)
            case "top_p":
                chosen = _number(value, 0.01, 1, "`top_p` is a number from 0.01 to 1", self.top_p or 1)
            case _:
                says = f"`max` is a whole number of tokens, from 1 to {MAX_ANSWER_TOKENS:,}"
                chosen = _whole(value, MAX_ANSWER_TOKENS, says, self.max_new_tokens)
        return replace(settings, **{_FIELDS.get(name, name): chosen})

    def resolved(self, settings: ConversationSettings) -> ConversationSettings:
        """Replace the persona by its text; a persona that the operator removed counts as not chosen."""
        if settings.persona is None and (settings.system is not None or not self.persona):
            return settings
        return replace(settings, system=self.personas.get(settings.persona or self.persona))

    def describe(self, settings: ConversationSettings, venue: Venue) -> str:
        """All settings of a conversation as Markdown, and how to change them."""
        lines = ["Settings of this conversation:", ""]
        lines += [self.line(settings, name) for name in CHOICE_HELP if self.offers(name, threads=venue.threads)]
        lines += ["", venue.tell(CHANGE)]
        return "\n".join(lines)

    def line(self, settings: ConversationSettings, name: str) -> str:
        """One setting, as an item of a list."""
        return f"- `{name}`: {self._value(settings, name)}"

    def offers(self, name: str, *, threads: bool = False) -> bool:
        """Whether a setting has more than one value to choose from; ``threads``: where people talk in threads."""
        match name:
            case "persona":
                return bool(self.personas)
            case "model":
                return len(self.models) > 1
            case "follow":
                return threads
            case _:
                return True

    def _value(self, settings: ConversationSettings, name: str) -> str:
        chosen = getattr(settings, _FIELDS.get(name, name))
        value = chosen if chosen is not None else getattr(self, _FIELDS.get(name, name), None)
        match name:
            case "system":
                shown = "set by the persona" if settings.persona else f"“{_line(settings.system or self.system)}”"
            case "persona":
                shown = str(value or "none")
            case "model":
                shown = str(value or self.models[0])
            case "follow":
                shown = str(value)
            case "max":
                shown = f"{value:,} tokens"
            case _:
                shown = f"{1 if value is None else value:g}"
        if chosen is None and not (name == "system" and settings.persona):
            shown += " (default)"
        names = {"persona": tuple(self.personas), "model": self.models, "follow": get_args(Follow)}.get(name)
        return f"{shown}. Choose: {_listed(names)}" if names else shown


def setting_name(word: str) -> str:
    """The setting that a word names, in any case and with a hyphen or an underscore; "" if none."""
    name = word.casefold().replace("-", "_")
    name = _ALIASES.get(name, name)
    return name if name in CHOICE_HELP else ""


def split_setting(text: str) -> tuple[str, str]:
    """The first word of ``temperature = 0.2``, and what follows it; ("", "") if that is no word."""
    found = _NAME.fullmatch(text.strip())
    return (found[1], found[2].strip()) if found else ("", "")


def find_setting(text: str) -> tuple[str, str] | None:
    """The name and value in ``temperature 0.2``; ("", "") for ``reset``; None for a text about something else.

    A value of more than a few words, or one that ends as a question does, is a sentence: ``model is slow, why?``. Only
    a system prompt can be as long as it likes.
    """
    if text.strip().rstrip(".!").casefold() == "reset":
        return "", ""
    word, value = split_setting(text)
    name = setting_name(word)
    if not name:
        return None
    if name != "system":
        words = value.split()
        if len(words) > MAX_VALUE_WORDS or (len(words) > 1 and value.endswith("?")):
            return None
        value = value.strip("`").rstrip(".!?").strip("`")
    return (name, value) if value else None


def fingerprint(value: str) -> str:
    """A short hash of a value that a form shows, by which it is known whether somebody changed it in the form."""
    return hashlib.sha256("\n".join(value.split("\r\n")).strip().encode()).hexdigest()[:8]


def _number(value: str, least: float, most: float, says: str, default: float) -> float:
    try:
        number = float(value.replace(",", "."))
    except ValueError:
        raise WrongChoice(f"{says}, not “{_line(value, 40)}”.", _meant(value, least, most, default)) from None
    if not least <= number <= most:
        raise WrongChoice(f"{says}, not {value}.", f"{default:g}")
    return number


def _meant(value: str, least: float, most: float, default: float) -> str:
    """The only number in ``to 0.2``, if it can be chosen; else the default as an example."""
    found = _NUMBER.findall(value)
    if len(found) == 1 and least <= float(found[0].replace(",", ".")) <= most:
        return str(found[0])
    return f"{default:g}"


def _whole(value: str, most: int, says: str, default: int) -> int:
    number = _number(value.replace(",", ""), 1, most, says, default)
    if number != int(number):
        raise WrongChoice(f"{says}, not {value}.", str(int(number)))
    return int(number)


def _checked_system(value: str) -> str:
    if len(value) > MAX_SYSTEM_CHARACTERS:
        raise WrongChoice(
            f"That system prompt has {len(value):,} characters. It can have {MAX_SYSTEM_CHARACTERS:,}, so that the "
            "conversation still fits."
        )
    return value


def _one_of(value: str, known: tuple[str, ...], what: str) -> str:
    found = next((name for name in known if name.casefold() == value.casefold()), None)
    if found is None:
        choose = f"Choose: {_listed(known)}." if known else f"There's no {what} to choose from here."
        raise WrongChoice(f"No {what} “{_line(value, 40)}”. {choose}", nearest(value, known))
    return found


def _listed(names: tuple[str, ...] | Mapping[str, str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _line(text: str, most: int = 120) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
