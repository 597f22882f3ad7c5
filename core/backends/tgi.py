"""Text Generation Inference, through its own client: ``text_generation.AsyncClient``.

The client speaks the protocol; what it leaves open is closed here. Its timeout is total, so it is replaced by one for
silence. A stream that a proxy cuts off ends without an error, so an answer counts only with its final event. Its errors
share no base, and half of all faults leave it as ``KeyError``, ``JSONDecodeError`` and the like, without status or
``Retry-After``: these are read off the response that it had in hand when it raised.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import aiohttp

from core.backends.server import CONNECT_TIMEOUT, Auth, Server, seconds
from core.errors import GenerationError, ModelOverloaded, ModelRefused, ModelTimeout, ModelUnavailable, PromptTooLong
from core.types import Delta, Done, Ending, GenerationRequest, ModelLimits, Usage

_TOO_LONG = re.compile(r"inputs\W* (tokens|must have less than \d+ tokens)")
_BY_BASE: tuple[tuple[type[Exception], type[GenerationError], str], ...] = (
    (aiohttp.ConnectionTimeoutError, ModelUnavailable, f"took no connection within {CONNECT_TIMEOUT:g} s"),
    (TimeoutError, ModelTimeout, "sent nothing for {idle:g} s"),
    (aiohttp.ClientConnectorError, ModelUnavailable, "cannot be reached ({name})"),
)


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
        # Costs a second or two, which only who talks to such a server should pay.
        from text_generation import AsyncClient

        self._server = Server(url, api_key=api_key, auth=auth)
        self._idle = idle_timeout
        self._client = AsyncClient(str(self._server.url), headers=self._server.headers)
        self._client.timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=idle_timeout)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Delta | Done, None]:
        """Answer one request; see ``Backend.stream``."""
        # JSON cannot carry half a surrogate pair, and servers refuse the whole request for one.
        prompt = request.prompt.text().encode("utf-8", "replace").decode()
        sampling = request.temperature > 0
        spoke, done = False, None
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
                    # Special tokens (end of text and the like) are for the machine.
                    token = event.token
                    if token.text and not token.special:
                        spoke = True
                        yield Delta(token.text)
                    if event.generated_text is not None:
                        done = _done(event, events)
                        break
            except Exception as error:
                # Without its cause: what the client raises may hold the prompt, or the key.
                raise self._explain(error, spoke, prompt) from None
        if done is None:
            raise self._server.broken("closed the stream without the final event", spoke=spoke)
        yield done

    async def limits(self) -> ModelLimits | None:
        """Context length as ``/info`` tells it; None where there is none.

        Raises:
            GenerationError: the server is away, or refuses.
        """
        info = await self._server.tells("info")
        try:
            # Before TGI 2, and in LoRAX, the first has its older name.
            most = info["max_input_tokens"] if "max_input_tokens" in info else info["max_input_length"]
            return ModelLimits(int(most), int(info["max_total_tokens"]), str(info.get("model_id") or ""))
        except (ValueError, TypeError, KeyError):
            return None

    async def healthy(self) -> bool:
        """Whether ``/health`` says that a model is loaded and answers. Never raises."""
        try:
            status, _ = await self._server.get("health")
        except Exception:
            return False
        return status == 200

    async def aclose(self) -> None:
        """Nothing to let go of: each request has its own connection, closed with its stream."""

    def _explain(self, error: Exception, spoke: bool, prompt: str = "") -> GenerationError:
        """The typed error for what the client raised; ``spoke`` says that text had come before."""
        response, server = _response(error), self._server
        name = type(error).__name__
        said = str(error) if type(error).__module__ == "text_generation.errors" else ""
        quoted = server.quote(said, prompt)
        too_long = bool(_TOO_LONG.search(said))
        remedy = "Lower MAX_NEW_TOKENS." if "max_new_tokens" in said and not too_long else ""
        if response is not None and response.status != 200:
            what = f"answered HTTP {response.status} {response.reason or ''}".rstrip() + quoted
            after = seconds(response.headers.get("Retry-After"))
            return server.refusal(response.status, what, too_long=too_long, remedy=remedy, retry_after=after)
        for base, kind, what in _BY_BASE:
            if isinstance(error, base):
                return server.error(kind, what.format(name=name, idle=self._idle))
        if said and name in ("OverloadedError", "ValidationError"):
            refused = PromptTooLong if too_long else ModelRefused
            kind = ModelOverloaded if name == "OverloadedError" else refused
            return server.error(kind, f"refused the request{quoted}", remedy)
        if isinstance(error, (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError)):
            return server.broken(f"dropped the connection ({name})", spoke=spoke)
        if response is None:
            return server.error(ModelUnavailable, f"could not be asked ({name})")
        what = f"reported a fault{quoted}" if said else f"sent what is not TGI's protocol ({name})"
        return server.broken(what, spoke=spoke)


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
