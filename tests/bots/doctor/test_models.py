"""``parley doctor`` on servers of any kind: what they speak, which model is asked, how the prompt is written."""

from __future__ import annotations

from pathlib import Path

from tests.bots.doctor.reports import doctor, listed
from tests.doubles.openai import SERVERS, OpenAIDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.process import command


async def test_what_a_server_speaks_is_said(tmp_path: Path, redis_url: str) -> None:
    """Where no setting does; and that it writes the conversation down by itself."""
    async with OpenAIDouble(SERVERS["vllm"]) as server:
        report = await listed(tmp_path, {"REDIS_URL": redis_url, "MODEL_URL": server.url})
    assert report.code == 0
    found = {name: check["found"] for name, check in report.checks.items()}
    assert found["model"] == f"{server.url} (OpenAI API, detected) is ready"
    assert found["model.answer"].endswith("; chat template: applied by the server")
    assert found["model.context"] == "4,096 tokens (from the server)"
    assert "model.name" not in found


async def test_a_choice_of_models_is_pointed_out(tmp_path: Path, redis_url: str) -> None:
    """Without a name, the first is asked; a name that is not there is noticed."""
    async with OpenAIDouble(SERVERS["ollama"]) as server:
        server.models = ["llama3", "qwen3"]
        settings = {"REDIS_URL": redis_url, "MODEL_API": "openai", "MODEL_URL": server.api}
        report = await listed(tmp_path, settings)
        assert "first model is used: llama3" in report.checks["model.name"]["found"]
        report = await listed(tmp_path, {**settings, "MODEL_NAME": "qwen4"})
        assert report.checks["model.name"]["found"] == "the server has no model 'qwen4'"
        assert report.checks["model.name"]["remedy"] == "Choose one that it has: llama3, qwen3."
        report = await listed(tmp_path, {**settings, "MODEL_NAME": "qwen3"})
        assert "model.name" not in report.checks


async def test_a_model_that_reads_nothing_of_the_prompt_is_found(tmp_path: Path, redis_url: str) -> None:
    """Its server took the name of a chat template for the template, and answers all the same."""
    async with OpenAIDouble(SERVERS["llama.cpp"]) as server:
        server.count = lambda text: 3
        report = await listed(tmp_path, {"REDIS_URL": redis_url, "MODEL_URL": server.url})
    assert report.code == 1
    assert "counted 3 tokens" in report.checks["model.answer"]["found"]
    assert "chat template" in report.checks["model.answer"]["remedy"]


async def test_a_busy_server_is_a_warning(tmp_path: Path, redis_url: str) -> None:
    """It answers, and has too much to do at the moment."""
    async with OpenAIDouble(SERVERS["vllm"]) as server:
        server.fault("429", times=99)
        report = await listed(tmp_path, {"REDIS_URL": redis_url, "MODEL_URL": server.url})
    assert report.checks["model.answer"]["level"] == "warning"
    assert report.code == 0


async def test_each_model_of_a_table_is_looked_at(tmp_path: Path, redis_url: str, unused_tcp_port: int) -> None:
    """One that is dead does not hide one that is not; a table that cannot be read is one line."""
    table = tmp_path / "models.toml"
    async with TgiDouble() as tgi:
        dead = f'[models.large]\nurl = "http://127.0.0.1:{unused_tcp_port}"\n'
        table.write_text(f'{dead}[models.small]\nurl = "{tgi.url}"\ntemplate = "zephyr"\n', encoding="utf-8")
        report = await listed(tmp_path, {"REDIS_URL": redis_url, "MODELS_FILE": str(table)})
        assert "Model large, test question" in report.text
        assert "chat template: zephyr (PROMPT_TEMPLATE)" in report.text
        assert report.code == 1
    table.write_text("[models.a]\n", encoding="utf-8")
    report = await listed(tmp_path, {"REDIS_URL": redis_url, "MODELS_FILE": str(table)})
    assert "models.a has no url" in report.checks["model"]["found"]


async def test_what_would_keep_parley_from_starting_is_wrong_without_a_model_too(
    tmp_path: Path, redis_url: str
) -> None:
    """The demo answers by the same template, tokenizer and persona."""
    personas = tmp_path / "personas"
    personas.mkdir()
    (personas / "support.md").write_text("Help {{team}}.", encoding="utf-8")
    for wrong in (
        {"PROMPT_TEMPLATE": "foo"},
        {"TOKENIZER": "nope"},
        {"PERSONA": "x"},
        {"PERSONAS": "nope"},
        {"PERSONAS": "personas"},
        {"PERSONAS": "personas", "PERSONA": "support"},
    ):
        report = await listed(tmp_path, {"REDIS_URL": redis_url, **wrong})
        assert (report.code, report.failed) == (1, {"model"}), wrong
        chat = await command(tmp_path, "chat", said="hello\n", REDIS_URL=redis_url, **wrong)
        assert chat.code == 2, wrong
    report = await listed(tmp_path, {"REDIS_URL": redis_url, "PERSONAS": "personas", "PERSONA_VARIABLES": "team=Blue"})
    assert report.code == 0, report.text


async def test_a_wrong_setting_of_a_model_is_said_in_plain_words_with_what_to_do(
    tmp_path: Path, redis_url: str
) -> None:
    """By doctor, and by whatever does not start for it; a table's by its place there."""
    table = tmp_path / "models.toml"
    url = 'url = "http://localhost:1"\n'
    for text, found, remedy in (
        (f'[models.b]\n{url}template = "foo"\n', "MODELS_FILE: models.b.template: no template family", "falcon3"),
        (f'[models.b]\n{url}tokenizer = "nope"\n', "MODELS_FILE: models.b.tokenizer: 'nope' cannot be", "Name the"),
        (f"[models.b]\n{url}colour = 1\n", "MODELS_FILE: models.b.colour: is not known here", "context_tokens"),
        ("[models]\nb = 1\n", "MODELS_FILE: models.b: should be a table", "[models.NAME]"),
        ("", "MODELS_FILE: models: is missing", "[models.NAME]"),
        ("[models]\n", "MODELS_FILE: models: is empty", "[models.NAME]"),
        (f'[models.b]\n{url}key_env = "NO_KEY"\n', "takes its key from NO_KEY, which is not set", "Set NO_KEY"),
    ):
        table.write_text(text, encoding="utf-8")
        settings = {"REDIS_URL": redis_url, "MODELS_FILE": "models.toml"}
        check = (await listed(tmp_path, settings)).checks["model"]
        assert found in check["found"]
        assert remedy in check["remedy"]
        chat = await command(tmp_path, "chat", said="hello\n", **settings)
        assert found in chat.err
        assert remedy in chat.err
    text = (await doctor(tmp_path, {"REDIS_URL": redis_url, "MODELS_FILE": "nope"})).text
    assert "✗ Model: MODELS_FILE: 'nope' cannot be read (No such file or directory)\n" in text
    assert "What to do, in this order:\n  1. Model: Correct it, for example: MODELS_FILE=models.toml\n" in text
    check = (await listed(tmp_path, {"REDIS_URL": redis_url, "TOKENIZER": "nope"})).checks["model"]
    assert check["found"] == "TOKENIZER: 'nope' cannot be read (No such file or directory)"
