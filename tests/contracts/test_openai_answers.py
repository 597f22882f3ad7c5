"""What counts as an answer in OpenAI's API, whatever shape a server gives it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import chain, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import (
    AnswerCutOff,
    AnswerFiltered,
    GenerationError,
    ModelUnavailable,
    StreamBroken,
    ToolWanted,
)
from core.model_types import Done, Usage
from core.models.backends.openai import OpenAIBackend
from core.types import Ending
from tests.contracts.asking import KEY, SECRET, ask, check, collect
from tests.doubles.openai import OpenAIDouble
from tests.examples import examples

TEXT = " one two three four five"

PIECES = [
    *(b"data: ", b"data:", b"\n", b"\r\n", b"\n\n", b"\r", b": ping\n", b"event: error\n", b"[DONE]", b"{", b"}", b"<"),
    *(b'{"choices":[{"delta":{"content":"a"}}]}', b'{"choices":[', b'{"error":"x"}', b'"finish_reason":"stop"', b"["),
]


# What it streams.


def stream_of(*choices: Mapping[str, object], done: bool = True) -> list[bytes]:
    """The events of a stream, each with one choice."""
    events = [f"data: {json.dumps({'choices': [choice]})}\n\n".encode() for choice in choices]
    return [*events, b"data: [DONE]\n\n"] if done else events


REASONS: dict[object, Ending | type[GenerationError]] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "STOP"), Ending.COMPLETE),
    **dict.fromkeys(("length", "model_length", "max_tokens", "MAX_TOKENS", "max_output_tokens"), Ending.LENGTH),
    **dict.fromkeys(("content_filter", "SAFETY", "RECITATION", "refusal", "sensitive"), AnswerFiltered),
    **dict.fromkeys(("tool_calls", "function_call", "tool_use"), ToolWanted),
    **dict.fromkeys(("tired", "out of words\nand more", 7), AnswerCutOff),
    **dict.fromkeys(("abort", "error", "cancelled", "insufficient_system_resource"), StreamBroken),
}


@pytest.mark.parametrize(("reason", "ending"), REASONS.items(), ids=map(str, REASONS))
async def test_nothing_that_was_cut_off_passes_for_whole(reason: object, ending: object) -> None:
    """Whatever the server calls it; and what was said before stands."""
    async with OpenAIDouble() as server:
        server.body = stream_of({"delta": {"content": "Some"}}, {"delta": {}, "finish_reason": reason})
        backend = OpenAIBackend(server.api)
        text, end = await collect(backend, ask("hi"))
        await backend.aclose()
    assert text == "Some"
    if isinstance(ending, Ending):
        assert isinstance(end, Done)
        assert end.ending is ending
    else:
        assert isinstance(ending, type)
        assert issubclass(ending, GenerationError)
        assert "\n" not in str(check(end, ending, server.api))


BODIES: dict[str, tuple[str, list[bytes]]] = {
    "JSON that is called a stream": ("text/event-stream", [b'{"choices":[{"message":{"content":"One two"}}]}']),
    "JSON that is called text": ("text/plain", [b' \n{"choices":[{"message":{"content":"One two"}}]}']),
    "JSON in pieces": ("application/json", [b'{"choices":[{"mess', b'age":{"content":"One two"}}]}']),
    "JSON in a list": (
        "application/json",
        [b'[{"choices":[{"message":{"content":"One two"},"finish_reason":"stop"}]}]'],
    ),
    "JSON lines": (
        "application/x-ndjson",
        [b'{"choices":[{"delta":{"content":"One"}}]}\n', b'{"choices":[{"delta":{"content":" two"}}]}\n'],
    ),
    "a stream that is called JSON": ("application/json", stream_of({"delta": {"content": "One two"}})),
    "an event over two lines": (
        "text/event-stream",
        [b'data: {"choices":[{"index":0,\ndata: "delta":{"content":"One two"},"finish_reason":"stop"}]}\n\n'],
    ),
}


@pytest.mark.parametrize(("kind", "body"), BODIES.values(), ids=BODIES)
async def test_an_answer_is_read_whatever_it_is_called(kind: str, body: list[bytes]) -> None:
    """By its first bytes."""
    async with OpenAIDouble() as server:
        server.kind, server.body = kind, body
        backend = OpenAIBackend(server.api)
        text, end = await collect(backend, ask("hi"))
        await backend.aclose()
    assert (text, isinstance(end, Done)) == ("One two", True)


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        ([b"<!doctype html><html></html>"], "a page"),
        ([b"\xef\xbb\xbf\n <html>"], "a page"),
        ([b'data: {"hello": "world"}\n\n'], "an object with hello"),
        ([b"data: [1, 2]\n\n"], "a list"),
        ([b"[" * 100_000], "not OpenAI's protocol"),
        ([b"data: " + b"[" * 100_000 + b"\n\n"], "not OpenAI's protocol"),
        ([b"data: {}\n\n"], "an object"),
        ([b"hello"], "closed the stream"),
        ([], "closed the stream"),
    ],
)
async def test_what_is_no_answer_is_said(body: list[bytes], seen: str) -> None:
    """With what was seen."""
    async with OpenAIDouble() as server:
        server.body = body
        backend = OpenAIBackend(server.api, api_key=KEY)
        text, error = await collect(backend, ask(SECRET))
        await backend.aclose()
    assert text == ""
    assert seen in str(check(error, ModelUnavailable, server.api))


@examples(60)
@given(st.lists(st.binary(max_size=30) | st.sampled_from(PIECES), max_size=12), st.integers(1, 400))
async def test_no_bytes_are_more_than_a_typed_error(pieces: list[bytes], size: int) -> None:
    """Through the real client, however they are cut."""
    data = b"".join(pieces)
    async with OpenAIDouble() as server:
        server.body = [data[place : place + size] for place in range(0, len(data), size)]
        backend = OpenAIBackend(server.api, model="m", idle_timeout=5)
        text, _ = await collect(backend, ask("hi"))
        await backend.aclose()
    text.encode()


async def test_an_emoji_in_two_events_is_one() -> None:
    """A server may escape its halves, and send them apart."""
    async with OpenAIDouble() as server:
        server.body = stream_of(*({"delta": {"content": half}} for half in ("Hi \ud83d", "\ude00", "\ud83d")))
        backend = OpenAIBackend(server.api)
        text, _ = await collect(backend, ask("hi"))
        await backend.aclose()
    assert text == "Hi \U0001f600\ufffd"


@pytest.mark.parametrize("endless", [False, True])
async def test_what_follows_the_end_is_not_waited_for_long(endless: bool) -> None:
    """Comments for ever after it are no answer."""
    end = stream_of({"delta": {"content": "Yes."}, "finish_reason": "stop"}, done=False)
    async with OpenAIDouble() as server:
        server.body = chain(end, repeat(b": ping\n\n")) if endless else end
        backend = OpenAIBackend(server.api)
        text, done = await collect(backend, ask("hi"))
        await backend.aclose()
    assert (text, isinstance(done, Done)) == ("Yes.", True)


async def test_counts_that_are_none_are_left_out() -> None:
    """An infinite number of tokens is not passed on; the answer is."""
    async with OpenAIDouble() as server:
        server.body = [
            b'data: {"choices":[{"delta":{"content":"Yes."},"finish_reason":"stop"}],'
            b'"usage":{"prompt_tokens":1e999,"completion_tokens":"7"}}\n\n'
        ]
        backend = OpenAIBackend(server.api)
        assert await collect(backend, ask("hi")) == ("Yes.", Done(Ending.COMPLETE, Usage()))
        await backend.aclose()
