"""What is read of events and presses; whatever comes in their place is dropped and logged, and nothing breaks."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from bots.slack.editor import RETRY, STOP
from bots.slack.events import event_of, read_change, read_press, read_question, workspace_of
from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.process import Parley, in_slack, reply
from tests.waiting import wait_until

BOT, GENERAL = "U0PARLEY", "C0GENERAL"
SAID: dict[str, Any] = {
    "team_id": "T1",
    "authorizations": [{"team_id": "T1", "is_enterprise_install": False}],
    "event": {
        "type": "message",
        "channel": "C1",
        "channel_type": "channel",
        "user": "U1",
        "text": f"<@{BOT}> hello",
        "ts": "1700000000.000100",
        "thread_ts": "1700000000.000001",
        "files": [{"id": "F1", "name": "a.pdf"}],
        "edited": {"ts": "1700000001.000000"},
    },
}
CHANGED: dict[str, Any] = {
    "team_id": "T1",
    "event": {
        "type": "message",
        "subtype": "message_changed",
        "channel": "C1",
        "message": {"ts": "1700000000.000100", "text": "new", "user": "U1"},
        "previous_message": {"ts": "1700000000.000100", "text": "old", "user": "U1"},
    },
}
PRESS: dict[str, Any] = {
    "channel": {"id": "C1"},
    "user": {"id": "U1"},
    "message": {"ts": "1700000000.000100", "thread_ts": "1700000000.000001"},
}
VALUE = "slack:T1:C1 slack:T1:C1:1700000000.000001 U1"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("1700000000.000100"),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=8), some, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside another."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inside in items:
        yield (*path, name)
        yield from places(inside, (*path, name))


def spoiled(payload: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A payload with another value in one place; ``...`` takes it away."""
    result = copy.deepcopy(payload)
    inside: Any = result
    for name in path[:-1]:
        inside = inside[name]
    if value is ...:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return result


@given(st.sampled_from(list(places(SAID))), JSON | st.just(...))
def test_no_message_event_breaks_anything(path: tuple[Any, ...], value: Any) -> None:
    """Every field missing, or of any type."""
    body = spoiled(SAID, path, value)
    asked = read_question(body, BOT)
    assert asked is None or (asked.turn.place["channel"] and asked.turn.place["ts"] and asked.turn.at > 0)
    read_change(body)
    assert isinstance(workspace_of(body), str)


@given(st.sampled_from(list(places(CHANGED))), JSON | st.just(...))
def test_no_edit_breaks_anything(path: tuple[Any, ...], value: Any) -> None:
    """Every field missing, or of any type."""
    body = spoiled(CHANGED, path, value)
    change = read_change(body)
    assert change is None or change.keys
    read_question(body, BOT)


@given(
    st.sampled_from(list(places(PRESS))), JSON | st.just(...), JSON | st.sampled_from([VALUE, VALUE[:-3], "", "a b c"])
)
def test_no_press_breaks_anything(path: tuple[Any, ...], inside: Any, value: Any) -> None:
    """Nor any value of a button."""
    for body in (PRESS, spoiled(PRESS, path, inside)):
        for names in (1, 2):
            pressed = read_press(body, {"value": value}, names)
            assert pressed is None or len(pressed.names) == names


def test_what_is_whole_is_understood() -> None:
    """Nothing of it is lost by the checks."""
    asked = read_question({**SAID, "event": {**SAID["event"], "edited": None}}, BOT)
    assert asked
    assert (asked.turn.text, asked.files) == ("hello", ("a.pdf",))
    change = read_change(CHANGED)
    assert change
    assert change.text == "new"
    pressed = read_press(PRESS, {"value": VALUE}, 2)
    assert pressed
    assert (str(pressed.key), pressed.names) == ("slack:T1:C1", ("slack:T1:C1:1700000000.000001", "U1"))


@pytest.mark.parametrize("missing", ["channel", "ts"])
def test_a_dropped_event_is_logged(missing: str) -> None:
    """Once, as a warning."""
    with structlog.testing.capture_logs() as logs:
        assert event_of(spoiled(SAID, ("event", missing), ...)) is None
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("event dropped", "warning")]


@pytest.fixture
async def slack() -> AsyncIterator[SlackDouble]:
    """Slack."""
    async with SlackDouble() as double:
        yield double


@pytest.fixture
async def parley(slack: SlackDouble, tmp_path: Any) -> AsyncIterator[tuple[Parley, TgiDouble]]:
    """Parley in Slack."""
    async with TgiDouble() as tgi, in_slack(slack, tgi, tmp_path) as process:
        yield process, tgi


async def test_what_is_dropped_is_acknowledged(slack: SlackDouble, parley: tuple[Parley, TgiDouble]) -> None:
    """So Slack does not deliver it again; and what is said afterwards is answered."""
    process, _ = parley
    for kind in ("message", "app_mention", "member_joined_channel"):
        odd: dict[str, Any] = {"user": "U0ADA", "text": f"<@{BOT}> hello", "ts": 7, "channel": {}}
        await slack.send_event({"type": kind})
        await slack.send_event({"type": kind, **odd})
    posted = await reply(slack, GENERAL, await slack.mention(GENERAL, "hello"))
    for action in (RETRY, STOP):
        for value in ("", "nonsense", "a b", "::: x y", "slack:T1:C1"):
            payload = press_of(slack, posted.ts, action, value)
            slack.socket_mode.send("interactive", payload)
    await wait_until(lambda: process.log.count("button press dropped") == 10)
    await wait_until(lambda: not slack.unacked())
    assert "event dropped" in process.log
    assert "Traceback" not in process.log


def press_of(slack: SlackDouble, ts: str, action: str, value: str) -> dict[str, Any]:
    """A press as Slack sends it, of a button with another value."""
    return {
        "type": "block_actions",
        "user": {"id": "U0ADA", "team_id": slack.team},
        "team": {"id": slack.team},
        "api_app_id": slack.app_id,
        "channel": {"id": GENERAL},
        "container": {"type": "message", "message_ts": ts, "channel_id": GENERAL},
        "message": {"ts": ts},
        "actions": [{"type": "button", "action_id": action, "block_id": "b", "value": value}],
    }
