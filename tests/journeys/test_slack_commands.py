"""Commands in Slack: help that fits, mistyped commands, and forgetting what others said."""

from __future__ import annotations

from pathlib import Path

from bots.slack.choices import OPEN_ACTION
from bots.slack.editor import FORGET
from core.policy import HEARS
from tests.doubles.slack import SlackDouble
from tests.doubles.slack_forms import press_whisper, submit
from tests.doubles.slack_records import Posted
from tests.doubles.tgi import TgiDouble
from tests.journeys.process import GENERAL, Parley, in_slack, reply
from tests.waiting import wait_until


async def said(slack: SlackDouble, text: str, user: str = "U0ADA", thread: str = "") -> Posted:
    """The reply to a mention."""
    more = {"thread": thread} if thread else {}
    ts = await slack.mention(GENERAL, text, user=user, **more)
    await wait_until(lambda: slack.replies(GENERAL, thread or ts), description="a reply")
    return slack.replies(GENERAL, thread or ts)[-1]


async def talk(slack: SlackDouble, *users: str) -> None:
    """Each of these people asks something and is answered, and it is remembered."""
    for user in users:
        await reply(slack, GENERAL, await slack.mention(GENERAL, "hello", user=user))

    async def remembered() -> bool:
        return f"{len(users)} message" in (await said(slack, "memory")).text

    await wait_until(remembered, description="what was said")


async def test_help_says_how_to_talk_to_it_there(slack: SlackDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """With a mention in a channel and without in a direct message; whom to ask is named, and not pinged."""
    async with in_slack(slack, tgi, tmp_path, ADMINS="U0CLEO,U0BOB", RETENTION_DAYS="7", HEAR="room"):
        text = (await said(slack, "help")).text
        memory = (await said(slack, "memory")).text
        ts = await slack.dm("help")
        await wait_until(lambda: slack.replies("D0ADA"), description="an answer")
        alone = slack.replies("D0ADA")[-1].text
    assert "`@parley forget`" in text
    assert "`forget`" in alone
    assert "@parley" not in alone
    assert HEARS["room"] in text
    assert HEARS["room"] in memory
    assert "isn't meant for me" not in alone
    assert ts
    for told in (text, alone):
        assert "for 7 days" in told
        assert "can't read files yet" in told
        assert "Ask @Cleo." in told
        assert "<@" not in told
    assert tgi.requests == []


async def test_a_mistyped_command_is_not_sent_to_the_model(slack: SlackDouble, tgi: TgiDouble, parley: Parley) -> None:
    """A question that looks like one is."""
    for typed, meant in (
        ("settings temperatur 0.2", "settings temperature 0.2"),
        ("setings", "settings"),
        ("/hlep", "help"),
        ("forgt", "forget"),
    ):
        assert f"Did you mean `@parley {meant}`?" in (await said(slack, typed)).text
    assert "Did you mean" in (await said(slack, "settings temperature warm")).text
    assert tgi.requests == []
    await reply(slack, GENERAL, await slack.mention(GENERAL, "settings are lost, why?"))
    assert len(tgi.requests) == 1


async def test_forgetting_what_others_said_asks_first(slack: SlackDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """The button works after a restart, for who asked; whatever it carries was not changed on the way."""
    async with in_slack(slack, tgi, tmp_path):
        await talk(slack, "U0ADA", "U0BOB")
        question = await said(slack, "forget")
        assert "4 messages and answers, from 2 people" in question.text
        assert "`@parley forget now`" in question.text
        await wait_until(lambda: question.buttons, description="a button")
    async with in_slack(slack, tgi, tmp_path):
        await slack.press(question, FORGET, user="U0BOB")
        await wait_until(lambda: slack.ephemerals)
        assert slack.ephemerals[-1].text == "Only the person who asked, or an admin, can confirm that."
        value = next(button.value for button in question.buttons if button.action_id == FORGET)
        key, turn, asker, epoch = value.split()
        other = key.replace(GENERAL, "C0OTHER")
        for garbage in ("", "x", f"{key} {turn}"):
            await (await slack.press(question, FORGET, value=garbage)).acked.wait()
        forgeries = (f"{other} {turn} {asker} {epoch}", f"{key} {turn} U0BOB {epoch}", f"{key} {turn} {asker} 7")
        for forged in forgeries:
            seen = len(slack.ephemerals)
            await slack.press(question, FORGET, user="U0BOB" if "U0BOB" in forged else "U0ADA", value=forged)
            await wait_until(lambda: len(slack.ephemerals) > seen, description="a refusal")  # noqa: B023
            assert "no longer works" in slack.ephemerals[-1].text
        assert "2 messages and 2 answers" in (await said(slack, "memory")).text
        await slack.press(question, FORGET)
        await wait_until(lambda: "I've forgotten this channel (4 messages)" in question.text)
        assert not question.buttons
        assert "nothing" in (await said(slack, "memory")).text


async def test_an_admin_may_confirm_and_the_word_alone_does_too(
    slack: SlackDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """And where only the asker has spoken nothing is asked."""
    async with in_slack(slack, tgi, tmp_path, ADMINS="U0CLEO"):
        await talk(slack, "U0ADA", "U0BOB")
        question = await said(slack, "forget")
        await wait_until(lambda: question.buttons, description="a button")
        await slack.press(question, FORGET, user="U0CLEO")
        await wait_until(lambda: "I've forgotten" in question.text)
        await talk(slack, "U0ADA", "U0BOB")
        assert "I've forgotten this channel" in (await said(slack, "forget now")).text
        await talk(slack, "U0ADA")
        assert "I've forgotten this channel" in (await said(slack, "forget")).text


async def test_only_admins_forget_and_set_where_that_is_set(slack: SlackDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """By words, and by the form, also by one that was opened before; in a direct message everybody can."""
    only = {"FORGET_BY": "admins", "SETTINGS_BY": "admins", "ADMINS": "U0CLEO", "CONTACT": "@ops"}
    async with in_slack(slack, tgi, tmp_path):
        await said(slack, "settings")
        await wait_until(lambda: slack.ephemerals, description="the button")
        whisper = slack.ephemerals[-1]
        await press_whisper(slack, whisper, OPEN_ACTION)
        await wait_until(lambda: slack.views, description="the form")
    async with in_slack(slack, tgi, tmp_path, **only):
        for text in ("forget", "forget now", "settings temperature 0.2"):
            assert (await said(slack, text)).text.endswith("Ask @ops.")
        seen, views = len(slack.ephemerals), len(slack.views)
        assert "0.7 (default)" in (await said(slack, "settings")).text
        await press_whisper(slack, whisper, OPEN_ACTION)
        await wait_until(lambda: len(slack.ephemerals) > seen, description="a refusal")
        assert "Only admins can change settings" in slack.ephemerals[-1].text
        assert len(slack.views) == views
        sent = await submit(slack, slack.views[-1], temperature="1.5")
        await sent.acked.wait()
        assert "Ask @ops." in next(iter(sent.response["errors"].values()))
        assert "Done." in (await said(slack, "settings temperature 0.2", user="U0CLEO")).text
        await slack.dm("settings temperature 0.3")
        await wait_until(lambda: slack.replies("D0ADA"), description="an answer")
        assert slack.replies("D0ADA")[-1].text.startswith("Done.")


async def test_what_nobody_can_mend_alone_names_whom_to_ask(slack: SlackDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """A refusal, a limit, and a model that is away; the first admin where no contact is set, and nobody is pinged."""
    nowhere = {"MODEL_URL": "http://127.0.0.1:9", "QUOTA_USER": "turns=1/min", "SLACK_ALLOW_USERS": "U0ADA"}
    async with in_slack(slack, tgi, tmp_path, ADMINS="U0CLEO", **nowhere):
        posted = await reply(slack, GENERAL, await slack.mention(GENERAL, "hello"))
        assert "I can't reach the model right now." in posted.text
        assert "tell @Cleo." in posted.text
        for user, told in (("U0ADA", "If you need more, ask @Cleo."), ("U0BOB", "Ask @Cleo to add you.")):
            seen = len(slack.ephemerals)
            await slack.mention(GENERAL, "hello", user=user)
            await wait_until(lambda: len(slack.ephemerals) > seen, description="a line")  # noqa: B023
            assert slack.ephemerals[-1].text.endswith(told)
    assert not slack.pings
