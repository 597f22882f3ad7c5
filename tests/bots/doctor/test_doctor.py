"""``parley doctor`` against a real Redis and the doubles of Slack and TGI.

What a check finds is read from ``examine`` in this process; what people see, from a process as they would start it.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from redis.asyncio import Redis

import bots.findings
import bots.slack.checks
from bots.doctor.examine import examine
from tests.bots.doctor.reports import APP, BOT, KEY, NOWHERE, Report, Settings, doctor, guest, listed
from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.waiting import UNHURRIED


async def test_with_nothing_set_up_all_is_well(tmp_path: Path) -> None:
    """Our own Redis, the demo and the terminal; each thing that could be set up says how."""
    report = await doctor(tmp_path, {})
    assert report.code == 0
    lines = report.text.splitlines()
    assert not [line for line in lines if line.startswith(("✗", "!"))]
    assert any("redis-server" in line and str(Path(".parley", "redis")) in line for line in lines)
    assert "parley slack manifest" in report.text
    assert "MODEL_URL=" in report.text
    assert lines[-1].startswith("Everything is fine. Next: `parley run` opens the page")
    assert "\x1b" not in report.text


async def test_with_everything_set_up_all_is_well(tmp_path: Path, slack: SlackDouble, tgi: TgiDouble) -> None:
    """The order is fixed, nothing but one object is printed, and each check has all of its fields."""
    settings = {"SLACK_BOT_TOKEN": BOT, "SLACK_APP_TOKEN": APP, "SLACK_API_URL": slack.url}
    report = await doctor(tmp_path, {**settings, "MODEL_URL": tgi.url, "MODEL_API_KEY": KEY}, "--json")
    whole = json.loads(report.text)
    assert report.code == 0
    assert whole.keys() == {"ok", "version", "checks", "next"}
    assert whole["next"] == []
    assert whole["ok"] is True
    names = "settings machine.disk machine.files redis redis.aof redis.eviction redis.memory redis.ping redis.clock "
    names += "redis.rights memory model model.answer model.context"
    assert [check["name"] for check in whole["checks"]] == [
        *names.split(),
        *("slack.bot", "slack.scopes", "slack.socket", "discord", "page"),
    ]
    for check in whole["checks"]:
        assert list(check) == ["name", "ok", "level", "tried", "found", "remedy", "ms"]
        assert (check["ok"], check["level"]) == (True, "ok")
    found = {check["name"]: check["found"] for check in whole["checks"]}
    assert "@parley in the workspace Double" in found["slack.bot"]
    assert "hello" in found["slack.socket"]
    assert "4,096 tokens" in found["model.context"]
    assert slack.sockets == 0
    assert not slack.refused
    assert [seen.parameters["max_new_tokens"] for seen in tgi.requests] == [1]


async def test_three_things_wrong_are_three_things_to_fix(tmp_path: Path, slack: SlackDouble) -> None:
    """No Redis, no model, a bot token that Slack does not know: each has its remedy, and the rest is still checked."""
    report = await doctor(
        tmp_path,
        {
            "REDIS_URL": f"redis://:canary@{NOWHERE}/0",
            "MODEL_URL": f"http://somebody:canary@{NOWHERE}",
            "SLACK_BOT_TOKEN": "xoxb-canary-of-another",
            "SLACK_APP_TOKEN": APP,
            "SLACK_API_URL": slack.url,
        },
    )
    assert report.code == 1
    lines = report.text.splitlines()
    wrong = [number for number, line in enumerate(lines) if line.startswith("✗")]
    assert [lines[number].split(":")[0] for number in wrong] == [
        "✗ Redis",
        "✗ Model, test question",
        "✗ Slack, bot token",
    ]
    for number, setting in zip(wrong, ("REDIS_URL", "MODEL_URL", "SLACK_BOT_TOKEN"), strict=True):
        assert setting in lines[number + 1]
    assert any(line.startswith("✓ Slack, Socket Mode") for line in lines)
    assert lines[-1] == "3 things to fix. Begin with Redis, then run `parley doctor` again."


async def test_an_evicting_redis_is_wrong(tmp_path: Path, redis_url: str, client: Redis) -> None:
    """It may drop what is remembered: the remedy is the command. Without an append-only file it warns."""
    await client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        report = await listed(tmp_path, {"REDIS_URL": redis_url})
    finally:
        await client.config_set("maxmemory-policy", "noeviction")
    assert report.code == 1
    assert report.failed == {"redis.eviction"}
    assert "CONFIG SET maxmemory-policy noeviction" in report.checks["redis.eviction"]["remedy"]
    assert "redis.aof" in report.warned
    assert not await client.keys("*messages*")


async def test_what_a_managed_redis_hides_is_no_failure(tmp_path: Path, redis_url: str, client: Redis) -> None:
    """A user who may neither ask INFO nor CONFIG is told what to look at instead."""
    async with guest(client, redis_url, "-info", "-config") as url:
        report = await listed(tmp_path, {"REDIS_URL": url})
    assert report.code == 0
    assert report.warned == {"redis.aof", "redis.eviction", "redis.memory"}
    assert "not visible" in report.checks["redis.eviction"]["found"]


async def test_a_user_who_may_not_write_is_found_out(tmp_path: Path, redis_url: str, client: Redis) -> None:
    """Redis answers, and yet nothing would be remembered."""
    async with guest(client, redis_url, "-@write") as url:
        report = await listed(tmp_path, {"REDIS_URL": url})
    assert report.code == 1
    assert report.failed == {"redis.rights", "memory"}


async def test_a_model_that_wants_a_key_says_which_setting(tmp_path: Path, redis_url: str, tgi: TgiDouble) -> None:
    """Without a key and with a wrong one; the server itself is known to be ready."""
    settings = {"REDIS_URL": redis_url, "MODEL_URL": tgi.url}
    for key in ({}, {"MODEL_API_KEY": "canary-of-another"}):
        report = await listed(tmp_path, settings | key)
        assert report.code == 1
        assert report.failed == {"model.answer"}
        assert "MODEL_API_KEY" in report.checks["model.answer"]["remedy"]
        assert report.checks["model"]["level"] == "ok"


async def test_a_small_context_warns(tmp_path: Path, redis_url: str, tgi: TgiDouble) -> None:
    """An answer never gets more than half; and a server without /health is well if it answers."""
    tgi.max_total_tokens, tgi.max_input_tokens, tgi.ready = 1024, 1023, False
    report = await listed(tmp_path, {"REDIS_URL": redis_url, "MODEL_URL": tgi.url, "MODEL_API_KEY": KEY})
    assert report.code == 0
    assert {"model", "model.context"} <= report.warned
    assert report.checks["model.context"]["remedy"].startswith("Set MAX_NEW_TOKENS=512")


@pytest.fixture
def here(in_slack: Settings, tgi: TgiDouble, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Slack and a model in the settings of this process, and deadlines that a test can wait for."""
    for module in (bots.findings, bots.slack.checks):
        monkeypatch.setattr(module, "CHECK_TIMEOUT", 0.3)
    for name in [name for name in os.environ if name.startswith(("SLACK_", "MODEL_", "HF_", "REDIS_"))]:
        monkeypatch.delenv(name)
    for name, value in (in_slack | {"MODEL_API": "tgi", "MODEL_URL": tgi.url, "MODEL_API_KEY": KEY}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("here")
async def test_servers_that_never_answer_do_not_hold_it_up(
    slack: SlackDouble, tgi: TgiDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each thing has its deadline, and all wait at once."""
    slack.hang("*", times=None)
    tgi.fault("stall")
    began = time.monotonic()
    assert await examine(as_json=True) == 1
    assert time.monotonic() - began < UNHURRIED
    report = Report(1, capsys.readouterr().out)
    assert report.failed == {"model.answer", "slack.bot", "slack.socket"}
    assert "FIRST_TOKEN_TIMEOUT" in report.checks["model.answer"]["remedy"]
