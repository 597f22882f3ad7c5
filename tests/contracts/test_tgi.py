"""What the TGI backend makes of a server's faults and of its own client's."""

from __future__ import annotations

import base64
import subprocess
import sys
from contextlib import aclosing
from dataclasses import replace
from typing import Literal

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
from core.model_types import Delta, Done, ModelLimits, Usage
from core.models.backends.tgi import TgiBackend
from core.models.generation import Deadlines, generate
from core.types import Ending
from tests.contracts.asking import KEY, SECRET, ask, check, collect
from tests.doubles.tgi import ENDS, IN_STREAM, TgiDouble
from tests.waiting import wait_until

# TGI's bad days.

TEXT = " one two three four five"
SOME = " one two"
# What goes wrong in a stream, and what that is after some text and before any.
BROKEN: dict[str, tuple[type[GenerationError], type[GenerationError]]] = {
    **dict.fromkeys(sorted(ENDS | IN_STREAM.keys()), (StreamBroken, ModelUnavailable)),
    "stall": (ModelTimeout, ModelTimeout),
    "overloaded": (ModelOverloaded, ModelOverloaded),
    "validation": (ModelRefused, ModelRefused),
}
# What goes wrong before there is a stream.
REFUSED: dict[str, type[GenerationError]] = {
    "400": ModelRefused, "401": ModelUnauthorized, "403": ModelUnauthorized, "404": ModelRefused, "422": ModelRefused,
    "424": ModelUnavailable, "429": ModelOverloaded, "500": ModelUnavailable, "502": ModelUnavailable,
    "503": ModelUnavailable, "504": ModelTimeout, "no_answer": ModelUnavailable, "html": ModelUnavailable,
    "echo": ModelRefused, "echo_key": ModelRefused, "echo_too_long": PromptTooLong, "redirect": ModelRefused,
}  # fmt: skip


@pytest.mark.parametrize("after", [2, 0])
@pytest.mark.parametrize("fault", BROKEN)
async def test_a_broken_stream_is_a_typed_error(tgi: TgiDouble, fault: str, after: int) -> None:
    """What came before it stands."""
    tgi.answer = TEXT
    tgi.fault(fault, after=after)
    backend = TgiBackend(tgi.url, api_key=KEY, idle_timeout=0.1 if fault == "stall" else 10)
    text, error = await collect(backend, ask(SECRET))
    assert text == (SOME if after else "")
    check(error, BROKEN[fault][0 if after else 1], tgi.url)


@pytest.mark.parametrize("fault", REFUSED)
async def test_a_refusal_is_a_typed_error(tgi: TgiDouble, fault: str) -> None:
    """By its status, whatever the body; and with the time to wait where the server names one."""
    tgi.fault(fault)
    text, error = await collect(TgiBackend(tgi.url, api_key=KEY), ask(SECRET))
    assert text == ""
    assert check(error, REFUSED[fault], tgi.url).retry_after == (7 if fault in ("429", "503") else None)


@pytest.mark.parametrize("fault", ["endless", "endless_space"])
async def test_output_without_end_has_an_end(tgi: TgiDouble, fault: str) -> None:
    """White space for ever is cut off; words for ever, by the deadline for all of an answer."""
    tgi.answer, tgi.max_total_tokens = TEXT, 10**10
    tgi.fault(fault, after=2)
    text = ""
    try:
        async with aclosing(generate(TgiBackend(tgi.url), ask("hi", most=10**9), Deadlines(5, 5, 0.3))) as stream:
            async for item in stream:
                text += item.text if isinstance(item, Delta) else ""
    except ModelTimeout:
        assert fault == "endless"
    assert text.startswith("one two")
    await wait_until(lambda: not tgi.running, description="the server to stop")


async def test_too_large_an_event_is_a_broken_stream(tgi: TgiDouble) -> None:
    """Larger than the client reads; the text came before it."""
    tgi.answer = TEXT
    tgi.fault("too_huge")
    text, error = await collect(TgiBackend(tgi.url), ask("hi"))
    assert text == TEXT
    check(error, StreamBroken, tgi.url)


@pytest.mark.parametrize("fault", ["split_utf8", "comments", "huge", "slow"])
async def test_what_is_only_odd_is_read(tgi: TgiDouble, fault: str) -> None:
    """Keep-alives, foreign fields, split characters, a large last event, and a steady stream past the idle time."""
    tgi.answer = " häßlich 世界 👩‍👩‍👧‍👦" + TEXT
    tgi.fault(fault)
    text, end = await collect(TgiBackend(tgi.url, idle_timeout=0.35), ask("hi"))
    assert text == tgi.answer
    assert end == Done(Ending.COMPLETE, Usage(3, 9))


@pytest.mark.parametrize(
    ("words", "most", "kind"),
    [(5000, 100, PromptTooLong), (4000, 100, PromptTooLong), (10, 5000, PromptTooLong)],
    ids=["inputs", "together", "answer"],
)
async def test_a_prompt_that_does_not_fit_is_told_apart(
    tgi: TgiDouble, words: int, most: int, kind: type[GenerationError]
) -> None:
    """By the server's own words, which are passed on."""
    _, error = await collect(TgiBackend(tgi.url), ask("word " * words, most=most))
    check(error, kind, tgi.url)
    assert "`inputs`" in str(error)


async def test_other_refusals_inside_a_stream_are_refusals(tgi: TgiDouble) -> None:
    """Five stop strings are one too many there."""
    _, error = await collect(TgiBackend(tgi.url), ask("hi", *"abcde"))
    check(error, ModelRefused, tgi.url)
    assert "4 stop sequences" in str(error)


async def test_a_setting_that_the_server_refuses_is_named(tgi: TgiDouble) -> None:
    """A limit of its own for answers is not the conversation's fault."""
    tgi.fault("validation")
    _, error = await collect(TgiBackend(tgi.url), ask("hi"))
    assert "MAX_NEW_TOKENS" in check(error, ModelRefused, tgi.url).remedy


async def test_what_the_client_itself_refuses_is_a_refusal(tgi: TgiDouble) -> None:
    """Before anything is sent."""
    _, error = await collect(TgiBackend(tgi.url), replace(ask("hi"), seed=-1))
    assert "`seed` must be positive" in str(check(error, ModelRefused, tgi.url))
    assert not tgi.requests


async def test_a_deadline_frees_the_server(tgi: TgiDouble) -> None:
    """A server that stalls is let go of, long before the connection itself would notice."""
    tgi.answer = TEXT
    tgi.fault("stall", after=2)
    async with aclosing(generate(TgiBackend(tgi.url), ask("hi"), Deadlines(between_tokens=0.1))) as stream:
        assert [await anext(stream), await anext(stream)] == [Delta("one"), Delta(" two")]
        with pytest.raises(ModelTimeout, match="in the middle"):
            await anext(stream)
    await wait_until(lambda: not tgi.running, description="the server to stop")
    assert tgi.requests[0].closed_early


async def test_a_stop_that_the_server_misses_frees_it(tgi: TgiDouble) -> None:
    """A token ran past the stop string, so TGI writes on; the answer ends all the same, and so does its work."""
    tgi.rate, tgi.answer = 200, [" Hello", "\nUser", ":\n", *[" and"] * 900]
    async with aclosing(generate(TgiBackend(tgi.url), ask("hi", "\nUser:"), Deadlines())) as stream:
        assert [item async for item in stream] == [Delta("Hello"), Done()]
    await wait_until(lambda: not tgi.running, description="the server to stop")
    assert tgi.requests[0].closed_early
    assert tgi.requests[0].tokens_sent < 100


async def test_a_server_that_is_not_there(unused_tcp_port: int) -> None:
    """Nothing listens: unavailable, not healthy, and no limits to tell."""
    url = f"http://127.0.0.1:{unused_tcp_port}"
    backend = TgiBackend(url)
    _, error = await collect(backend, ask("hi"))
    assert "MODEL_URL" in check(error, ModelUnavailable, url).remedy
    assert not await backend.healthy()
    with pytest.raises(ModelUnavailable):
        await backend.limits()


# What is sent to TGI, and what is read from it.


@pytest.mark.parametrize(
    ("temperature", "top_p", "sent"),
    [
        (0, None, {"do_sample": False, "temperature": None, "top_p": None}),
        (0.7, 1.0, {"do_sample": True, "temperature": 0.7, "top_p": None}),
        (1.0, 0.9, {"do_sample": True, "temperature": 1.0, "top_p": 0.9}),
    ],
)
async def test_sampling_is_sent_as_tgi_wants_it(
    tgi: TgiDouble, temperature: float, top_p: float | None, sent: dict[str, object]
) -> None:
    """Zero is greedy, and what the server would refuse is left out."""
    await collect(TgiBackend(tgi.url), ask("hi", "\nUser:", most=9, temperature=temperature, top_p=top_p))
    (seen,) = tgi.requests
    assert seen.inputs == "User: hi\nAssistant:"
    assert seen.parameters.items() >= (sent | {"max_new_tokens": 9, "stop": ["\nUser:"], "seed": 7}).items()
    assert "authorization" not in seen.headers


async def test_an_empty_answer_is_an_answer(tgi: TgiDouble) -> None:
    """The model may have nothing to say."""
    tgi.answer = []
    assert await collect(TgiBackend(tgi.url), ask("hi")) == ("", Done(Ending.COMPLETE, Usage(3, 1)))


async def test_special_tokens_are_not_shown(tgi: TgiDouble) -> None:
    """The end of text is the server's business; it counts as a token all the same."""
    tgi.answer = [" a", "", " b"]
    assert await collect(TgiBackend(tgi.url), ask("hi")) == (" a b", Done(Ending.COMPLETE, Usage(3, 4)))


async def test_counts_that_are_none_are_left_out(tgi: TgiDouble) -> None:
    """An infinite number of tokens is not passed on; the answer is, to its last word."""
    tgi.answer = TEXT
    tgi.fault("odd_counts")
    assert await collect(TgiBackend(tgi.url), ask("hi", most=5)) == (TEXT, Done(Ending.LENGTH))


async def test_special_tokens_that_end_a_turn_end_the_answer(tgi: TgiDouble) -> None:
    """The server does not stop there, since its model's settings name another end."""
    tgi.answer, tgi.special = [" Seven", ".", "<|eot_id|>", *[" and"] * 900], {"<|eot_id|>", "<|endoftext|>"}
    tgi.rate = 200
    async with aclosing(generate(TgiBackend(tgi.url), ask("hi"), Deadlines())) as stream:
        heard = [item async for item in stream]
    assert "".join(item.text for item in heard if isinstance(item, Delta)) == "Seven."
    await wait_until(lambda: not tgi.running, description="the server to stop")
    assert tgi.requests[0].tokens_sent < 100


async def test_special_tokens_that_mark_reasoning_do(tgi: TgiDouble) -> None:
    """Magistral's are special; what stands between them is no answer."""
    tgi.answer, tgi.special = ["[THINK]", "Hm", ".", "[/THINK]", "Seven", "."], {"[THINK]", "[/THINK]", "<|endoftext|>"}
    async with aclosing(generate(TgiBackend(tgi.url), ask("hi"), Deadlines())) as stream:
        heard = [item async for item in stream]
    assert "".join(item.text for item in heard if isinstance(item, Delta)) == "Seven."


async def test_a_redirect_is_not_followed(tgi: TgiDouble) -> None:
    """It would carry what people wrote, and the key, to wherever the server says."""
    async with TgiDouble() as other:
        tgi.elsewhere = f"{other.url}/generate_stream"
        tgi.fault("redirect")
        _, error = await collect(TgiBackend(tgi.url, api_key=KEY), ask(SECRET))
        assert not other.targets
    assert "MODEL_URL" in check(error, ModelRefused, tgi.url).remedy
    assert other.url in str(error)


@pytest.mark.parametrize(
    ("key", "auth", "token"),
    [
        (KEY, "Bearer", KEY),
        ("user:pass", "Basic", base64.b64encode(b"user:pass").decode()),
        ("dXNlcjpwYXNz\n", "Basic", "dXNlcjpwYXNz"),
    ],
    ids=["bearer", "user and password", "encoded already"],
)
async def test_the_key_opens_the_server(tgi: TgiDouble, key: str, auth: Literal["Bearer", "Basic"], token: str) -> None:
    """As Bearer, or as Basic in either form; without it the remedy says which setting to look at."""
    tgi.api_key, tgi.auth = token, auth
    _, end = await collect(TgiBackend(tgi.url, api_key=key, auth=auth), ask("hi"))
    assert isinstance(end, Done)
    for wrong in (None, KEY[::-1]):
        _, error = await collect(TgiBackend(tgi.url, api_key=wrong, auth=auth), ask("hi"))
        assert "MODEL_API_KEY" in check(error, ModelUnauthorized, tgi.url).remedy


async def test_an_encoded_key_is_not_repeated_either(tgi: TgiDouble) -> None:
    """A server that quotes the header back is not quoted."""
    tgi.fault("echo_key")
    _, error = await collect(TgiBackend(tgi.url, api_key=f"user:{KEY}", auth="Basic"), ask("hi"))
    assert base64.b64encode(f"user:{KEY}".encode()).decode() not in str(check(error, ModelRefused, tgi.url))


async def test_credentials_in_the_url_are_used_and_not_repeated(tgi: TgiDouble) -> None:
    """They are a Basic key, and an error names the address without them."""
    backend = TgiBackend(tgi.url.replace("//", f"//user:{KEY}@") + "?token=" + KEY)
    tgi.fault("500")
    _, error = await collect(backend, ask("hi"))
    check(error, ModelUnavailable, tgi.url)
    await backend.limits()
    assert tgi.targets == [f"/?token={KEY}", f"/info?token={KEY}"]
    assert tgi.requests[0].headers["authorization"] == "Basic " + base64.b64encode(f"user:{KEY}".encode()).decode()


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://host", "http://", "http://[", KEY])
def test_what_is_no_address_is_a_wrong_setting(url: str) -> None:
    """At once, not with the first message; and without repeating what may be a secret."""
    with pytest.raises(SettingsError, match="MODEL_URL") as raised:
        TgiBackend(url)
    assert not url or url not in str(raised.value)


@pytest.mark.parametrize(
    ("info", "limits"),
    [
        ({"model_id": "m"}, ModelLimits(4095, 4096, "m")),
        ({"model_id": None, "max_input_tokens": None, "max_input_length": 1000}, ModelLimits(1000, 4096)),
        ({"max_total_tokens": None}, None),
        ({"max_total_tokens": "many"}, None),
        ({"max_total_tokens": float("inf")}, None),
        ({"max_input_tokens": 10**30}, None),
        ({"model_id": ["m"]}, ModelLimits(4095, 4096)),
        (404, None),
    ],
    ids=["TGI 3", "TGI 1", "missing", "nonsense", "infinite", "huge", "a list", "no such page"],
)
async def test_limits_are_what_the_server_tells(
    tgi: TgiDouble, info: dict[str, object] | int, limits: ModelLimits | None
) -> None:
    """None where it tells nothing."""
    tgi.info = info
    assert await TgiBackend(tgi.url).limits() == limits


@pytest.mark.parametrize(("status", "kind"), [(401, ModelUnauthorized), (503, ModelUnavailable)])
async def test_limits_that_are_refused_are_a_typed_error(
    tgi: TgiDouble, status: int, kind: type[GenerationError]
) -> None:
    """A proxy may guard /info too."""
    tgi.info = status
    with pytest.raises(kind) as raised:
        await TgiBackend(tgi.url, api_key=KEY).limits()
    check(raised.value, kind, tgi.url)


async def test_a_server_that_still_loads_is_not_healthy(tgi: TgiDouble) -> None:
    """It listens, but it does not answer yet."""
    tgi.ready = False
    assert not await TgiBackend(tgi.url).healthy()


def test_the_client_is_imported_only_where_it_is_used() -> None:
    """It takes a second or two, which nobody pays who does not talk to such a server."""
    check = "import sys, core.models.backends.tgi; print('text_generation' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
