"""What is said of lines in .env that have no effect."""

from __future__ import annotations

from pathlib import Path

import pytest

from bots.doctor.envfile import IgnoredLine, ignored_lines, ignored_variables
from bots.platforms import all_settings


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("TEMPRATURE", "TEMPERATURE"),
        ("temprature", "TEMPERATURE"),
        ("SLACK_BOT_TOKN", "SLACK_BOT_TOKEN"),
        ("SLACK_TOKEN", "SLACK_BOT_TOKEN"),
        ("DISCORD_BOT_TOKEN", "DISCORD_TOKEN"),
        ("MODELURL", "MODEL_URL"),
        ("MODEL_KEY", "MODEL_API_KEY"),
        ("WEB_PASS", "WEB_PASSWORD"),
        ("LOGLEVEL", "LOG_LEVEL"),
        ("ADMIN", "ADMINS"),
    ],
)
def test_a_misspelt_setting_is_told_what_was_probably_meant(typed: str, meant: str) -> None:
    """With its line, and without its value."""
    Path(".env").write_text(f"\n{typed}=canary\n", encoding="utf-8")
    [line] = ignored_lines()
    assert (line.line, line.found, line.mistake) == (2, f"no setting '{typed}'", True)
    assert line.remedy == f"Did you mean {meant}?"


@pytest.mark.parametrize(
    "name",
    [
        "REDIS_PASSWORD",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "SLACK_CLIENT_SECRET",
        "DISCORD_GUILD_ID",
        "COMPOSE_PROFILES",
        "TZ",
    ],
)
def test_settings_of_other_programs_are_left_alone(name: str) -> None:
    """They may stand in the same file."""
    Path(".env").write_text(f"{name}=1\n", encoding="utf-8")
    assert ignored_lines() == []


def test_no_setting_is_taken_for_a_misspelt_one() -> None:
    """Each of them is known."""
    Path(".env").write_text("".join(f"{name.upper()}=1\n" for name in all_settings().model_fields), encoding="utf-8")
    assert ignored_lines() == []


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("TEMPRATURE", "TEMPERATURE"), ("SLACK_BOT_TOKN", "SLACK_BOT_TOKEN"), ("MODELURL", "MODEL_URL")],
)
def test_a_misspelt_setting_in_the_environment_is_found_too(
    typed: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is where containers have all of theirs."""
    monkeypatch.setenv(typed, "canary")
    assert ignored_variables() == [IgnoredLine(0, f"no setting '{typed}'", f"Did you mean {meant}?")]


def test_other_variables_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment is full of them; so is that of these tests."""
    for name in ("HTTPS_PORT", "HTTP_PROXY", "SLACK_TOKEN", "DISCORD_BOT_TOKEN", "REDIS_HOST", "ADMIN", "LOGNAME"):
        monkeypatch.setenv(name, "1")
    for name in all_settings().model_fields:
        monkeypatch.setenv(name.upper(), "1")
    assert ignored_variables() == []
