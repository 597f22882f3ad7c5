"""A conversation's settings as a form in Slack: a button that one person sees, and the modal that it opens.

It does the same as the command `settings temperature 0.2`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog
from slack_bolt.app.async_app import AsyncApp

from bots.slack.errors import slack_errors
from bots.slack.surface import SlackSurface
from core.errors import ParleyError, PlatformError, StorageError
from core.memory import CHOICE_HELP, MAX_ANSWER_TOKENS, Choices, Memory, WrongChoice, fingerprint
from core.turns import in_time
from core.types import ConversationKey, ConversationSettings

log = structlog.get_logger()

OPEN_ACTION = "parley_settings"
"""``action_id`` of the button."""
FORM_CALLBACK = "parley_settings_form"
"""``callback_id`` of the modal."""
RESET_FIELD = "parley_reset"
MAX_INPUT_CHARACTERS = 3000
"""Characters in one text field (Slack's limit)."""
MAX_OPTION_CHARACTERS = 75
MAX_OPTIONS = 100
LABELS = {
    "system": "Who I am here",
    "persona": "Persona",
    "temperature": "Temperature",
    "top_p": "Top p",
    "max": "Longest answer, in tokens",
    "model": "Model",
}
TRUNCATED_HINT = (
    f"This shows only the first {MAX_INPUT_CHARACTERS:,} characters. If you change them, the rest is deleted."
)
RANGES = {"temperature": ("0", "2"), "top_p": ("0.01", "1"), "max": ("1", str(MAX_ANSWER_TOKENS))}
FIELDS = {"max": "max_new_tokens"}

Json = dict[str, Any]
Refuses = Callable[[str, str], str]
"""Why a person cannot change settings in a channel, for ``Venue.tell``; "" if they can."""
Whisper = Callable[[str, str, str, str], Awaitable[None]]
"""Sends a text that one person sees: channel, user, thread (or ""), text."""


def settings_button(key: ConversationKey) -> list[Json]:
    """Blocks with the button that opens the form."""
    button = {"type": "button", "action_id": OPEN_ACTION, "text": _plain("Change settings"), "value": str(key)}
    return [{"type": "actions", "block_id": OPEN_ACTION, "elements": [button]}]


def form(key: ConversationKey, chosen: ConversationSettings, choices: Choices) -> Json:
    """Build the modal, filled in with what was chosen; an empty field means the default."""
    blocks = [_field(name, chosen, choices) for name in CHOICE_HELP if choices.offers(name)]
    option = {"text": _plain("Reset to defaults"), "value": RESET_FIELD}
    boxes = {"type": "checkboxes", "action_id": RESET_FIELD, "options": [option]}
    reset = {"type": "input", "block_id": RESET_FIELD, "optional": True, "label": _plain("Defaults"), "element": boxes}
    return {
        "type": "modal",
        "callback_id": FORM_CALLBACK,
        "private_metadata": json.dumps({"key": str(key), "shown": _traces(chosen, choices)}),
        "title": _plain("Settings"),
        "submit": _plain("Save"),
        "close": _plain("Cancel"),
        "blocks": [*blocks, reset],
    }


def read_about(view: Json) -> tuple[ConversationKey, dict[str, str]]:
    """Read a form's metadata: its conversation, and hashes of what it showed (none in a form of an older Parley)."""
    about = view["private_metadata"]
    if not about.startswith("{"):
        return ConversationKey.parse(about), {}
    found = json.loads(about)
    return ConversationKey.parse(found["key"]), found["shown"]


def read_form(view: Json) -> dict[str, str]:
    """Read what was filled in, by the names of settings; ``RESET_FIELD`` alone to reset everything."""
    values = view.get("state", {}).get("values", {})
    if values.get(RESET_FIELD, {}).get(RESET_FIELD, {}).get("selected_options"):
        return {RESET_FIELD: ""}
    found = {}
    for name in CHOICE_HELP:
        if name in values:
            field = values[name][name]
            picked = field.get("selected_option") or {}
            found[name] = str(picked.get("value") or field.get("value") or "")
    return found


def changed(
    filled: Mapping[str, str], shown: Mapping[str, str], before: ConversationSettings, choices: Choices
) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Compare a filled-in form with what it showed.

    A field that nobody touched keeps the setting as it is now: somebody else may have changed it since, and a long
    value does not fit its field.

    Returns:
        The settings to store, in order; and what is wrong, by field.
    """
    shown = shown or _traces(before, choices)
    wanted: list[tuple[str, str]] = []
    wrong: dict[str, str] = {}
    for name, value in filled.items():
        if fingerprint(value) == shown.get(name):
            continue
        whole = next((one for one in _menu(name, choices) if one[:MAX_OPTION_CHARACTERS] == value), value)
        try:
            choices.change(before, name, whole)
        except WrongChoice as error:
            wrong[name] = str(error).replace("`", "")[:MAX_INPUT_CHARACTERS]
        else:
            wanted.append((name, whole))
    # Resets go first: choosing a persona removes the system prompt, and the other way round.
    return sorted(wanted, key=lambda one: bool(one[1])), wrong


class SettingsForm:
    """Opens the settings form, and stores what people fill in."""

    def __init__(self, surface: SlackSurface, memory: Memory, refuses: Refuses, whisper: Whisper) -> None:
        self._surface, self._memory, self._refuses, self._whisper = surface, memory, refuses, whisper

    def attach(self, app: AsyncApp) -> None:
        """Register with Bolt."""
        app.action(OPEN_ACTION)(self.open)
        app.view(FORM_CALLBACK)(self.save)

    async def open(self, ack: Callable[[], Awaitable[None]], body: Json, action: Json) -> None:
        """Handle a press of the button: open the form, before Slack's trigger expires (3 s)."""
        await ack()
        channel, user, thread = body["channel"]["id"], body["user"]["id"], body.get("message", {}).get("thread_ts", "")
        if why := self._refuses(channel, user):
            await self._tell(channel, user, thread, why)
            return
        key = ConversationKey.parse(action["value"])
        try:
            async with in_time():
                chosen, choices = await self._memory.settings(key)
            with slack_errors("views.open"):
                await self._surface.client.views_open(trigger_id=body["trigger_id"], view=form(key, chosen, choices))
        except ParleyError as error:
            log.warning("settings form not opened", error=str(error), remedy=error.remedy)
            await self._tell(channel, user, thread, error.plain)

    async def save(self, ack: Callable[..., Awaitable[None]], body: Json, view: Json) -> None:
        """Handle a submitted form: store what changed, or show beside each field what is wrong."""
        (key, shown), filled = read_about(view), read_form(view)
        first = next(iter(filled), RESET_FIELD)
        if why := self._refuses(key.channel, body["user"]["id"]):
            wrong = {first: (await self._surface.venue_in(key.channel)).tell(why)}
            await ack(response_action="errors", errors=wrong)
            return
        try:
            async with in_time():
                wrong = await self._choose(key, filled, shown)
        except StorageError as error:
            log.warning("settings not stored", error=str(error))
            wrong = {first: StorageError.tell(await self._surface.venue_in(key.channel))}
        if wrong:
            await ack(response_action="errors", errors=wrong)
        else:
            await ack()

    async def _tell(self, channel: str, user: str, thread: str, text: str) -> None:
        try:
            await self._whisper(channel, user, thread, text)
        except PlatformError as error:
            log.warning("notice not delivered", error=str(error), remedy=error.remedy)

    async def _choose(
        self, key: ConversationKey, filled: Mapping[str, str], shown: Mapping[str, str]
    ) -> dict[str, str]:
        if RESET_FIELD in filled:
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
    hint = f"{CHOICE_HELP[name][0].upper()}{CHOICE_HELP[name][1:]}."
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
            element = {"type": "plain_text_input", "multiline": True, "max_length": MAX_INPUT_CHARACTERS}
            element |= {"initial_value": value} if value else {}
            element["placeholder"] = _plain("Default")
            if len(chosen.system or "") > MAX_INPUT_CHARACTERS:
                hint += " " + TRUNCATED_HINT
    return {
        "type": "input",
        "block_id": name,
        "optional": True,
        "label": _plain(LABELS[name]),
        "hint": _plain(hint),
        "element": element | {"action_id": name},
    }


def _select(value: str, names: Sequence[str]) -> Json:
    options = [{"text": _plain(one[:MAX_OPTION_CHARACTERS]), "value": one[:MAX_OPTION_CHARACTERS]} for one in names]
    initial = next((option for option in options if option["value"] == value), None)
    return {"type": "static_select", "options": options} | ({"initial_option": initial} if initial else {})


def _menu(name: str, choices: Choices) -> tuple[str, ...]:
    """The options of a menu; none for a setting that isn't a menu."""
    names = {"persona": tuple(choices.personas), "model": choices.models}.get(name, ())
    return names[:MAX_OPTIONS]


def _shown(name: str, chosen: ConversationSettings, choices: Choices) -> str:
    """What a field shows: the chosen value, cut to Slack's limit."""
    value = getattr(chosen, FIELDS.get(name, name))
    if value is None or (name in ("persona", "model") and value not in _menu(name, choices)):
        return ""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text[: MAX_OPTION_CHARACTERS if name in ("persona", "model") else MAX_INPUT_CHARACTERS]


def _traces(chosen: ConversationSettings, choices: Choices) -> dict[str, str]:
    return {name: fingerprint(_shown(name, chosen, choices)) for name in CHOICE_HELP}


def _plain(text: str) -> Json:
    return {"type": "plain_text", "text": text, "emoji": False}
