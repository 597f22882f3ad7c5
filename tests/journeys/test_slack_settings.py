"""Settings as a form in Slack: offered to who asks, filled in with what was chosen, checked field by field."""

from __future__ import annotations

from pathlib import Path

from bots.slack.choices import OPEN_ACTION, RESET_FIELD
from tests.doubles.slack import SlackDouble
from tests.doubles.slack_forms import press_whisper, submit
from tests.doubles.slack_records import Json
from tests.doubles.tgi import TgiDouble
from tests.journeys.process import GENERAL, Parley, in_slack, reply
from tests.waiting import wait_until


async def opened(slack: SlackDouble) -> Json:
    """The form, after a mention and a press of the button that comes with its answer."""
    before = len(slack.views)
    seen = len(slack.ephemerals)
    await reply(slack, GENERAL, await slack.mention(GENERAL, "settings"))
    await wait_until(lambda: len(slack.ephemerals) > seen, description="the button")
    await press_whisper(slack, slack.ephemerals[-1], OPEN_ACTION)
    await wait_until(lambda: len(slack.views) > before, description="the form")
    return slack.views[-1]


async def test_what_is_filled_in_counts_from_the_next_answer_on(
    slack: SlackDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """And stands in the form the next time; an empty field is the default."""
    form = await opened(slack)
    assert [block["block_id"] for block in form["blocks"]] == ["system", "temperature", "top_p", "max", RESET_FIELD]
    sent = await submit(slack, form, system="You are a pirate.", temperature="0", max="7")
    await sent.acked.wait()
    assert not sent.response
    tgi.answer = "arr " * 20
    await reply(slack, GENERAL, await slack.mention(GENERAL, "hello"))
    asked = [seen for seen in tgi.requests if seen.inputs][-1]
    assert asked.inputs.startswith("System: You are a pirate.\n")
    assert (asked.parameters["do_sample"], asked.parameters["max_new_tokens"]) == (False, 7)
    fields = {block["block_id"]: block["element"] for block in (await opened(slack))["blocks"]}
    assert (fields["temperature"]["initial_value"], fields["max"]["initial_value"]) == ("0", "7")
    sent = await submit(slack, slack.views[-1], system="", max="")
    await sent.acked.wait()
    fields = {block["block_id"]: block["element"] for block in (await opened(slack))["blocks"]}
    assert "initial_value" not in fields["max"]
    assert fields["temperature"]["initial_value"] == "0"


async def test_what_is_wrong_is_said_beside_its_field(slack: SlackDouble, parley: Parley) -> None:
    """And nothing is stored."""
    sent = await submit(slack, await opened(slack), temperature="9", max="5")
    await sent.acked.wait()
    assert sent.response["response_action"] == "errors"
    assert sent.response["errors"] == {"temperature": "temperature is a number from 0 to 2, not 9."}
    fields = {block["block_id"]: block["element"] for block in (await opened(slack))["blocks"]}
    assert "initial_value" not in fields["max"]


async def test_all_is_taken_back_by_one_box(slack: SlackDouble, parley: Parley) -> None:
    """Whatever else stands in the form."""
    sent = await submit(slack, await opened(slack), temperature="1.5")
    await sent.acked.wait()
    sent = await submit(slack, await opened(slack), **{RESET_FIELD: RESET_FIELD, "max": "9"})
    await sent.acked.wait()
    posted = await reply(slack, GENERAL, await slack.mention(GENERAL, "settings"))
    assert "`temperature`: 0.7 (default)" in posted.text
    assert "`max`: 1,024 tokens (default)" in posted.text


async def test_what_somebody_does_not_touch_stays_as_others_left_it(
    slack: SlackDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """Also a system prompt that is longer than its field; the form says so."""
    system = "Never talk about prices. " * 200 + "Be kind."
    await reply(slack, GENERAL, await slack.mention(GENERAL, f"settings system {system}"))
    adas, bobs = await opened(slack), await opened(slack)
    field = adas["blocks"][0]
    assert len(field["element"]["initial_value"]) == 3000
    assert "This shows only the first 3,000 characters." in field["hint"]["text"]
    for form, user, filled in ((bobs, "U0BOB", {"max": "50"}), (adas, "U0ADA", {"temperature": "0.2"})):
        sent = await submit(slack, form, user, **filled)
        await sent.acked.wait()
        assert not sent.response
    await reply(slack, GENERAL, await slack.mention(GENERAL, "hello"))
    asked = tgi.requests[-1]
    assert asked.inputs.startswith(f"System: {system}\n")
    assert (asked.parameters["temperature"], asked.parameters["max_new_tokens"]) == (0.2, 50)


async def test_a_form_that_was_opened_before_an_upgrade_can_be_sent_after_it(
    slack: SlackDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """It tells of its conversation, and not of what it showed."""
    form = await opened(slack) | {"private_metadata": f"slack:{slack.team}:{GENERAL}"}
    sent = await submit(slack, form, max="50")
    await sent.acked.wait()
    assert not sent.response
    await reply(slack, GENERAL, await slack.mention(GENERAL, "hello"))
    assert tgi.requests[-1].parameters["max_new_tokens"] == 50


async def test_models_and_personas_are_menus(slack: SlackDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """Where there is more than one to choose from; of a long name a menu shows the beginning."""
    small = "small-" * 20
    (tmp_path / "personas").mkdir()
    (tmp_path / "personas" / "pirate.md").write_text("Say {{word}}.", encoding="utf-8")
    table = tmp_path / "models.toml"
    entries = [f'[models.{name}]\nurl = "{tgi.url}"\napi = "tgi"\n' for name in ("large", small)]
    table.write_text("".join(entries), encoding="utf-8")
    settings = {"MODELS_FILE": str(table), "PERSONAS": str(tmp_path / "personas"), "PERSONA_VARIABLES": "word=arr"}
    async with in_slack(slack, tgi, tmp_path, MODEL_API="", MODEL_URL="", **settings):
        for filled in ({"persona": "pirate", "model": small[:75]}, {"temperature": "0.2"}):
            sent = await submit(slack, await opened(slack), **filled)
            await sent.acked.wait()
            assert not sent.response
        told = await reply(slack, GENERAL, await slack.mention(GENERAL, "settings"))
        assert f"`model`: {small}. Choose: `large`" in told.text
        assert "`temperature`: 0.2" in told.text
        await reply(slack, GENERAL, await slack.mention(GENERAL, "hello"))
    assert tgi.requests[-1].inputs.startswith("System: Say arr.\n")
