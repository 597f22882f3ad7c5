"""Text Generation Inference, through its own client: ``text_generation.AsyncClient``.

This module fixes what the client leaves open. The client's timeout is total: a timeout for silence replaces it. The
client follows redirects and reads whole refusals: a middleware on its connections prevents both. A stream that a proxy
cuts off ends without an error: an answer counts only with its final event. The client's errors share no base, and half
of all faults leave it as ``KeyError``, ``JSONDecodeError`` and the like.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import aiohttp

from core.causes import cause
from core.errors import (
    GenerationError,
    ModelOverloaded,
    ModelRefused,
    ModelTimeout,
    ModelUnauthorized,
    ModelUnavailable,
    PromptTooLong,
)
from core.model_types import Delta, Done, GenerationRequest, ModelLimits, Usage
from core.models.backends.refusals import NO_KEY
from core.models.backends.server import CONNECT_TIMEOUT, Auth, Server, retry_after_seconds
from core.models.backends.untrusted import (
    SurrogateJoiner,
    describe,
    error_text,
    parse_json,
    read_beginning,
    token_count,
)
from core.models.control_tokens import ends_turn
from core.models.reasoning_formats import is_reasoning_mark
from core.types import Ending

_TOO_LONG = re.compile(r"inputs\W* (tokens|must have less than \d+ tokens)")
_BY_BASE: tuple[tuple[type[Exception], type[GenerationError], str], ...] = (
    (aiohttp.ConnectionTimeoutError, ModelUnavailable, f"took no connection within {CONNECT_TIMEOUT:g} s"),
    (TimeoutError, ModelTimeout, "sent nothing for {idle:g} s"),
)


class _Refused(Exception):
    """The server answered with something other than a stream; ``body`` is the beginning of that."""

    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        super().__init__(response.status)
        self.response, self.body = response, body


async def _only_streams(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Let only streams through: no redirect is followed, and only the beginning of a refusal is read."""
    response = await handler(request)
    if response.status != 200:
        body = await read_beginning(response)
        response.close()
        raise _Refused(response, body)
    return response


def _open_session(**options: Any) -> aiohttp.ClientSession:
    """Open the client's session; it opens one for each request."""
    return aiohttp.ClientSession(**options, middlewares=(_only_streams,))


class TgiBackend:
    """A server that speaks TGI's native protocol at ``url``, or a proxy before one.

    With ``auth="Basic"`` the key is either ``user:password`` or the finished token of the header. Credentials in
    ``url`` serve as such a key. ``idle_timeout`` is the longest silence on the wire, in seconds.

    Raises:
        SettingsError: ``url`` is not an http or https address.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        auth: Auth = "Bearer",
        idle_timeout: float = 60.0,
    ) -> None:
        # The import takes a second or two, so it happens only where such a server is used.
        from text_generation import AsyncClient, client

        client.ClientSession = _open_session
        self._server = Server(url, api_key=api_key, auth=auth)
        self._idle = idle_timeout
        self._client = AsyncClient(str(self._server.url), headers=self._server.headers)
        self._client.timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=idle_timeout)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Delta | Done, None]:
        """Answer one request; see ``Backend.stream``."""
        # JSON cannot carry half a surrogate pair, and servers refuse the whole request for one.
        prompt = request.prompt.text().encode("utf-8", "replace").decode()
        sampling = request.temperature > 0
        spoke, done, halves = False, None, SurrogateJoiner()
        async with aclosing(
            self._client.generate_stream(
                prompt,
                do_sample=sampling,
                temperature=request.temperature if sampling else None,
                top_p=request.top_p if request.top_p is not None and request.top_p < 1 else None,
                stop_sequences=list(request.prompt.stops),
                max_new_tokens=request.max_new_tokens,
                seed=request.seed,
            )
        ) as events:
            try:
                async for event in events:
                    # Special tokens are for the machine, but for those that say where an answer begins or ends.
                    token, final = event.token, event.generated_text is not None
                    if token.special and (final or not (ends_turn(token.text) or is_reasoning_mark(token.text))):
                        token.text = ""
                    if text := halves.feed(token.text):
                        spoke = spoke or not token.special
                        yield Delta(text)
                    if event.generated_text is not None:
                        done = _done(event, events)
                        break
            except Exception as error:
                if last := _last(error):
                    text, done = last
                    yield Delta(halves.feed(text))
                else:
                    # Without its cause: what the client raises may hold the prompt, or the key.
                    raise self._explain(error, spoke, prompt) from None
        if done is None:
            raise self._server.broken("closed the stream without the final event", spoke=spoke)
        if text := halves.flush():
            yield Delta(text)
        yield done

    async def limits(self) -> ModelLimits | None:
        """Context length as ``/info`` tells it; None where there is none.

        Raises:
            GenerationError: the server is away, or refuses.
        """
        info = await self._server.get_json("info")
        try:
            # Before TGI 2, and in LoRAX, the first has its older name.
            most = info["max_input_tokens"] if "max_input_tokens" in info else info["max_input_length"]
            most, total, name = token_count(most), token_count(info["max_total_tokens"]), info.get("model_id")
        except (ValueError, TypeError, KeyError):
            return None
        return ModelLimits(most, total, name if isinstance(name, str) else "") if most and total else None

    async def healthy(self) -> bool:
        """Whether ``/health`` says that a model is loaded and answers. Never raises."""
        try:
            status, _ = await self._server.get("health")
        except Exception:
            return False
        return status == 200

    async def aclose(self) -> None:
        """There is nothing to close: each request has its own connection, closed with its stream."""

    def _explain(self, error: Exception, spoke: bool, prompt: str = "") -> GenerationError:
        """The typed error for what the client raised; ``spoke`` if text came before."""
        server, name = self._server, type(error).__name__
        if isinstance(error, _Refused):
            return self._refusal(error, prompt)
        refusal = str(error) if type(error).__module__ == "text_generation.errors" else ""
        quoted = server.quote(refusal, prompt)
        if isinstance(error, aiohttp.ClientConnectorError):
            return server.unreachable(error)
        for base, kind, what in _BY_BASE:
            if isinstance(error, base):
                return server.error(kind, what.format(name=name, idle=self._idle))
        if refusal and name in ("OverloadedError", "ValidationError"):
            kind = ModelOverloaded if name == "OverloadedError" else ModelRefused
            too_long = bool(_TOO_LONG.search(refusal))
            return server.error(PromptTooLong if too_long else kind, f"refused the request{quoted}", _advice(refusal))
        dropped = isinstance(error, (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError))
        if not dropped and not _listened(error):
            return server.error(ModelUnavailable, f"could not be asked ({cause(error)})")
        if dropped:
            what = f"dropped the connection ({cause(error)})"
        elif refusal:
            what = f"reported a fault{quoted}"
        else:
            what = f"sent {_seen(error)}, which is not TGI's protocol"
        return server.broken(what, spoke=spoke)

    def _refusal(self, refused: _Refused, prompt: str) -> GenerationError:
        """The typed error for a status other than 200."""
        response, server = refused.response, self._server
        if 300 <= response.status < 400:
            return server.redirected(response)
        try:
            refusal = error_text(parse_json(refused.body))
        except ValueError:
            refusal = ""
        what = server.status_line(response) + server.quote(refusal, prompt)
        if response.status in (400, 422) and NO_KEY.search(refusal):
            return server.error(ModelUnauthorized, what)
        after, too_long = retry_after_seconds(response.headers.get("Retry-After")), bool(_TOO_LONG.search(refusal))
        return server.refusal(response.status, what, too_long=too_long, remedy=_advice(refusal), retry_after=after)


def _advice(refusal: str) -> str:
    return "Lower MAX_NEW_TOKENS." if "max_new_tokens" in refusal and not _TOO_LONG.search(refusal) else ""


def _done(event: Any, events: Any) -> Done:
    """The end of the answer, from its final event."""
    if event.details is None:
        return Done()
    # The client drops `input_length`; the event as it came is still in its frame.
    raw = events.ag_frame.f_locals.get("json_payload") if events.ag_frame else None
    details = raw.get("details") if isinstance(raw, dict) else None
    read = token_count(details.get("input_length")) if isinstance(details, dict) else None
    ending = Ending.LENGTH if event.details.finish_reason == "length" else Ending.COMPLETE
    return Done(ending, Usage(read, token_count(event.details.generated_tokens)))


def _last(error: Exception) -> tuple[str, Done] | None:
    """Text and end of a final event that the client rejected because of an invalid count; else None."""
    seen = _frame(error).get("json_payload") if isinstance(error, KeyError) else None
    token, details = (seen.get("token"), seen.get("details")) if isinstance(seen, dict) else (None, None)
    if not (isinstance(token, dict) and isinstance(details, dict)):
        return None
    reason = details.get("finish_reason")
    if not (isinstance(reason, str) and reason in _ENDINGS):
        return None
    text = token.get("text")
    usage = Usage(token_count(details.get("input_length")), token_count(details.get("generated_tokens")))
    return text if isinstance(text, str) and not token.get("special") else "", Done(_ENDINGS[reason], usage)


_ENDINGS = {"length": Ending.LENGTH, "eos_token": Ending.COMPLETE, "stop_sequence": Ending.COMPLETE}


def _frame(error: Exception) -> dict[str, Any]:
    """The client's local variables when it raised."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__") == "text_generation.client":
            return frame.f_locals
    return {}


def _listened(error: Exception) -> bool:
    return "resp" in _frame(error)


def _seen(error: Exception) -> str:
    """A description of what the client read last."""
    seen = _frame(error)
    return describe(seen["json_payload"]) if isinstance(error, KeyError) and "json_payload" in seen else "something"
