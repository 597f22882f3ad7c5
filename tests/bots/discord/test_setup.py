"""What is done once: doctor, the invitation, and the registration of commands, as real processes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.discord import GENERAL, DiscordDouble
from tests.doubles.discord_world import GUILD
from tests.journeys.process import command


@pytest.fixture
async def discord() -> AsyncIterator[DiscordDouble]:
    """Discord, with its limits."""
    async with DiscordDouble() as double:
        yield double


async def parley(tmp: Path, discord: DiscordDouble, *arguments: str, **settings: str) -> tuple[int, str, str]:
    """A command of ``parley``: its exit code, and what it printed."""
    tokens = {"DISCORD_TOKEN": discord.token, "DISCORD_API_URL": discord.url}
    ran = await command(tmp, *arguments, **{**tokens, **settings})
    return ran.code, ran.out, ran.err


async def doctor(tmp: Path, discord: DiscordDouble, **settings: str) -> dict[str, dict[str, Any]]:
    """What doctor found in Discord, by name."""
    _, out, _ = await parley(tmp, discord, "doctor", "--json", **settings)
    return {check["name"]: check for check in json.loads(out)["checks"] if check["name"].startswith("discord")}


async def test_the_invitation_asks_for_the_least(discord: DiscordDouble, tmp_path: Path) -> None:
    """Its address is all that is printed."""
    code, out, _ = await parley(tmp_path, discord, "discord", "invite")
    assert code == 0
    assert out.startswith("https://discord.com/oauth2/authorize?client_id=900000000000000001&")
    assert "permissions=309237746688" in out
    assert "administrator" not in out


async def test_commands_are_synced_when_they_changed(discord: DiscordDouble, tmp_path: Path) -> None:
    """The second time there is nothing to do, unless one insists."""
    assert "Registered" in (await parley(tmp_path, discord, "discord", "sync"))[1]
    assert "Nothing changed" in (await parley(tmp_path, discord, "discord", "sync"))[1]
    assert discord.rest.syncs == 1
    assert "Registered" in (await parley(tmp_path, discord, "discord", "sync", "--force"))[1]


async def test_a_wrong_token_is_one_line_and_a_remedy(discord: DiscordDouble, tmp_path: Path) -> None:
    """And no traceback."""
    code, _, err = await parley(tmp_path, discord, "discord", "invite", DISCORD_TOKEN="wrong")
    assert code == 2
    assert "rejects" in err
    assert "Reset Token" in err
    assert "Traceback" not in err


async def test_doctor_says_what_works(discord: DiscordDouble, tmp_path: Path) -> None:
    """The bot, its intents, where it is; and that its commands are not there yet."""
    found = await doctor(tmp_path, discord)
    assert found["discord.bot"]["level"] == "ok"
    assert found["discord.intents"]["level"] == "ok"
    assert found["discord.servers"]["level"] == "ok"
    assert found["discord.permissions"]["level"] == "ok"
    assert "not registered" in found["discord.commands"]["found"]


async def test_doctor_after_the_commands_were_registered(discord: DiscordDouble, tmp_path: Path) -> None:
    """They are compared with what Discord has."""
    await parley(tmp_path, discord, "discord", "sync")
    assert (await doctor(tmp_path, discord))["discord.commands"]["level"] == "ok"


async def test_doctor_says_what_is_missing(discord: DiscordDouble, tmp_path: Path) -> None:
    """An intent that is not switched on, and a right in a channel."""
    discord.channels[GENERAL].denied |= {"SEND_MESSAGES", "ATTACH_FILES"}
    found = await doctor(tmp_path, discord, DISCORD_MESSAGE_CONTENT="true")
    assert found["discord.intents"]["level"] == "error"
    assert "Message Content Intent" in found["discord.intents"]["remedy"]
    assert "#general (Test): " in found["discord.permissions"]["found"]
    assert "send messages" in found["discord.permissions"]["found"]
    discord.guilds[GUILD].installed = False
    assert (await doctor(tmp_path, discord))["discord.servers"]["level"] == "warning"


async def test_doctor_says_that_a_channel_is_not_heard(discord: DiscordDouble, tmp_path: Path) -> None:
    """HEAR=room needs an intent, and the setting that asks for it."""
    intents = (await doctor(tmp_path, discord, HEAR="room"))["discord.intents"]
    assert (intents["level"], "DISCORD_MESSAGE_CONTENT=true" in intents["remedy"]) == ("warning", True)
    discord.allow_message_content()
    found = await doctor(tmp_path, discord, HEAR="room", DISCORD_MESSAGE_CONTENT="true")
    assert found["discord.intents"]["level"] == "ok"


async def test_doctor_with_a_wrong_token(discord: DiscordDouble, tmp_path: Path) -> None:
    """One error, and how to get the right one."""
    found = await doctor(tmp_path, discord, DISCORD_TOKEN="wrong")
    assert list(found) == ["discord.bot"]
    assert found["discord.bot"]["level"] == "error"
