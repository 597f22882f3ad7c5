"""Any server that speaks OpenAI's API: vLLM, SGLang, llama.cpp, Ollama, LM Studio, TGI, Hugging Face's router.

It is read with aiohttp and not with a client library, which costs more per token and is strict where servers differ. An
answer is complete when a choice has a finish reason or ``[DONE]`` came; a stream that ends with neither is broken. An
error can come in any event, in many shapes, and token counts on any chunk. Reasoning has a field or a part of its own,
or is in the text, where ``core.models.generation`` removes it. If a server refuses a field, the request is sent again
without it or in other words (``refusals``).

A prompt with ``chat()`` goes to ``/chat/completions``, where the server applies its own template; any other is sent as
text to ``/completions``.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import structlog

from core.causes import cause
from core.errors import (
    AnswerCutOff,
    AnswerFiltered,
    GenerationError,
    ModelOverloaded,
    ModelTimeout,
    ModelUnauthorized,
    ModelUnavailable,
    PromptTooLong,
    ToolWanted,
)
from core.model_types import Done, GenerationRequest, ModelLimits, Streamed
from core.models.backends.openai_models import CONTEXT_PAGES, context_on, listed_context, model_names
from core.models.backends.openai_stream import (
    FILTER_REASONS,
    TOOL_REASONS,
    AnswerFault,
    AnswerReader,
    Event,
    StrangeEvent,
    read_events,
)
from core.models.backends.refusals import BUSY, NO_CHAT, NO_KEY, NO_MODEL, TOO_LONG, Dialect, remedy
from core.models.backends.server import CONNECT_TIMEOUT, Auth, Server, retry_after_seconds
from core.models.backends.untrusted import TooLarge, error_text, parse_json, read_beginning, token_count

log = structlog.get_logger()

MAX_WORDINGS = 8
"""Times that one request is sent, each time as the server's refusal asks for it."""


class _AskDifferently(Exception):
    """The server refused the request, and accepts it in other words."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__("asked again")
        self.dialect = dialect


@dataclass(frozen=True, slots=True)
class _Request:
    """One attempt at a request, and what the server has answered so far; ``last`` if there is no further attempt."""

    body: Mapping[str, Any]
    dialect: Dialect
    last: bool
    reader: AnswerReader = field(default_factory=AnswerReader)

    @property
    def words(self) -> str:
        """All text that people wrote in it."""
        return str(self.body.get("prompt", "")) or "\n".join(message["content"] for message in self.body["messages"])


class OpenAIBackend:
    """A server at ``url``, which ends in ``/v1`` on most; that is added to an address without a path.

    ``model`` is what the server calls it; without one, the first that the server lists. ``idle_timeout`` is the longest
    silence on the wire, in seconds. For the key see ``core.models.Server``.

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
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=idle_timeout)
        self._idle = idle_timeout
        self._names: list[str] = []
        self._dialect = Dialect()
        self._session: aiohttp.ClientSession | None = None

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Streamed, None]:
        """Answer one request; see ``Backend.stream``."""
        wanted = await self._body(request)
        known = dialect = self._dialect
        for tries in range(1, MAX_WORDINGS + 1):
            body = dialect.body(wanted)
            if prompt := request.prompt.chat:
                body["messages"] = dialect.messages(prompt())
            if model := self.model or self._first(dialect):
                body["model"] = model
            asked = _Request(body, dialect, last=tries == MAX_WORDINGS)
            try:
                async with aclosing(self._ask(asked)) as items:
                    async for item in items:
                        yield item
            except _AskDifferently as again:
                dialect = again.dialect
            else:
                break
        if dialect is not known:
            self._dialect = replace(dialect, omitted_once=frozenset())
        for item in asked.reader.end():
            yield item
        yield self._done(asked.reader)

    async def _ask(self, asked: _Request) -> AsyncGenerator[Streamed, None]:
        """Make one attempt. Raises _AskDifferently where another one can succeed."""
        reader = asked.reader
        try:
            async with self._post(asked.body) as response:
                if 300 <= response.status < 400:
                    raise self._server.redirected(response)
                if response.status != 200:
                    raise await self._refused(response, asked)
                async with aclosing(read_events(response, reader)) as events:
                    async for event in events:
                        for item in self._understood(asked, event):
                            yield item
        except (aiohttp.ClientError, OSError) as error:
            if not reader.finished:
                raise self._explain(error, reader) from None
        except (TooLarge, StrangeEvent) as strange:
            raise self._server.broken(f"sent {strange} in place of an answer", spoke=reader.spoke) from None
        if not reader.finished:
            raise self._server.broken("closed the stream before the answer was complete", spoke=reader.spoke)

    def _done(self, reader: AnswerReader) -> Done:
        """The end of the answer. Raises GenerationError if it is incomplete by the server's own reason."""
        if ending := reader.ending:
            return Done(ending, reader.usage)
        if reader.reason in FILTER_REASONS:
            raise self._server.error(AnswerFiltered, f"ended the answer with finish_reason {reader.reason}")
        if reader.reason in TOOL_REASONS:
            raise self._server.error(ToolWanted, f"ended the answer with finish_reason {reader.reason}")
        shown = reader.reason[:40] if re.fullmatch(r"[\w.-]+", reader.reason) else "…"
        raise self._server.error(AnswerCutOff, f"ended the answer with an unknown finish_reason: {shown}")

    async def limits(self) -> ModelLimits | None:
        """Context length: vLLM and SGLang tell it in their list, llama.cpp, TGI and LM Studio on a page.

        Raises:
            GenerationError: the server is away, or refuses.
        """
        listing = await self._list()
        model = self.model or self._first(self._dialect)
        if total := listed_context(listing, model):
            return ModelLimits(total - 1, total, model)
        for page in CONTEXT_PAGES:
            try:
                content = await self._server.get_json(self._beside(page))
            except GenerationError:
                continue
            if total := context_on(page, content, model):
                return ModelLimits(total - 1, total, model)
        return None

    async def served_template(self) -> tuple[str, str, str] | None:
        """The model's chat template, BOS and EOS if the server tells them, as llama.cpp does; else None.

        Raises:
            GenerationError: the server is away, or refuses.
        """
        properties = await self._server.get_json(self._beside("props"))
        if (
            not isinstance(properties, dict)
            or not isinstance(source := properties.get("chat_template"), str)
            or not source
        ):
            return None
        bos, eos = (
            token if isinstance(token := properties.get(key), str) else "" for key in ("bos_token", "eos_token")
        )
        return source, bos, eos

    async def healthy(self) -> bool:
        """Whether ``/health`` answers 200 or, where there is none, the list of models. Never raises."""
        try:
            status, _ = await self._server.get(self._beside("health"))
            if status in (404, 405):
                status, _ = await self._server.get("models")
        except Exception:
            return False
        return status == 200

    async def models(self) -> list[str]:
        """The names of the models that the server lists. Raises GenerationError."""
        await self._list()
        return list(self._names)

    async def aclose(self) -> None:
        """Close all connections."""
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
        headers = {"Content-Type": "application/json"}
        # A redirect would carry what people wrote to another server.
        return self._session.post(page, data=data, headers=headers, allow_redirects=False)

    async def _body(self, request: GenerationRequest) -> dict[str, Any]:
        """The request's body, with only the fields in use: strict servers refuse unknown ones."""
        prompt = request.prompt
        body: dict[str, Any] = {
            "max_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if prompt.chat is None:
            body["prompt"] = prompt.text()
        if not self.model and not self._names:
            await self._try_list()
        if prompt.stops:
            body["stop"] = list(prompt.stops)
        if request.top_p is not None and request.top_p < 1 and request.temperature > 0:
            body["top_p"] = request.top_p
        if request.seed is not None:
            body["seed"] = request.seed
        return body

    def _first(self, dialect: Dialect) -> str:
        """The first listed model that has not refused to chat; "" if there is none."""
        return next((name for name in self._names if name not in dialect.skipped_models), "")

    async def _list(self) -> Any:
        listing = await self._server.get_json("models")
        self._names = model_names(listing)
        return listing

    async def _try_list(self) -> None:
        try:
            await self._list()
        except GenerationError as error:
            log.info("models not listed", error=str(error))

    def _beside(self, page: str) -> str:
        """The path of a page beside ``/v1``, not below it."""
        return f"{self._server.url.path.rstrip('/').removesuffix('/v1')}/{page}"

    def _explain(self, error: Exception, reader: AnswerReader) -> GenerationError:
        """The typed error for a connection that failed."""
        server = self._server
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return server.error(ModelUnavailable, f"took no connection within {CONNECT_TIMEOUT:g} s")
        if isinstance(error, TimeoutError):
            return server.error(ModelTimeout, f"sent nothing for {self._idle:g} s")
        if isinstance(error, aiohttp.ClientConnectorError):
            return server.unreachable(error)
        return server.broken(f"dropped the connection ({cause(error)})", spoke=reader.spoke)

    def _understood(self, asked: _Request, event: Event) -> list[Streamed]:
        """What one event adds to the answer. Raises the error that it reports."""
        try:
            return asked.reader.read(event)
        except AnswerFault as fault:
            raise self._reported(fault.error, asked) from None
        except StrangeEvent as strange:
            what = f"sent {strange}, which is not OpenAI's protocol"
            what = what if not self._server.quote(what, asked.words).count("…") else "sent an unknown object"
        except ValueError:
            what = "sent what is not OpenAI's protocol"
        raise self._server.broken(what, spoke=asked.reader.spoke)

    def _reported(self, error: Any, asked: _Request) -> Exception:
        """Our error for one that was reported inside a stream."""
        refusal, param, spoke = error_text(error), _param(error), asked.reader.spoke
        what = "refused the request" + self._server.quote(refusal, asked.words)
        kind = next((kind for pattern, kind in _BY_WORDS if pattern.search(refusal)), None)
        if kind and not (spoke and kind is ModelUnauthorized):
            return self._server.error(kind, what)
        if not spoke and (other := self._other(asked, refusal, param)):
            return _AskDifferently(other)
        status = next((found for key in ("code", "status", "error_code") if (found := _status(error, key))), 0)
        if not spoke and (400 <= status < 500 or NO_MODEL.search(refusal)):
            advice = remedy(refusal, param, status or 400, self._names)
            return self._server.refusal(status or 400, what, remedy=advice)
        return self._server.broken(what.replace("refused the request", "reported a fault", 1), spoke=spoke)

    async def _refused(self, response: aiohttp.ClientResponse, asked: _Request) -> Exception:
        """The error for a refusal; _AskDifferently if the request should be sent in other words."""
        raw, parsed = await read_beginning(response), None
        try:
            parsed = parse_json(raw)
            refusal = error_text(parsed)
        except ValueError:
            text = raw.decode("utf-8", "replace").strip()
            refusal = "" if text.startswith("<") else text[:2000]
        param, status = _param(parsed), response.status
        what = self._server.status_line(response) + self._server.quote(refusal, asked.words)
        if status not in _FINAL and (NO_MODEL.search(refusal) or NO_CHAT.search(refusal)):
            await self._try_list()  # for another model, or for the operator to choose from
        if status not in _FINAL and (other := self._other(asked, refusal, param)):
            return _AskDifferently(other)
        if status in (400, 422) and NO_KEY.search(refusal):
            return self._server.error(ModelUnauthorized, what)
        advice = remedy(refusal, param, status, self._names)
        after, too_long = retry_after_seconds(response.headers.get("Retry-After")), bool(TOO_LONG.search(refusal))
        return self._server.refusal(status, what, too_long=too_long, remedy=advice, retry_after=after)

    def _other(self, asked: _Request, refusal: str, param: str) -> Dialect | None:
        """How to ask again after a refusal; None if that does not help."""
        if asked.last:
            return None
        if not self.model and (NO_CHAT.search(refusal) or NO_MODEL.search(refusal)):
            model = str(asked.body.get("model", ""))
            skips = replace(asked.dialect, skipped_models=asked.dialect.skipped_models | {model})
            if self._first(skips):
                return skips
        return asked.dialect.after(refusal, param, asked.body)


_FINAL = (401, 402, 403, 407, 429)
"""Statuses of refusals that don't depend on how the request was worded."""
_BY_WORDS = ((TOO_LONG, PromptTooLong), (BUSY, ModelOverloaded), (NO_KEY, ModelUnauthorized))


def _status(error: Any, key: str) -> int:
    found = token_count(error.get(key)) if isinstance(error, dict) else None
    return found if found and 300 <= found < 600 else 0


def _param(error: Any) -> str:
    """The field that a refusal names."""
    error = error.get("error", error) if isinstance(error, dict) else error
    found = error.get("param") if isinstance(error, dict) else None
    return found if isinstance(found, str) else ""
