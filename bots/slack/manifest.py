"""The Slack app that Parley runs as: what to paste when the app is made, and why it asks for each permission.

Events and scopes belong together: Slack delivers an event only to an app that was granted its scope
(docs.slack.dev/reference/events). The shape and its limits are those of docs.slack.dev/reference/app-manifest.
"""

from __future__ import annotations

import json
from typing import Any

NECESSARY = {
    "app_mentions:read": "hear that somebody mentions it",
    "chat:write": "write its answers, edit them while they grow, and show that it is at work",
    "im:history": "hear what people write to it in direct messages",
    "users:read": "tell the model the names of the people who speak",
}
"""Scopes without which Parley cannot do its work, and what each is needed for: it is needed to …"""
GREETING = {
    "channels:read": "notice that it was invited to a public channel or taken out of it, and that one was deleted",
    "groups:read": "notice that it was invited to a private channel or taken out of it, and that one was deleted",
}
"""Scopes of what becomes of channels, which Slack has for public and private ones apart."""
COMFORT = {
    "channels:history": "know what is said around a mention, and follow edits and deletions, in public channels",
    "groups:history": "know what is said around a mention, and follow edits and deletions, in private channels",
    "mpim:history": "know what is said around a mention, and follow edits and deletions, in group messages",
    "usergroups:read": "tell the model the names of user groups that people mention",
    "assistant:write": "stand among Slack's agents: with a status while it works, and with prompts to begin with",
}
"""Scopes that the minimal manifest leaves out."""
SCOPES = {**NECESSARY, **GREETING, **COMFORT}
"""Every scope that Parley asks for, and what it is needed for: it is needed to …"""

EVENTS = (
    "app_mention",
    "message.im",
    "member_joined_channel",
    # To forget what was said where it is no more.
    "channel_deleted",
    "channel_left",
    "group_deleted",
    "group_left",
    "app_uninstalled",
    "tokens_revoked",
)
COMFORT_EVENTS = ("message.channels", "message.groups", "message.mpim")
"""Events that the minimal manifest leaves out, with their scopes."""

LOST = (
    "The minimal manifest leaves out channels:history, groups:history, mpim:history, usergroups:read and "
    "assistant:write. Without them:",
    "- In a thread, Parley does not know what was said there without mentioning it.",
    "- In channels, a message that is edited or deleted stays in its memory as it was. `@Parley forget` still helps.",
    "- In channels, it does not notice attached files, so it cannot say that it does not read them.",
    "- A user group that is mentioned has no name for it.",
    "- No status shows that it is at work before its answer begins, and it does not stand among Slack's agents.",
    "To add them later, paste the manifest without --minimal at App Manifest, and install the app again.",
)
"""What is lost with the minimal manifest, one line each."""


def manifest(minimal: bool = False) -> dict[str, Any]:
    """The manifest of the app, for Slack's schema 2; ``minimal`` asks for no more than is necessary."""
    features: dict[str, Any] = {
        "bot_user": {"display_name": "Parley", "always_online": True},
        # The messages tab is where people write direct messages to an app.
        "app_home": {
            "home_tab_enabled": False,
            "messages_tab_enabled": True,
            "messages_tab_read_only_enabled": False,
        },
    }
    if not minimal:
        features["agent_view"] = {
            "agent_description": "Answers questions with your team's own open model, and remembers the conversation. "
            "What is said to it in one channel stays in that channel. Say `forget` and it forgets, `help` for more.",
            "suggested_prompts": [
                {"title": "What can you do?", "message": "help"},
                {"title": "Draft a message", "message": "Help me write a short message to my team. Ask me about what."},
                {"title": "Explain something", "message": "Explain an idea to me. Ask me which one first."},
                {"title": "Start afresh", "message": "forget"},
            ],
        }
    return {
        "_metadata": {"major_version": 2, "minor_version": 1},
        "display_information": {
            "name": "Parley",
            "description": "Your team's shared assistant, on your team's own open model.",
        },
        "features": features,
        "oauth_config": {"scopes": {"bot": [scope for scope in SCOPES if not (minimal and scope in COMFORT)]}},
        "settings": {
            "event_subscriptions": {"bot_events": [*EVENTS] if minimal else [*EVENTS, *COMFORT_EVENTS]},
            # For the Retry button.
            "interactivity": {"is_enabled": True},
            "org_deploy_enabled": False,
            "socket_mode_enabled": True,
            # A token that is rotated would have to be stored anew every twelve hours.
            "token_rotation_enabled": False,
        },
    }


def manifest_json(minimal: bool = False) -> str:
    """The manifest as text, to be pasted at api.slack.com/apps."""
    return json.dumps(manifest(minimal), indent=2, ensure_ascii=False)
