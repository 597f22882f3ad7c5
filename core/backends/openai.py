"""Any server that speaks OpenAI's API: vLLM, SGLang, llama.cpp, Ollama, LM Studio, TGI, Hugging Face's router.

Read with aiohttp and not with a client library: per token that costs a fraction, and the servers differ where a client
library is strict. An answer is whole when a choice has a finish reason or ``[DONE]`` came; a stream that ends with
neither is broken. A top-level ``error`` may come in any event, as a text or an object. Token counts may come on any
chunk, also on one without choices. Reasoning has a field of its own (``reasoning_content``, later ``reasoning``), or
stands in the text, which is the business of ``core.generation``.

A prompt with ``chat()`` goes to ``/chat/completions``, where the server's own template writes it down, any other as
text to ``/completions``.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import aiohttp

from core.backends.openai_stream import Lines, Reader, next_chunk
from core.backends.server import CONNECT_TIMEOUT, Auth, Server, seconds
from core.errors import GenerationError, ModelOverloaded, ModelTimeout, ModelUnavailable, PromptTooLong
from core.prompts.speech import Said, folded
from core.types import Done, GenerationRequest, ModelLimits, Role, Streamed

LARGEST_EVENT = 8_000_000
"""Bytes of one event; more is no answer."""
TAIL = 1.0
"""Seconds to wait for token counts and ``[DONE]`` after the answer itself has ended."""

# As vLLM, SGLang, llama.cpp, TGI, Ollama and OpenAI put it.
_TOO_LONG = re.compile(
    r"context[ _](length|size|window)|exceed_context_size|maximum model length|max_model_len|too many tokens"
    r"|inputs\W* (tokens|must have less than \d+ tokens)|prompt is too long|input (length|is too long)",
    re.IGNORECASE,
)
_BUSY = re.compile(r"overload|rate.?limit|too many requests|queue is full", re.IGNORECASE)
_NO_SYSTEM = re.compile(
    r"system role (is )?not supported|system (message|prompt)s? (is|are) not supported|roles? must alternate"
    r"|only user and assistant roles|no system role",
    re.IGNORECASE,
)
_WANTS_MODEL = re.compile(r"\bmodel\b", re.IGNORECASE)
_OPTIONAL = ("stream_options", "seed", "top_p")
"""Fields that an answer can do without, where a strict server does not know them."""


class OpenAIBackend:
    """A server at ``url``, which ends in ``/v1`` on most; an address without a path gets that one.

    ``model`` is what the server calls it; without one, the first that the server lists. ``idle_timeout`` is the longest
    silence on the wire, in seconds. For the key see ``core.backends.server.Server``.

    Raises:
        SettingsError: ``url`` is not an http or https address.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str = "",
        api_key: str | None = None,
        auth: Auth = "Bearer",
        idle_timeout: float = 60.0,
    ) -> None:
        self._server = Server(url, api_key=api_key, auth=auth)
        if self._server.url.path == "/":
            self._server.url = self._server.url.with_path("/v1", keep_query=True)
        self.model = model
        self._listed = ""
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=idle_timeout)
        self._idle = idle_timeout
        self._unknown: set[str] = set()
        self._folds = False
        self._session: aiohttp.ClientSession | None = None

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Streamed, None]:
        """Answer one request; see ``Backend.stream``."""
        reader = Reader()
        body = await self._body(request)
        while True:
            body = {name: value for name, value in body.items() if name not in self._unknown}
            if prompt := request.prompt.chat:
                body["messages"] = self._messages(prompt())
            try:
                async with self._post(body) as response:
                    if response.status != 200:
                        await self._refuse(response, body)
                        continue
                    async with aclosing(self._read(response, reader, body)) as items:
                        async for item in items:
                            yield item
            except (aiohttp.ClientError, OSError) as error:
                if not reader.finished:
                    raise self._explain(error, reader) from None
            break
        if not reader.finished:
            raise self._server.broken("closed the stream before the answer was complete", spoke=reader.spoke)
        yield Done(reader.ending, reader.usage)

    async def limits(self) -> ModelLimits | None:
        """Context length, from wherever it is told: vLLM and SGLang list it, llama.cpp, TGI and LM Studio have a page.

        Raises:
            GenerationError: the server is away, or refuses.
        """
        listed = _dicts(await self._list())
        name = self.model or self._listed
        entry = next((entry for entry in listed if entry.get("id") == name), {})
        if total := _number(entry.get("max_model_len")):
            return ModelLimits(total - 1, total, name)
        for page, path in _ELSEWHERE:
            try:
                told = await self._server.tells(self._beside(page))
            except GenerationError:
                continue
            if page == "api/v0/models":
                told = next((one for one in _dicts(told) if one.get("id") == name), None)
            for step in path:
                total = _number(_at(told, step))
                if total:
                    return ModelLimits(total - 1, total, name)
        return None

    async def served_template(self) -> tuple[str, str, str] | None:
        """The model's chat template, BOS and EOS where the server tells them, as llama.cpp does; else None.

        Raises:
            GenerationError: the server is away, or refuses.
        """
        told = await self._server.tells(self._beside("props"))
        if not isinstance(told, dict) or not isinstance(source := told.get("chat_template"), str) or not source:
            return None
        return source, str(told.get("bos_token") or ""), str(told.get("eos_token") or "")

    async def healthy(self) -> bool:
        """Whether ``/health`` says so or, where there is none, whether models are listed. Never raises."""
        try:
            status, _ = await self._server.get(self._beside("health"))
            if status in (404, 405):
                status, _ = await self._server.get("models")
        except Exception:
            return False
        return status == 200

    async def models(self) -> list[str]:
        """The names of the models that the server lists; none where it does not. Raises GenerationError."""
        return [str(entry["id"]) for entry in _dicts(await self._list()) if entry.get("id")]

    async def aclose(self) -> None:
        """Close what is open."""
        if self._session:
            await self._session.close()
            self._session = None

    def _post(self, body: Mapping[str, Any]) -> Any:
        if self._session is None:
            # Connections are not kept: servers close idle ones early (uvicorn after 5 s), and the next request fails.
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            self._session = aiohttp.ClientSession(
                connector=connector, headers=self._server.headers, timeout=self._timeout, read_bufsize=2**18
            )
        page = self._server.page("completions" if "prompt" in body else "chat/completions")
        # Half a surrogate pair cannot be sent, and servers refuse the whole request for an escaped one.
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        return self._session.post(page, data=data, headers={"Content-Type": "application/json"})

    async def _body(self, request: GenerationRequest) -> dict[str, Any]:
        """Only what is in use: strict servers refuse what they do not know."""
        prompt = request.prompt
        body: dict[str, Any] = {
            "max_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if prompt.chat is None:
            body["prompt"] = prompt.text()
        if model := self.model or await self._first():
            body["model"] = model
        if prompt.stops:
            body["stop"] = list(prompt.stops)
        if request.top_p is not None and request.top_p < 1 and request.temperature > 0:
            body["top_p"] = request.top_p
        if request.seed is not None:
            body["seed"] = request.seed
        return body

    def _messages(self, said: Sequence[Said]) -> list[dict[str, str]]:
        """What was said, as the API has it; without a system role where the server's template has none."""
        if self._folds and said and said[0][0] is Role.SYSTEM:
            said = folded(said[0][1], said[1:])
        return [{"role": str(role), "content": words} for role, words in said]

    async def _first(self) -> str:
        """The first model that the server lists, asked once; "" where it lists none."""
        if not self._listed:
            try:
                await self._list()
            except GenerationError:
                return ""
        return self._listed

    async def _list(self) -> Any:
        told = await self._server.tells("models")
        names = [str(entry["id"]) for entry in _dicts(told) if entry.get("id")]
        self._listed = names[0] if names else ""
        return told

    def _beside(self, page: str) -> str:
        """A page that stands beside ``/v1``, not below it."""
        return f"{self._server.url.path.rstrip('/').removesuffix('/v1')}/{page}"

    async def _read(
        self, response: aiohttp.ClientResponse, reader: Reader, body: Mapping[str, Any]
    ) -> AsyncGenerator[Streamed, None]:
        """What a stream says, up to its end; errors in it are raised."""
        if response.content_type == "application/json":  # a server that does not stream
            for item in self._understood(reader, await response.read(), body):
                yield item
            return
        lines = Lines()
        # The next chunk is awaited with a deadline of its own only where the answer has ended.
        while chunk := await next_chunk(response.content, TAIL if reader.finished else None):
            for data in lines.feed(chunk):
                for item in self._understood(reader, data, body):
                    yield item
            if reader.done:
                return
            if len(lines.rest) > LARGEST_EVENT:
                raise self._server.broken("sent an event that has no end", spoke=reader.spoke)
        for data in lines.feed(b"\n"):
            for item in self._understood(reader, data, body):
                yield item

    def _explain(self, error: Exception, reader: Reader) -> GenerationError:
        """The typed error for a connection that failed."""
        server, name = self._server, type(error).__name__
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return server.error(ModelUnavailable, f"took no connection within {CONNECT_TIMEOUT:g} s")
        if isinstance(error, TimeoutError):
            return server.error(ModelTimeout, f"sent nothing for {self._idle:g} s")
        if isinstance(error, aiohttp.ClientConnectorError):
            return server.error(ModelUnavailable, f"cannot be reached ({name})")
        return server.broken(f"dropped the connection ({name})", spoke=reader.spoke)

    def _understood(self, reader: Reader, data: bytes, body: Mapping[str, Any]) -> list[Streamed]:
        """What one event says; an error in it is raised."""
        try:
            text = data.decode().strip()
            if not text or text == "[DONE]":
                reader.done = text == "[DONE]" or reader.done
                reader.finished = reader.finished or reader.done
                return []
            event = json.loads(text)
            if not isinstance(event, dict):
                raise TypeError
            if error := event.get("error"):
                raise self._reported(error, reader, body)
            return reader.take(event)
        except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
            what = f"sent what is not OpenAI's protocol ({type(error).__name__})"
            raise self._server.broken(what, spoke=reader.spoke) from None

    def _reported(self, error: Any, reader: Reader, body: Mapping[str, Any]) -> GenerationError:
        """The typed error for an ``error`` inside a stream."""
        said, code = _said({"error": error}), error.get("code") if isinstance(error, dict) else None
        quoted = self._server.quote(said, _words(body))
        if _TOO_LONG.search(said):
            return self._server.error(PromptTooLong, f"refused the request{quoted}")
        if _BUSY.search(f"{said} {error}"):
            return self._server.error(ModelOverloaded, f"refused the request{quoted}")
        if isinstance(code, int) and 400 <= code < 500 and not reader.spoke:
            return self._server.refusal(code, f"refused the request{quoted}")
        return self._server.broken(f"reported a fault{quoted}", spoke=reader.spoke)

    async def _refuse(self, response: aiohttp.ClientResponse, body: Mapping[str, Any]) -> None:
        """Raise the typed error for a refusal; return if the request should be sent without what was not understood."""
        raw = (await response.read()).decode("utf-8", "replace")
        try:
            said = _said(json.loads(raw))
        except ValueError:
            said = "" if raw.lstrip().startswith("<") else raw
        what = f"answered HTTP {response.status} {response.reason or ''}".rstrip()
        what += self._server.quote(said, _words(body))
        too_long = bool(_TOO_LONG.search(said))
        if _NO_SYSTEM.search(said) and not self._folds and "messages" in body:
            self._folds = True
            return
        if response.status in (400, 422) and not too_long:
            unknown = {name for name in _OPTIONAL if name in body and name in said}
            if unknown:
                self._unknown |= unknown
                return
        remedy = ""
        if response.status in (400, 404, 422) and _WANTS_MODEL.search(said):
            remedy = "Set MODEL_NAME to one of the models that the server lists at /v1/models."
        elif response.status in (404, 405):
            remedy = "Check MODEL_URL: it ends in /v1 on most servers. Does the server speak OpenAI's API?"
        after = seconds(response.headers.get("Retry-After"))
        raise self._server.refusal(response.status, what, too_long=too_long, remedy=remedy, retry_after=after)


def _said(body: Any) -> str:
    """What a refusal says, whatever its shape: an error as text or object, ``detail`` as text or list, ``message``."""
    if isinstance(body, str):
        return body
    if isinstance(body, list):
        return "; ".join(filter(None, map(_said, body)))
    if not isinstance(body, dict):
        return ""
    found = [body.get(name) for name in ("error", "detail", "message", "msg", "type", "loc")]
    return " ".join(filter(None, map(_said, found)))


def _words(body: Mapping[str, Any]) -> str:
    """All that people wrote in a request."""
    return str(body.get("prompt", "")) or "\n".join(message["content"] for message in body["messages"])


def _dicts(told: Any) -> list[dict[str, Any]]:
    """The entries of a list of models; none of what is not one."""
    entries = told.get("data") if isinstance(told, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _number(value: Any) -> int:
    return value if isinstance(value, int) and value > 1 else 0


def _at(told: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        told = told.get(step) if isinstance(told, dict) else None
    return told


_ELSEWHERE: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    ("props", (("default_generation_settings", "n_ctx"), ("n_ctx",))),
    ("info", (("max_total_tokens",),)),
    ("api/v0/models", (("loaded_context_length",), ("max_context_length",))),
)
"""Pages beside ``/v1`` on which servers tell their context length, and where on them it stands."""
