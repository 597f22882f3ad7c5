"""Text Generation Inference, through its own client: ``text_generation.AsyncClient``.

The client speaks the protocol; what it leaves open is closed here. Its timeout is total, so it is replaced by one for
silence. A stream that a proxy cuts off ends without an error, so an answer counts only with its final event. Its errors
share no base, and half of all faults leave it as ``KeyError``, ``JSONDecodeError`` and the like, without status or
``Retry-After``: these are read off the response that it had in hand when it raised.
"""

from __future__ import annotations

import base64
import json
import re
import traceback
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal

import aiohttp
from yarl import URL

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
from core.types import Delta, Done, Ending, GenerationRequest, ModelLimits, Usage

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a connection; also for the whole of /info and /health."""

_TOO_LONG = re.compile(r"inputs\W* (tokens|must have less than \d+ tokens)")
_BY_STATUS: dict[int, type[GenerationError]] = {
    401: ModelUnauthorized,
    403: ModelUnauthorized,
    408: ModelTimeout,
    413: PromptTooLong,
    424: ModelUnavailable,
    429: ModelOverloaded,
    504: ModelTimeout,
}
_BY_BASE: tuple[tuple[type[Exception], type[GenerationError], str], ...] = (
    (aiohttp.ConnectionTimeoutError, ModelUnavailable, f"took no connection within {CONNECT_TIMEOUT:g} s"),
    (TimeoutError, ModelTimeout, "sent nothing for {idle:g} s"),
    (aiohttp.ClientConnectorError, ModelUnavailable, "cannot be reached ({name})"),
)
_BY_NAME: dict[str, type[GenerationError]] = {"OverloadedError": ModelOverloaded, "ValidationError": ModelRefused}
_REMEDIES: dict[type[GenerationError], str] = {
    ModelUnavailable: "Check that the server runs, that its model is loaded, and that MODEL_URL is its address.",
    ModelOverloaded: "Try again later, or let the server take more requests at once (--max-concurrent-requests).",
    ModelTimeout: "Look at the load of the server, and into its log.",
    ModelUnauthorized: "Check MODEL_API_KEY, and whether the server wants MODEL_AUTH=Bearer or MODEL_AUTH=Basic.",
    PromptTooLong: "Lower MAX_NEW_TOKENS or CONTEXT_TOKENS, or start the server with a larger --max-total-tokens.",
    ModelRefused: "Check that a Text Generation Inference server answers at MODEL_URL.",
    StreamBroken: "Look into the log of the server, and of a proxy before it.",
}


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
        auth: Literal["Bearer", "Basic"] = "Bearer",
        idle_timeout: float = 60.0,
    ) -> None:
        # Costs a second or two, which only who talks to such a server should pay.
        from text_generation import AsyncClient

        try:
            address = URL(url)
        except ValueError:
            address = URL()
        if address.scheme not in ("http", "https") or not address.host:
            raise SettingsError(
                "MODEL_URL is not an http address.", remedy="For example: MODEL_URL=http://localhost:8080"
            )
        if address.user is not None and not api_key:
            api_key, auth = f"{address.user}:{address.password or ''}", "Basic"
        self._url = address.with_user(None)
        self._where = str(self._url.with_query(None))
        self._idle = idle_timeout
        token = _token(api_key or "", auth)
        self._secrets = {secret for secret in (api_key, token) if secret}
        self._headers = {"Authorization": f"{auth} {token}"} if token else {}
        self._client = AsyncClient(str(self._url), headers=self._headers)
        self._client.timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=idle_timeout)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Delta | Done, None]:
        """Answer one request; see ``Backend.stream``."""
        # JSON cannot carry half a surrogate pair, and servers refuse the whole request for one.
        prompt = request.prompt.text().encode("utf-8", "replace").decode()
        sampling = request.temperature > 0
        spoke = False
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
            while True:
                try:
                    event = await anext(events)
                except StopAsyncIteration:
                    raise self._broken("closed the stream without the final event", spoke) from None
                except Exception as error:
                    # Without its cause: what the client raises may hold the prompt, or the key.
                    raise self._explain(error, spoke, prompt) from None
                # Special tokens (end of text and the like) are for the machine.
                if event.token.text and not event.token.special:
                    spoke = True
                    yield Delta(event.token.text)
                if event.generated_text is not None:
                    done = _done(event, events)
                    break
        yield done

    async def limits(self) -> ModelLimits | None:
        """Context length as ``/info`` tells it; None where there is none.

        Raises:
            GenerationError: the server is away, or refuses.
        """
        try:
            status, body = await self._get("info")
        except TimeoutError:
            raise self._error(ModelTimeout, f"did not answer GET /info within {CONNECT_TIMEOUT:g} s") from None
        except Exception as error:
            raise self._explain(error, False) from None
        if status == 404:
            return None
        if status != 200:
            raise self._refusal(status, f"answered HTTP {status} to GET /info")
        try:
            info = json.loads(body)
            # Before TGI 2, and in LoRAX, the first has its older name.
            most = info["max_input_tokens"] if "max_input_tokens" in info else info["max_input_length"]
            return ModelLimits(int(most), int(info["max_total_tokens"]), str(info.get("model_id") or ""))
        except (ValueError, TypeError, KeyError):
            return None

    async def healthy(self) -> bool:
        """Whether ``/health`` says that a model is loaded and answers. Never raises."""
        try:
            status, _ = await self._get("health")
        except Exception:
            return False
        return status == 200

    async def aclose(self) -> None:
        """Nothing to let go of: each request has its own connection, closed with its stream."""

    async def _get(self, name: str) -> tuple[int, bytes]:
        """Status and body of one of the server's own pages."""
        url = (self._url / name).with_query(self._url.query)
        timeout = aiohttp.ClientTimeout(total=CONNECT_TIMEOUT)
        async with (
            aiohttp.ClientSession(headers=self._headers, timeout=timeout) as session,
            session.get(url) as response,
        ):
            return response.status, await response.read()

    def _explain(self, error: Exception, spoke: bool, prompt: str = "") -> GenerationError:
        """The typed error for what the client raised; ``spoke`` says that text had come before."""
        response = _response(error)
        name = type(error).__name__
        said = str(error) if type(error).__module__ == "text_generation.errors" else ""
        quoted = self._quote(said, prompt)
        if response is not None and response.status != 200:
            what = f"answered HTTP {response.status} {response.reason or ''}".rstrip() + quoted
            return self._refusal(response.status, what, said, _seconds(response.headers.get("Retry-After")))
        for base, kind, what in _BY_BASE:
            if isinstance(error, base):
                return self._error(kind, what.format(name=name, idle=self._idle))
        if said and name in _BY_NAME:
            return self._refused(_BY_NAME[name], f"refused the request{quoted}", said)
        if isinstance(error, (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError)):
            return self._broken(f"dropped the connection ({name})", spoke)
        if response is None:
            return self._error(ModelUnavailable, f"could not be asked ({name})")
        what = f"reported a fault{quoted}" if said else f"sent what is not TGI's protocol ({name})"
        return self._broken(what, spoke)

    def _refusal(self, status: int, what: str, said: str = "", retry_after: float | None = None) -> GenerationError:
        """The error for an HTTP status."""
        kind = _BY_STATUS.get(status, ModelUnavailable if status >= 500 else ModelRefused)
        return self._refused(kind, what, said, retry_after)

    def _refused(
        self, kind: type[GenerationError], what: str, said: str, retry_after: float | None = None
    ) -> GenerationError:
        """A refusal, told apart by what the server ``said`` where that is more than its status."""
        if kind is ModelRefused and _TOO_LONG.search(said):
            kind = PromptTooLong
        elif kind is ModelRefused and "max_new_tokens" in said:
            return self._error(kind, what, "Lower MAX_NEW_TOKENS.")
        return self._error(kind, what, retry_after=retry_after)

    def _broken(self, what: str, spoke: bool) -> GenerationError:
        """A stream that broke: in the middle of an answer, or before there was any."""
        return self._error(StreamBroken if spoke else ModelUnavailable, what)

    def _error(
        self, kind: type[GenerationError], what: str, remedy: str = "", retry_after: float | None = None
    ) -> GenerationError:
        """``what`` completes a sentence that begins with the server."""
        if kind is ModelUnauthorized and not self._secrets:
            remedy = "The server wants a key: set MODEL_API_KEY."
        return kind(
            f"The model's server at {self._where} {what}", remedy=remedy or _REMEDIES[kind], retry_after=retry_after
        )

    def _quote(self, said: str, prompt: str) -> str:
        """What the server said, after a colon; nothing if it repeats our key or anybody's words."""
        said = " ".join(said.split())[:200]
        pieces = (said[start : start + 24] for start in range(len(said) - 23))
        if not said or any(secret in said for secret in self._secrets) or any(piece in prompt for piece in pieces):
            return ""
        return f": {said}"


def _token(key: str, auth: str) -> str:
    """What follows ``auth`` in the header; for Basic, anything but ``user:password`` is taken as encoded already."""
    key = key.strip()
    return base64.b64encode(key.encode()).decode() if auth == "Basic" and ":" in key else key


def _done(event: Any, events: Any) -> Done:
    """The end that the final event tells."""
    if event.details is None:
        return Done()
    # The client drops `input_length`; the event as it came is still in its frame.
    raw = events.ag_frame.f_locals.get("json_payload", {}) if events.ag_frame else {}
    ending = Ending.LENGTH if event.details.finish_reason == "length" else Ending.COMPLETE
    return Done(ending, Usage(raw.get("details", {}).get("input_length"), event.details.generated_tokens))


def _response(error: Exception) -> aiohttp.ClientResponse | None:
    """The response that the client was reading when it raised; None if it had none."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__") == "text_generation.client":
            response: aiohttp.ClientResponse | None = frame.f_locals.get("resp")
            return response
    return None


def _seconds(retry_after: str | None) -> float | None:
    """``Retry-After`` in seconds; None for a date or nothing."""
    try:
        return max(0.0, float(retry_after or ""))
    except ValueError:
        return None
