"""Whatever a model writes, what Discord is sent rings nobody and shows no preview of a link."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bots.discord.calls import Calls
from bots.discord.client import open_client
from bots.discord.editor import DiscordEditor
from bots.discord.platform import log_in
from bots.discord.settings import DiscordSettings
from bots.discord.typing import Typists
from core.errors import PlatformError
from core.pacing.budget import CallBudget
from core.settings import load_settings
from core.types import Author, ConversationKey, Ending, MessageRef, Outcome, Turn
from tests.doubles.discord import ADA, APP, BOB, GENERAL, GUILD, DiscordDouble
from tests.doubles.discord_records import Call
from tests.examples import examples

MARKUP = st.sampled_from(
    ["@everyone", "@here", f"<@{BOB}>", f"<@!{ADA}>", "<@&400000000000000001>", f"<#{GENERAL}>", "<@", "<@&", ">", "@",
     "`", "```\n", "~~~\n", "||", "[a](https://e.example/?a=b)", "https://e.example ", "![x](http://e.example/p.png)",
     "{\"allowed_mentions\": null}", "\\", "\u200b", "\n", " ", "| a | b |\n|---|---|\n"]
)  # fmt: skip
ANYTHING = st.lists(st.one_of(MARKUP, st.text(max_size=20)), min_size=1, max_size=20).map("".join)
WRITES = ("POST /channels/:id/messages", "PATCH /channels/:id/messages/:id", "PATCH /webhooks/:id/:token/messages/:id")


def asked(message: str, **place: str) -> Turn:
    """A question in the channel."""
    key = ConversationKey("discord", GUILD, GENERAL)
    return Turn(f"discord:{GUILD}:{GENERAL}:{message}", key, f"{key}", Author(ADA, "Ada"), "?", 0.0, place=place)


async def write(editor: DiscordEditor, texts: Sequence[str], outcome: Outcome, whole: str) -> None:
    """A reply from its first words to its end; what Discord does not take at all, such as nothing, is no matter."""
    refs: list[MessageRef] = []
    for text in texts:
        with suppress(PlatformError):
            if refs:
                await editor.edit(refs[0], text, growing=True)
            else:
                refs.append(await editor.post(text, 0, growing=True))
    with suppress(PlatformError):
        await editor.finish(refs, texts[-1:], outcome, whole=whole)


def assert_quiet(call: Call) -> None:
    """Nothing in a call can ring anybody, or makes Discord fetch anything."""
    allowed = call.body["allowed_mentions"]
    assert allowed["parse"] == []
    assert not any(allowed.get(name) for name in ("users", "roles", "replied_user"))
    assert not call.body.get("embeds")
    if call.route != WRITES[1]:  # a message keeps what it was posted with, unless an edit says otherwise
        assert call.body["flags"] & 4
    else:
        assert call.body.get("flags", 4) & 4


@examples(40)
@given(
    texts=st.lists(ANYTHING, min_size=2, max_size=4),
    note=st.one_of(st.just(""), ANYTHING),
    ending=st.sampled_from(Ending),
    whole=st.sampled_from(["", "a file"]),
)
def test_nothing_that_is_sent_can_ring_anybody(texts: list[str], note: str, ending: Ending, whole: str) -> None:
    """Posts, edits, and edits through an interaction's token, as Discord receives them."""
    outcome = Outcome(ending, note, retry=ending is Ending.FAILED)

    async def run() -> None:
        async with DiscordDouble() as discord:
            discord.rest.limits.enforced = False
            chosen: dict[str, Any] = {"discord_token": discord.token, "discord_api_url": discord.url}
            options = load_settings(DiscordSettings, _env_file=None, **chosen)
            free = CallBudget(1000, 1000)
            async with open_client(options) as client, Calls(client, budget=CallBudget(1000, 1000)) as calls:
                await log_in(client, options)

                async def reply(turn: Turn) -> None:
                    editor = DiscordEditor(calls, turn, free, free, typists=Typists(calls))
                    await write(editor, texts, outcome, whole)

                question = discord.mention("ring them")
                await reply(asked(question.id, channel=GENERAL, reply_to=question.id, bot="1"))
                command = discord._interact(2, {"id": "1", "name": "ask", "type": 1, "options": []}, GENERAL, ADA)
                discord.interaction_rules.callback(command.id, command.token, {"type": 5}, {}, ())
                until = f"{time.time() + 900}"
                await reply(asked(command.id, channel=GENERAL, token=command.token, app=APP, until=until))
            written = [call for call in discord.calls if call.route in WRITES and call.method != "GET"]
            assert {call.route for call in written} >= {WRITES[0], WRITES[2]}
            for call in written:
                assert_quiet(call)
            assert discord.pings == []
            for posted in discord.replies():
                assert posted.flags & 4 or posted.thinking

    asyncio.run(run())
