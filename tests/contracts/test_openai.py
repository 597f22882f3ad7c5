"""What the backend for OpenAI's API makes of servers' habits and faults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from email.utils import formatdate

import pytest

from core.errors import (
    GenerationError,
    ModelOverloaded,
    ModelRefused,
    ModelTimeout,
    ModelUnauthorized,
    ModelUnavailable,
    PromptTooLong,
    SettingsError,
    StreamBroken,
)
from core.model_types import (
    Delta,
    Done,
    GenerationRequest,
    ModelLimits,
    Prompt,
    PromptWindow,
    Streamed,
    Thinking,
    Usage,
)
from core.models.backends.openai import OpenAIBackend
from core.models.backends.server import retry_after_seconds
from core.models.generation import Deadlines, generate
from core.prompts.families import ChatTemplate
from core.types import Ending, Message, Role
from tests.contracts.asking import KEY, SECRET, ask, check, collect
from tests.doubles.openai import ENDS, EVENTS, SERVERS, Habits, OpenAIDouble
from tests.waiting import wait_until

TEXT = " one two three four five"
SOME = " one two"
SERVER_FAILURES: dict[str, tuple[type[GenerationError], type[GenerationError]]] = {
    **dict.fromkeys(sorted(ENDS | EVENTS.keys()), (StreamBroken, ModelUnavailable)),
    "stall": (ModelTimeout, ModelTimeout),
    "overloaded": (ModelOverloaded, ModelOverloaded),
    "bad_request": (StreamBroken, ModelRefused),
}
REFUSED: dict[str, type[GenerationError]] = {
    "400": ModelRefused, "401": ModelUnauthorized, "403": ModelUnauthorized, "404": ModelRefused, "422": ModelRefused,
    "424": ModelUnavailable, "429": ModelOverloaded, "500": ModelUnavailable, "502": ModelUnavailable,
    "503": ModelUnavailable, "504": ModelTimeout, "no_answer": ModelUnavailable, "html": ModelUnavailable,
    "echo": ModelRefused, "echo_key": ModelRefused, "too_long": PromptTooLong, "no_model": ModelRefused,
    "plain": ModelRefused, "empty": ModelUnavailable, "redirect": ModelRefused,
}  # fmt: skip


@pytest.fixture(params=["vllm", "llama.cpp", "transformers"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[OpenAIDouble]:
    """A double with the habits of one server; when the test is over, no connection to it and no task is left."""
    async with OpenAIDouble(SERVERS[request.param]) as double:
        double.answer = TEXT
        yield double
        await wait_until(lambda: not double.connections, description="connections to be closed")
        await wait_until(lambda: asyncio.all_tasks() == {asyncio.current_task()}, description="tasks to end")


@pytest.fixture
async def backend(server: OpenAIDouble) -> AsyncIterator[OpenAIBackend]:
    """A backend for it, with a key."""
    backend = OpenAIBackend(server.api, api_key=KEY, model="tests/double", idle_timeout=10)
    yield backend
    await backend.aclose()


async def hear(backend: OpenAIBackend, request: GenerationRequest | None = None) -> list[Streamed]:
    """All that people's side of the core gets."""
    async with aclosing(generate(backend, request or ask("hi"), Deadlines())) as stream:
        return [item async for item in stream]


# Bad days.


@pytest.mark.parametrize("after", [2, 0])
@pytest.mark.parametrize("fault", SERVER_FAILURES)
async def test_a_broken_stream_is_a_typed_error(server: OpenAIDouble, fault: str, after: int) -> None:
    """What came before it stands."""
    server.fault(fault, after=after)
    backend = OpenAIBackend(server.api, api_key=KEY, model="m", idle_timeout=0.1 if fault == "stall" else 10)
    text, error = await collect(backend, ask(SECRET))
    await backend.aclose()
    assert text == (SOME if after else "")
    check(error, SERVER_FAILURES[fault][0 if after else 1], server.api)


@pytest.mark.parametrize("fault", REFUSED)
async def test_a_refusal_is_a_typed_error(server: OpenAIDouble, backend: OpenAIBackend, fault: str) -> None:
    """By its status, whatever the shape of its body; and with the time to wait where the server names one."""
    server.fault(fault)
    text, error = await collect(backend, replace(ask(SECRET), seed=None))
    assert text == ""
    assert check(error, REFUSED[fault], server.api).retry_after == (7 if fault in ("429", "503") else None)


@pytest.mark.parametrize("fault", ["split_utf8", "comments", "crlf", "huge", "slow"])
async def test_what_is_only_odd_is_read(server: OpenAIDouble, fault: str) -> None:
    """Keep-alives, foreign fields, split characters, events of 500 kB, and a steady stream past the idle time."""
    server.answer = " häßlich 世界 👩‍👩‍👧‍👦" + TEXT
    server.fault(fault)
    backend = OpenAIBackend(server.api, idle_timeout=0.35)
    text, end = await collect(backend, ask("hi"))
    await backend.aclose()
    assert text == server.answer
    assert isinstance(end, Done)


async def test_a_server_that_does_not_stream_is_read_as_well(server: OpenAIDouble, backend: OpenAIBackend) -> None:
    """A proxy may have put all events together."""
    server.fault("no_stream")
    assert await collect(backend, ask("hi")) == (TEXT, Done(Ending.COMPLETE, Usage(3, 9)))


async def test_a_stream_that_stays_open_after_its_end_is_left(server: OpenAIDouble, backend: OpenAIBackend) -> None:
    """A finish reason is an end; what may follow it is waited for a second and no longer."""
    server.fault("hang")
    text, end = await collect(backend, ask("hi"))
    assert (text, isinstance(end, Done)) == (TEXT, True)


@pytest.mark.parametrize(("fault", "ending"), [("endless_space", Ending.LENGTH), ("endless", None)])
async def test_output_without_end_has_an_end(
    server: OpenAIDouble, backend: OpenAIBackend, fault: str, ending: Ending | None
) -> None:
    """White space for ever is cut off; words for ever, by the deadline for all of an answer."""
    server.fault(fault, after=2)
    server.max_total_tokens = 10**10
    pieces: list[Streamed] = []
    try:
        async with aclosing(generate(backend, ask("hi", most=10**9), Deadlines(5, 5, 0.3))) as stream:
            async for item in stream:
                pieces.append(item)  # noqa: PERF401 - what came before the error counts
    except ModelTimeout:
        assert ending is None
    else:
        assert pieces[-1] == Done(Ending.LENGTH)
    assert "".join(item.text for item in pieces if isinstance(item, Delta)).startswith("one two")
    await wait_until(lambda: not server.running, description="the server to stop")


async def test_a_server_that_is_not_there(unused_tcp_port: int) -> None:
    """Nothing listens: unavailable, not healthy, and no limits to tell."""
    url = f"http://127.0.0.1:{unused_tcp_port}/v1"
    backend = OpenAIBackend(url)
    _, error = await collect(backend, ask("hi"))
    assert "MODEL_URL" in check(error, ModelUnavailable, url).remedy
    assert not await backend.healthy()
    with pytest.raises(ModelUnavailable):
        await backend.limits()
    await backend.aclose()


async def test_a_key_that_is_missing_is_asked_for(server: OpenAIDouble, backend: OpenAIBackend) -> None:
    """And one that is right opens the server."""
    server.api_key = KEY
    assert isinstance((await collect(backend, ask("hi")))[1], Done)
    stranger = OpenAIBackend(server.api, model="m")
    _, error = await collect(stranger, ask("hi"))
    assert "MODEL_API_KEY" in check(error, ModelUnauthorized, server.api).remedy
    await stranger.aclose()


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://host", KEY])
def test_what_is_no_address_is_a_wrong_setting(url: str) -> None:
    """At once, and without repeating what may be a secret."""
    with pytest.raises(SettingsError, match="MODEL_URL") as raised:
        OpenAIBackend(url)
    assert not url or url not in str(raised.value)


# Habits.


@pytest.mark.parametrize("habits", SERVERS.values(), ids=SERVERS)
async def test_reasoning_is_never_shown_but_noticed(habits: Habits) -> None:
    """In a field of its own under either name, or in the text."""
    async with OpenAIDouble(habits) as server:
        server.answer, server.thoughts = TEXT, [" they", " want", " five", " words"]
        backend = OpenAIBackend(server.api)
        heard = await hear(backend)
        await backend.aclose()
    assert Thinking() in heard
    assert "".join(item.text for item in heard if isinstance(item, Delta)) == TEXT.strip()


async def test_a_lone_end_of_reasoning_takes_back_what_came_before() -> None:
    """The server's template had opened it, so it could not be told from an answer."""
    async with OpenAIDouble(replace(SERVERS["vllm"], reasoning="open")) as server:
        server.answer, server.thoughts = TEXT, [" they", " want", " five"]
        backend = OpenAIBackend(server.api)
        heard = await hear(backend)
        await backend.aclose()
    after = heard[heard.index(Thinking(retract=True)) :]
    assert "".join(item.text for item in after if isinstance(item, Delta)) == TEXT.strip()


async def test_only_what_is_in_use_is_sent(server: OpenAIDouble, backend: OpenAIBackend) -> None:
    """Strict servers refuse fields that they do not know; those are left out from then on."""
    await collect(backend, ask("hi", "\nUser:", temperature=0, top_p=0.5))
    await collect(backend, ask("hi"))
    sent = server.requests[-1].parameters
    optional = {"seed", "stream_options"} - set(server.habits.strict)
    assert sent.keys() == {"messages", "model", "max_tokens", "temperature", "stream"} | optional
    assert len(server.refused) == (1 if server.habits.strict else 0)
    assert server.requests[-2].parameters["temperature"] == 0
    assert "top_p" not in server.requests[-2].parameters
    assert server.requests[-2].parameters["stop"] == ["\nUser:"]


async def test_a_model_without_a_system_role_gets_it_with_the_first_words(server: OpenAIDouble) -> None:
    """Its server says so once; from then on it is not asked for it."""
    server.habits = replace(server.habits, system=False)
    backend = OpenAIBackend(server.api, model="m")
    prompt = ChatTemplate().render(PromptWindow("Be kind.", (Message(Role.USER, "hi"),)))
    for _ in range(2):
        text, end = await collect(backend, GenerationRequest(prompt, 100))
        assert (text, isinstance(end, Done)) == (TEXT, True)
    await backend.aclose()
    assert server.requests[-1].parameters["messages"] == [{"role": "user", "content": "Be kind.\n\nhi"}]
    assert len(server.requests) == 3


async def test_a_date_says_when_to_come_back() -> None:
    """As proxies write it."""
    assert retry_after_seconds(formatdate(time.time() + 60, usegmt=True)) == pytest.approx(60, abs=2)
    assert (
        retry_after_seconds("soon"),
        retry_after_seconds(None),
        retry_after_seconds("-1"),
        retry_after_seconds("2.5"),
    ) == (None, None, 0, 2.5)


async def test_a_prompt_without_messages_is_completed(server: OpenAIDouble, backend: OpenAIBackend) -> None:
    """As text, by the other route, where no template is put around it."""
    prompt = Prompt((), ("\n\n",), lambda: "Once upon a time")
    text, end = await collect(backend, GenerationRequest(prompt, 100))
    assert (text, isinstance(end, Done)) == (TEXT, True)
    assert server.requests[-1].path == "/v1/completions"
    assert server.requests[-1].parameters["prompt"] == "Once upon a time"


async def test_without_a_name_the_first_model_is_asked(server: OpenAIDouble) -> None:
    """Looked up once."""
    server.models = ["first", "second"]
    backend = OpenAIBackend(server.url)
    for _ in range(2):
        await collect(backend, ask("hi"))
    assert server.requests[-1].parameters["model"] == "first"
    assert server.targets.count("/v1/models") == 1
    assert await backend.models() == ["first", "second"]
    await backend.aclose()


async def test_a_prompt_that_does_not_fit_is_told_apart(server: OpenAIDouble, backend: OpenAIBackend) -> None:
    """By the server's own words, which are passed on."""
    _, error = await collect(backend, ask("word " * 5000, most=100))
    assert "maximum context length" in str(check(error, PromptTooLong, server.api))


async def test_a_model_that_is_not_there_names_the_setting(server: OpenAIDouble, backend: OpenAIBackend) -> None:
    """It is the most frequent mistake."""
    server.fault("no_model")
    _, error = await collect(backend, ask("hi"))
    assert "MODEL_NAME" in check(error, ModelRefused, server.api).remedy


@pytest.mark.parametrize("habits", SERVERS.values(), ids=SERVERS)
async def test_the_context_is_what_the_server_tells(habits: Habits) -> None:
    """Wherever it does; None where it tells nothing."""
    async with OpenAIDouble(habits) as server:
        server.max_total_tokens = 8192
        backend = OpenAIBackend(server.api)
        limits = await backend.limits()
        await backend.aclose()
    assert limits == (ModelLimits(8191, 8192, "tests/double") if habits.length else None)


async def test_a_deadline_frees_the_server(server: OpenAIDouble, backend: OpenAIBackend) -> None:
    """A server that stalls is let go of, long before the connection itself would notice."""
    server.fault("stall", after=2)
    async with aclosing(generate(backend, ask("hi"), Deadlines(between_tokens=0.1))) as stream:
        assert [await anext(stream), await anext(stream)] == [Delta("one"), Delta(" two")]
        with pytest.raises(ModelTimeout, match="in the middle"):
            await anext(stream)
    await wait_until(lambda: not server.running, description="the server to stop")
    assert server.requests[0].closed_early


# Where requests go.


async def test_a_redirect_is_not_followed(server: OpenAIDouble, backend: OpenAIBackend) -> None:
    """It would carry what people wrote, and the key; the error says where it leads."""
    async with OpenAIDouble() as other:
        server.elsewhere = f"{other.api}/chat/completions?token=7"
        server.fault("redirect")
        _, error = await collect(backend, ask(SECRET))
        assert not other.targets
    refused = check(error, ModelRefused, server.api)
    assert other.api in str(refused)
    assert "token" not in str(refused)
    assert "MODEL_URL" in refused.remedy
