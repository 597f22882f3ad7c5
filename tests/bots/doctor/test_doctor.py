"""``parley doctor`` against a real Redis and the doubles of Slack and TGI.

What a check finds is read from ``examine`` in this process; what people see, from a process as they would start it.

Every secret in these tests has "canary" in it, and no run may print that.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

import bots.findings
import bots.slack.checks
from bots.doctor.examine import examine
from bots.slack.manifest import COMFORT, NECESSARY, SCOPES
from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.process import run_with
from tests.waiting import UNHURRIED

BOT, APP, KEY = "xoxb-canary-bot", "xapp-canary-app", "hf_canary"
NOWHERE = "127.0.0.1:9"
"""The port of the discard service: nothing listens there."""

Settings = dict[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """What one run said, and how it ended."""

    code: int
    text: str

    @property
    def checks(self) -> dict[str, dict[str, Any]]:
        """The checks of ``--json`` by their names; of several with one name, the worst."""
        checks = sorted(json.loads(self.text)["checks"], key=lambda check: "ok warning error".index(check["level"]))
        return {check["name"]: check for check in checks}

    @property
    def next(self) -> list[dict[str, str]]:
        """What one is told to do, in order."""
        steps: list[dict[str, str]] = json.loads(self.text)["next"]
        return steps

    @property
    def failed(self) -> set[str]:
        """The names of the checks that failed."""
        return {name for name, check in self.checks.items() if check["level"] == "error"}

    @property
    def warned(self) -> set[str]:
        """The names of the checks that warned."""
        return {name for name, check in self.checks.items() if check["level"] == "warning"}


def environment(folder: Path, settings: Settings) -> dict[str, str]:
    """Nothing but settings."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "WEB_PORT": "0", **settings}


async def doctor(folder: Path, settings: Settings, *arguments: str) -> Report:
    """Run it in a folder, as a process."""
    ran = await asyncio.to_thread(run_with, environment(folder, settings), folder, "doctor", *arguments)
    assert "canary" not in ran.out + ran.err
    assert not ran.err, ran.err
    return Report(ran.code, ran.out)


async def listed(folder: Path, settings: Settings) -> Report:
    """What ``parley doctor --json`` prints in that folder. A process would spend a second on imports each time."""
    out, err = StringIO(), StringIO()
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, environment(folder, settings), clear=True))
        stack.enter_context(chdir(folder))
        logged = stack.enter_context(capture_logs())
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        code = await examine(as_json=True)
    assert "canary" not in f"{out.getvalue()}{logged}"
    assert not err.getvalue()
    return Report(code, out.getvalue())


def env_file(folder: Path, content: bytes) -> None:
    """Write the folder's .env."""
    Path(folder, ".env").write_bytes(content)


def made_in(folder: Path) -> list[Path]:
    """What a run left there."""
    return list(folder.iterdir())


@asynccontextmanager
async def guest(client: Any, url: str, *rules: str) -> AsyncIterator[str]:
    """The address of the same Redis for a user who may not do everything."""
    await client.execute_command("ACL", "SETUSER", "guest", "on", ">canary", "~*", "&*", "+@all", *rules)
    try:
        yield f"unix://guest@{url.removeprefix('unix://')}?password=canary"
    finally:
        await client.execute_command("ACL", "DELUSER", "guest")


@pytest.fixture
async def slack() -> AsyncIterator[SlackDouble]:
    """Slack, with an app that was made from the manifest."""
    async with SlackDouble() as double:
        double.bot_token, double.app_token = BOT, APP
        double.scopes = list(SCOPES)
        yield double


@pytest.fixture
async def tgi() -> AsyncIterator[TgiDouble]:
    """A model's server that wants a key."""
    async with TgiDouble(api_key=KEY) as double:
        yield double


@pytest.fixture
def in_slack(slack: SlackDouble, redis_url: str) -> Settings:
    """Settings for Slack and the demo."""
    return {
        "SLACK_BOT_TOKEN": BOT,
        "SLACK_APP_TOKEN": APP,
        "SLACK_API_URL": slack.url,
        "REDIS_URL": redis_url,
    }


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
