"""What models cost: CPU for each token, work for each prompt, and how much of a prompt a server reads anew."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from statistics import median

import aiohttp

from core.model_types import Delta, GenerationRequest, Prompt
from core.models.backends.backend import Backend
from core.models.backends.openai import OpenAIBackend
from core.models.backends.tgi import TgiBackend
from core.models.generation import Deadlines, generate
from core.prompts.families import FAMILIES, FamilyTemplate
from core.prompts.tokens import message_tokens
from core.prompts.window import TokenBudget, fit
from core.types import Author, Conversation, ConversationKey, Message, Role
from tests.bench.figures import Figure

BLOCK = 64
"""Characters of a block of a server's prefix cache: about 16 tokens."""
TURNS = 300
KEY = ConversationKey("slack", "T1", "C1")
ADA = Author("U1", "Ada")
TEMPLATE = FamilyTemplate(FAMILIES["chatml"])


async def measure(quick: bool) -> list[Figure]:
    """Backends, then prompts."""
    figures = []
    words, runs = (1000, 2) if quick else (4000, 15)
    for double, path, build in (
        ("openai", "/v1/chat/completions", lambda url: OpenAIBackend(f"{url}/v1", model="tests/double")),
        ("tgi", "/generate_stream", TgiBackend),
    ):
        ratio, cost = await _cpu(double, path, build, words, runs)
        figures += [
            Figure(f"CPU for each token, {double}", round(1e6 * cost, 1), "µs"),
            Figure(f"the same to a bare read loop of aiohttp, {double}", round(ratio, 2), "to 1"),
        ]
    few, many = _work(10, quick), _work(10_000, quick)
    figures += [
        Figure("fit and render a prompt, 10 messages stored", round(1000 * few, 2), "ms"),
        Figure("the same, 100 messages stored", round(1000 * _work(100, quick), 2), "ms"),
        Figure("the same, 10,000 messages stored", round(1000 * many, 2), "ms"),
        Figure(f"prompt tokens read anew under a prefix cache, {TURNS} turns", round(100 * _anew(), 1), "%"),
    ]
    return figures


# CPU.


@asynccontextmanager
async def _served(double: str, words: int) -> AsyncIterator[str]:
    """A double in a process of its own, flat out."""
    command = [sys.executable, "-m", f"tests.doubles.{double}", "--port", "0", "--rate", "0", "--words", str(words)]
    server = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert server.stdout
        said = (await server.stdout.readline()).decode()
        yield said.split("MODEL_URL=")[1].strip().removesuffix("/v1")
    finally:
        server.terminate()
        await server.wait()


async def _cpu(double: str, path: str, build: Callable[[str], Backend], words: int, runs: int) -> tuple[float, float]:
    """CPU of ours to that of a bare loop, and seconds of ours for each token; medians."""
    async with _served(double, words) as url:
        backend = build(url)
        prompt = Prompt((), (), lambda: "go", lambda: [(Role.USER, "go")])
        request = GenerationRequest(prompt, words + 50)

        async def ours() -> int:
            async with aclosing(generate(backend, request, Deadlines())) as stream:
                return sum([isinstance(item, Delta) async for item in stream])

        async def bare() -> int:
            said, most = [{"role": "user", "content": "go"}], words + 50
            body = {"model": "m", "stream": True, "max_tokens": most, "messages": said}
            body |= {"inputs": "go", "parameters": {"max_new_tokens": most}}
            return await _bare(url + path, body)

        await ours(), await bare()
        pairs = [(await _cost(ours), await _cost(bare)) for _ in range(runs)]
        await backend.aclose()
    return median(a / b for a, b in pairs), median(a for a, _ in pairs)


async def _bare(url: str, body: object) -> int:
    """The least that reads a stream: aiohttp, lines, JSON."""
    tokens, rest = 0, b""
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        async for chunk in response.content.iter_any():
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            for line in lines:
                if line.startswith(b"data:") and not line.endswith(b"[DONE]"):
                    json.loads(line[5:])
                    tokens += 1
    return tokens


async def _cost(run: Callable[[], Awaitable[int]]) -> float:
    """Seconds of this process's CPU for each token."""
    began = time.process_time()
    tokens = await run()
    return (time.process_time() - began) / tokens


# Prompts.


def _message(number: int, words: int, at: float) -> Message:
    role = Role.ASSISTANT if number % 2 else Role.USER
    text = " ".join(f"word{number * 7 % 90}" for _ in range(words))
    message = Message(role, text, id=f"m{number}", author=None if number % 2 else ADA, at=at)
    return Message(role, text, id=message.id, author=message.author, at=at, tokens=message_tokens(message))


def _work(stored: int, quick: bool) -> float:
    """Seconds to fit a window and render it, of a conversation of which so much is stored."""
    messages = tuple(_message(number, 20, float(60 * number)) for number in range(stored))
    cut = messages[max(0, stored - 40)].id
    question = _message(stored + stored % 2, 20, float(60 * stored))
    took = []
    for _ in range(5 if quick else 50):
        began = time.perf_counter()
        fitted = fit(Conversation(KEY, messages, cut=cut), question, "Be kind.", TokenBudget(4000, 500))
        TEMPLATE.render(fitted.window).text()
        took.append(time.perf_counter() - began)
    return median(took)


def _anew() -> float:
    """Share of all prompts that does not stand at the beginning of the prompt and answer before."""
    chance = random.Random(7)  # noqa: S311 - the same each time
    messages: list[Message] = []
    cut, before, read, anew = "", "", 0, 0
    for turn in range(TURNS):
        question = _message(2 * turn, chance.randint(5, 60), 60.0 * turn)
        answer = _message(2 * turn + 1, chance.randint(20, 160), 60.0 * turn)
        fitted = fit(Conversation(KEY, tuple(messages), cut=cut), question, "Be kind. " * 20, TokenBudget(4000, 500))
        text, cut = TEMPLATE.render(fitted.window).text(), fitted.cut
        same = 0
        while text[same : same + BLOCK] and before[same : same + BLOCK] == text[same : same + BLOCK]:
            same += BLOCK
        read, anew = read + len(text), anew + max(0, len(text) - same)
        messages = [*messages, question, answer][-200:]
        before = text + answer.text
    return anew / read
