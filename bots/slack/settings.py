"""Settings of a conversation as a form in Slack: a button that one person sees, a modal, and what it is sent back with.

The words `settings temperature 0.2` do the same; this only saves typing them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from bots.slack.errors import slack_errors
from core.errors import ParleyError, StorageError
from core.memory import Memory
from core.preferences import MOST_TOKENS, NAMES, Choices, WrongChoice
from core.queue import in_time
from core.types import ConversationKey, ConversationSettings

log = structlog.get_logger()

OPEN = "parley_settings"
"""``action_id`` of the button."""
FORM = "parley_settings_form"
"""``callback_id`` of the modal."""
RESET = "parley_reset"
LONGEST_INPUT = 3000
"""Characters that Slack takes in one field."""
LABELS = {
    "system": "Who I am here",
    "persona": "Persona",
    "temperature": "Temperature",
    "top_p": "Top p",
    "max": "Longest answer, in tokens",
    "model": "Model",
}
RANGES = {"temperature": ("0", "2"), "top_p": ("0.01", "1"), "max": ("1", str(MOST_TOKENS))}
FIELDS = {"max": "max_new_tokens"}

Json = dict[str, Any]
Refuses = Callable[[str, str], str]
"""Why a person is not answered in a channel; "" if they are."""


def asks_for_settings(text: str) -> bool:
    """Whether a message is the word alone."""
    return text.strip().lstrip("/!").rstrip(".!?").casefold() == "settings"


def offer(key: ConversationKey) -> list[Json]:
    """A button that opens the form."""
    button = {"type": "button", "action_id": OPEN, "text": _plain("Change settings"), "value": str(key)}
    return [{"type": "actions", "block_id": OPEN, "elements": [button]}]


def form(key: ConversationKey, chosen: ConversationSettings, choices: Choices) -> Json:
    """The modal, filled in with what was chosen; an empty field is its default."""
    blocks = [_field(name, chosen, choices) for name in NAMES if choices.offers(name)]
    option = {"text": _plain("Take all changes back"), "value": RESET}
    boxes = {"type": "checkboxes", "action_id": RESET, "options": [option]}
    reset = {"type": "input", "block_id": RESET, "optional": True, "label": _plain("Defaults"), "element": boxes}
    return {
        "type": "modal",
        "callback_id": FORM,
        "private_metadata": str(key),
        "title": _plain("Settings"),
        "submit": _plain("Save"),
        "close": _plain("Cancel"),
        "blocks": [*blocks, reset],
    }


def read_form(view: Json) -> dict[str, str]:
    """What was filled in, by the names of settings; ``RESET`` alone if everything is to be taken back."""
    values = view.get("state", {}).get("values", {})
    if values.get(RESET, {}).get(RESET, {}).get("selected_options"):
        return {RESET: ""}
    found = {}
    for name in NAMES:
        if name in values:
            field = values[name][name]
            picked = field.get("selected_option") or {}
            found[name] = str(picked.get("value") or field.get("value") or "")
    return found


def changed(
    filled: dict[str, str], before: ConversationSettings, choices: Choices
) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """What to choose, in order, and what is wrong with which field."""
    wanted: list[tuple[str, str]] = []
    wrong: dict[str, str] = {}
    for name, value in filled.items():
        if value == _shown(name, before):
            continue
        try:
            choices.change(before, name, value)
        except WrongChoice as error:
            wrong[name] = str(error).replace("`", "")[:LONGEST_INPUT]
        else:
            wanted.append((name, value))
    # What is taken back goes first: a persona takes the place of a system prompt, and the other way round.
    return sorted(wanted, key=lambda one: bool(one[1])), wrong


class SlackSettings:
    """Opens the form and takes what was filled in."""

    def __init__(self, client: AsyncWebClient, memory: Memory, refuses: Refuses) -> None:
        self._client, self._memory, self._refuses = client, memory, refuses

    def attach(self, app: AsyncApp) -> None:
        """Register with Bolt."""
        app.action(OPEN)(self.open)
        app.view(FORM)(self.save)

    async def open(self, ack: Callable[[], Awaitable[None]], body: Json, action: Json) -> None:
        """The button was pressed: show the form, while Slack still lets us."""
        await ack()
        if self._refuses(body["channel"]["id"], body["user"]["id"]):
            return
        key = ConversationKey.parse(action["value"])
        try:
            async with in_time():
                chosen, choices = await self._memory.settings(key)
            with slack_errors("views.open"):
                await self._client.views_open(trigger_id=body["trigger_id"], view=form(key, chosen, choices))
        except ParleyError as error:
            log.warning("no form for settings", error=str(error), remedy=error.remedy)

    async def save(self, ack: Callable[..., Awaitable[None]], view: Json) -> None:
        """The form was sent: store what changed, or say beside each field what is wrong with it."""
        key, filled = ConversationKey.parse(view["private_metadata"]), read_form(view)
        try:
            async with in_time():
                wrong = await self._choose(key, filled)
        except StorageError as error:
            log.warning("settings were not stored", error=str(error))
            wrong = {next(iter(filled), RESET): StorageError.plain}
        if wrong:
            await ack(response_action="errors", errors=wrong)
        else:
            await ack()

    async def _choose(self, key: ConversationKey, filled: dict[str, str]) -> dict[str, str]:
        if RESET in filled:
            await self._memory.choose(key, "", "")
            return {}
        before, choices = await self._memory.settings(key)
        wanted, wrong = changed(filled, before, choices)
        if not wrong:
            for name, value in wanted:
                await self._memory.choose(key, name, value)
        return wrong


def _field(name: str, chosen: ConversationSettings, choices: Choices) -> Json:
    value = _shown(name, chosen)
    match name:
        case "persona":
            element = _select(name, value, tuple(choices.personas))
        case "model":
            element = _select(name, value, choices.models)
        case "temperature" | "top_p" | "max":
            least, most = RANGES[name]
            element = {
                "type": "number_input",
                "is_decimal_allowed": name != "max",
                "min_value": least,
                "max_value": most,
            }
            element |= {"initial_value": value} if value else {}
        case _:
            element = {"type": "plain_text_input", "multiline": True, "max_length": LONGEST_INPUT}
            element |= {"initial_value": value[:LONGEST_INPUT]} if value else {}
            element["placeholder"] = _plain("As whoever runs me has set it.")
    return {
        "type": "input",
        "block_id": name,
        "optional": True,
        "label": _plain(LABELS[name]),
        "hint": _plain(f"{NAMES[name][0].upper()}{NAMES[name][1:]}."),
        "element": element | {"action_id": name},
    }


def _select(name: str, value: str, names: Sequence[str]) -> Json:
    """A menu; Slack takes a hundred options."""
    options = [{"text": _plain(one[:75]), "value": one[:75]} for one in names[:100]]
    initial = next((option for option in options if option["value"] == value), None)
    return {"type": "static_select", "options": options} | ({"initial_option": initial} if initial else {})


def _shown(name: str, chosen: ConversationSettings) -> str:
    value = getattr(chosen, FIELDS.get(name, name))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _plain(text: str) -> Json:
    return {"type": "plain_text", "text": text, "emoji": False}
