"""Settings of a conversation as a form in Slack: a button that one person sees, a modal, and what it is sent back with.

The words `settings temperature 0.2` do the same; this only saves typing them.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from bots.slack.errors import slack_errors
from core.errors import ParleyError, StorageError
from core.memory import Memory
from core.preferences import MOST_TOKENS, NAMES, Choices, WrongChoice, trace
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
LONGEST_OPTION = 75
MOST_OPTIONS = 100
LABELS = {
    "system": "Who I am here",
    "persona": "Persona",
    "temperature": "Temperature",
    "top_p": "Top p",
    "max": "Longest answer, in tokens",
    "model": "Model",
}
CUT = f"Only its first {LONGEST_INPUT:,} characters stand here: if you change them, the rest is gone."
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
        "private_metadata": json.dumps({"key": str(key), "shown": _traces(chosen, choices)}),
        "title": _plain("Settings"),
        "submit": _plain("Save"),
        "close": _plain("Cancel"),
        "blocks": [*blocks, reset],
    }


def read_about(view: Json) -> tuple[ConversationKey, dict[str, str]]:
    """Which conversation a form is about, and traces of what it showed; an older Parley's form has none."""
    about = view["private_metadata"]
    if not about.startswith("{"):
        return ConversationKey.parse(about), {}
    found = json.loads(about)
    return ConversationKey.parse(found["key"]), found["shown"]


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
    filled: Mapping[str, str], shown: Mapping[str, str], before: ConversationSettings, choices: Choices
) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """What to choose, in order, and what is wrong with which field.

    What is as the form showed it stays as it is now: somebody else may have changed it since, and a field may not have
    had room for all of it.
    """
    shown = shown or _traces(before, choices)
    wanted: list[tuple[str, str]] = []
    wrong: dict[str, str] = {}
    for name, value in filled.items():
        if trace(value) == shown.get(name):
            continue
        whole = next((one for one in _menu(name, choices) if one[:LONGEST_OPTION] == value), value)
        try:
            choices.change(before, name, whole)
        except WrongChoice as error:
            wrong[name] = str(error).replace("`", "")[:LONGEST_INPUT]
        else:
            wanted.append((name, whole))
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
            log.warning("settings form not opened", error=str(error), remedy=error.remedy)

    async def save(self, ack: Callable[..., Awaitable[None]], view: Json) -> None:
        """The form was sent: store what changed, or say beside each field what is wrong with it."""
        (key, shown), filled = read_about(view), read_form(view)
        try:
            async with in_time():
                wrong = await self._choose(key, filled, shown)
        except StorageError as error:
            log.warning("settings not stored", error=str(error))
            wrong = {next(iter(filled), RESET): StorageError.plain}
        if wrong:
            await ack(response_action="errors", errors=wrong)
        else:
            await ack()

    async def _choose(
        self, key: ConversationKey, filled: Mapping[str, str], shown: Mapping[str, str]
    ) -> dict[str, str]:
        if RESET in filled:
            await self._memory.choose(key, "", "")
            return {}
        before, choices = await self._memory.settings(key)
        wanted, wrong = changed(filled, shown, before, choices)
        if not wrong:
            for name, value in wanted:
                await self._memory.choose(key, name, value)
        return wrong


def _field(name: str, chosen: ConversationSettings, choices: Choices) -> Json:
    value = _shown(name, chosen, choices)
    hint = f"{NAMES[name][0].upper()}{NAMES[name][1:]}."
    match name:
        case "persona" | "model":
            element = _select(value, _menu(name, choices))
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
            element |= {"initial_value": value} if value else {}
            element["placeholder"] = _plain("As whoever runs me has set it.")
            if len(chosen.system or "") > LONGEST_INPUT:
                hint += " " + CUT
    return {
        "type": "input",
        "block_id": name,
        "optional": True,
        "label": _plain(LABELS[name]),
        "hint": _plain(hint),
        "element": element | {"action_id": name},
    }


def _select(value: str, names: Sequence[str]) -> Json:
    options = [{"text": _plain(one[:LONGEST_OPTION]), "value": one[:LONGEST_OPTION]} for one in names]
    initial = next((option for option in options if option["value"] == value), None)
    return {"type": "static_select", "options": options} | ({"initial_option": initial} if initial else {})


def _menu(name: str, choices: Choices) -> tuple[str, ...]:
    """What a menu offers; nothing for what is no menu."""
    names = {"persona": tuple(choices.personas), "model": choices.models}.get(name, ())
    return names[:MOST_OPTIONS]


def _shown(name: str, chosen: ConversationSettings, choices: Choices) -> str:
    """What stands in a field: as much of what was chosen as Slack has room for."""
    value = getattr(chosen, FIELDS.get(name, name))
    if value is None or (name in ("persona", "model") and value not in _menu(name, choices)):
        return ""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text[: LONGEST_OPTION if name in ("persona", "model") else LONGEST_INPUT]


def _traces(chosen: ConversationSettings, choices: Choices) -> dict[str, str]:
    return {name: trace(_shown(name, chosen, choices)) for name in NAMES}


def _plain(text: str) -> Json:
    return {"type": "plain_text", "text": text, "emoji": False}
