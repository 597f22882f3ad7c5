"""What a start says to people: what is missing, all at once; that it is ready; that it is stopping."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bots.duties import WORKER_SECTION, duties
from bots.platforms import PLATFORMS, load_all_settings
from bots.startup import Notices, has_browser, model_in_words
from core.errors import SettingsError
from core.version import parley_version

README = Path(__file__).parents[2] / "README.md"
BOT, APP = {"slack_bot_token": "xoxb-1"}, {"slack_app_token": "xapp-1"}
DISCORD = {"discord_token": "MTA5.abc.def"}
SECTIONS = [WORKER_SECTION, *(platform.section for platform in PLATFORMS if platform.section)]


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("SLACK_", "DISCORD_", "REDIS_", "MODEL", "DATA_"))]:
        monkeypatch.delenv(name)


class Terminal(io.StringIO):
    """A stderr at which somebody sits."""

    def isatty(self) -> bool:
        """Always."""
        return True


@pytest.fixture
def sit_down(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Terminal]:
    """Make stderr a terminal; called in the test, since pytest sets stderr before it."""

    def make() -> Terminal:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        return terminal

    return make


@pytest.mark.parametrize(
    ("names", "given", "missing"),
    [
        ("slack", {}, {"SLACK_BOT_TOKEN", "SLACK_APP_TOKEN"}),
        ("slack", BOT, {"SLACK_APP_TOKEN"}),
        ("", APP, {"SLACK_BOT_TOKEN"}),
        ("discord", {}, {"DISCORD_TOKEN"}),
        ("slack discord", {}, {"SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "DISCORD_TOKEN"}),
        ("all", BOT, {"SLACK_APP_TOKEN"}),
        ("worker", {}, {"REDIS_URL", "SLACK_BOT_TOKEN", "DISCORD_TOKEN", "DATA_DIR"}),
        ("worker", APP, {"SLACK_BOT_TOKEN"}),
        ("discord worker", {}, {"DISCORD_TOKEN"}),
    ],
)
def test_all_that_is_missing_is_named_at_once(names: str, given: dict[str, str], missing: set[str]) -> None:
    """With the part of the README that explains it."""
    with pytest.raises(SettingsError) as error:
        duties(load_all_settings(_env_file=None, **given), names.split(), worker=True)
    assert set(re.findall(r"[A-Z]+_[A-Z_]+", str(error.value))) == missing
    assert any(f'"{section}"' in error.value.remedy for section in SECTIONS)
    assert "README.md" in error.value.remedy


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("slak", "Did you mean slack?"),
        ("slack,discord", "Separate names with spaces: parley run slack discord"),
        ("Slack,", "Did you mean slack?"),
        ("teams", "Choose from: slack, discord, web, all, worker."),
    ],
)
def test_a_name_that_means_nothing_gets_a_hint(typed: str, said: str) -> None:
    """What was meant, where that is clear; else what there is."""
    with pytest.raises(SettingsError) as error:
        duties(load_all_settings(_env_file=None), [typed], worker=True)
    assert str(error.value) == f"No platform '{typed}'. {said}"


def test_the_parts_of_the_readme_that_errors_name_exist() -> None:
    """As headings."""
    headings = re.findall(r"^## (.*)$", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(SECTIONS) <= set(headings)


@pytest.mark.parametrize(
    ("names", "given"),
    [
        ("slack", BOT | APP),
        ("worker", BOT),
        ("worker", {"redis_url": "redis://localhost"}),
        ("worker", {"data_dir": "shared"}),
        ("web", {}),
        ("all", DISCORD),
    ],
)
def test_where_nothing_is_missing_it_starts(names: str, given: dict[str, str]) -> None:
    """A worker needs no app-level token; one that shares a folder on purpose needs no token at all."""
    assert duties(load_all_settings(_env_file=None, **given), names.split(), worker=True).answers


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "demo model"),
        ({"model_url": "http://ada:secret@gpu1:8000/v1?key=secret"}, "model at gpu1:8000"),
        ({"model_url": "http://gpu1:8000", "model_name": "qwen3"}, "model qwen3 at gpu1:8000"),
        ({"model_url": "http://gpu1:8000", "model_api": "demo"}, "demo model"),
    ],
)
def test_the_model_is_named_in_words_and_without_a_secret(given: dict[str, str], words: str) -> None:
    """As it is on the line that says that Parley is ready."""
    assert model_in_words(load_all_settings(_env_file=None, **given)) == words


def test_models_of_a_table_are_named() -> None:
    """All of them."""
    settings = load_all_settings(_env_file=None, models_file="models.toml")
    assert model_in_words(settings, ["large", "small"]) == "models large, small"


def test_a_person_is_told_that_it_is_ready(sit_down: Callable[[], Terminal]) -> None:
    """On one line."""
    terminal = sit_down()
    Notices().ready("demo model", "Slack (Acme)")
    assert terminal.getvalue() == f"Parley {parley_version()} · demo model · Slack (Acme) · Ctrl-C to stop\n"


def test_whoever_stops_it_is_told_that_answers_get_time_and_how_to_end_at_once(
    sit_down: Callable[[], Terminal],
) -> None:
    """Nothing is said to be ready any more."""
    terminal = sit_down()
    notices = Notices()
    notices.running = lambda: 2
    notices.stopping(25.0)
    notices.ready("demo model")
    said = terminal.getvalue()
    assert said.startswith("\nStopping: 2 answers have 25 s to finish. Press Ctrl-C again to stop at once")
    notices.stopping(25.0)
    assert terminal.getvalue() == said + "\nStopping.\n"


def test_where_nothing_is_being_answered_it_just_stops(sit_down: Callable[[], Terminal]) -> None:
    """And says so once."""
    terminal = sit_down()
    notices = Notices()
    notices.stopping(25.0)
    notices.stopping(25.0)
    assert terminal.getvalue() == "\nStopping.\n"


def test_a_supervisor_is_told_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """It reads the log."""
    notices = Notices()
    notices.ready("demo model")
    notices.stopping(25.0)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("platform", "environment", "opens"),
    [
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("linux", {}, False),
        ("darwin", {}, True),
        ("darwin", {"SSH_CONNECTION": "1.2.3.4"}, False),
        ("linux", {"DISPLAY": "localhost:10", "SSH_TTY": "/dev/pts/1"}, False),
        ("linux", {"DISPLAY": ":0", "CI": "true"}, False),
    ],
)
def test_a_browser_opens_only_where_there_is_a_screen(
    platform: str,
    environment: dict[str, str],
    opens: bool,
    monkeypatch: pytest.MonkeyPatch,
    sit_down: Callable[[], Terminal],
) -> None:
    """Not on a server that one looks at from elsewhere."""
    sit_down()
    monkeypatch.setattr(sys, "platform", platform)
    assert has_browser(environment) is opens
