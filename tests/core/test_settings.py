"""Settings are typed, come from the environment and .env, and a wrong one is one clear line."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from bots.web.people import contact_in
from core.errors import SettingsError
from core.quotas import Quota, Quotas
from core.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty environment, and a folder without a .env."""
    for name in list(os.environ):
        if name.lower() in Settings.model_fields or name.startswith("HF_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def wrong(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> str:
    """What is said about a wrong value."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    return str(caught.value)


def test_nothing_needs_to_be_set() -> None:
    """The demo answers, with a redis-server of our own."""
    settings = load_settings()
    assert (settings.backend, settings.redis_url, settings.temperature) == ("demo", None, 0.7)


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As everywhere."""
    (tmp_path / ".env").write_text("TEMPERATURE=0.1\nMAX_NEW_TOKENS=20\nUNKNOWN=1\n", encoding="utf-8")
    monkeypatch.setenv("TEMPERATURE", "0.9")
    settings = load_settings()
    assert (settings.temperature, settings.max_new_tokens) == (0.9, 20)


def test_an_empty_value_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """``MODEL_URL=`` in a .env means that it is not set."""
    monkeypatch.setenv("MODEL_URL", "")
    monkeypatch.setenv("TEMPERATURE", "")
    assert load_settings().backend == "demo"


def test_the_names_of_the_course_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_API_KEY and HF_API_FALCOM_BASE stand for the model's key and URL."""
    monkeypatch.setenv("HF_API_KEY", "secret-key")
    monkeypatch.setenv("HF_API_FALCOM_BASE", "http://falcon.example")
    settings = load_settings()
    assert (settings.backend, settings.model_url) == ("detected", "http://falcon.example")
    assert settings.model_api_key
    assert settings.model_api_key.get_secret_value() == "secret-key"


def test_lists_are_written_with_commas_or_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """As people write them."""
    monkeypatch.setenv("ADMINS", "U1, U2 U3,")
    assert load_settings().admins == ("U1", "U2", "U3")


def test_quotas_and_admins_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them nobody is limited, and nobody is an admin."""
    assert load_settings().quotas == Quotas()
    monkeypatch.setenv("QUOTA_USER", "turns=20/min queued=5")
    monkeypatch.setenv("ADMINS", "U1, 42")
    assert load_settings().quotas == Quotas(user=Quota(turns=20, queued=5), admins=frozenset({"U1", "42"}))


def test_a_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In .env no shell stands between; nobody wants a folder called ``~``."""
    monkeypatch.setenv("HOME", "/home/ada")
    lines = ("DATA_DIR=~/a", "MODELS_FILE=~/b.toml", "TOKENIZER=~/c", "PERSONAS=~")
    (tmp_path / ".env").write_text("\n".join(lines), encoding="utf-8")
    settings = load_settings()
    paths = (settings.data_dir, settings.models_file, settings.tokenizer, settings.personas)
    assert [str(path) for path in paths] == ["/home/ada/a", "/home/ada/b.toml", "/home/ada/c", "/home/ada"]
    assert "DATA_DIR: begins with a home folder that is not known" in wrong(monkeypatch, "DATA_DIR", "~nobody-here/a")


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("LOG_LEVEL", "INFO", "info"),
        ("MODEL_AUTH", "bearer", "Bearer"),
        ("MODEL_AUTH", "BASIC", "Basic"),
        ("MODEL_API", "Demo", "demo"),
    ],
)
def test_a_word_may_be_written_in_any_case(monkeypatch: pytest.MonkeyPatch, name: str, value: str, meant: str) -> None:
    """Nobody means another one."""
    monkeypatch.setenv(name, value)
    assert getattr(load_settings(), name.lower()) == meant


def test_mistakes_in_the_file_are_not_told_by_its_parser(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its words would stand among the log lines; Parley has its own."""
    (tmp_path / ".env").write_text("= x\nTEMPERATURE=0.1\n", encoding="utf-8")
    assert load_settings().temperature == 0.1
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TEMPERATURE", "hot", "TEMPERATURE: should be a number. "),
        ("TEMPERATURE", "3", "TEMPERATURE: should be less than or equal to 2"),
        ("MAX_NEW_TOKENS", "many", "MAX_NEW_TOKENS: should be a whole number. "),
        ("MAX_NEW_TOKENS", "1.5", "MAX_NEW_TOKENS: should be a whole number. "),
        ("MAX_NEW_TOKENS", "0", "MAX_NEW_TOKENS: should be greater than or equal to 1"),
        ("MODEL_API", "gpt", "MODEL_API: should be 'tgi', 'openai' or 'demo'"),
        ("MODEL_URL", "localhost:8080", "MODEL_URL: should begin with http:// or https://"),
        ("HF_API_FALCOM_BASE", "localhost", "HF_API_FALCOM_BASE: should begin with http:// or https://"),
        ("MODEL_AUTH", "Digest", "MODEL_AUTH: should be 'Bearer' or 'Basic'"),
        ("REDIS_URL", "localhost:6379", "REDIS_URL: should begin with redis://, rediss:// or unix://. "),
        ("LOG_LEVEL", "loud", "LOG_LEVEL: should be 'debug', 'info', 'warning' or 'error'"),
        ("QUOTA_USER", "20", "QUOTA_USER: knows turns, tokens and queued, but not “20”. "),
        ("QUOTA_CHANNEL", "turns=20/day", "QUOTA_CHANNEL: counts turns a minute, and not per day"),
        ("HTTP_PORT", "http", "HTTP_PORT: should be a whole number. "),
        ("HTTP_PORT", "99999", "HTTP_PORT: should be less than or equal to 65535"),
        ("SUMMARY", "perhaps", "SUMMARY: should be true or false. "),
    ],
)
def test_a_wrong_value_is_one_line_with_an_example(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    """It names the setting, what is wrong, and what it should look like."""
    line = wrong(monkeypatch, name, value)
    assert line.startswith(said)
    assert f"Example: {name}=" in line
    assert "\n" not in line


def test_a_server_without_an_address_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anybody asks anything."""
    assert wrong(monkeypatch, "MODEL_API", "tgi").startswith("MODEL_URL: is needed with MODEL_API=tgi")


def test_two_wrong_values_are_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is wrong is said at once."""
    monkeypatch.setenv("TEMPERATURE", "hot")
    assert len(wrong(monkeypatch, "MODEL_API", "gpt").splitlines()) == 2


def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in repr nor in the error about a wrong one."""
    monkeypatch.setenv("REDIS_URL", "redis://:canary1@localhost")
    monkeypatch.setenv("MODEL_API_KEY", "canary2")
    assert "canary" not in repr(load_settings())
    assert "canary" not in wrong(monkeypatch, "REDIS_URL", "http://:canary4@localhost")


def test_limits_for_admins_need_admins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nobody could do it; in any case of letters, as every other word."""
    for name in ("FORGET_BY", "SETTINGS_BY"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "Admins")
            with pytest.raises(SettingsError, match=f"ADMINS: is needed with {name}=admins. Example: ADMINS=U0123"):
                load_settings()
            patch.setenv("ADMINS", "U1")
            policy = load_settings().policy
            assert "admins" in (policy.forget_by, policy.settings_by)
    monkeypatch.setenv("FORGET_BY", "me")
    with pytest.raises(SettingsError, match=r"FORGET_BY: .* Example: FORGET_BY=admins"):
        load_settings()


def test_the_contact_is_the_first_admin_whom_people_there_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless one is set; somebody of another platform would be no help."""
    slack, discord = re.compile(r"[UW][A-Z0-9]+"), re.compile(r"\d{15,20}")
    monkeypatch.setenv("ADMINS", "p-zoe, U2 U1, 123456789012345678")
    settings = load_settings()
    assert [settings.contact_among(ids) for ids in (slack, discord)] == ["U2", "123456789012345678"]
    assert contact_in(settings) == "zoe"
    monkeypatch.setenv("CONTACT", "@ops")
    assert [load_settings().contact_among(ids) for ids in (slack, discord)] == ["@ops", "@ops"]
    monkeypatch.delenv("CONTACT")
    monkeypatch.delenv("ADMINS")
    assert load_settings().contact_among(slack) == contact_in(load_settings()) == ""
