"""A Text Generation Inference server with no model behind it, on loopback, and its bad days.

It speaks TGI's native protocol as TGI 3 does, oddities included: errors inside a stream come with HTTP 200, a stop
string stays in the text and is only seen when a token ends with it, and the last event brings its token and the whole
text at once. By hand: ``python -m tests.doubles.tgi``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, cycle, islice
from typing import Any, Literal, Self

Answer = str | Sequence[str] | Callable[[str], str | Sequence[str]]

EOS = "<|endoftext|>"
_HALF = re.compile(r"[\ud800-\udfff]")

STATUS = {
    "400": ("Bad Request", {"error": "Bad request"}),
    "401": ("Unauthorized", None),
    "403": ("Forbidden", {"error": "Forbidden"}),
    "404": ("Not Found", {"error": "Not found"}),
    "422": ("Unprocessable Entity", {"error": "Cannot read the request"}),
    "424": ("Failed Dependency", {"error": "Request failed during generation", "error_type": "generation"}),
    "429": ("Too Many Requests", {"error": "Model is overloaded", "error_type": "overloaded"}),
    "500": ("Internal Server Error", {"error": "Internal error"}),
    "502": ("Bad Gateway", "<html><h1>502 Bad Gateway</h1></html>"),
    "503": ("Service Unavailable", {"detail": "Loading"}),
    "504": ("Gateway Timeout", {"error": "Timed out"}),
}
"""Faults that answer with an HTTP status at once; 429 and 503 say ``Retry-After: 7``."""
IN_STREAM: dict[str, dict[str, Any]] = {
    "error": {"error": "Request failed during generation: CUDA error", "error_type": "generation"},
    "incomplete": {"error": "Incomplete generation", "error_type": "incomplete_generation"},
    "unknown_error": {"error": "Tool error", "error_type": "tool_error"},
    "overloaded": {"error": "Model is overloaded", "error_type": "overloaded"},
    "validation": {
        "error": "Input validation error: `max_new_tokens` must be <= 512. Given: 1000",
        "error_type": "validation",
    },
    "strange_shape": {"hello": "world"},
    "strange_finish": {
        "index": 1,
        "token": {"id": 1, "text": "x", "logprob": 0.0, "special": False},
        "generated_text": "x",
        "details": {"finish_reason": "tired", "generated_tokens": 1, "seed": None},
    },
}
"""Faults that are one event, after which the stream ends."""
ENDS = frozenset({"drop", "reset", "silent", "half_event", "bad_utf8", "garbage", "done_event", "stall"})
"""Faults that end the stream in other ways, or never."""
ODD = frozenset({"split_utf8", "comments", "huge", "too_huge", "slow", "endless", "endless_space", "odd_counts"})
"""Odd behaviour of a whole stream; all but ``too_huge`` is legal."""
INSTEAD = frozenset({"no_answer", "html", "echo", "echo_key", "echo_too_long", "redirect"})
"""Faults in place of a stream: a connection closed at once, a page, refusals that repeat the prompt or the key."""


@dataclass
class Seen:
    """One request as it came, and what became of it. Times are of ``time.monotonic``."""

    path: str
    headers: dict[str, str]
    inputs: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    at: float = field(default_factory=time.monotonic)
    token_times: list[float] = field(default_factory=list)
    closed_early: bool = False
    finished_at: float = 0.0

    @property
    def tokens_sent(self) -> int:
        """Tokens written to the wire."""
        return len(self.token_times)


@dataclass
class Fault:
    """A fault for the next ``times`` requests, after so many tokens."""

    name: str
    after: int
    times: float


def tokens_of(text: str) -> list[str]:
    """Words with the white space before them, as most tokenizers cut; very long ones in parts."""
    return re.findall(r"\s*\S{1,24}|\s+", text)


def as_json(event: dict[str, Any], **how: Any) -> str:
    """As servers write it; what holds half a character is escaped, since UTF-8 has no halves."""
    text = json.dumps(event, ensure_ascii=False, **how)
    return json.dumps(event, **how) if _HALF.search(text) else text


PROSE = tokens_of(" the tide came in and the tide went out and nobody in the harbour wrote down when it turned")


def last_words(inputs: str) -> str:
    """The default answer: it names the last line that a user said."""
    said = re.findall(r"^User: (.*)$", inputs, re.MULTILINE)
    return f" You said: {said[-1] if said else inputs[-80:]}"


class TgiDouble:
    """``async with TgiDouble() as tgi`` listens on ``tgi.url``; ``tgi.requests`` is what was asked, oldest first.

    ``answer`` is what it says: a text, a list of tokens, or a function of the inputs; ``enqueue`` scripts the next
    answers. ``special`` are its special tokens. ``rate`` is tokens per second (0: flat out), ``first_after`` seconds
    before the first. ``info`` goes over what /info says (None takes a field away), or is the HTTP status of it.
    ``elsewhere`` is where a redirect leads.
    """

    def __init__(
        self, *, api_key: str = "", auth: Literal["Bearer", "Basic"] = "Bearer", rate: float = 0, port: int = 0
    ) -> None:
        self.answer: Answer = last_words
        self.rate, self.first_after = rate, 0.0
        self.api_key, self.auth = api_key, auth
        self.max_input_tokens, self.max_total_tokens, self.max_concurrent_requests = 4095, 4096, 128
        self.count: Callable[[str], int] = lambda text: len(text.split())
        self.info: dict[str, Any] | int = {"model_id": "tests/double", "max_stop_sequences": 4, "version": "3.3.7"}
        self.ready, self.elsewhere = True, ""
        self.special = {EOS}
        self.requests: list[Seen] = []
        self.targets: list[str] = []
        self.on_finished: Callable[[Seen], object] = lambda seen: None
        self.running = 0
        self._scripted: deque[Answer] = deque()
        self._faults: list[Fault] = []
        self._port = port
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port, limit=2**24)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._server.close()
        for task in self._open.values():
            task.cancel()
        await asyncio.gather(*self._open.values(), return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._open)

    def enqueue(self, *answers: Answer) -> None:
        """Say these next, one for each request."""
        self._scripted.extend(answers)

    def fault(self, name: str, *, after: int = 0, times: float = 1) -> None:
        """Give the next ``times`` streams a bad day, ``after`` so many tokens where that makes sense.

        ``name`` is in ``STATUS``, ``IN_STREAM``, ``ENDS``, ``ODD`` or ``INSTEAD``.
        """
        assert name in STATUS.keys() | IN_STREAM.keys() | ENDS | ODD | INSTEAD, name
        self._faults.append(Fault(name, after, times))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._open[writer] = task
        try:
            # As one of asyncio's server callbacks it must not end as cancelled.
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()
            del self._open[writer]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request, answer it, and notice if the client goes away before the end."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        self.targets.append(path)
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        seen = Seen(path.partition("?")[0], headers)
        answering = asyncio.create_task(self._route(method, seen, body, writer))
        gone = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
            # Whoever hangs up is noticed by what reads, or by what writes, whichever is first.
            seen.closed_early = not answering.done() or isinstance(answering.exception(), ConnectionError)
        finally:
            gone.cancel()
            answering.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await answering
            seen.finished_at = time.monotonic()
            self.on_finished(seen)

    async def _route(self, method: str, seen: Seen, body: bytes, writer: asyncio.StreamWriter) -> None:
        match method, seen.path:
            case "GET", "/health":
                writer.write(_response("200 OK" if self.ready else "503 Service Unavailable", b""))
            case "GET", "/info" if isinstance(self.info, dict):
                most: dict[str, Any] = {"max_input_tokens": self.max_input_tokens}
                most["max_total_tokens"] = self.max_total_tokens
                info = {name: value for name, value in (most | self.info).items() if value is not None}
                writer.write(_response("200 OK", info))
            case "GET", "/info":
                writer.write(_response(f"{self.info} Status", b""))
            case "POST", "/" | "/generate" | "/generate_stream" | "/tokenize":
                request = json.loads(body)
                seen.inputs, seen.parameters = request["inputs"], request.get("parameters") or {}
                self.requests.append(seen)
                if self.api_key and seen.headers.get("authorization") != f"{self.auth} {self.api_key}":
                    writer.write(_response("401 Unauthorized", b""))
                elif seen.path == "/tokenize":
                    writer.write(_response("200 OK", [{"id": 0, "text": text} for text in tokens_of(seen.inputs)]))
                else:
                    self.running += 1
                    try:
                        stream = seen.path == "/generate_stream" or (seen.path == "/" and bool(request.get("stream")))
                        await (self._stream if stream else self._whole)(seen, writer)
                    finally:
                        self.running -= 1
            case _:
                writer.write(_response("404 Not Found", b""))
        await writer.drain()

    def _refusal(self, seen: Seen) -> dict[str, str] | None:
        """TGI's own checks, in its own words and order."""
        given, wanted = self.count(seen.inputs), int(seen.parameters.get("max_new_tokens") or 100)
        stops = seen.parameters.get("stop") or []
        if self.running > self.max_concurrent_requests:
            return IN_STREAM["overloaded"]
        said = ""
        if len(stops) > 4:
            said = f"`stop` supports up to 4 stop sequences. Given: {len(stops)}"
        elif given + wanted > self.max_total_tokens:
            said = (
                f"`inputs` tokens + `max_new_tokens` must be <= {self.max_total_tokens}. "
                f"Given: {given} `inputs` tokens and {wanted} `max_new_tokens`"
            )
        elif given > self.max_input_tokens:
            said = f"`inputs` must have less than {self.max_input_tokens} tokens. Given: {given}"
        return {"error": f"Input validation error: {said}", "error_type": "validation"} if said else None

    def _answer(self, inputs: str) -> Sequence[str]:
        answer = self._scripted.popleft() if self._scripted else self.answer
        answer = answer(inputs) if callable(answer) else answer
        return tokens_of(answer) if isinstance(answer, str) else answer

    def _events(self, seen: Seen, tokens: Iterator[str]) -> Iterator[dict[str, Any]]:
        """One event for each token; the last one says how it ended."""
        most, stops = int(seen.parameters.get("max_new_tokens") or 100), seen.parameters.get("stop") or []
        text, reason = "", ""
        for index, token in enumerate(chain(tokens, (EOS,)), 1):
            text += "" if token == EOS else token
            # The length comes first, as it does there.
            if index >= most:
                reason = "length"
            elif token == EOS:
                reason = "eos_token"
            elif any(text.endswith(stop) for stop in stops):
                reason = "stop_sequence"
            details = {"finish_reason": reason, "generated_tokens": index, "seed": seen.parameters.get("seed")}
            yield {
                "index": index,
                "token": {"id": index, "text": token, "logprob": -0.5, "special": token in self.special},
                "generated_text": text if reason else None,
                "details": details | {"input_length": self.count(seen.inputs)} if reason else None,
            }
            if reason:
                return

    async def _whole(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        """The answer in one piece; the compatible route wraps it in a list."""
        if refusal := self._refusal(seen):
            overloaded = refusal["error_type"] == "overloaded"
            writer.write(_response("429 Too Many Requests" if overloaded else "422 Unprocessable Entity", refusal))
            return
        events = list(self._events(seen, iter(self._answer(seen.inputs))))
        for _ in events:
            await self._pace(seen)
        event = events[-1]
        found = {"generated_text": event["generated_text"], "details": event["details"] | {"prefill": [], "tokens": []}}
        writer.write(_response("200 OK", [found] if seen.path == "/" else found))

    async def _stream(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        fault = next((fault for fault in self._faults if fault.times > 0), Fault("", 0, 0))
        fault.times -= 1
        name = fault.name
        if name in STATUS:
            return writer.write(_response(f"{name} {STATUS[name][0]}", STATUS[name][1], name in ("429", "503")))
        if name in ("echo", "echo_key"):
            said = seen.inputs if name == "echo" else seen.headers.get("authorization", "")
            return writer.write(_response("422 Unprocessable Entity", {"error": f"Cannot read {said}"}))
        if name == "echo_too_long":
            said = f"`inputs` must have less than 5 tokens. Given: {seen.inputs}"
            return writer.write(_response("200 OK", f"data:{json.dumps({'error': said, 'error_type': 'validation'})}"))
        if name == "redirect":
            return writer.write(_response("307 Temporary Redirect", b"", location=self.elsewhere))
        if name == "html":
            return writer.write(_response("200 OK", "<html>\n<h1>Welcome</h1>\n</html>\n"))
        if name == "no_answer":
            return None
        wire = Wire(writer, chunked=name != "silent", split=name == "split_utf8", odd=name == "comments")
        if refusal := self._refusal(seen):
            wire.event(refusal)
            return wire.end()
        tokens = iter(self._answer(seen.inputs))
        if name in ("endless", "endless_space"):
            tokens = chain(islice(tokens, fault.after), cycle(PROSE if name == "endless" else (" ", "\n")))
        for event in self._events(seen, tokens):
            if seen.tokens_sent == fault.after and (name in IN_STREAM or name in ENDS):
                return await self._break(name, wire)
            await self._pace(seen, 0.05 if name == "slow" else 0)
            if event["details"] and name in ("huge", "too_huge"):
                event["padding"] = "x" * (300_000 if name == "huge" else 600_000)
            if event["details"] and name == "odd_counts":
                event["details"] |= {"generated_tokens": float("inf"), "input_length": [7]}
            wire.event(event)
            await writer.drain()
        return wire.end()

    async def _break(self, name: str, wire: Wire) -> None:
        """End a stream badly."""
        if name == "reset":
            return wire.reset()
        if name == "stall":
            await asyncio.Event().wait()
        elif name in IN_STREAM:
            wire.event(IN_STREAM[name])
        elif name == "half_event":
            wire.raw(b'data:{"index":1,"token":{"id":1,"te')
        elif name == "bad_utf8":
            wire.raw(b'data:{"index":1,"token":{"id":1,"text":"\xff\xfe"}}\n\n')
        elif name == "garbage":
            wire.raw(b"data:this is not JSON\n\n")
        elif name == "done_event":
            wire.raw(b"data: [DONE]\n\n")
        # What is cut off has no end; the others end as HTTP wants it.
        return None if name in ("drop", "silent") else wire.end()

    async def _pace(self, seen: Seen, least: float = 0) -> None:
        """Wait until the next token is due."""
        due = seen.at + self.first_after + (seen.tokens_sent / self.rate if self.rate else 0)
        # Flat out, others get their turn now and then.
        if (wait := max(due - time.monotonic(), least)) > 0 or seen.tokens_sent % 64 == 0:
            await asyncio.sleep(max(wait, 0))
        seen.token_times.append(time.monotonic())


class Wire:
    """The body of one stream: chunked, or ended by closing the connection as HTTP/1.0 proxies do."""

    def __init__(
        self, writer: asyncio.StreamWriter, *, chunked: bool, split: bool, odd: bool, kind: str = "text/event-stream"
    ) -> None:
        self._writer, self._chunked, self._split, self._odd = writer, chunked, split, odd
        coding = "Transfer-Encoding: chunked\r\n" if chunked else ""
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n{coding}\r\n"
        writer.write(head.encode())

    def event(self, event: dict[str, Any]) -> None:
        """One event; no space follows ``data:``."""
        line = f"data:{as_json(event, separators=(',', ':'))}"
        if self._odd:
            self.raw(f":keep-alive\r\nevent: message\r\nid: 7\r\nretry: 10\r\n{line}\r\n\r\n".encode())
        else:
            self.raw(f"{line}\n\n".encode())

    def raw(self, data: bytes) -> None:
        """Bytes, in one chunk or each in its own."""
        for piece in (data[i : i + 1] for i in range(len(data))) if self._split else (data,):
            self._writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)

    def end(self) -> None:
        """The end of a chunked body."""
        if self._chunked:
            self._writer.write(b"0\r\n\r\n")

    def reset(self) -> None:
        """Close with RST, as a killed server does."""
        linger = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()


def _response(status: str, body: Any, retry: bool = False, location: str = "") -> bytes:
    """A whole response: bytes as they are, a str as a page, anything else as JSON."""
    kind = "text/html" if isinstance(body, str) else "application/json"
    data = b"" if not body else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    kind = f"Content-Type: {kind}\r\n" if data else ""
    after = "Retry-After: 7\r\n" if retry else f"Location: {location}\r\n" if location else ""
    return f"HTTP/1.1 {status}\r\n{kind}{after}Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data


def report(seen: Seen) -> None:
    """One line for each request."""
    took, end = seen.finished_at - seen.at, ", closed early" if seen.closed_early else ""
    print(f"{seen.path} {len(seen.inputs)} characters -> {seen.tokens_sent} tokens, {took:.2f} s{end}", flush=True)


async def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.doubles.tgi", description="A TGI server without a model.")
    parser.add_argument("--port", type=int, default=8902)
    parser.add_argument("--rate", type=float, default=40, help="tokens per second; 0 is flat out")
    parser.add_argument("--words", type=int, default=120, help="words of each answer")
    options = parser.parse_args()
    async with TgiDouble(rate=options.rate, port=options.port) as tgi:
        tgi.answer = lambda inputs: f"{last_words(inputs)}\n\n{''.join(islice(cycle(PROSE), options.words)).strip()}."
        tgi.on_finished = report
        print(f"MODEL_API=tgi MODEL_URL={tgi.url}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
