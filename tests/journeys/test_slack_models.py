"""Slack on other servers than TGI: OpenAI's API, found by asking; reasoning; settings; a second model."""

from __future__ import annotations

from pathlib import Path

from tests.doubles.openai import SERVERS, OpenAIDouble
from tests.doubles.slack import SlackDouble
from tests.doubles.tgi import TgiDouble, tokens_of
from tests.journeys.process import GENERAL, in_slack, reply
from tests.waiting import wait_until


async def test_while_a_model_reasons_people_see_that_it_works_and_nothing_else(
    slack: SlackDouble, tmp_path: Path
) -> None:
    """The status stands as long as there is no word of the answer; then the answer alone is there."""
    async with OpenAIDouble(SERVERS["vllm"], rate=60) as server:
        server.thoughts, server.answer = tokens_of(" they want a greeting so I think hard" * 8), " Hello there."
        async with in_slack(slack, server, tmp_path, MODEL_API="", MODEL_URL=server.url) as parley:
            ts = await slack.mention(GENERAL, "hi")
            await wait_until(lambda: server.requests and server.requests[-1].tokens_sent > 5 and slack.statuses)
            assert slack.statuses[-1].status == "processing"
            assert not slack.replies(GENERAL, ts)
            posted = await reply(slack, GENERAL, ts)
            assert "model API detected" in parley.log
    assert posted.text == "Hello there."
    assert all("think" not in text for text in posted.shown)
    said = server.requests[-1].parameters["messages"]
    assert [message["role"] for message in said] == ["system", "user"]
    assert said[1]["content"].endswith("Ada: hi")


async def test_settings_are_shown_and_changed_by_a_mention(slack: SlackDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """And the next answer follows them."""
    async with in_slack(slack, tgi, tmp_path):
        posted = await reply(slack, GENERAL, await slack.mention(GENERAL, "settings"))
        assert "`temperature`: 0.7 (default)" in posted.text
        await reply(slack, GENERAL, await slack.mention(GENERAL, "settings temperature 0"))
        posted = await reply(slack, GENERAL, await slack.mention(GENERAL, "settings temperature warm"))
        assert "from 0 to 2" in posted.text
        await reply(slack, GENERAL, await slack.mention(GENERAL, "hello"))
    assert tgi.requests[-1].parameters["do_sample"] is False
    assert len([seen for seen in tgi.requests if seen.inputs]) == 1


async def test_a_second_model_answers_where_the_first_is_dead(
    slack: SlackDouble, tgi: TgiDouble, tmp_path: Path, unused_tcp_port: int
) -> None:
    """Nobody notices."""
    table = tmp_path / "models.toml"
    dead = f'[models.large]\nurl = "http://127.0.0.1:{unused_tcp_port}/v1"\n'
    table.write_text(f'{dead}[models.small]\nurl = "{tgi.url}"\ntemplate = "zephyr"\n', encoding="utf-8")
    tgi.answer = " from the small one"
    async with in_slack(slack, tgi, tmp_path, MODEL_API="", MODEL_URL="", MODELS_FILE=str(table)):
        posted = await reply(slack, GENERAL, await slack.mention(GENERAL, "hello"))
    assert posted.text == "from the small one"
    assert tgi.requests[-1].inputs.endswith("Ada: hello</s>\n<|assistant|>\n")


async def test_an_edited_template_serves_without_a_restart(slack: SlackDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """From the next question on, or the one after it."""
    file = tmp_path / "team.jinja"
    template = "{%% for said in messages %%}<%s:{{ said.role }}> {{ said.content }}\n{%% endfor %%}"
    file.write_text(template % "old", encoding="utf-8")
    async with in_slack(slack, tgi, tmp_path, PROMPT_TEMPLATE=str(file)):
        await reply(slack, GENERAL, await slack.mention(GENERAL, "hello"))
        assert "<old:user>" in tgi.requests[-1].inputs
        file.write_text(template % "newer", encoding="utf-8")

        async def serves() -> bool:
            await reply(slack, GENERAL, await slack.mention(GENERAL, "again"))
            return "<newer:user>" in tgi.requests[-1].inputs

        await wait_until(serves)


async def test_a_model_that_reasons_for_long_is_said_to_and_can_be_stopped(slack: SlackDouble, tmp_path: Path) -> None:
    """In the message that becomes the answer; nothing of the reasoning is seen."""
    async with OpenAIDouble(SERVERS["vllm"], rate=20) as server:
        server.thoughts, server.answer = tokens_of(" they want a greeting" * 22), " Hello there."
        async with in_slack(slack, server, tmp_path, MODEL_API="openai", MODEL_URL=server.url) as parley:
            ts = await slack.mention(GENERAL, "hi")
            posted = await reply(slack, GENERAL, ts, final=False)
            assert posted.text == "_Thinking …_"
            assert [button.label for button in posted.buttons] == ["Stop"]
            await wait_until(lambda: posted.text == "Hello there.")
            ts = await slack.mention(GENERAL, "hi again")
            posted = await reply(slack, GENERAL, ts, final=False)
            await slack.press(posted, "parley_stop")
            await wait_until(lambda: "Stopped." in posted.text)
            await wait_until(lambda: server.requests[-1].closed_early)
            assert len(slack.replies(GENERAL, ts)) == 1
            assert await parley.stop() == 0
    assert not any("greeting" in text for text in posted.shown)
