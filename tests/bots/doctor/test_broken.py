"""Broken set-ups, one after another: `parley doctor` finds what is wrong, and says what to do about it first."""

from __future__ import annotations

import resource
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from bots.slack.manifest import SCOPES
from core.archive.schema import SCHEMA
from core.store.keys import Keys
from tests.bots.doctor.reports import APP, BOT, NOWHERE, Report, Settings, doctor, guest, listed
from tests.core.store.test_redis import hello, server_that_says
from tests.doubles.openai import SERVERS, OpenAIDouble
from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.process import from_nothing
from tests.needs import FAKETIME, SMALL_DISK
from tests.redis_server import running_redis
from tests.waiting import wait_until


def found(report: Report, check: str, *words: str) -> None:
    """One thing is wrong, and it is the first that one is told to do something about."""
    assert report.code == 1
    assert report.failed - {"settings"} == {check}, report.text
    what = report.checks[check]
    assert what["remedy"]
    for word in words:
        assert word in what["found"] + what["remedy"], what
    assert report.next[0] == {"name": check, "do": what["remedy"]}


@pytest.fixture
async def slack() -> AsyncIterator[SlackDouble]:
    """Slack, with an app that was made from the manifest."""
    async with SlackDouble() as double:
        double.bot_token, double.app_token, double.scopes = BOT, APP, list(SCOPES)
        yield double


@pytest.fixture
def in_slack(slack: SlackDouble, redis_url: str) -> Settings:
    """Settings for Slack and the demo."""
    return {"SLACK_BOT_TOKEN": BOT, "SLACK_APP_TOKEN": APP, "SLACK_API_URL": slack.url, "REDIS_URL": redis_url}


async def test_1_a_wrong_token(tmp_path: Path, in_slack: Settings) -> None:
    """And where to find the right one."""
    report = await listed(tmp_path, in_slack | {"SLACK_BOT_TOKEN": "xoxb-canary-of-another"})
    found(report, "slack.bot", "rejects it", "api.slack.com/apps > OAuth & Permissions", "SLACK_BOT_TOKEN")


async def test_2_a_missing_scope(tmp_path: Path, slack: SlackDouble, in_slack: Settings) -> None:
    """What is lost without it."""
    slack.scopes.remove("chat:write")
    found(await listed(tmp_path, in_slack), "slack.scopes", "chat:write", "parley slack manifest")


async def test_3_no_redis(tmp_path: Path) -> None:
    """Where it was looked for."""
    found(await listed(tmp_path, {"REDIS_URL": f"redis://:canary@{NOWHERE}/0"}), "redis", NOWHERE, "REDIS_URL")


async def test_4_an_old_redis(tmp_path: Path) -> None:
    """Which version it is, and which is needed."""
    async with server_that_says(HELLO=hello("6.0.16")) as place:
        found(await listed(tmp_path, {"REDIS_URL": f"redis://{place}"}), "redis", "6.0.16", "6.2")


async def test_5_a_wrong_eviction_policy(tmp_path: Path, redis_url: str, client: Redis) -> None:
    """The command that puts it right."""
    await client.config_set("maxmemory-policy", "volatile-ttl")
    try:
        report = await listed(tmp_path, {"REDIS_URL": redis_url})
    finally:
        await client.config_set("maxmemory-policy", "noeviction")
    found(report, "redis.eviction", "volatile-ttl", "CONFIG SET maxmemory-policy noeviction")


async def test_6_a_model_that_is_away(tmp_path: Path, redis_url: str) -> None:
    """Whatever it would speak."""
    for api in ("", "openai"):
        settings = {"REDIS_URL": redis_url, "MODEL_URL": f"http://{NOWHERE}", "MODEL_API": api}
        found(await listed(tmp_path, settings), "model.answer", NOWHERE, "MODEL_URL")


async def test_7_the_wrong_kind_of_api(tmp_path: Path, redis_url: str) -> None:
    """What the server does speak."""
    async with TgiDouble() as tgi, OpenAIDouble() as openai:
        for double, wrong, right in ((tgi, "openai", "tgi"), (openai, "tgi", "openai")):
            report = await listed(tmp_path, {"REDIS_URL": redis_url, "MODEL_URL": double.url, "MODEL_API": wrong})
            found(report, "model.answer", f"MODEL_API={right}")


async def test_8_a_context_that_is_too_small(tmp_path: Path, redis_url: str) -> None:
    """How little is left for a conversation."""
    async with TgiDouble() as tgi:
        tgi.max_total_tokens, tgi.max_input_tokens = 300, 299
        report = await listed(tmp_path, {"REDIS_URL": redis_url, "MODEL_URL": tgi.url, "MODEL_API": "tgi"})
        found(report, "model.context", "300 tokens", "too small", "larger context")


async def test_9_a_clock_that_is_off(tmp_path: Path, redis_url: str) -> None:
    """By how much, and in which direction."""
    library = FAKETIME.path()
    for off, words in (("+3600s", "3,600 s ahead of"), ("-120s", "120 s behind")):
        env = {"LD_PRELOAD": library, "FAKETIME": off, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        with from_nothing():  # what is preloaded is read then
            report = await doctor(tmp_path, {"REDIS_URL": redis_url, **env}, "--json")
        found(report, "redis.clock", words, "timedatectl")


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of two megabytes."""
    mount, unmount = SMALL_DISK.command()
    with tempfile.TemporaryDirectory(prefix="parley-disk-") as folder:
        subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run([unmount, "--lazy", folder], check=True)


def fill(folder: Path) -> None:
    """Leave no room on a disk."""
    with pytest.raises(OSError, match="No space"):
        (folder / "rest").write_bytes(b"x" * 10_000_000)


async def test_10_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    """Which one, and that our own Redis has no room there."""
    fill(small_disk)
    report = await listed(tmp_path, {"DATA_DIR": str(small_disk / "data")})
    assert report.code == 1
    assert report.failed == {"machine.disk", "redis"}
    assert str(small_disk) in report.checks["machine.disk"]["found"]
    assert "No space left" in report.checks["redis"]["found"]
    assert "Make room" in report.next[0]["do"]


async def test_a_redis_that_cannot_write(tmp_path: Path, small_disk: Path) -> None:
    """Its disk is full: it says so itself."""
    async with running_redis(small_disk / "r.sock", "--appendonly", "yes") as server:
        client: Redis = Redis.from_url(server.url)
        fill(small_disk)
        await client.set("large", "x" * 100_000)

        async def refused() -> bool:
            return bool((await client.info("persistence"))["aof_last_write_status"] == "err")

        await wait_until(refused, description="a write that fails")
        report = await listed(tmp_path, {"REDIS_URL": server.url})
        await client.aclose()
    found(report, "redis", "cannot write to its disk", "Make room on its disk")


async def test_a_redis_that_is_nearly_full(tmp_path: Path, redis_url: str, client: Redis) -> None:
    """Before it refuses the next message."""
    used = int((await client.info("memory"))["used_memory"])
    await client.config_set("maxmemory", int(used * 1.05))
    try:
        report = await listed(tmp_path, {"REDIS_URL": redis_url})
    finally:
        await client.config_set("maxmemory", 0)
    assert "redis.memory" in report.failed
    assert "maxmemory" in report.checks["redis.memory"]["remedy"]


async def test_a_redis_whose_user_may_not_listen(tmp_path: Path, redis_url: str, client: Redis) -> None:
    """Which commands are missing, and the line that grants what is needed."""
    async with guest(client, redis_url, "-subscribe", "-blpop") as url:
        report = await listed(tmp_path, {"REDIS_URL": url})
    found(report, "redis.rights", "BLPOP, SUBSCRIBE", "ACL SETUSER")


async def test_a_store_of_a_newer_parley(tmp_path: Path, redis_url: str, client: Redis) -> None:
    """It is not touched."""
    await client.set(Keys.SCHEMA, SCHEMA + 1)
    report = await listed(tmp_path, {"REDIS_URL": redis_url})
    await client.delete(Keys.SCHEMA)
    found(report, "redis.form", "newer Parley")


async def test_a_template_that_is_not_the_servers(tmp_path: Path, redis_url: str) -> None:
    """Where the server tells its own; one that writes the same is well."""
    async with OpenAIDouble(SERVERS["llama.cpp"]) as server:
        server.template = (
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
        )
        settings = {"REDIS_URL": redis_url, "MODEL_API": "openai", "MODEL_URL": server.url}
        for template, level in (("zephyr", "warning"), ("chatml", "ok")):
            report = await listed(tmp_path, settings | {"PROMPT_TEMPLATE": template})
            assert (report.code, report.checks["model.template"]["level"]) == (0, level), report.text
        assert "model.template" not in (await listed(tmp_path, settings)).checks


@pytest.mark.parametrize("settings", [{"FORGET_BY": "admins"}, {"FORGET_BY": "admins", "SETTINGS_BY": "admins"}])
async def test_admins_that_nobody_named(tmp_path: Path, redis_url: str, settings: dict[str, str]) -> None:
    """It is one finding among the others: all else is examined as well."""
    report = await listed(tmp_path, {"REDIS_URL": redis_url, **settings})
    found(report, "settings.ADMINS", "is needed with FORGET_BY=admins", "ADMINS=U0123")


async def test_few_open_files_warn(tmp_path: Path, redis_url: str) -> None:
    """And what is needed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    try:
        with from_nothing():  # limits are inherited
            report = await doctor(tmp_path, {"REDIS_URL": redis_url, "WORKER_SLOTS": "1000"}, "--json")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "machine.files" in report.warned
    assert "ulimit -n 4096" in report.checks["machine.files"]["remedy"]


async def test_it_ends_with_what_to_do(tmp_path: Path) -> None:
    """What is wrong in order, then what is doubtful, each once."""
    report = await doctor(tmp_path, {"REDIS_URL": f"redis://{NOWHERE}", "MODEL_URL": f"http://{NOWHERE}"})
    *_, head, first, second, empty, last = report.text.splitlines()
    assert head == "What to do, in this order:"
    assert first.startswith("  1. Redis: Check that it runs")
    assert second.startswith("  2. Model, test question: Check that the server runs")
    assert (empty, last) == ("", "2 things to fix. Begin with Redis, then run `parley doctor` again.")
