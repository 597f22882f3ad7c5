"""The double is as particular as the server that it stands for."""

from __future__ import annotations

import json
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.doubles.tgi import TgiDouble
from tests.waiting import wait_until


@pytest.fixture
async def tgi() -> AsyncIterator[TgiDouble]:
    """A double that listens."""
    async with TgiDouble() as double:
        yield double


async def post(tgi: TgiDouble, path: str, inputs: str = "User: hi", **parameters: Any) -> tuple[int, str]:
    """Status and body of one request."""
    body = {"inputs": inputs, "parameters": parameters, "stream": True}
    async with aiohttp.ClientSession() as session, session.post(tgi.url + path, json=body) as response:
        return response.status, await response.text()


async def events(tgi: TgiDouble, inputs: str = "User: hi", **parameters: Any) -> list[dict[str, Any]]:
    """The events of one stream."""
    status, body = await post(tgi, "/", inputs, **parameters)
    assert status == 200
    return [json.loads(line.removeprefix("data:")) for line in body.splitlines() if line]


async def test_the_last_event_has_its_token_and_the_whole_text(tgi: TgiDouble) -> None:
    """As there: the end of text is a special token, counted but not part of the text."""
    *first, last = await events(tgi, max_new_tokens=20)
    assert [event["token"]["text"] for event in first] == [" You", " said:", " hi"]
    assert all(event["generated_text"] is None and event["details"] is None for event in first)
    assert last["token"]["special"]
    assert last["generated_text"] == " You said: hi"
    assert last["details"] == {"finish_reason": "eos_token", "generated_tokens": 4, "seed": None, "input_length": 2}


@pytest.mark.parametrize(
    ("tokens", "text", "reason"),
    [
        ([" a", "\nUser", ":", " b"], " a\nUser:", "stop_sequence"),
        ([" a", "\nUser", ":\n"], " a\nUser:\n", "eos_token"),
        ([" a", " b", " c", " d", "\nUser:"], " a b c d\nUser:", "length"),
    ],
    ids=["kept in the text", "missed if a token runs past it", "the length comes first"],
)
async def test_stop_strings_are_met_as_there(tgi: TgiDouble, tokens: list[str], text: str, reason: str) -> None:
    """Only where the text ends with one after a token."""
    tgi.enqueue(tokens)
    last = (await events(tgi, max_new_tokens=5, stop=["\nUser:"]))[-1]
    assert (last["generated_text"], last["details"]["finish_reason"]) == (text, reason)


async def test_a_stream_refuses_with_http_200(tgi: TgiDouble) -> None:
    """Validation fails inside the stream, and with 422 without one."""
    tgi.max_total_tokens = 10
    (event,) = await events(tgi, "one two three", max_new_tokens=8)
    assert event["error_type"] == "validation"
    assert "`inputs` tokens + `max_new_tokens` must be <= 10. Given: 3 `inputs` tokens" in event["error"]
    status, body = await post(tgi, "/generate", max_new_tokens=10)
    assert (status, json.loads(body)["error_type"]) == (422, "validation")


async def test_a_wrong_key_gets_nothing(tgi: TgiDouble) -> None:
    """A bare 401, not even a body; /info stays open."""
    tgi.api_key = "sesame"
    assert await post(tgi, "/") == (401, "")
    async with aiohttp.ClientSession() as session, session.get(f"{tgi.url}/info") as response:
        assert (await response.json())["max_total_tokens"] == 4096


async def test_it_answers_without_a_stream_too(tgi: TgiDouble) -> None:
    """An object at /generate, tokens at /tokenize."""
    _, body = await post(tgi, "/generate", max_new_tokens=20)
    assert json.loads(body)["generated_text"] == " You said: hi"
    _, body = await post(tgi, "/tokenize")
    assert [token["text"] for token in json.loads(body)] == ["User:", " hi"]


async def test_by_hand_it_says_what_to_set() -> None:
    """``python -m tests.doubles.tgi`` prints the settings, then a line for each request."""
    command = ("-m", "tests.doubles.tgi", "--port", "0", "--rate", "0", "--words", "7")
    process = await create_subprocess_exec(sys.executable, *command, stdout=PIPE)
    assert process.stdout
    try:
        api, url = (await process.stdout.readline()).decode().split()
        assert api == "MODEL_API=tgi"
        address = url.removeprefix("MODEL_URL=") + "/generate"
        async with aiohttp.ClientSession() as session, session.post(address, json={"inputs": "User: hi"}) as response:
            assert (await response.json())["generated_text"] == " You said: hi\n\nthe tide came in and the tide."
        assert (await process.stdout.readline()).startswith(b"/generate 8 characters -> 11 tokens, ")
    finally:
        process.terminate()
        await process.wait()


async def test_it_notices_who_goes_away(tgi: TgiDouble) -> None:
    """A client that leaves is written down, and nothing more is made for it."""
    tgi.rate, tgi.answer = 200, "word " * 1000
    body = {"inputs": "x", "parameters": {"max_new_tokens": 1000}, "stream": True}
    async with aiohttp.ClientSession() as session, session.post(tgi.url, json=body) as response:
        await response.content.readline()
    await wait_until(lambda: tgi.requests[0].finished_at, description="the end of the request")
    assert tgi.requests[0].closed_early
    assert 1 <= tgi.requests[0].tokens_sent < 100
    assert tgi.connections == 0
