"""What ``parley doctor`` finds in Slack."""

from __future__ import annotations

from pathlib import Path

import pytest

from bots.slack.manifest import COMFORT, NECESSARY
from tests.bots.doctor.reports import Settings, doctor, listed
from tests.doubles.slack import SlackDouble


async def test_missing_scopes_are_named_with_what_is_lost(
    tmp_path: Path, slack: SlackDouble, in_slack: Settings
) -> None:
    """One that the main job needs is wrong; one that only adds comfort warns."""
    slack.scopes.remove("im:history")
    slack.scopes.remove("mpim:history")
    report = await doctor(tmp_path, in_slack)
    assert report.code == 1
    wrong, warned = report.text.index("✗ Slack, scopes"), report.text.index("! Slack, scopes")
    assert f"{NECESSARY['im:history']} (im:history)" in report.text[wrong:warned]
    assert f"{COMFORT['mpim:history']} (mpim:history)" in report.text[warned:]
    assert "chat:write" not in report.text
    assert "parley slack manifest" in report.text


async def test_a_wrong_app_token_is_told_from_the_bots(tmp_path: Path, in_slack: Settings) -> None:
    """The bot token is well; the remedy says what the other one has to be."""
    report = await listed(tmp_path, in_slack | {"SLACK_APP_TOKEN": "xapp-canary-of-another"})
    assert report.failed == {"slack.socket"}
    assert "connections:write" in report.checks["slack.socket"]["remedy"]
    assert report.checks["slack.bot"]["level"] == "ok"


async def test_tokens_of_two_apps_are_found_out(tmp_path: Path, slack: SlackDouble, in_slack: Settings) -> None:
    """Both are good, and yet no event would ever come."""
    slack.app_id = "A0OTHER"
    report = await listed(tmp_path, in_slack)
    assert report.failed == {"slack.app"}
    assert "A0OTHER" in report.checks["slack.app"]["found"]


async def test_a_socket_that_slack_hangs_up_is_wrong(
    tmp_path: Path, in_slack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reason is named. A token that is missing beside it is named too."""
    monkeypatch.setattr("tests.doubles.slack_socket.MOST_SOCKETS", 0)
    del in_slack["SLACK_BOT_TOKEN"]
    report = await listed(tmp_path, in_slack)
    assert report.failed == {"slack.bot", "slack.socket"}
    assert report.checks["slack.bot"]["found"] == "SLACK_BOT_TOKEN is not set"
    assert "too_many_websockets" in report.checks["slack.socket"]["found"]


async def test_a_name_cannot_write_on_the_terminal(tmp_path: Path, slack: SlackDouble, in_slack: Settings) -> None:
    """What Slack calls the bot is shown without its escape sequences, and markup in it is text."""
    slack.users[slack.bot_user].name = "\x1b]0;gotcha\x07[bold]parley"
    report = await doctor(tmp_path, in_slack)
    assert report.code == 0
    assert "\x1b" not in report.text
    assert "[bold]parley" in report.text
    assert report.text.splitlines()[-1] == (
        "No errors, 1 warning. Next: `parley run` starts Parley in Slack. Until MODEL_URL is set, the demo answers."
    )
