"""A real engine with a tiny random model: ``make engine-test``. Not part of the suite: it weighs over a gigabyte.

``ENGINE`` is the folder of a virtual environment with torch and ``transformers[serving]``.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import aiohttp
import pytest
import redis.asyncio

from core.assistant.assistant import AnswerSettings, Assistant
from core.memory.conversations import Memory
from core.model_types import Delta, Done, GenerationRequest, ModelLimits, Prompt
from core.models.backends.detect import detect
from core.models.backends.openai import OpenAIBackend
from core.models.backends.server import Server
from core.models.generation import Deadlines, generate
from core.models.models import single_model
from core.prompts.families import ChatTemplate
from core.types import Author, ConversationKey, Ending, Outcome, Role, Turn
from tests.core.delivery.platform import Platform, pace
from tests.waiting import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
CHANNEL = ConversationKey("slack", "T1", "C1")
PATIENT = Deadlines(60, 60, 120)


@pytest.fixture(scope="module")
def engine() -> Iterator[tuple[str, str]]:
    """Address and model of ``transformers serve``."""
    home = Path(os.environ.get("ENGINE", ".engine")).absolute()
    if not (home / "bin" / "transformers").exists():
        pytest.skip("needs an engine (make engine-test)")
    folder = home / "tiny-model"
    if not (folder / "config.json").exists():
        script = Path(__file__).with_name("make_model.py")
        subprocess.run([home / "bin" / "python", script, folder], check=True, timeout=200)
    port = int(os.environ.get("ENGINE_PORT", "8765"))
    command = [str(home / "bin" / "transformers"), "serve", str(folder), "--device", "cpu", "--port", str(port)]
    log = (home / "serve.log").open("wb")
    server = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    try:
        yield f"http://127.0.0.1:{port}/v1", str(folder)
    finally:
        server.terminate()
        server.wait(20)
        log.close()


@pytest.fixture
async def backend(engine: tuple[str, str]) -> AsyncIterator[OpenAIBackend]:
    """A backend for it, once it is ready."""
    url, model = engine
    backend = OpenAIBackend(url, model=model)
    await wait_until(backend.healthy, description="the engine", timeout=120)
    yield backend
    await backend.aclose()


def ask(text: str, most: int, *stops: str) -> GenerationRequest:
    """A question; greedy, so that it is answered the same each time."""
    prompt = Prompt((), stops, lambda: text, lambda: [(Role.USER, text)])
    return GenerationRequest(prompt, most, temperature=0, seed=7)


async def read(backend: OpenAIBackend, request: GenerationRequest) -> tuple[str, Done]:
    """The whole answer."""
    pieces = []
    async with aclosing(generate(backend, request, PATIENT)) as stream:
        async for item in stream:
            if isinstance(item, Delta):
                pieces.append(item.text)
            elif isinstance(item, Done):
                end = item
    return "".join(pieces), end


async def test_it_streams_and_counts(backend: OpenAIBackend) -> None:
    """Piece by piece; the limit is kept and said."""
    async with aclosing(generate(backend, ask("hello", 40), PATIENT)) as stream:
        pieces = [item async for item in stream]
    *deltas, end = pieces
    assert len(deltas) > 5
    assert isinstance(end, Done)
    assert end.ending is Ending.LENGTH
    assert end.usage.completion_tokens
    assert end.usage.prompt_tokens


async def test_a_stop_string_ends_it_and_does_not_show(backend: OpenAIBackend) -> None:
    """Although the engine leaves it in the text."""
    whole, _ = await read(backend, ask("hello", 40))
    stop = whole[len(whole) // 2 :][:3]
    cut, end = await read(backend, ask("hello", 40, stop))
    assert cut == whole[: whole.index(stop)]
    assert end.ending is Ending.COMPLETE


async def test_who_leaves_early_is_let_go(backend: OpenAIBackend) -> None:
    """And the next one is answered."""
    async with aclosing(generate(backend, ask("hello", 1500), PATIENT)) as stream:
        await anext(stream)
    assert (await read(backend, ask("hello", 5)))[0]


async def test_what_it_speaks_is_found_out(engine: tuple[str, str], backend: OpenAIBackend) -> None:
    """With and without /v1."""
    assert await detect(Server(engine[0])) == "openai"
    assert await detect(Server(engine[0].removesuffix("/v1"))) == "openai"
    async with aiohttp.ClientSession() as session, session.get(f"{engine[0].removesuffix('/v1')}/health") as response:
        assert response.status == 200


async def test_two_turns_with_memory_and_a_stop(backend: OpenAIBackend, client: redis.asyncio.Redis) -> None:
    """The second prompt holds the first turn; a stopped answer keeps its text."""
    memory = Memory(client, retention=3600)
    answer_settings = AnswerSettings("Be kind.", 0.7, 30, ModelLimits(1500, 2000), PATIENT)
    assistant = Assistant(memory, single_model(backend, ChatTemplate()), answer_settings)

    def turn(number: int) -> Turn:
        return Turn(f"t{number}", CHANNEL, "lane", Author("U1", "Ada"), f"question {number}", float(number))

    first = await assistant.answer(turn(1), Platform(), pace())
    second = await assistant.answer(turn(2), Platform(), pace())
    assert first.text
    assert second.usage.prompt_tokens
    assert first.usage.prompt_tokens
    assert second.usage.prompt_tokens > first.usage.prompt_tokens
    stop: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    platform = Platform()
    patient = Assistant(
        memory, single_model(backend, ChatTemplate()), AnswerSettings("", 0.7, 900, answer_settings.limits, PATIENT)
    )
    answering = asyncio.create_task(patient.answer(turn(3), platform, pace(), stop=stop))
    await wait_until(lambda: platform.shown, timeout=30)
    stop.set_result(Outcome(Ending.STOPPED, "Stopped."))
    stopped = await answering
    assert stopped.outcome.ending is Ending.STOPPED
    said = (await memory.load(CHANNEL)).messages
    assert [message.role for message in said] == [Role.USER, Role.ASSISTANT] * 3
    assert said[-1].text == stopped.text
