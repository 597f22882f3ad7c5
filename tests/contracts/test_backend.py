"""What every backend promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

import pytest

from core.model_types import Delta, Done
from core.models.backends.backend import Backend
from core.models.backends.demo import DemoBackend, reply
from core.models.backends.openai import OpenAIBackend
from core.models.backends.tgi import TgiBackend
from core.types import Ending, Message, Role
from tests.contracts.asking import ask, collect
from tests.doubles.openai import SERVERS, OpenAIDouble
from tests.doubles.tgi import TgiDouble
from tests.waiting import wait_until


@dataclass
class Subject:
    """A backend under the contract, and the double behind it if there is one."""

    backend: Backend
    tgi: TgiDouble

    @property
    def counts(self) -> bool:
        """Whether the server tells token counts."""
        return not (isinstance(self.tgi, OpenAIDouble) and self.tgi.habits.usage == "never")

    def expected(self, text: str) -> str:
        """What it should answer."""
        if isinstance(self.backend, DemoBackend):
            return reply([Message(Role.USER, text)])
        return f" You said: {text}"


@pytest.fixture(params=["demo", "tgi", *SERVERS])
async def subject(request: pytest.FixtureRequest, tgi: TgiDouble) -> AsyncIterator[Subject]:
    """Each backend in turn, and that for OpenAI's API before servers of each kind."""
    if request.param in ("demo", "tgi"):
        backend: Backend = DemoBackend(rate=0) if request.param == "demo" else TgiBackend(tgi.url)
        yield Subject(backend, tgi)
        await backend.aclose()
        return
    async with OpenAIDouble(SERVERS[request.param]) as server:
        openai = OpenAIBackend(server.api)
        yield Subject(openai, server)
        await openai.aclose()
        await wait_until(lambda: not server.connections, description="connections to be closed")


# The contract.


@pytest.mark.parametrize("text", ["hello", "héllo, 世界 👩‍👩‍👧‍👦", "word " * 300, "half a pair \ud800"])
async def test_the_pieces_are_the_answer_and_one_end_is_last(subject: Subject, text: str) -> None:
    """Joined, the deltas are the whole text; then comes exactly one Done."""
    answer, end = await collect(subject.backend, ask(text))
    assert answer.replace("\ud800", "?") == subject.expected(text).replace("\ud800", "?")
    assert isinstance(end, Done)
    assert end.ending is Ending.COMPLETE
    assert end.usage.completion_tokens or not subject.counts


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["Hi", " \ud83d", "\ude00", " you"], "Hi \U0001f600 you"),
        (["\ud83d", "\ude00\ud83d", "\ude00"], "\U0001f600\U0001f600"),
        (["Hi \ud83d", " you"], "Hi \ufffd you"),
        (["Hi \ud83d", "\ud83d", "\ude00"], "Hi \ufffd\U0001f600"),
        (["Hi", " \ude00 you"], "Hi \ufffd you"),
        (["Hi", " \ud83d"], "Hi \ufffd"),
    ],
)
@pytest.mark.parametrize("fault", ["", "split_utf8", "odd_counts"])
async def test_halves_of_a_character_are_joined(subject: Subject, tokens: list[str], text: str, fault: str) -> None:
    """Also where they come in two events; one without its other half is U+FFFD, and nothing else is lost."""
    if isinstance(subject.backend, DemoBackend) or (fault == "odd_counts" and isinstance(subject.tgi, OpenAIDouble)):
        return  # no server is behind it, or none that counts so
    subject.tgi.answer = tokens
    if fault:
        subject.tgi.fault(fault)
    answer, end = await collect(subject.backend, ask("hello"))
    assert answer == text
    assert isinstance(end, Done)


async def test_the_limit_ends_an_answer_with_length(subject: Subject) -> None:
    """No more tokens than were asked for, and the end says that it was cut."""
    whole = subject.expected("hello")
    answer, end = await collect(subject.backend, ask("hello", most=2))
    assert whole.startswith(answer)
    assert 0 < len(answer) < len(whole)
    assert isinstance(end, Done)
    assert (end.ending, end.usage.completion_tokens) == (Ending.LENGTH, 2 if subject.counts else None)


async def test_closing_early_frees_the_server(subject: Subject) -> None:
    """Whoever stops reading stops the work; and may ask again."""
    subject.tgi.rate, subject.tgi.answer = 200, "word " * 1000
    async with aclosing(subject.backend.stream(ask("write 900 words"))) as stream:
        assert isinstance(await anext(stream), Delta)
    await wait_until(lambda: not subject.tgi.running, description="the server to stop")
    assert all(seen.closed_early and seen.tokens_sent < 800 for seen in subject.tgi.requests)
    subject.tgi.enqueue("again")
    assert isinstance((await collect(subject.backend, ask("hello")))[1], Done)


async def test_cancelling_frees_the_server(subject: Subject) -> None:
    """The same in the middle of a wait for the next token."""
    subject.tgi.rate, subject.tgi.answer = 100, "word " * 1000
    started = asyncio.Event()

    async def read() -> None:
        async with aclosing(subject.backend.stream(ask("write 900 words"))) as stream:
            async for _ in stream:
                started.set()

    task = asyncio.create_task(read())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_until(lambda: not subject.tgi.running, description="the server to stop")
    assert all(seen.closed_early for seen in subject.tgi.requests)


async def test_streams_at_once_do_not_mix(subject: Subject) -> None:
    """Each request gets its own answer, and all of it."""
    texts = [f"number {n}" for n in range(20)]
    answers = await asyncio.gather(*(collect(subject.backend, ask(text)) for text in texts))
    assert [answer for answer, _ in answers] == [subject.expected(text) for text in texts]


async def test_it_is_healthy_and_tells_its_limits(subject: Subject) -> None:
    """How long a conversation may be, from who has to know it."""
    assert await subject.backend.healthy()
    limits = await subject.backend.limits()
    if isinstance(subject.tgi, OpenAIDouble) and not subject.tgi.habits.length:
        assert limits is None
        return
    assert limits
    assert 0 < limits.max_input_tokens < limits.max_total_tokens
    assert limits.model


async def test_letting_go_twice_is_no_error(subject: Subject) -> None:
    """Also before anything was asked."""
    await subject.backend.aclose()
    await subject.backend.aclose()
