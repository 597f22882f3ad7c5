"""A server that speaks OpenAI's API with no model behind it, on loopback, with the habits and bad days of real ones.

``habits`` names how it behaves: those of vLLM, llama.cpp, TGI, ``transformers serve`` and Ollama are in ``SERVERS``. By
hand: ``python -m tests.doubles.openai``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, cycle, islice
from typing import Any

from tests.doubles.tgi import PROSE, STATUS, Fault, Seen, TgiDouble, Wire, _response, as_json, report, tokens_of


@dataclass(frozen=True)
class Habits:
    """How a server writes a stream."""

    usage: str = "extra"
    """Where token counts come: on an ``extra`` chunk if asked for, on the ``finish`` chunk always, or ``never``."""
    done: bool = True
    """Whether ``[DONE]`` ends a stream."""
    role_first: bool = True
    """Whether the first chunk has a role and no text."""
    null_content: bool = False
    """Whether chunks without text have ``content: null``."""
    reasoning: str = "reasoning_content"
    """The field of reasoning, or ``inline`` for ``<think>`` in the text, or ``open`` where the template opens it."""
    strict: tuple[str, ...] = ()
    """Fields that are refused with 422."""
    pings: bool = False
    """Whether comments come between events."""
    system: bool = True
    """Whether the model's template takes a system prompt."""
    length: str = "max_model_len"
    """Where the context length is told: ``max_model_len``, ``props``, ``info``, ``lmstudio`` or nowhere."""


SERVERS = {
    "vllm": Habits(reasoning="reasoning"),
    "vllm-0.10": Habits(),
    "llama.cpp": Habits(usage="finish", pings=True, null_content=True, length="props"),
    "tgi": Habits(reasoning="inline", length="info"),
    "transformers": Habits(usage="finish", done=False, strict=("seed", "stream_options"), length=""),
    "ollama": Habits(reasoning="reasoning", role_first=False, length=""),
    "lmstudio": Habits(length="lmstudio", usage="never"),
    "sglang": Habits(null_content=True),
}

EVENTS: dict[str, Any] = {
    "error_dict": {"error": {"message": "CUDA error", "type": "InternalServerError", "code": 500}},
    "error_text": {"error": "Request failed during generation", "error_type": "generation"},
    "error_nested": {"error": {"error": {"message": "boom"}}},
    "overloaded": {"error": {"message": "Server overloaded", "type": "overloaded_error", "code": None}},
    "bad_request": {"error": {"message": "bad sampling", "type": "BadRequestError", "code": 400}},
    "strange_shape": {"hello": "world"},
    "a_list": [1, 2, 3],
    "choices_text": {"choices": "none"},
    "abort": {"choices": [{"index": 0, "delta": {}, "finish_reason": "abort"}]},
}
"""Faults that are one event, after which the stream ends."""
RAW = {
    "half_event": b'data: {"choices": [{"delta": {"cont',
    "bad_utf8": b'data: {"choices": [{"delta": {"content": "\xff\xfe"}}]}\n\n',
    "garbage": b"data: this is not JSON\n\n",
}
"""Faults that are some bytes, after which the stream ends."""
ENDS = frozenset({"drop", "reset", "silent", "stall"}) | RAW.keys()
ODD = frozenset({"split_utf8", "comments", "huge", "slow", "endless", "endless_space", "crlf", "no_stream", "hang"})
INSTEAD = frozenset({"no_answer", "html", "echo", "echo_key", "too_long", "no_model", "plain", "empty", "redirect"})


class OpenAIDouble(TgiDouble):
    """``async with OpenAIDouble() as server`` listens on ``server.url``; the API is at ``server.api``.

    ``thoughts`` are the tokens that it reasons before it answers. ``refused`` are requests that it did not take: for
    fields that it does not know, or by one of ``refusals`` (whether it is for a request, a status, a body). ``body`` is
    what it sends in place of a stream of its own, in pieces, as ``kind``. ``about`` is what it lists of a model. For
    the rest see ``TgiDouble``; of a request, ``inputs`` is what its last message says, and ``parameters`` its whole
    body.
    """

    def __init__(self, habits: Habits = SERVERS["vllm"], **options: Any) -> None:
        super().__init__(**options)
        self.answer = lambda inputs: f" You said: {inputs}"
        self.habits = habits
        self.thoughts: Sequence[str] = ()
        self.models = ["tests/double"]
        self.template = ""
        self.refused: list[Seen] = []
        self.refusals: list[tuple[Callable[[dict[str, Any]], bool], int, Any]] = []
        self.body: Iterable[bytes] | None = None
        self.kind, self.elsewhere = "text/event-stream", ""
        self.about: dict[str, dict[str, Any]] = {}

    @property
    def api(self) -> str:
        """What MODEL_URL is."""
        return f"{self.url}/v1"

    def fault(self, name: str, *, after: int = 0, times: float = 1) -> None:
        """Give the next ``times`` streams a bad day, ``after`` so many tokens where that makes sense."""
        assert name in STATUS.keys() | EVENTS.keys() | ENDS | ODD | INSTEAD, name
        self._faults.append(Fault(name, after, times))

    async def _route(self, method: str, seen: Seen, body: bytes, writer: asyncio.StreamWriter) -> None:
        match method, seen.path:
            case "GET", "/health" if self.habits.length != "":
                writer.write(_response("200 OK" if self.ready else "503 Service Unavailable", b""))
            case "GET", "/v1/models":
                writer.write(_response("200 OK", {"object": "list", "data": list(self._listed())}))
            case "GET", "/api/v0/models" if self.habits.length == "lmstudio":
                data = [{"id": name, "loaded_context_length": self.max_total_tokens} for name in self.models]
                writer.write(_response("200 OK", {"data": data}))
            case "GET", "/props" if self.habits.length == "props":
                told: dict[str, Any] = {"default_generation_settings": {"n_ctx": self.max_total_tokens}}
                if self.template:
                    told |= {"chat_template": self.template, "bos_token": "<s>", "eos_token": "</s>"}
                writer.write(_response("200 OK", told))
            case "GET", "/info" if self.habits.length == "info":
                writer.write(_response("200 OK", {"max_total_tokens": self.max_total_tokens, "model_id": "m"}))
            case "POST", "/v1/chat/completions" | "/v1/completions":
                request = json.loads(body)
                seen.inputs = request["messages"][-1]["content"] if "messages" in request else request["prompt"]
                seen.parameters = request
                unknown = [name for name in self.habits.strict if name in request]
                refusal = next(((status, said) for refuses, status, said in self.refusals if refuses(request)), None)
                (self.refused if unknown or refusal else self.requests).append(seen)
                if self.api_key and seen.headers.get("authorization") != f"{self.auth} {self.api_key}":
                    said = {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}
                    writer.write(_response("401 Unauthorized", said))
                elif unknown:
                    detail = [{"loc": ["body", name], "msg": "Extra inputs are not permitted"} for name in unknown]
                    writer.write(_response("422 Unprocessable Entity", {"detail": detail}))
                elif refusal:
                    writer.write(_response(f"{refusal[0]} Refused", refusal[1]))
                else:
                    self.running += 1
                    try:
                        await self._stream(seen, writer)
                    finally:
                        self.running -= 1
            case _:
                writer.write(_response("404 Not Found", {"detail": "Not Found"}))
        await writer.drain()

    def _listed(self) -> Iterator[dict[str, Any]]:
        for name in self.models:
            entry: dict[str, Any] = {"id": name, "object": "model"} | self.about.get(name, {})
            if self.habits.length == "max_model_len":
                entry["max_model_len"] = self.max_total_tokens
            yield entry

    def _pieces(self, seen: Seen, tokens: Iterator[str]) -> Iterator[dict[str, Any]]:
        """One chunk for each token, with what stands around them."""
        habits, chat = self.habits, "messages" in seen.parameters
        given, most = self.count(json.dumps(seen.parameters.get("messages", seen.inputs))), _most(seen)
        stops = seen.parameters.get("stop") or []

        def chunk(reason: str | None = None, **delta: Any) -> dict[str, Any]:
            choice: dict[str, Any] = {"index": 0, "finish_reason": reason}
            return {
                "id": "c",
                "choices": [choice | ({"delta": delta} if chat else {"text": delta.get("content") or ""})],
            }

        thoughts, where = iter(self.thoughts), habits.reasoning
        if where in ("inline", "open") and self.thoughts:
            opened = ("<think>", "\n") if where == "inline" else ()
            tokens, thoughts = chain(opened, thoughts, ("\n", "</think>", "\n\n"), tokens), iter(())
        if habits.role_first and chat:
            yield chunk(role="assistant", content=None if habits.null_content else "")
        written, text, reason = 0, "", "stop"
        for thought in thoughts:
            written += 1
            yield chunk(**{where: thought}, content=None)
        for token in tokens:
            if written == most:
                reason = "length"
                break
            written, text = written + 1, text + token
            if stop := next((stop for stop in stops if stop in text), None):
                left = token[: max(0, len(token) - len(text) + text.find(stop))]
                yield chunk(content=left)
                break
            yield chunk(content=token)
        usage = {"prompt_tokens": given, "completion_tokens": written, "total_tokens": given + written}
        end = chunk(reason, **({"content": None} if habits.null_content else {}))
        yield end | {"usage": usage} if habits.usage == "finish" else end
        if habits.usage == "extra" and (seen.parameters.get("stream_options") or {}).get("include_usage"):
            yield {"id": "c", "choices": [], "usage": usage}

    def _too_long(self, seen: Seen) -> str:
        given, wanted = self.count(seen.inputs), _most(seen)
        if given + wanted <= self.max_total_tokens:
            return ""
        return (
            f"This model's maximum context length is {self.max_total_tokens} tokens. However, you requested "
            f"{given + wanted} tokens ({given} in the messages, {wanted} in the completion)."
        )

    async def _stream(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        fault = next((fault for fault in self._faults if fault.times > 0), Fault("", 0, 0))
        fault.times -= 1
        name = fault.name
        if name in STATUS:
            return writer.write(_response(f"{name} {STATUS[name][0]}", STATUS[name][1], name in ("429", "503")))
        if instead := self._instead(name, seen):
            return writer.write(instead)
        if name == "no_answer":
            return None
        if self.body is not None:
            return await self._send(self.body, writer)
        tokens = iter(self._answer(seen.inputs))
        if name == "no_stream":
            message = {"role": "assistant", "content": "".join(tokens)}
            usage = {"prompt_tokens": 3, "completion_tokens": 9}
            whole = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
            return writer.write(_response("200 OK", whole))
        wire = Wire(writer, chunked=name != "silent", split=name == "split_utf8", odd=False)
        if name in ("endless", "endless_space"):
            tokens = chain(islice(tokens, fault.after), cycle(PROSE if name == "endless" else (" ", "\n")))
        for event in self._pieces(seen, tokens):
            delta = (event["choices"][0].get("delta") or event["choices"][0]) if event["choices"] else {}
            said = delta.get("content") or delta.get("reasoning") or delta.get("reasoning_content")
            if seen.tokens_sent == fault.after and (name in EVENTS or name in ENDS) and said:
                return await self._give_up(name, wire)
            if said:
                await self._pace(seen, 0.05 if name == "slow" else 0)
            if name == "huge":
                event["padding"] = "x" * 500_000
            self._write(wire, event, crlf=name in ("comments", "crlf"))
            await writer.drain()
        if name == "hang":
            await asyncio.Event().wait()
        if self.habits.done:
            wire.raw(b"data: [DONE]\n\n")
        return wire.end()

    async def _send(self, body: Iterable[bytes], writer: asyncio.StreamWriter) -> None:
        wire = Wire(writer, chunked=True, split=False, odd=False, kind=self.kind)
        for piece in body:
            wire.raw(piece)
            await writer.drain()
        wire.end()

    def _instead(self, name: str, seen: Seen) -> bytes:
        """A whole response in place of a stream; none if there is one."""
        too_long = self._too_long(seen)
        roles = [message["role"] for message in seen.parameters.get("messages", ())]
        match name:
            case _ if "system" in roles and not self.habits.system:
                return _response("400 Bad Request", {"error": {"message": "System role not supported", "code": 400}})
            case _ if too_long or name == "too_long":
                said = too_long or "the request exceeds the available context size. try increasing it"
                return _response("400 Bad Request", {"error": {"code": 400, "message": said, "type": "x"}})
            case "echo" | "echo_key":
                said = seen.inputs if name == "echo" else seen.headers.get("authorization", "")
                return _response("422 Unprocessable Entity", {"detail": [{"msg": f"Cannot read {said}"}]})
            case "no_model":
                return _response("404 Not Found", {"error": {"message": "The model `m` does not exist."}})
            case "plain":
                return _response("400 Bad Request", "something is wrong")
            case "empty":
                return _response("500 Internal Server Error", b"")
            case "redirect":
                return _response("307 Temporary Redirect", b"", location=self.elsewhere)
            case "html":
                return _response("200 OK", "<html>\n<h1>Welcome</h1>\n</html>\n")
        return b""

    def _write(self, wire: Wire, event: dict[str, Any], *, crlf: bool) -> None:
        line = f"data: {as_json(event)}"
        if crlf or self.habits.pings:
            wire.raw(f": ping\r\n\r\nevent: message\r\nid: 7\r\n{line}\r\n\r\n".encode())
        else:
            wire.raw(f"{line}\n\n".encode())

    async def _give_up(self, name: str, wire: Wire) -> None:
        """End a stream badly."""
        if name == "reset":
            return wire.reset()
        if name == "stall":
            await asyncio.Event().wait()
        elif name in EVENTS:
            wire.raw(f"data: {json.dumps(EVENTS[name])}\n\n".encode())
        elif name in RAW:
            wire.raw(RAW[name])
        return None if name in ("drop", "silent") else wire.end()


def _most(seen: Seen) -> int:
    """Tokens of an answer, by either name of the limit."""
    most = seen.parameters.get("max_tokens") or seen.parameters.get("max_completion_tokens")
    return int(most) if most else 1000


async def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.doubles.openai", description="OpenAI's API, no model.")
    parser.add_argument("--port", type=int, default=8903)
    parser.add_argument("--rate", type=float, default=40, help="tokens per second; 0 is flat out")
    parser.add_argument("--words", type=int, default=120, help="words of each answer")
    parser.add_argument("--like", choices=SERVERS, default="vllm", help="whose habits it has")
    parser.add_argument("--thoughts", type=int, default=0, help="words that it reasons before it answers")
    options = parser.parse_args()
    async with OpenAIDouble(replace(SERVERS[options.like]), rate=options.rate, port=options.port) as server:
        server.answer = lambda inputs: f"You said: {inputs}\n\n{''.join(islice(cycle(PROSE), options.words)).strip()}."
        server.thoughts = tokens_of("".join(islice(cycle(PROSE), options.thoughts)))
        server.on_finished = report
        print(f"MODEL_API=openai MODEL_URL={server.api}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
