"""Reads an OpenAI stream: bytes become events, and events become an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any, NamedTuple

import aiohttp

from core.model_types import Delta, Streamed, Thinking, Usage
from core.models.backends.untrusted import (
    MAX_BODY_BYTES,
    SurrogateJoiner,
    TooLarge,
    describe,
    parse_json,
    read_body,
    text_in,
    token_count,
)
from core.types import Ending

MAX_EVENT_BYTES = 1_000_000
"""Bytes of one event or line; a longer one ends the answer with an error."""
TAIL_SECONDS = 1.0
"""Seconds to wait for token counts and ``[DONE]`` after the answer has ended."""
DONE = (b"[DONE]", b'"[DONE]"')

_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """The data of one event; ``error`` if the server named it an error."""

    data: bytes
    error: bool = False


class EventParser:
    """Cuts bytes into server-sent events, whose lines end with CR, LF or both.

    It accepts what careless servers send: an event without an empty line after it, a line of JSON without a field's
    name, and a field called ``error``, as older llama.cpp has it.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._begun = self._after_cr = False
        self._data: list[bytes] = []
        self._size = 0
        self._error = False
        self._events: list[Event] = []

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes; returns the events that are complete now. Raises TooLarge."""
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        if chunk:
            self._after_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = chunk.split(b"\n")
        self._rest += lines[0]
        if len(lines) > 1:
            lines[0] = bytes(self._rest)
            self._rest = bytearray(lines.pop())
            for line in lines:
                self._line(line)
        if len(self._rest) > MAX_EVENT_BYTES:
            raise TooLarge("a line without an end")
        events, self._events = self._events, []
        return events

    def end(self) -> list[Event]:
        """Take the end of the bytes; returns the last event, since servers forget the last empty line."""
        return self.feed(b"\n\n")

    def _line(self, line: bytes) -> None:
        if not self._begun:
            line, self._begun = line.removeprefix(_BOM), True
        if not line:
            self._dispatch()
        elif line.startswith(b"data:"):
            self._add(line[5:])
        elif line[:1] in (b"{", b"["):
            self._add(line)
        elif line.startswith(b"error:"):
            self._add(line[6:])
            self._error = True
        elif line.startswith(b"event:"):
            self._error = line[6:].strip() == b"error"

    def _add(self, data: bytes) -> None:
        if len(self._data) == 1 and _complete(self._data[0]):
            self._dispatch()
        self._data.append(data.removeprefix(b" "))
        self._size += len(data)
        if self._size > MAX_EVENT_BYTES:
            raise TooLarge("an event without an end")

    def _dispatch(self) -> None:
        if self._data:
            self._events.append(Event(b"\n".join(self._data).strip(), self._error))
        self._data, self._size, self._error = [], 0, False


def _complete(line: bytes) -> bool:
    """Whether a line is an event on its own."""
    try:
        parse_json(line)
    except ValueError:
        return line.strip() in DONE
    return True


class StrangeEvent(ValueError):
    """An event of unknown shape; the error's text describes it."""


class AnswerFault(ValueError):
    """The server reports that the answer failed; ``error`` is its report."""

    def __init__(self, error: Any) -> None:
        super().__init__("a fault")
        self.error = error


class AnswerReader:
    """Adds up the events of one stream.

    ``reason`` is the server's finish reason; "" until it came. ``continued`` if text came after it: such a server sends
    a reason with every event, so only the end of the stream ends the answer.
    """

    def __init__(self) -> None:
        self.spoke = self.finished = self.done = self.continued = False
        self.reason = ""
        self.usage = Usage()
        self._text, self._thoughts = SurrogateJoiner(), SurrogateJoiner()

    @property
    def ending(self) -> Ending | None:
        """How the answer ended; None if it was cut off, or for an unknown reason."""
        return ENDINGS.get(self.reason)

    def read(self, event: Event) -> list[Streamed]:
        """Take one event; returns what it adds. Raises ValueError: StrangeEvent, AnswerFault, or for invalid JSON."""
        if not event.data or event.data in DONE:
            self.done = self.done or bool(event.data)
            self.finished = self.finished or self.done
            return []
        found = parse_json(event.data)
        if event.error:
            raise AnswerFault(found)
        return self.take(found)

    def take(self, event: Any) -> list[Streamed]:
        """Take one parsed event; returns what it adds. Raises StrangeEvent, and AnswerFault for any shape of error."""
        if not isinstance(event, dict):
            raise StrangeEvent(describe(event))
        if fault := _error_in(event):
            raise AnswerFault(fault)
        usage = event.get("usage")
        if isinstance(usage, dict):
            self.usage = Usage(token_count(usage.get("prompt_tokens")), token_count(usage.get("completion_tokens")))
        choices = event.get("choices")
        if choices is None or choices == []:
            if choices is None and not _KEEP_ALIVE_KEYS & event.keys():
                raise StrangeEvent(describe(event))
            return []
        choice = choices[0] if isinstance(choices, list) else None
        if not isinstance(choice, dict):
            raise StrangeEvent(f"choices that are {describe(choices)}")
        return self._choice(choice)

    def _choice(self, choice: Mapping[str, Any]) -> list[Streamed]:
        if choice.get("error"):
            raise AnswerFault(choice["error"])
        delta = choice.get("delta") or choice.get("message") or choice
        if not isinstance(delta, dict):
            raise StrangeEvent(f"a delta that is {describe(delta)}")
        found: list[Streamed] = []
        content = delta.get("content")
        thought = _first(delta, _REASONING_FIELDS, _PARTS_OF_REASONING)
        if not thought and content and not isinstance(content, str):
            thought = text_in(content, REASONING_PARTS)
        if thought and (thought := self._thoughts.feed(thought)):
            found.append(Thinking(text=thought))
        spoken = _first(delta, ("content", "refusal", "text"), TEXT_PARTS)
        if spoken:
            self.spoke, self.continued = True, self.continued or self.finished
            if spoken := self._text.feed(spoken):
                found.append(Delta(spoken))
        if content is not None and not isinstance(content, (str, list, dict)):
            raise StrangeEvent(f"content that is {describe(content)}")
        reason = choice.get("finish_reason")
        if isinstance(reason, dict):
            reason = reason.get("type")
        if reason and reason not in ("null", "none", "None"):
            self.finish(reason if isinstance(reason, str) else describe(reason))
        return found

    def finish(self, reason: str) -> None:
        """Note why the answer ended. Raises AnswerFault if the server failed."""
        self.reason, self.finished = reason.strip().lower(), True
        if self.reason in SERVER_FAILURES:
            raise AnswerFault({"message": f"finish_reason {self.reason}"})

    def end(self) -> list[Streamed]:
        """Take the end of the stream; returns the rest of the text."""
        text = self._text.flush()
        return [Delta(text)] if text else []


TEXT_PARTS = frozenset({"", "text", "output_text", "refusal", "markdown"})
"""Kinds of parts of an answer that are its text."""
REASONING_PARTS = frozenset(
    {
        *("thinking", "thought", "reasoning", "reasoning.text", "reasoning.summary", "reasoning_text"),
        *("summary_text", "redacted_thinking", "reasoning_content"),
    }
)
"""Kinds of parts of an answer that are reasoning."""
_PARTS_OF_REASONING = REASONING_PARTS | {"", "text"}
_REASONING_FIELDS = (
    "reasoning_content",
    "reasoning",
    "thinking",
    "reasoning_text",
    "reasoning_details",
    "thinking_blocks",
)
_KEEP_ALIVE_KEYS = frozenset({"usage", "timings", "id", "created", "x_groq", "prompt_filter_results", "ping", "model"})
"""Keys of events that have no choices and say nothing about the answer."""

ENDINGS = {
    "": Ending.COMPLETE,
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "end_of_text"), Ending.COMPLETE),
    **dict.fromkeys(("complete", "completed", "finished", "done", "stop_token", "end"), Ending.COMPLETE),
    **dict.fromkeys(("length", "max_tokens", "model_length", "max_length", "max_output_tokens"), Ending.LENGTH),
    **dict.fromkeys(
        ("token_limit", "model_context_window_exceeded", "context_length", "max_new_tokens"), Ending.LENGTH
    ),
}
"""Finish reasons by the names that servers give them, and what they mean."""
FILTER_REASONS = frozenset(
    {
        *("content_filter", "content_filtered", "safety", "recitation", "prohibited_content", "blocklist", "spii"),
        *("refusal", "blocked", "sensitive", "moderation", "guardrail", "guardrail_intervened", "image_safety"),
        "language",
    }
)
"""Finish reasons of an answer that a filter cut off."""
TOOL_REASONS = frozenset({"tool_calls", "tool_call", "tool_use", "function_call", "malformed_function_call"})
"""Finish reasons of a model that waits for a tool."""
SERVER_FAILURES = frozenset(
    {"abort", "aborted", "error", "cancelled", "canceled", "timeout", "network_error", "insufficient_system_resource"}
)
"""Finish reasons of a server that failed."""


def _first(delta: Mapping[str, Any], names: tuple[str, ...], kinds: frozenset[str]) -> str:
    """The first text under any of these fields."""
    for name in names:
        if (value := delta.get(name)) and (text := text_in(value, kinds)):
            return text
    return ""


def _error_in(event: Mapping[str, Any]) -> Any:
    """The error in an event; None if there is none."""
    error, base = event.get("error"), event.get("base_resp")
    if error and not (isinstance(error, dict) and not any(error.values())):
        return error
    if isinstance(base, dict) and base.get("status_code"):  # MiniMax
        return {"message": base.get("status_msg")}
    if event.get("object") == "error" or event.get("type") == "error" or event.get("status") == "error":
        return event
    if "choices" in event and event["choices"] is not None:
        return event["error_message"] if event.get("error_message") else None
    return event if any(event.get(key) for key in _ERROR_KEYS) else None


_ERROR_KEYS = (
    *("error_message", "error_msg", "errorMessage", "error_code", "error_type", "errors", "detail", "message", "msg"),
    *("Error", "err", "exception"),
)
"""An event without choices that has one of these keys is an error."""


async def read_events(response: aiohttp.ClientResponse, reader: AnswerReader) -> AsyncGenerator[Event, None]:
    """Yield the events of a response until it ends or ``reader`` is done.

    A server that does not stream sends one document, or one in each line. Raises StrangeEvent, TooLarge, and what
    aiohttp raises.
    """
    events, chunk = EventParser(), b""
    while not chunk.strip():  # the first bytes say what it is
        if not (chunk := await response.content.readany()):
            return
    begun = chunk.removeprefix(_BOM).lstrip()
    if begun[:1] == b"<":
        raise StrangeEvent(f"a page ({response.content_type})")
    if begun[:1] in (b"{", b"["):
        for event in _documents(begun + await read_body(response, MAX_BODY_BYTES - len(begun))):
            yield event
        reader.finished = reader.finished or reader.spoke
        return
    clock, until = asyncio.get_running_loop().time, None
    while chunk:
        for event in events.feed(chunk):
            yield event
        if reader.done or (until and clock() > until):
            return
        # Once the answer has ended, what may follow is waited for until then.
        until = (until or clock() + TAIL_SECONDS) if reader.finished and not reader.continued else None
        chunk = await _next_chunk(response.content, until)
    for event in events.end():
        yield event


def _documents(data: bytes) -> list[Event]:
    """The events of one JSON document, of a list of them, or of one in each line."""
    try:
        found = parse_json(data)
        each = found if isinstance(found, list) and found else [found]
        return [Event(json.dumps(one).encode()) for one in each]
    except (ValueError, RecursionError):
        return [Event(line.removeprefix(b"data:").strip()) for line in data.splitlines()]


async def _next_chunk(content: aiohttp.StreamReader, until: float | None) -> bytes:
    """The next bytes; empty at the end, and if none came ``until`` then."""
    if until is None:
        return await content.readany()
    try:
        async with asyncio.timeout_at(until):
            return await content.readany()
    except TimeoutError:
        return b""
