"""What a server streams is read as the standards say, and nothing that it may send is more than a typed error."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.model_types import Delta, Streamed, Thinking, Usage
from core.models.backends.openai_stream import (
    MAX_EVENT_BYTES,
    AnswerFault,
    AnswerReader,
    Event,
    EventParser,
    StrangeEvent,
)
from core.models.backends.untrusted import SurrogateJoiner, TooLarge, describe, error_text, parse_json, token_count
from tests.examples import examples

HELLO = b'{"choices":[{"index":0,"delta":{"content":"hello"}}]}'
END = b"data: [DONE]\n\n"
SHAPES = {
    "as usual": b"data: " + HELLO + b"\n\ndata: [DONE]\n\n",
    "no space after the colon": b"data:" + HELLO + b"\n\ndata:[DONE]\n\n",
    "CR and LF": b"data: " + HELLO + b"\r\n\r\ndata: [DONE]\r\n\r\n",
    "CR alone": b"data: " + HELLO + b"\r\rdata: [DONE]\r\r",
    "line ends mixed": b"data: " + HELLO + b"\n\r\ndata: [DONE]\r\n\n",
    "several data lines": b'data: {"choices":[{"index":0,\ndata: "delta":{"content":\ndata: "hello"}}]}\n\n' + END,
    "BOM": b"\xef\xbb\xbfdata: " + HELLO + b"\n\ndata: [DONE]\n\n",
    "comments and other fields": b": ping\n\nevent: message\nid: 7\nretry: 10\ndata: "
    + HELLO
    + b"\n\ndata: [DONE]\n\n",
    "a comment inside": b'data: {"choices":[{"index":0,\n: ping\ndata: "delta":{"content":"hello"}}]}\n\n' + END,
    "no empty lines": b"data: " + HELLO + b"\ndata: [DONE]\n",
    "no last line end": b"data: " + HELLO + b"\n\ndata: [DONE]",
    "no field": HELLO + b"\n[DONE]\n" + b"data: [DONE]\n",
    "blank lines first": b"\n\n\ndata: " + HELLO + b"\n\n\n\ndata: [DONE]\n\n",
}


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The same bytes in pieces."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(edges)]


def events(pieces: list[bytes]) -> list[Event]:
    """All events of a stream."""
    reader = EventParser()
    return [*(event for piece in pieces for event in reader.feed(piece)), *reader.end()]


@pytest.mark.parametrize("data", SHAPES.values(), ids=SHAPES)
@examples(30)
@given(places=st.lists(st.integers(0, 500), max_size=12))
def test_an_event_is_read_in_any_shape_and_any_pieces(data: bytes, places: list[int]) -> None:
    """As the standard says, and as careless servers send it."""
    reader, heard = AnswerReader(), []
    for event in events(cut(data, places)):
        heard += reader.read(event)
    assert heard == [Delta("hello")]
    assert reader.done
    assert events([bytes([byte]) for byte in data]) == events([data])


def test_an_event_that_the_server_calls_an_error_is_one() -> None:
    """By its name, or by that of its field, as llama.cpp had it."""
    assert events([b'event: error\ndata: {"a": 1}\n\ndata: {}\n\n']) == [Event(b'{"a": 1}', error=True), Event(b"{}")]
    assert events([b'error: {"a": 1}\n\n']) == [Event(b'{"a": 1}', error=True)]


@pytest.mark.parametrize("data", [b"data: " + b"x" * MAX_EVENT_BYTES, (b"data: xxxxxxxxx\n" * (MAX_EVENT_BYTES // 8))])
def test_an_event_without_end_is_not_read_on(data: bytes) -> None:
    """As one line, and as many."""
    with pytest.raises(TooLarge):
        events([data[place : place + 65_536] for place in range(0, len(data), 65_536)])


DELTAS: dict[str, tuple[list[Any], str, str]] = {
    "text": ([{"content": "Take"}, {"content": " it."}], "Take it.", ""),
    "null": ([{"role": "assistant", "content": None}, {"content": "Yes."}], "Yes.", ""),
    "parts": ([{"content": [{"type": "text", "text": "Take"}]}, {"content": " it."}], "Take it.", ""),
    "parts of a kind of their own": ([{"content": [{"type": "output_text", "text": "Yes."}]}], "Yes.", ""),
    "parts without a kind": ([{"content": [{"text": "Yes."}]}], "Yes.", ""),
    "parts that are texts": ([{"content": ["Yes", "."]}], "Yes.", ""),
    "one part": ([{"content": {"type": "text", "text": "Yes."}}], "Yes.", ""),
    "thinking parts": (
        [{"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]}, {"content": "Yes."}],
        "Yes.",
        "Hm.",
    ),
    "thinking and text": (
        [{"content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Yes."}]}],
        "Yes.",
        "Hm.",
    ),
    "reasoning_content": ([{"reasoning_content": "Hm."}, {"content": "Yes."}], "Yes.", "Hm."),
    "reasoning": ([{"reasoning": "Hm.", "content": ""}, {"content": "Yes."}], "Yes.", "Hm."),
    "reasoning under both names": ([{"reasoning": "Hm.", "reasoning_content": "Hm."}], "", "Hm."),
    "reasoning as an object": ([{"reasoning": {"content": "Hm."}}, {"content": "Yes."}], "Yes.", "Hm."),
    "reasoning in details": ([{"reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]}], "", "Hm."),
    "thinking blocks": ([{"thinking_blocks": [{"type": "thinking", "thinking": "Hm."}]}], "", "Hm."),
    "refusal": ([{"content": None, "refusal": "I can't."}], "I can't.", ""),
    "refusal part": ([{"content": [{"type": "refusal", "refusal": "I can't."}]}], "I can't.", ""),
    "parts that are no text": ([{"content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "", ""),
    "tool calls": ([{"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}], "", ""),
    "halves of an emoji": ([{"content": "Hi \ud83d"}, {"content": "\ude00!"}], "Hi \U0001f600!", ""),
    "half an emoji": ([{"content": "Hi \ud83d"}, {"content": " you"}], "Hi \ufffd you", ""),
    "half an emoji at the end": ([{"content": "Hi \ud83d"}], "Hi \ufffd", ""),
    "the other half": ([{"content": "Hi \ude00"}], "Hi \ufffd", ""),
    "halves in reasoning": ([{"reasoning": "Hi \ud83d"}, {"reasoning": "\ude00!"}], "", "Hi \U0001f600!"),
}


def add_up(heard: list[Streamed]) -> tuple[str, str]:
    """Text, and reasoning."""
    text = "".join(item.text for item in heard if isinstance(item, Delta))
    return text, "".join(item.text for item in heard if isinstance(item, Thinking))


@pytest.mark.parametrize(("deltas", "text", "thoughts"), DELTAS.values(), ids=DELTAS)
def test_text_and_reasoning_are_told_apart_in_any_shape(deltas: list[Any], text: str, thoughts: str) -> None:
    """As deltas, and as the message of a server that does not stream."""
    for key in ("delta", "message"):
        reader, heard = AnswerReader(), []
        for delta in deltas:
            heard += reader.take(json.loads(json.dumps({"choices": [{"index": 0, key: delta}]})))
        heard += reader.end()
        assert add_up(heard) == (text, thoughts)


FAULTS: list[Any] = [
    {"error": {"message": "CUDA error", "type": "InternalServerError", "code": 500}},
    {"error": "CUDA error"},
    {"error": {"error": {"message": "CUDA error"}}},
    {"error": ["CUDA error"]},
    {"error": {"message": {"detail": "CUDA error"}}},
    {"error": {"message": '{"error": {"message": "CUDA error"}}'}},
    {"error": {"metadata": {"raw": "CUDA error"}, "message": "Provider returned error", "code": 502}},
    {"object": "error", "message": "CUDA error", "type": "InternalServerError", "code": 500},
    {"object": "error", "message": "CUDA error", "usage": None, "choices": []},
    {"error_message": "CUDA error", "error_code": 50001},
    {"error_message": "CUDA error", "usage": None},
    {"error_message": "CUDA error", "choices": []},
    {"error_msg": "CUDA error", "error_code": 336003},
    {"errors": [{"msg": "CUDA error"}]},
    {"detail": "CUDA error"},
    {"detail": [{"loc": ["body"], "msg": "CUDA error"}]},
    {"message": "CUDA error", "code": 500},
    {"code": 20012, "message": "CUDA error", "data": None},
    {"type": "error", "error": {"type": "overloaded_error", "message": "CUDA error"}},
    {"status": "error", "message": "CUDA error"},
    {"choices": [{"index": 0, "delta": {}, "error": {"message": "CUDA error", "code": 502}, "finish_reason": "error"}]},
    {"id": "c", "choices": [], "error": {"message": "CUDA error"}},
    {"id": "c", "choices": None, "base_resp": {"status_code": 1004, "status_msg": "CUDA error"}},
]


@pytest.mark.parametrize("event", FAULTS, ids=json.dumps)
def test_an_error_is_noticed_in_any_shape(event: Any) -> None:
    """And what it says is found."""
    with pytest.raises(AnswerFault) as raised:
        AnswerReader().take(event)
    assert "CUDA error" in error_text(raised.value.error)


@pytest.mark.parametrize(
    ("event", "seen"),
    [
        ({"hello": "world", "what people said": 1}, "an object with hello"),
        ([1, 2], "a list"),
        ("hello", "a text"),
        (None, "nothing"),
        (7, "a number"),
        ({"choices": "none"}, "choices that are a text"),
        ({"choices": {"0": {}}}, "choices that are an object"),
        ({"choices": [None]}, "choices that are a list"),
        ({"choices": [{"delta": "hello"}]}, "a delta that is a text"),
        ({"choices": [{"delta": {"content": 7}}]}, "content that is a number"),
    ],
)
def test_an_unknown_shape_is_said(event: Any, seen: str) -> None:
    """What was seen, and no word of what it said."""
    with pytest.raises(StrangeEvent, match=seen) as raised:
        AnswerReader().take(event)
    assert "people" not in str(raised.value)


@pytest.mark.parametrize(
    "event",
    [
        {"choices": []},
        {"choices": [], "prompt_filter_results": []},
        {"id": "c", "usage": None},
        {"timings": {}},
        {"choices": [], "error": None},
        {"choices": [], "error": {"code": 0, "message": ""}, "base_resp": {"status_code": 0, "status_msg": ""}},
    ],
)
def test_an_event_that_says_nothing_is_passed_over(event: Any) -> None:
    """Azure begins with one, and llama.cpp ends with one."""
    assert AnswerReader().take(event) == []


def test_text_after_the_end_shows_that_it_was_none() -> None:
    """Some servers give a reason with every event: then only the end of the stream is an end."""
    reader = AnswerReader()
    for word in ("One", " two"):
        reader.take({"choices": [{"delta": {"content": word}, "finish_reason": "stop"}]})
    assert reader.continued


NUMBERS = [
    *((value, None) for value in (float("inf"), float("nan"), 10**30, -1, 1.5, "7", [7], {"n": 7}, True, None, "")),
    *((value, 7) for value in (7, 7.0)),
    (0, 0),
]


@pytest.mark.parametrize(("value", "counted"), NUMBERS)
def test_a_count_is_a_count_or_nothing(value: Any, counted: int | None) -> None:
    """Whatever a server says."""
    assert token_count(value) == counted
    reader = AnswerReader()
    reader.take({"choices": [], "usage": {"prompt_tokens": value, "completion_tokens": value}})
    assert reader.usage == Usage(counted, counted)


@pytest.mark.parametrize("usage", ["many", [1], 7, True, {"prompt_tokens": {}}])
def test_counts_of_another_shape_are_none(usage: Any) -> None:
    """They are no part of the answer, which stands."""
    reader = AnswerReader()
    assert reader.take({"choices": [{"delta": {"content": "a"}}], "usage": usage}) == [Delta("a")]
    assert reader.usage == Usage()


def test_json_that_is_nested_too_deep_is_no_json() -> None:
    """Nor is one with a number of a million digits."""
    for data in (b"[" * 100_000, b'{"a":' * 100_000, b"1" * 1_000_000, b"\xff", b""):
        with pytest.raises(ValueError, match=r".*"):
            parse_json(data)


@given(st.text(alphabet=st.characters(categories=None), max_size=20), st.lists(st.integers(0, 20), max_size=5))
def test_halves_are_joined_wherever_they_are_cut(text: str, places: list[int]) -> None:
    """What comes out can be stored, and is the same in any pieces."""
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    halves = SurrogateJoiner()
    joined = "".join([*(halves.feed(text[a:b]) for a, b in pairwise(edges)), halves.flush()])
    joined.encode()
    assert joined == text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


names = st.sampled_from(
    [
        *("choices", "delta", "message", "content", "text", "type", "reasoning", "reasoning_content", "thinking"),
        *(
            "usage",
            "prompt_tokens",
            "completion_tokens",
            "finish_reason",
            "error",
            "code",
            "object",
            "refusal",
            "index",
        ),
    ]
)
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(alphabet=st.characters(categories=None), max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | names, inner, max_size=4),
    max_leaves=12,
)
near = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"delta": st.dictionaries(names, anything, max_size=3)}) | anything)}
    | dict.fromkeys(("usage", "error"), anything)
)


@examples(400)
@given(st.lists(anything | near, max_size=4))
def test_no_event_is_more_than_a_typed_error(found: list[Any]) -> None:
    """And what is heard of it can be stored."""
    reader = AnswerReader()
    for event in found:
        try:
            for item in reader.read(Event(json.dumps(event).encode())):
                assert isinstance(item, (Delta, Thinking))
                item.text.encode()
        except AnswerFault as fault:
            error_text(fault.error).encode("utf-8", "replace")
        except ValueError:
            pass
        describe(event)
    for number in (reader.usage.prompt_tokens, reader.usage.completion_tokens):
        assert number is None or 0 <= number < 2**53
