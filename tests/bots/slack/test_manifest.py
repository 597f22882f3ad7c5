"""The Slack manifest: it asks for what the code uses, gives a reason for it, and is what Slack accepts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from slack_sdk.web.async_client import AsyncWebClient
from typer.testing import CliRunner

import bots.slack
from bots.cli import cli
from bots.slack.manifest import COMFORT, LOST, NECESSARY, SCOPES, manifest, manifest_json

HISTORY = {"channels:history", "groups:history", "mpim:history", "im:history"}
METHODS: dict[str, set[str]] = {
    "agents_sessions_setStatus": {"chat:write", "assistant:write"},
    "apps_connections_open": set(),
    "auth_test": set(),
    "bots_info": {"users:read"},
    "chat_delete": {"chat:write"},
    "chat_postEphemeral": {"chat:write"},
    "chat_postMessage": {"chat:write"},
    "chat_update": {"chat:write"},
    "conversations_history": HISTORY,
    "conversations_info": {"channels:read", "groups:read"},  # of channels alone
    "conversations_replies": HISTORY,
    "usergroups_list": {"usergroups:read"},
    "users_conversations": {"channels:read", "groups:read"},  # of channels alone
    "users_info": {"users:read"},
    "views_open": set(),
}
"""What each method needs, as docs.slack.dev/reference/methods has it; the app's own token needs no scope of the bot."""
EVENTS: dict[str, set[str]] = {
    "app_mention": {"app_mentions:read"},
    "app_uninstalled": set(),
    "channel_deleted": {"channels:read"},
    "channel_left": {"channels:read"},
    "group_deleted": {"groups:read"},
    "group_left": {"groups:read"},
    "member_joined_channel": {"channels:read", "groups:read"},
    "tokens_revoked": set(),
    "message.channels": {"channels:history"},
    "message.groups": {"groups:history"},
    "message.im": {"im:history"},
    "message.mpim": {"mpim:history"},
}
"""What each event needs, as docs.slack.dev/reference/events has it."""


def source() -> str:
    """All of the Slack adapter."""
    return "\n".join(file.read_text() for file in Path(bots.slack.__path__[0]).glob("*.py"))


def called() -> set[str]:
    """The methods of the Web API that the adapter calls."""
    return {name for name in re.findall(r"client\s*\.(\w+)[(,]", source()) if hasattr(AsyncWebClient, name)}


def scopes(minimal: bool) -> set[str]:
    """What a manifest asks for."""
    return set(manifest(minimal)["oauth_config"]["scopes"]["bot"])


def events(minimal: bool) -> set[str]:
    """What a manifest subscribes to."""
    return set(manifest(minimal)["settings"]["event_subscriptions"]["bot_events"])


def test_every_method_that_is_called_has_its_scopes() -> None:
    """And no scope is asked for that neither a method nor an event needs."""
    assert called() <= METHODS.keys(), "say in METHODS what the new method needs, and ask for it in the manifest"
    needed = set[str]().union(*(METHODS[name] for name in called()), *(EVENTS[name] for name in events(False)))
    assert needed == SCOPES.keys() == scopes(False)


@pytest.mark.parametrize("minimal", [False, True])
def test_every_event_has_its_scopes(minimal: bool) -> None:
    """Slack delivers an event only where its scope is granted."""
    for event in events(minimal):
        assert EVENTS[event] <= scopes(minimal)


def test_every_event_that_is_listened_for_is_subscribed_to() -> None:
    """In the minimal manifest too; ``message`` is ``message.im`` there."""
    heard = set(re.findall(r'app\.event\("(\w+)"\)', source()))
    assert heard
    for minimal in (False, True):
        assert heard == {event.partition(".")[0] for event in events(minimal)}


def test_the_minimal_manifest_is_a_part_of_the_full_one() -> None:
    """It leaves out scopes, events and the agent view, and changes nothing."""
    full, minimal = manifest(), manifest(minimal=True)
    assert scopes(True) == scopes(False) - COMFORT.keys()
    assert scopes(True) >= NECESSARY.keys()
    assert events(True) < events(False)
    del full["features"]["agent_view"]
    full["oauth_config"]["scopes"]["bot"] = minimal["oauth_config"]["scopes"]["bot"]
    full["settings"]["event_subscriptions"]["bot_events"] = minimal["settings"]["event_subscriptions"]["bot_events"]
    assert full == minimal


def test_slack_accepts_it() -> None:
    """The sizes of Slack's own schema (github.com/slackapi/manifest-schema), and what Socket Mode and agents need."""
    whole = manifest()
    assert len(whole["display_information"]["name"]) <= 35
    assert len(whole["display_information"]["description"]) <= 140
    agent = whole["features"]["agent_view"]
    assert len(agent["agent_description"]) <= 300
    assert len(agent["suggested_prompts"]) <= 4
    assert all(prompt.keys() == {"title", "message"} for prompt in agent["suggested_prompts"])
    assert whole["features"]["app_home"]["messages_tab_enabled"]
    assert not whole["features"]["app_home"]["messages_tab_read_only_enabled"]
    assert whole["settings"]["socket_mode_enabled"]
    assert whole["settings"]["interactivity"]["is_enabled"]
    assert whole["_metadata"] == {"major_version": 2, "minor_version": 1}


def test_every_scope_has_a_reason() -> None:
    """One that completes "it is needed to …"."""
    for scope, reason in SCOPES.items():
        assert len(reason) > 20, scope
        assert not reason.endswith(".")


def test_what_is_lost_is_said_line_by_line() -> None:
    """Every scope that the minimal manifest leaves out is named, and each loss is one line."""
    assert all(scope in "".join(LOST) for scope in COMFORT)
    assert all("\n" not in line for line in LOST)


@pytest.mark.parametrize("minimal", [False, True])
def test_the_command_prints_json_and_nothing_else(minimal: bool) -> None:
    """What is lost goes to stderr, so that stdout can be pasted or piped."""
    run = CliRunner().invoke(cli, ["slack", "manifest", *(["--minimal"] if minimal else [])])
    assert run.exit_code == 0
    assert json.loads(run.stdout) == manifest(minimal) == json.loads(manifest_json(minimal))
    assert run.stderr.splitlines() == (list(LOST) if minimal else [])
