"""What holds for every adapter: those that Parley has, and the loopback, which one line in a test registers.

``python -m tests.adapters`` is ``parley`` with all of them.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bots.duties import duties
from bots.findings import Finding
from bots.log import redact
from bots.platform import Platform
from bots.platforms import PLATFORMS, all_settings, load_all_settings
from core.errors import SettingsError
from core.settings import Settings
from tests.adapters import loopback
from tests.doubles.discord import DiscordDouble
from tests.doubles.slack import SlackDouble
from tests.journeys import discord as in_discord
from tests.journeys.process import GENERAL, environment, reply
from tests.waiting import UNHURRIED, wait_until

ROOT = Path(__file__).parents[2]
ALL = [*PLATFORMS, loopback.PLATFORM]
WITH_ACCOUNT = [platform for platform in ALL if platform.tokens]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """One line registers an adapter. Nothing is set."""
    PLATFORMS.append(loopback.PLATFORM)
    names = {field.upper() for field in all_settings().model_fields}
    for name in [name for name in os.environ if name.upper() in names or name.startswith("HF_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield
    PLATFORMS.remove(loopback.PLATFORM)


def each(platforms: list[Platform[Any]] = ALL) -> pytest.MarkDecorator:
    """One test for each of them."""
    return pytest.mark.parametrize("platform", platforms, ids=lambda platform: platform.name)


def parley(tmp: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """``parley`` with the loopback, to its end."""
    env = environment(tmp, PYTHONPATH=str(ROOT), COLUMNS="200", **settings)
    command = [sys.executable, "-m", "tests.adapters", *arguments]
    return subprocess.run(command, cwd=tmp, env=env, capture_output=True, text=True, timeout=UNHURRIED, check=False)


def tokens(platform: Platform[Any]) -> dict[str, str]:
    """All its tokens, as the examples of its settings have them."""
    fields = platform.settings.model_fields
    return {token.name: str((fields[token.field].examples or [""])[0]) for token in platform.tokens}


@each()
def test_it_describes_itself(platform: Platform[Any]) -> None:
    """Its settings begin with its name, its tokens are secret, and what it names is there."""
    fields = platform.settings.model_fields
    assert issubclass(platform.settings, Settings)
    assert all(field.startswith(f"{platform.name}_") for field in set(fields) - set(Settings.model_fields))
    assert all("SecretStr" in str(fields[token.field].annotation) for token in platform.tokens)
    assert set(platform.ids) <= set(fields)
    assert all(secret.groups >= 1 for secret in platform.secrets)
    headings = re.findall(r"^## (.*)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert not platform.section or platform.section in headings


def test_all_are_listed_where_people_choose_one(tmp_path: Path) -> None:
    """In the help of ``parley run``, and where a name is mistyped."""
    listed = ", ".join(platform.name for platform in ALL)
    shown = parley(tmp_path, "run", "--help").stdout
    assert all(platform.name in shown for platform in ALL)
    assert f"Choose from: {listed}, all, worker." in parley(tmp_path, "run", "zzz").stderr


@each(WITH_ACCOUNT)
def test_its_tokens_are_asked_for(platform: Platform[Any]) -> None:
    """By their names, where it is started without them."""
    with pytest.raises(SettingsError) as error:
        duties(load_all_settings(_env_file=None), [platform.name], worker=True)
    assert all(token.name in str(error.value) for token in platform.tokens)


@each()
def test_its_settings_are_read_and_reported_if_they_are_wrong(
    platform: Platform[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an example."""
    for name, value in tokens(platform).items():
        monkeypatch.setenv(name, value)
    settings = load_all_settings()
    assert all(getattr(settings, token.field).get_secret_value() for token in platform.tokens)
    own = set(platform.settings.model_fields) - set(Settings.model_fields)
    field = next(one for one in sorted(own) if platform.settings.model_fields[one].annotation in (int, bool))
    monkeypatch.setenv(field.upper(), "canary")
    with pytest.raises(SettingsError) as error:
        load_all_settings()
    assert re.fullmatch(rf"{field.upper()}: should be [a-z ]+\. Example: {field.upper()}=\S+", str(error.value))


@each()
async def test_doctor_examines_it(platform: Platform[Any]) -> None:
    """Nothing that it finds holds a secret; what depends on a wrong setting is not tried."""
    found: list[Finding] = []
    own = [field for field in platform.settings.model_fields if field.startswith(f"{platform.name}_")]
    await platform.examine(load_all_settings(**_nowhere()), own, found.append, True)
    assert found
    assert all(check.level in ("warning", "error") and "wrong" in check.found for check in found)


def _nowhere() -> dict[str, str]:
    return {"slack_api_url": "http://127.0.0.1:9/api/", "discord_api_url": "http://127.0.0.1:9/api"}


def test_doctor_has_a_part_for_each(tmp_path: Path) -> None:
    """In their order."""
    shown = parley(tmp_path, "doctor", WEB_PORT="0", REDIS_URL="redis://127.0.0.1:9").stdout
    places = [re.search(rf"^. {platform.title}\b.*:", shown, re.MULTILINE) for platform in ALL]
    assert all(places), shown
    starts = [place.start() for place in places if place]
    assert starts == sorted(starts)


@each(WITH_ACCOUNT)
def test_its_tokens_are_kept_out_of_the_log_and_of_config(platform: Platform[Any], tmp_path: Path) -> None:
    """The beginning that tells the kind stays in the log."""
    if platform.name == "discord":
        given = {"DISCORD_TOKEN": f"MTA5{'x' * 20}.abcdef.{'y' * 27}"}
    else:
        given = {name: f"{value}-canary" for name, value in tokens(platform).items()}
    for token in given.values():
        assert token not in redact(f"refused {token} by the server")
    shown = parley(tmp_path, "config", **given).stdout
    assert all(name in shown and value not in shown for name, value in given.items())


@dataclass(frozen=True)
class Case:
    """A platform that can be asked something: its settings, and how to ask."""

    name: str
    settings: dict[str, str]
    ask: Any


@pytest.fixture(params=[*(pytest.param(name, marks=pytest.mark.slow) for name in ("slack", "discord")), "loopback"])
async def case(request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    """Each platform that is more than a page, for which a browser is needed: see tests/journeys/page."""
    async with _CASES[request.param]() as one:
        yield one


@asynccontextmanager
async def _slack() -> AsyncIterator[Case]:
    async with SlackDouble() as double:

        async def ask(text: str) -> str:
            ts = await double.mention(GENERAL, text)
            await reply(double, GENERAL, ts)
            return "\n".join(posted.text for posted in double.replies(GENERAL, ts))

        keys = {"SLACK_BOT_TOKEN": double.bot_token, "SLACK_APP_TOKEN": double.app_token, "SLACK_API_URL": double.url}
        yield Case("slack", keys, ask)


@asynccontextmanager
async def _discord() -> AsyncIterator[Case]:
    async with DiscordDouble() as double:

        async def ask(text: str) -> str:
            asked = double.mention(text)
            await in_discord.reply(double, asked)
            return "\n".join(posted.text for posted in double.replies(asked))

        api = {"DISCORD_API_URL": double.url, "DISCORD_GATEWAY_URL": double.gateway_url}
        yield Case("discord", {"DISCORD_TOKEN": double.token, **api}, ask)


@asynccontextmanager
async def _loopback() -> AsyncIterator[Case]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    async def ask(text: str) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{loopback.EXAMPLE}\n{text}\n".encode())
        answer = await asyncio.wait_for(reader.readuntil(b"\n.\n"), UNHURRIED)
        writer.close()
        return answer.decode()

    yield Case("loopback", {"LOOPBACK_TOKEN": loopback.EXAMPLE, "LOOPBACK_PORT": str(port)}, ask)


_CASES = {"slack": _slack, "discord": _discord, "loopback": _loopback}


async def test_a_question_gets_one_whole_answer_and_health_shows_the_platform(
    case: Case, tmp_path: Path, redis_url: str
) -> None:
    """And neither its secrets nor what was said are logged."""
    env = environment(tmp_path, PYTHONPATH=str(ROOT), REDIS_URL=redis_url, HTTP_PORT="0", **case.settings)
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.adapters", "run", case.name), cwd=tmp_path, env=env, stderr=stderr
        )
    try:

        async def health(page: str) -> str:
            port = re.search(r'"port": (\d+)', log.read_text())
            if not port:
                return ""
            async with aiohttp.ClientSession() as session:
                try:
                    async with session.get(f"http://127.0.0.1:{port[1]}{page}") as response:
                        return await response.text()
                except aiohttp.ClientError:
                    return ""

        async def is_ready() -> bool:
            return '"status": "ok"' in await health("/readyz") or process.returncode is not None

        await wait_until(is_ready, description="a process that is ready")
        assert f'"name": "{case.name}"' in await health("/readyz"), log.read_text()
        assert f'parley_socket_connected{{platform="{case.name}"}} 1.0' in await health("/metrics")
        answer = await case.ask("Where does the canary sing?")
        assert answer.count("Where does the canary sing?") == 1
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), UNHURRIED) == 0, log.read_text()
    secrets = [value for name, value in case.settings.items() if name.endswith("_TOKEN")]
    assert not [text for text in ("canary", *secrets) if text in log.read_text()]
