"""Questions whose interaction could not be acknowledged, and tokens that open nothing, over the real client."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bots.discord.calls import Calls
from bots.discord.client import open_client
from bots.discord.editor import DiscordEditor
from bots.discord.platform import log_in
from bots.discord.settings import DiscordSettings
from bots.discord.typing import Typists
from bots.discord.writers import UNACKNOWLEDGED_SECONDS
from core.errors import MessageGone, PlatformUnavailable
from core.pacing.budget import CallBudget
from core.settings import load_settings
from core.types import Author, ConversationKey, Turn
from tests.doubles.discord import ADA, APP, GENERAL, GUILD, DiscordDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.discord import answered, parley
from tests.journeys.process import STREAM, Parley
from tests.waiting import wait_until

__all__ = ["parley"]  # a fixture

CALLBACK = "POST /interactions/:id/:token/callback"


@pytest.mark.parametrize("private", [False, True])
async def test_a_question_that_could_not_be_acknowledged_is_withdrawn(
    discord: DiscordDouble, tgi: TgiDouble, parley: Parley, private: bool
) -> None:
    """Discord has told the person that it failed: the model stops, and nothing is written anywhere."""
    tgi.answer, tgi.rate = STREAM, 20
    discord.fail(CALLBACK, 404, 10062)
    failed = discord.command("ask", prompt="a long one", private=private)
    await wait_until(lambda: any(call.route == CALLBACK for call in discord.refused))
    tgi.rate = 1000
    answer = await answered(discord.command("ask", prompt="and now?", private=private))
    assert discord.messages() == [answer]
    assert not failed.original
    assert "a long one" not in tgi.requests[-1].inputs


async def test_what_another_process_acknowledged_is_answered(
    discord: DiscordDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """Discord takes one response; that ours is not the first is no failure."""
    discord.fail(CALLBACK, 400, 40060, after=True)
    answer = await answered(discord.command("ask", prompt="hello"))
    assert answer.text.endswith("Ada: hello")
    assert discord.messages() == [answer]


@pytest.mark.parametrize("fault", [{"status": 502, "after": True}, {"status": 502}, {"status": 0, "drop": True}])
async def test_an_acknowledgement_that_was_lost_is_sent_again(
    discord: DiscordDouble, tgi: TgiDouble, parley: Parley, fault: dict[str, Any]
) -> None:
    """Whether Discord had it or not."""
    discord.fail(CALLBACK, **fault)
    answer = await answered(discord.command("ask", prompt="hello"))
    assert answer.text.endswith("Ada: hello")
    assert discord.messages() == [answer]


@pytest.mark.parametrize("bot", ["1", ""])
async def test_a_token_that_was_never_acknowledged_is_believed_for_seconds_only(
    discord: DiscordDouble, bot: str
) -> None:
    """Then the answer takes the other door, if there is one, and ends if there is none."""
    chosen: dict[str, Any] = {"discord_token": discord.token, "discord_api_url": discord.url}
    options, free = load_settings(DiscordSettings, _env_file=None, **chosen), CallBudget(1000, 1000)
    async with open_client(options) as client, Calls(client) as calls:
        await log_in(client, options)
        command = discord._interact(2, {"id": "1", "name": "ask", "type": 1, "options": []}, GENERAL, ADA)
        place = {"channel": GENERAL, "token": command.token, "app": APP, "until": f"{time.time() + 900}", "bot": bot}

        def editor(at: float) -> DiscordEditor:
            key = ConversationKey("discord", GUILD, GENERAL)
            turn = Turn(f"discord:{GUILD}:{GENERAL}:{command.id}", key, f"{key}", Author(ADA, "Ada"), "?", at,
                        place=place)  # fmt: skip
            return DiscordEditor(calls, turn, free, free, typists=Typists(calls))

        with pytest.raises(PlatformUnavailable):
            await editor(time.time()).post("Too early.", 0, growing=True)
        late = editor(time.time() - UNACKNOWLEDGED_SECONDS - 1)
        if bot:
            await late.post("Too late.", 0, growing=True)
            assert [posted.text for posted in discord.replies()] == ["Too late."]
        else:
            with pytest.raises(MessageGone):
                await late.post("Too late.", 0, growing=True)
            assert discord.replies() == []
