"""What people do with what an app shows them alone: press a button under a whisper, fill in a form and send it."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.doubles.slack import SlackDouble
from tests.doubles.slack_records import Envelope, Ephemeral, Json, elements


async def press_whisper(slack: SlackDouble, whisper: Ephemeral, action_id: str) -> Envelope:
    """Press a button that only one person sees; Slack sends no message with it."""
    block, element = next((block, one) for block, one in elements(whisper.blocks) if one["action_id"] == action_id)
    action = {"type": "button", "action_id": action_id, "block_id": block, "action_ts": slack.new_ts()}
    payload: Json = {
        "type": "block_actions",
        **_who(slack, whisper.user),
        "container": {
            "type": "message",
            "message_ts": slack.new_ts(),
            "channel_id": whisper.channel,
            "is_ephemeral": True,
        },
        "trigger_id": slack.trigger(),
        "channel": {"id": whisper.channel, "name": slack.channels[whisper.channel].name},
        "state": {"values": {}},
        "actions": [action | {"value": element.get("value", ""), "text": element["text"]}],
    }
    envelope = slack.socket_mode.send("interactive", payload)
    await asyncio.sleep(0)
    return envelope


async def submit(slack: SlackDouble, view: Json, user: str = "U0ADA", **filled: Any) -> Envelope:
    """Send a form in which somebody filled in some fields; the others are as they were shown."""
    values: dict[str, dict[str, Json]] = {}
    for block in view["blocks"]:
        if block["type"] == "input":
            name, element = block["block_id"], block["element"]
            value = filled[name] if name in filled else _initial(element)
            values[name] = {element["action_id"]: _state(element, value)}
    payload: Json = {
        "type": "view_submission",
        **_who(slack, user),
        "trigger_id": slack.trigger(),
        "view": {"id": "V1", **view, "state": {"values": values}, "hash": "1", "app_id": slack.app_id},
        "response_urls": [],
    }
    envelope = slack.socket_mode.send("interactive", payload)
    await asyncio.sleep(0)
    return envelope


def _initial(element: Json) -> Any:
    option = element.get("initial_option")
    return option["value"] if option else element.get("initial_value")


def _state(element: Json, value: Any) -> Json:
    """What Slack reports of one field."""
    if element["type"] == "checkboxes":
        return {"type": "checkboxes", "selected_options": [one for one in element["options"] if one["value"] == value]}
    if element["type"] == "static_select":
        chosen = next((one for one in element["options"] if one["value"] == value), None)
        return {"type": "static_select", "selected_option": chosen}
    return {"type": element["type"], "value": value or None}


def _who(slack: SlackDouble, user: str) -> Json:
    name = slack.users[user].name
    return {
        "user": {"id": user, "username": name, "name": name, "team_id": slack.team},
        "api_app_id": slack.app_id,
        "token": "verification-token",
        "team": {"id": slack.team, "domain": "double"},
        "enterprise": None,
        "is_enterprise_install": False,
    }
