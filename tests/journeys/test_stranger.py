"""A stranger's path, as the README has it: from nothing to a team's assistant that outlives its Redis."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.doubles.discord import DiscordDouble
from tests.doubles.slack import SlackDouble
from tests.journeys.browser import serving_page
from tests.journeys.discord import reply as discord_reply
from tests.journeys.process import GENERAL, command, reply, run_parley
from tests.redis_server import running_redis
from tests.waiting import wait_until


async def parley(*words: str, cwd: Path, said: str = "", **settings: str) -> str:
    """What a command says, if it ends well."""
    ran = await command(cwd, *words, said=said, **settings)
    assert ran.code == 0, f"{words}: {ran.out}{ran.err}"
    return ran.out


@pytest.mark.slow
async def test_from_a_fresh_folder_to_a_restored_memory(slack: SlackDouble, tmp_path: Path) -> None:
    """The demo in the terminal, the page, Slack and Discord with two workers, a backup, an empty Redis: it goes on."""
    said = await parley("chat", cwd=tmp_path, said="My name is Ada.\nWhat is my name?\n")
    assert '"My name is Ada."' in said.partition('You wrote: "What is my name?"')[2]
    async with serving_page(tmp_path) as (_, url), aiohttp.ClientSession() as session, session.get(url) as page:
        assert "Parley" in await page.text()
    async with DiscordDouble() as discord, AsyncExitStack() as stack:
        tokens = {
            "SLACK_API_URL": slack.url,
            "SLACK_BOT_TOKEN": slack.bot_token,
            "SLACK_APP_TOKEN": slack.app_token,
            "DISCORD_TOKEN": discord.token,
            "DISCORD_API_URL": discord.url,
            "DISCORD_GATEWAY_URL": discord.gateway_url,
        }
        lines = [f"{name}={value}\n" for name, value in tokens.items()]
        (tmp_path / ".env").write_text("".join(lines), encoding="utf-8")
        await stack.enter_async_context(running_redis(tmp_path / "old.sock"))
        old = {"REDIS_URL": f"unix://{tmp_path}/old.sock"}
        checks = json.loads(await parley("doctor", "--json", cwd=tmp_path, **old))
        assert checks["ok"], checks

        async with AsyncExitStack() as running:
            listener = await running.enter_async_context(
                run_parley(tmp_path, "run", "slack", "discord", "--no-worker", **old)
            )
            workers = [await running.enter_async_context(run_parley(tmp_path, "run", "worker", **old)) for _ in "12"]
            await wait_until(
                lambda: slack.sockets and discord.gateway.connected and "connected to Discord" in listener.log,
                description="both platforms",
            )
            first = await reply(slack, GENERAL, await slack.mention(GENERAL, "My name is Ada."))
            assert first.text
            asked = discord.mention("My name is Ada.")
            assert (await discord_reply(discord, asked)).text
            await parley("memory", "ls", cwd=tmp_path, **old)
            backup = json.loads(await parley("backup", "team.backup", "--json", cwd=tmp_path, **old))
            # Two channels, and the thread in Slack that the answer opened.
            assert (backup["conversations"], backup["waiting"]) == (3, 0)
            assert [await process.stop() for process in (listener, *workers)] == [0, 0, 0]

        await stack.enter_async_context(running_redis(tmp_path / "new.sock"))
        new = {"REDIS_URL": f"unix://{tmp_path}/new.sock"}
        restored = json.loads(await parley("restore", "team.backup", "--json", cwd=tmp_path, **new))
        assert restored["written"] == 3
        async with run_parley(tmp_path, "run", **new) as whole:
            await wait_until(
                lambda: slack.sockets and "connected to Discord" in whole.log,
                description="both platforms again",
            )
            again = await reply(slack, GENERAL, await slack.mention(GENERAL, "What is my name?"))
            assert '"My name is Ada."' in again.text
            there = await discord_reply(discord, discord.mention("What is my name?"))
            assert '"My name is Ada."' in there.text
