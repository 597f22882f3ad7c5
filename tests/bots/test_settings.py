"""The settings of every platform are read together with those of the core, and what is wrong is said at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bots.discord.settings import DiscordSettings
from bots.platforms import PLATFORMS, all_settings, load_all_settings
from bots.slack.settings import SlackSettings
from bots.web.settings import WebSettings
from core.errors import SettingsError
from core.settings import Settings


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty environment, and a folder without a .env."""
    for name in list(os.environ):
        if name.lower() in all_settings().model_fields or name.startswith("HF_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def wrong(monkeypatch: pytest.MonkeyPatch, **values: str) -> str:
    """What is said about wrong values."""
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_all_settings()
    return str(caught.value)


def test_each_platform_gets_its_own_settings_and_those_of_the_core() -> None:
    """And sees none of another's."""
    settings = load_all_settings()
    assert isinstance(settings, SlackSettings)
    assert isinstance(settings, DiscordSettings)
    assert isinstance(settings, WebSettings)
    assert settings.slack_api_url == "https://slack.com/api/"
    assert settings.web_port == 7860
    for platform in PLATFORMS:
        own = set(platform.settings.model_fields) - set(Settings.model_fields)
        assert {field.split("_")[0] for field in own} == {platform.name}


def test_the_core_has_no_setting_of_a_platform() -> None:
    """It names none."""
    assert not [field for field in Settings.model_fields if field.split("_")[0] in {one.name for one in PLATFORMS}]


def test_wrong_settings_of_the_core_and_of_platforms_are_said_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line each."""
    said = wrong(
        monkeypatch, TEMPERATURE="hot", SLACK_ALLOW_EXTERNAL="perhaps", WEB_PORT="http", DISCORD_LEAVE_DAYS="x"
    )
    assert {line.partition(":")[0] for line in said.splitlines()} == {
        "TEMPERATURE",
        "SLACK_ALLOW_EXTERNAL",
        "DISCORD_LEAVE_DAYS",
        "WEB_PORT",
    }
    assert all("Example: " in line for line in said.splitlines())


def test_lists_are_written_with_commas_or_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """As people write them."""
    monkeypatch.setenv("SLACK_ALLOW_CHANNELS", "C1, C2 C3,")
    settings = load_all_settings()
    assert isinstance(settings, SlackSettings)
    assert settings.slack_allow_channels == {"C1", "C2", "C3"}


def test_a_token_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be one that was mistyped."""
    assert "canary" not in wrong(monkeypatch, SLACK_BOT_TOKEN="canary")


def test_tokens_of_slack_that_were_swapped_are_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what happened, not a wrong beginning."""
    said = wrong(monkeypatch, SLACK_BOT_TOKEN="xapp-canary", SLACK_APP_TOKEN="xoxb-canary")
    assert said.splitlines() == [
        "SLACK_BOT_TOKEN: holds an app-level token (xapp-…), which belongs in SLACK_APP_TOKEN. "
        "Example: SLACK_BOT_TOKEN=xoxb-1-2-abc",
        "SLACK_APP_TOKEN: holds a bot token (xoxb-…), which belongs in SLACK_BOT_TOKEN. "
        "Example: SLACK_APP_TOKEN=xapp-1-A1-2-abc",
    ]
