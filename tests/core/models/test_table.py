"""Which models there are: a table of several, and what each server tells of itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.errors import (
    ModelUnavailable,
    SettingsError,
)
from core.models import models as core_models
from core.models.backends.detect import DetectedBackend, detect
from core.models.backends.server import Server
from core.models.backends.tgi import TgiBackend
from core.models.models import single_model
from core.models.table import open_models, read_table
from core.prompts import open_template
from core.prompts.tokens import estimate_tokens
from core.settings import load_settings
from tests.core.models.asking import ask
from tests.doubles.openai import SERVERS, OpenAIDouble
from tests.doubles.tgi import TgiDouble

# Which models there are.


@pytest.fixture
async def tgi() -> AsyncIterator[TgiDouble]:
    """A server that speaks TGI's protocol."""
    async with TgiDouble() as double:
        yield double


@pytest.mark.parametrize("kind", ["tgi", *SERVERS])
async def test_a_server_is_asked_what_it_speaks(kind: str, tgi: TgiDouble) -> None:
    """With or without /v1; TGI is spoken to in its own protocol unless the address says otherwise."""
    if kind == "tgi":
        assert await detect(Server(tgi.url)) == "tgi"
        tgi.info = 404  # a proxy that lets nothing through but the model
        assert await detect(Server(tgi.url)) == "tgi"
        return
    async with OpenAIDouble(SERVERS[kind]) as server:
        assert await detect(Server(server.api)) == "openai"
        assert await detect(Server(server.url)) == ("tgi" if SERVERS[kind].length == "info" else "openai")


async def test_a_server_that_is_away_is_asked_again_later(unused_tcp_port: int) -> None:
    """Nothing is decided before it answers."""
    server = Server(f"http://127.0.0.1:{unused_tcp_port}")
    backend = DetectedBackend(server, lambda api: TgiBackend(str(server.url)))
    assert not await backend.healthy()
    with pytest.raises(ModelUnavailable):
        await backend.limits()
    async with TgiDouble(port=unused_tcp_port):
        assert await backend.healthy()
        assert backend.api == "tgi"
    await backend.aclose()


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("tiiuae/Falcon3-7B-Instruct", "falcon3"),
        ("tiiuae/falcon-7b-instruct", "falcon"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama3"),
        ("meta-llama/Llama-2-7b-chat-hf", "llama2"),
        ("google/gemma-2-9b-it", "gemma"),
        ("microsoft/Phi-3-mini-4k-instruct", "phi3"),
        ("/data/models/Falcon3-1B-Instruct", "falcon3"),
        ("tiiuae/Falcon3-7B-Base", "falcon"),  # not trained to chat
        ("NousResearch/Hermes-3-Llama-3.1-8B", "falcon"),  # a Llama that was taught another template
        ("somebody/finetune-7", "falcon"),
        ("", "falcon"),
    ],
)
async def test_tgi_is_written_to_in_the_template_of_its_model_s_family(tgi: TgiDouble, model: str, family: str) -> None:
    """By the name that it tells; the lines of `falcon` where that says nothing."""
    tgi.info = {"model_id": model}
    found = open_models(load_settings(model_url=tgi.url, model_api="tgi"))
    assert (await found.models[0].template()).name == family
    await found.aclose()


async def test_a_tgi_that_does_not_tell_its_model_is_asked_again_when_it_is_back(tgi: TgiDouble) -> None:
    """While it is away, nothing is decided."""
    tgi.info = 503
    found = open_models(load_settings(model_url=tgi.url, model_api="tgi"))
    assert (await found.models[0].template()).name == "falcon"
    tgi.info = {"model_id": "tiiuae/Falcon3-7B-Instruct"}
    assert (await found.models[0].template()).name == "falcon3"
    await found.aclose()


async def test_without_a_template_each_server_gets_what_suits_it(tgi: TgiDouble) -> None:
    """Lines for TGI, messages where the server writes them down; or the template that the server tells."""
    async with OpenAIDouble(SERVERS["llama.cpp"]) as server:
        server.template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        for url, template, path in (
            (tgi.url, "", "/"),
            (server.url, "", "/v1/chat/completions"),
            (server.url, "chatml", "/v1/completions"),
            (server.url, "server", "/v1/completions"),
        ):
            found = open_models(load_settings(model_url=url, prompt_template=template))
            assert (await ask(found))[0]
            await found.aclose()
            assert (tgi if url == tgi.url else server).requests[-1].path == path
        assert server.requests[-1].inputs == "<system>Be kind.<user>hi"
        assert server.requests[-2].inputs.startswith("<|im_start|>system\nBe kind.<|im_end|>\n")


async def test_a_table_names_models_in_order(tmp_path: Path, tgi: TgiDouble, unused_tcp_port: int) -> None:
    """With an address, a key, a template and limits for each; a dead one is passed over."""
    tgi.api_key = "sesame"
    path = tmp_path / "models.toml"
    path.write_text(
        f"""
        [models.large]
        url = "http://127.0.0.1:{unused_tcp_port}/v1"
        name = "Qwen/Qwen3-32B"
        max_new_tokens = 7

        [models.small]
        url = "{tgi.url}"
        api = "tgi"
        key_env = "SMALL_KEY"
        template = "zephyr"
        context_tokens = 8192
        """,
        encoding="utf-8",
    )
    os.environ["SMALL_KEY"] = "sesame"
    try:
        found = open_models(load_settings(models_file=path))
    finally:
        del os.environ["SMALL_KEY"]
    assert found.names == ["large", "small"]
    assert (await ask(found))[0]
    await found.aclose()
    assert tgi.requests[-1].inputs.startswith("<|system|>\nBe kind.</s>")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("[models.a", "is not TOML"),
        ("", "models"),
        ("[models.a]\napi = 'tgi'", "models.a has no url"),
        ("[models.a]\nurl = 'ftp://x'", "models.a.url: should begin with http"),
        ("[models.a]\nurl = 'http://x'\nkye = 'canary'", "models.a.kye"),
        ("[models.a]\nurl = 'http://x'\napi = 'canary'", "models.a.api"),
        ("[models.a]\nurl = 'http://x'\nkey_env = 'NO_SUCH_KEY'", "NO_SUCH_KEY"),
        ("[models.'a b']\nurl = 'http://x'", "letters, digits"),
    ],
)
def test_a_wrong_table_says_where(tmp_path: Path, table: str, said: str) -> None:
    """One line for each mistake, with the place, and no value of it."""
    path = tmp_path / "models.toml"
    path.write_text(table, encoding="utf-8")
    with pytest.raises(SettingsError, match="MODELS_FILE") as raised:
        read_table(path)
    assert said in str(raised.value)
    assert "canary" not in str(raised.value)


def test_a_table_that_is_not_there_is_a_wrong_setting(tmp_path: Path) -> None:
    """Named by its path."""
    with pytest.raises(SettingsError, match=r"nothing\.toml' cannot be read"):
        read_table(tmp_path / "nothing.toml")


async def test_many_ask_for_the_limits_once(tgi: TgiDouble) -> None:
    """One asks for all."""
    one = single_model(TgiBackend(tgi.url), open_template("falcon"), count=estimate_tokens)
    await asyncio.gather(*(ask(one) for _ in range(5)))
    assert tgi.targets.count("/info") == 1


async def test_eight_who_ask_a_hanging_server_wait_as_long_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections and says nothing; what it speaks and tells is asked for all of them at once."""
    monkeypatch.setattr("core.models.backends.detect.PAGE_TIMEOUT", 0.2)
    monkeypatch.setattr(core_models, "LIMITS_TIMEOUT", 0.2)
    connections: list[asyncio.StreamWriter] = []

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)

    listener = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    found = open_models(load_settings(model_url=url))
    errors = await asyncio.gather(*(ask(found) for _ in range(8)), return_exceptions=True)
    assert [type(error) for error in errors] == [ModelUnavailable] * 8
    assert len(connections) <= 2
    await found.aclose()
    for writer in connections:
        writer.close()
    listener.close()
