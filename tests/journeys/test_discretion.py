"""What Parley tells nobody: a noisy session in which much goes wrong, at the most talkative level, read to its end."""

from __future__ import annotations

import json
import re
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from tests.doubles.discord import ADA, BOB, DiscordDouble
from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.discord import tokens as discord_tokens
from tests.journeys.process import GENERAL, Parley, command, reply, run_parley
from tests.redis_server import running_redis
from tests.waiting import wait_until

CANARY = re.compile(r"canary", re.IGNORECASE)
"""It is in every secret, in all that is said, in every name, and in the system prompt."""
MODEL_FAULTS = ("500", "401", "html", "echo", "echo_key", "error", "garbage", "bad_utf8")
SPOILED = ("drop", "reset", "silent")
"""Faults in the middle of an answer."""


async def say(*words: str, cwd: Path, **settings: str) -> str:
    """All that a command says, on both streams."""
    ran = await command(cwd, *words, **settings)
    return ran.out + ran.err


async def page(parley: Parley, name: str) -> str:
    """A page of the process, at the port that its log names."""
    port = re.search(r'"port": (\d+)', parley.log)
    assert port
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port[1]}{name}") as response:
        return await response.text()


def look_for_canaries(where: str, text: str) -> None:
    """Nothing of what must not be told is there."""
    found = [line for line in text.splitlines() if CANARY.search(line)]
    assert not found, f"{where}: {found[:3]}"


async def test_nothing_that_anybody_said_and_no_secret_is_in_any_log_metric_or_error(
    slack: SlackDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """Two platforms, a model that has one bad day after another, a Redis that dies: not a word of it, not a name."""
    slack.bot_token, slack.app_token, tgi.api_key = "xoxb-canary-1", "xapp-canary-2", "hf_canary"
    faults = (*MODEL_FAULTS, *SPOILED)
    for number in range(len(faults)):
        slack.add_user(f"U0LOUD{number}", "loud")
    for user in (user for user in slack.users.values() if not user.is_bot):
        user.name = user.display_name = f"Canary of {user.id}"
    place = tmp_path / "redis.sock"
    async with AsyncExitStack() as stack:
        discord = await stack.enter_async_context(DiscordDouble())
        server = await stack.enter_async_context(running_redis(place))
        settings = {
            **discord_tokens(discord, tgi),
            "SLACK_API_URL": slack.url,
            "SLACK_BOT_TOKEN": slack.bot_token,
            "SLACK_APP_TOKEN": slack.app_token,
            "MODEL_API_KEY": tgi.api_key,
            "SYSTEM_PROMPT": "You are a canary.",
            "REDIS_URL": f"unix://{place}?client_name=canary",
            "HTTP_PORT": "0",
            "LOG_LEVEL": "debug",
            "BETWEEN_TOKENS_TIMEOUT": "1",
        }
        parley = await stack.enter_async_context(run_parley(tmp_path, "run", **settings))
        await wait_until(
            lambda: slack.sockets and '"connected to Slack"' in parley.log and "connected to Discord" in parley.log,
            description=f"two platforms: {parley.log}",
        )
        tgi.answer = "The canary sings of canaries. " * 8
        for fault in faults:
            tgi.fault(fault, after=5, times=2)
        for number, fault in enumerate(faults):
            await slack.dm(f"canary {fault}", user=f"U0LOUD{number}")
        public = [discord.mention(f"canary {number}", user=user) for number, user in enumerate((ADA, BOB))]
        await wait_until(
            lambda: parley.log.count('"event": "answered"') >= len(faults) + len(public),
            description="an end to every answer",
        )
        assert all(slack.replies(slack.dm_with(f"U0LOUD{number}").id) for number in range(len(faults)))
        assert all(discord.replies(asked) for asked in public)
        slack.break_("chat.postMessage", 502)
        slack.break_("chat.update", 502)
        slack.break_("users.info", 500)
        discord.fail("POST /channels", 500)
        for number in range(4):
            asked = await slack.mention(GENERAL, f"canary number {number}", user="U0BOB")
            await slack.edit(GENERAL, asked, f"<@{slack.bot_user}> another canary")
            if number == 3:
                await slack.delete(GENERAL, asked)
            else:
                await reply(slack, GENERAL, asked, final=False)
        await slack.send_event({"type": "canary", "user": "U0ADA", "text": "canary", "channel": GENERAL})
        await slack.drop_sockets()
        for word in ("memory", "settings system a canary", "settings temperature canary", "forget", "canary forget"):
            await reply(slack, GENERAL, await slack.mention(GENERAL, word), final=False)
        pages = [await page(parley, name) for name in ("/metrics", "/readyz", "/livez")]
        commands = [("queue", "ls"), ("queue", "ls", "--json"), ("queue", "dead", "ls"), ("memory", "ls")]
        said = [await say(*words, cwd=tmp_path, **settings) for words in (*commands, ("doctor",))]
        server.kill()
        await slack.mention(GENERAL, "a canary in the dark")
        await wait_until(lambda: "StorageError" in parley.log or "Redis could not" in parley.log, description="a line")
        pages += [await page(parley, name) for name in ("/metrics", "/readyz")]
        said.append(await say("memory", "ls", cwd=tmp_path, **settings))
        await stack.enter_async_context(running_redis(place))
        await parley.stop()
    look_for_canaries("the log", parley.log)
    look_for_canaries("the pages", "\n".join(pages))
    look_for_canaries("the commands", "\n".join(said))
    assert parley.log.count("answer interrupted") + parley.log.count("did not answer") >= len(faults)
    log = [json.loads(line) for line in parley.log.splitlines()]
    assert len(log) > 60
    assert {"info", "warning"} <= {line["level"] for line in log}
    ids = {*slack.users, *slack.channels, discord.token}
    assert not [line for line in parley.log.splitlines() if any(one in line for one in ids)]
