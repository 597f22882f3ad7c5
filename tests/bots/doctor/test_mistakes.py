"""What ``parley doctor`` says about mistakes in the settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bots.doctor.reports import Settings, doctor, env_file, listed, made_in


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("SLACK_ALLOW_CHANNELS", "C0123,#general", "'#general'"),
        ("SLACK_ALLOW_USERS", "ada", "'ada'"),
        ("DISCORD_DENY_ROLES", "1234567890123456789 moderators", "'moderators'"),
        ("ADMINS", "U0123,1234567890123456789,p-ada,Ada", "'Ada'"),
    ],
)
async def test_names_where_ids_are_needed_are_found(
    tmp_path: Path, redis_url: str, name: str, value: str, wrong: str
) -> None:
    """They match nobody, and nothing else would say so."""
    report = await listed(tmp_path, {"REDIS_URL": redis_url, name: value})
    check = report.checks[f"settings.{name}"]
    assert (check["level"], wrong in check["found"]) == ("error", True)
    assert check["remedy"].startswith(f"Use ids, for example {name}=")


async def test_wrong_settings_are_named_and_the_rest_is_checked(tmp_path: Path, in_slack: Settings) -> None:
    """Every wrong setting has its line; what depends on one is not checked, and said so; misspelt names are noticed."""
    env_file(tmp_path, b"TEMPERATURE=hot\nMODEL_URL=canary\nSLACK_BOT_TOKN=xoxb-canary\n= canary\nLOG_LEVEL=debug")
    report = await doctor(tmp_path, in_slack | {"SLACK_BOT_TOKEN": "canary", "LOG_LEVEL": "info"})
    assert report.code == 1
    shown = report.text.splitlines()
    assert [line.split(":")[0] for line in shown if line.startswith("✗")] == [
        "✗ Settings",
        "✗ MODEL_URL",
        "✗ TEMPERATURE",
        "✗ SLACK_BOT_TOKEN",
    ]
    assert "    Correct it, for example: TEMPERATURE=0.7" in shown
    assert "! Model: not checked, because MODEL_URL is wrong" in shown
    assert "! Slack, bot token: not checked, because SLACK_BOT_TOKEN is wrong" in shown
    assert "! .env, line 3: no setting 'SLACK_BOT_TOKN'" in shown
    assert "! .env, line 4: this is not a setting" in shown
    assert "! .env, line 5: LOG_LEVEL is set to another value in the environment, and that one is used" in shown
    assert any(line.startswith("✓ Slack, Socket Mode") for line in shown)
    assert any(line.startswith("✓ Memory") for line in shown)
    # Seven things to do, as many as are listed.
    assert [line[:5] for line in shown if line.startswith("  ") and line[2] != " "][-2:] == ["  5. ", "  … a"]
    assert "  … and 2 more" in shown
    assert shown[0].startswith(f"✗ Settings: from {tmp_path}/.env, with 5 mistakes; ")
    assert shown[-1] == "3 things to fix, 4 warnings. Begin with MODEL_URL, then run `parley doctor` again."


async def test_every_mistake_in_the_settings_has_a_name_of_its_own(tmp_path: Path, redis_url: str) -> None:
    """For programs: of a single setting, or of a line in .env. The overview is as bad as the worst of them."""
    env_file(tmp_path, b"\nTEMPRATURE=canary\n= canary\n")
    report = await listed(tmp_path, {"REDIS_URL": redis_url})
    assert (report.code, report.warned) == (0, {"settings", "env_file.2", "env_file.3", "redis.aof"})
    report = await listed(tmp_path, {"REDIS_URL": redis_url, "TEMPERATURE": "hot", "HF_API_FALCOM_BASE": "canary"})
    assert report.failed == {"settings", "settings.TEMPERATURE", "settings.HF_API_FALCOM_BASE"}
    names = [check["name"] for check in json.loads(report.text)["checks"]]
    assert len(names) == len(set(names))


async def test_a_value_that_ends_where_a_comment_begins_is_pointed_out(tmp_path: Path, redis_url: str) -> None:
    """Only where it does not look like one, and without the value."""
    env_file(
        tmp_path,
        b"SYSTEM_PROMPT=Answer in #general style\nTEMPERATURE=0.2 # calm\nWEB_USER=a#b\nPERSONA='' # none\n"
        b"MODEL_NAME='a #b'\nWEB_PASSWORD=canary #canary\n#WEB_PORT=1 #2\n",
    )
    report = await listed(tmp_path, {"REDIS_URL": redis_url})
    assert {name for name in report.warned if name.startswith("env_file")} == {"env_file.1", "env_file.6"}
    check = report.checks["env_file.1"]
    assert check["found"] == "the value of SYSTEM_PROMPT ends at the #, because a comment begins there"
    assert "in quotes" in check["remedy"]


async def test_where_it_looked_is_said_in_full(tmp_path: Path) -> None:
    """A relative path would leave open from where."""
    report = await listed(tmp_path, {})
    assert f"no .env in {tmp_path}, so only the environment is used" in report.checks["settings"]["found"]
    assert report.checks["redis"]["found"].endswith(f", data in {tmp_path}/.parley/redis")


async def test_a_wrong_redis_url_is_not_replaced_by_a_server_of_our_own(tmp_path: Path) -> None:
    """The setting is named, and Redis is not checked."""
    report = await listed(tmp_path, {"REDIS_URL": "canary:6379"})
    assert report.failed == {"settings", "settings.REDIS_URL"}
    assert report.checks["redis"]["found"] == "not checked, because REDIS_URL is wrong"
    assert made_in(tmp_path) == []


async def test_a_data_dir_that_is_a_file_is_called_one(tmp_path: Path) -> None:
    """Instead of an error's number; the same for a folder in it."""
    file = tmp_path / "notes"
    file.write_text("", encoding="utf-8")
    for data_dir in (file, file / "parley"):
        report = await listed(tmp_path, {"DATA_DIR": str(data_dir)})
        assert report.failed == {"redis"}
        assert report.checks["redis"]["found"].endswith(f"{data_dir}/redis: {file} is a file, not a folder")


async def test_an_env_file_that_is_no_text_is_left_out(tmp_path: Path, redis_url: str) -> None:
    """It is wrong, and the environment alone is checked."""
    env_file(tmp_path, b"SLACK_BOT_TOKEN=xoxb-canary-\xff\xfe")
    report = await listed(tmp_path, {"REDIS_URL": redis_url})
    assert report.failed == {"settings", "env_file"}
    assert report.checks["memory"]["level"] == "ok"
