"""``parley config`` and ``parley prompt show``: what counts, and what a model sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bots.cli import cli
from bots.platforms import all_settings
from tests.doubles.openai import OpenAIDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.process import command, environment, run_command

SECRETS = {
    "SLACK_BOT_TOKEN": "xoxb-canary",
    "MODEL_API_KEY": "canary",
    "REDIS_URL": "redis://ada:can%40ary@localhost:6379/0",
    "MODEL_URL": "http://canary:canary@localhost:8080/v1?key=canary",
}


def rows(tmp_path: Path, *words: str, **settings: str) -> dict[str, tuple[object, str]]:
    """What `parley config --json` says: values and sources by name."""
    result = CliRunner().invoke(cli, ["config", "--json", *words], env=environment(tmp_path, **settings))
    assert "canary" not in result.output
    return {row["name"]: (row["value"], row["source"]) for row in json.loads(result.stdout)}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_setting_has_a_line_and_where_it_comes_from(tmp_path: Path) -> None:
    """The environment before .env, with its line, before the default; under the name by which it was set."""
    (tmp_path / ".env").write_text("\nTEMPERATURE=0.1\nTOP_P=0.9\nTEMPERATURE=0.2\n", encoding="utf-8")
    said = rows(tmp_path, TOP_P="0.5", HF_API_KEY="canary", SLACK_ALLOW_USERS="U2,U1", QUOTA_USER="turns=20/min")
    assert said["TEMPERATURE"] == (0.2, ".env, line 4")
    assert said["TOP_P"] == (0.5, "environment")
    assert said["HF_API_KEY"] == ("…", "environment")
    assert said["SLACK_ALLOW_USERS"] == (["U1", "U2"], "environment")
    assert said["QUOTA_USER"] == ({"turns": 20}, "environment")
    assert said["MAX_NEW_TOKENS"] == (1024, "default")
    assert len(said) == len(all_settings().model_fields)
    changed = rows(tmp_path, "--changed", TOP_P="0.5")
    assert changed.keys() == {"TEMPERATURE", "TOP_P", "DATA_DIR"}


def test_what_is_set_to_its_default_is_not_changed(tmp_path: Path) -> None:
    """As in a copy of .env.example; what is wrong was meant to be changed."""
    example = Path(__file__).parents[3] / ".env.example"
    (tmp_path / ".env").write_text(example.read_text(encoding="utf-8") + "TOP_P=0.9\n", encoding="utf-8")
    said = rows(tmp_path, "--changed", TEMPERATURE="hot", GRACE="25")
    assert said.keys() == {"TEMPERATURE", "TOP_P", "DATA_DIR"}


def test_an_env_file_that_cannot_be_read_is_said_to_be(tmp_path: Path) -> None:
    """On stderr; what counts is listed all the same."""
    (tmp_path / ".env").write_bytes(b"TEMPERATURE=0.1\nSYSTEM_PROMPT=caf\xe9\n")
    ran = run_command(tmp_path, "config", "--json")
    assert (ran.code, ran.err) == (1, ".env: is not UTF-8 text. Save it again as UTF-8\n")
    assert {row["name"]: row["source"] for row in json.loads(ran.out)}["TEMPERATURE"] == "default"


def test_no_secret_is_shown(tmp_path: Path) -> None:
    """Of an address, where it leads is no secret."""
    said = rows(tmp_path, **SECRETS)
    assert said["SLACK_BOT_TOKEN"][0] == said["MODEL_API_KEY"][0] == "…"
    assert said["REDIS_URL"][0] == "redis://…@localhost:6379/0"
    assert said["MODEL_URL"][0] == "http://…@localhost:8080/v1?…"
    assert rows(tmp_path, REDIS_URL="redis://:can#ary@canary/0")["REDIS_URL"][0] == "redis://…"
    table = CliRunner().invoke(cli, ["config"], env=environment(tmp_path, **SECRETS))
    assert (table.exit_code, "canary" in table.output) == (0, False)


def test_a_table_is_as_wide_as_it_needs_to_be_where_nobody_watches(tmp_path: Path) -> None:
    """Whatever the terminal's width: each setting is one line that can be searched for, without spaces at its end."""
    long = "/" + "/".join(["a-long-folder"] * 6)
    settings = {"DATA_DIR": long, "COLUMNS": "40"}
    lines = run_command(tmp_path, "config", **settings).out.splitlines()
    assert len(lines) == 1 + len(all_settings().model_fields)
    assert any(line.split() == ["DATA_DIR", long, "environment"] for line in lines)
    assert all(line == line.rstrip() for line in lines)


def test_a_wrong_setting_is_marked(tmp_path: Path) -> None:
    """The others are shown all the same; the exit code says that there is one."""
    result = CliRunner().invoke(cli, ["config"], env=environment(tmp_path, TEMPERATURE="canary", COLUMNS="200"))
    assert result.exit_code == 1
    assert "environment, wrong: default used" in result.output
    assert "canary" not in result.output


async def parley(tmp_path: Path, *words: str, said: str = "", **settings: str) -> str:
    """What a command says, if it ends well."""
    ran = await command(tmp_path, *words, said=said, **settings)
    assert ran.code == 0, ran
    return ran.out


async def ask_and_show(tmp_path: Path, **settings: str) -> tuple[str, dict[str, Any]]:
    """What `prompt show` says of the second question of a chat, as text and for programs."""
    await parley(tmp_path, "chat", said="My name is Ada.\nAnd yours?\n", **settings)
    listed = await parley(tmp_path, "memory", "ls", "--json", **settings)
    name = json.loads(listed)[0]["conversation"]
    shown = await parley(tmp_path, "prompt", "show", name, **settings)
    new = await parley(tmp_path, "prompt", "show", name, "--say", "Why?", "--json", **settings)
    return shown, json.loads(new)


async def test_what_is_shown_is_what_the_model_got(tmp_path: Path) -> None:
    """To the byte, for the last question; and nobody is asked for an answer to show it."""
    async with TgiDouble() as tgi:
        settings = {"MODEL_API": "tgi", "MODEL_URL": tgi.url, "PROMPT_TEMPLATE": "chatml"}
        shown, new = await ask_and_show(tmp_path, **settings)
        assert shown == tgi.requests[-1].inputs
        assert "And yours?" in shown
        assert new["text"].startswith(shown)
        assert "Why?" in new["text"]
        assert new["template"] == "chatml"
        assert len(tgi.requests) == 2


async def test_messages_are_shown_where_the_server_writes_its_template(tmp_path: Path) -> None:
    """One after another, as they were sent."""
    async with OpenAIDouble() as server:
        shown, new = await ask_and_show(tmp_path, MODEL_API="openai", MODEL_URL=server.url)
        sent = server.requests[-1].parameters["messages"]
        assert shown == "\n".join(f"── {one['role']} ──\n{one['content']}" for one in sent) + "\n"
        assert new["messages"][: len(sent)] == sent
