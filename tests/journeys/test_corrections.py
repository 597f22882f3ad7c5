"""A correction is understood as the first text was, and only what a person changed is one."""

from __future__ import annotations

import pytest

from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.conftest import Deployment
from tests.journeys.process import GENERAL, STREAM, Parley, reply
from tests.waiting import wait_until


@pytest.mark.parametrize("when", ["waits", "grows", "is remembered"])
async def test_a_correction_keeps_names_and_files(
    slack: SlackDouble, tgi: TgiDouble, deployment: Deployment, when: str
) -> None:
    """Also where another process answers than the one that hears of it."""
    asked = f"<@{slack.bot_user}> what does <@U0BOB> say in it, pleese?"
    ts = await slack.say(GENERAL, asked, files=[{"id": "F1", "name": "plan.pdf"}])
    tgi.answer, tgi.rate = STREAM, 60
    mended = asked.replace("pleese", "please")
    if when == "waits":
        await slack.edit(GENERAL, ts, mended)
    async with deployment.worker():
        await reply(slack, GENERAL, ts, final=when == "is remembered")
        if when != "waits":
            await slack.edit(GENERAL, ts, mended)
        await reply(slack, GENERAL, ts)
        await wait_until(lambda: not slack.unacked())
        await slack.preview(GENERAL, ts)
        tgi.rate = 0
        again = await slack.mention(GENERAL, "go on")
        await reply(slack, GENERAL, again)
    prompt = tgi.requests[-1].inputs
    assert "what does @Bob say in it, please?\n[attached, and not readable to you: plan.pdf]" in prompt
    assert "pleese" not in prompt
    assert "U0BOB" not in prompt


async def test_a_preview_of_a_link_corrects_nothing(slack: SlackDouble, tgi: TgiDouble, parley: Parley) -> None:
    """Twice while the answer grows, and twice afterwards: nothing that was understood is lost."""
    tgi.answer, tgi.rate = STREAM, 60
    ts = await slack.mention(GENERAL, "summarise https://a.example", files=[{"id": "F1", "name": "plan.pdf"}])
    await reply(slack, GENERAL, ts, final=False)
    for _ in range(2):
        await slack.preview(GENERAL, ts)
    await reply(slack, GENERAL, ts)
    for _ in range(2):
        await slack.preview(GENERAL, ts)
    await wait_until(lambda: not slack.unacked())
    tgi.rate = 0
    await reply(slack, GENERAL, await slack.mention(GENERAL, "go on"))
    assert "https://a.example\n[attached, and not readable to you: plan.pdf]" in tgi.requests[-1].inputs
