"""What all servers of models have in common: an address, a key, and refusals that must become typed errors.

An error names the server and what it did. It repeats neither our key nor anybody's words, which servers like to quote.
"""

from __future__ import annotations

import base64
import math
import re
import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Literal

import aiohttp
from yarl import URL

from core.causes import cause
from core.errors import (
    AnswerCutOff,
    AnswerFiltered,
    GenerationError,
    ModelOverloaded,
    ModelRefused,
    ModelTimeout,
    ModelUnauthorized,
    ModelUnavailable,
    PromptTooLong,
    SettingsError,
    StreamBroken,
    ToolWanted,
)
from core.models.backends.untrusted import TooLarge, parse, read

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a connection; also for the whole of what a server tells about itself."""

Auth = Literal["Bearer", "Basic"]

_BY_STATUS: dict[int, type[GenerationError]] = {
    401: ModelUnauthorized,
    403: ModelUnauthorized,
    408: ModelTimeout,
    413: PromptTooLong,
    424: ModelUnavailable,
    429: ModelOverloaded,
    504: ModelTimeout,
    529: ModelOverloaded,
}
_QUOTED = re.compile(r"""(['"`])(.+?)(\1|$)""")
LONGEST_ECHO = 16
"""Characters that a server may say as people did: in any language there are words that both need."""
_WORD = re.compile(r"\w+")
_SERVERS_WORDS = frozenset(
    _WORD.findall(
        """
    a an and any are as at be been both but by can cannot could does doesn t don during exceed exceeded exceeds exist
    exists expected fail failed field fields for found from given got greater has have if in input inputs instead
    internal invalid is isn it large larger least length less level limit loaded loading long longer many max maximum
    message messages min minimum missing model models more most must no none not number of on one only or other out
    output over parameter parameters please prompt provided range rate reached reason received reduce refused request
    requests required role roles s server should short size stop stream supported system than that the there this time
    timeout to token tokens too try type unable unexpected unknown unsupported up use used user users assistant valid
    value values was were when which while with without wrong you your context window chat completion completions
    template temperature seed top_p max_tokens max_new_tokens max_completion_tokens stop_sequences sequences sequence
    again available allowed api key bad body busy cuda memory error errors exception forbidden generation gpu http
    incorrect json load method overloaded permitted queue full read result status unauthorized access authentication
        """
    )
)
"""Words that servers need to say what is wrong. Any other is passed on only if nobody asked with it."""
UNKNOWN_NAME = (
    "No machine of that name is known here: check MODEL_URL. With docker compose, start the model with a profile "
    "(llama, vllm, tgi), or set MODEL_URL; with docker run, host.docker.internal needs --add-host "
    "host.docker.internal:host-gateway."
)
_REMEDIES: dict[type[GenerationError], str] = {
    ModelUnavailable: "Check that the server runs, that its model is loaded, and that MODEL_URL is its address.",
    ModelOverloaded: "Try again later, or let the server take more requests at once (--max-concurrent-requests).",
    ModelTimeout: "Look at the load of the server, and into its log.",
    ModelUnauthorized: "Check MODEL_API_KEY, and whether the server wants MODEL_AUTH=Bearer or MODEL_AUTH=Basic.",
    PromptTooLong: "Lower MAX_NEW_TOKENS or CONTEXT_TOKENS, or start the server with a longer context.",
    ModelRefused: "Check that MODEL_API is what the server at MODEL_URL speaks.",
    StreamBroken: "Look into the log of the server, and of a proxy before it.",
    AnswerCutOff: "Look into the log of the server for why it ended the answer.",
    AnswerFiltered: "Look into the settings of the server's content filter.",
    ToolWanted: "Start the server without tools: Parley offers the model none.",
}


class Server:
    """The server at ``url``, and how it is opened.

    With ``auth="Basic"`` the key is either ``user:password`` or the finished token of the header. Credentials in
    ``url`` serve as such a key.

    Raises:
        SettingsError: ``url`` is not an http or https address.
    """

    def __init__(self, url: str, *, api_key: str | None = None, auth: Auth = "Bearer") -> None:
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
        token = _token(api_key or "", auth)
        self.url = address.with_user(None)
        self.where = str(self.url.with_query(None))
        # What is not compressed cannot swell.
        self.headers = {"Accept-Encoding": "identity"}
        if token:
            self.headers["Authorization"] = f"{auth} {token}"
        self._secrets = {secret for secret in (api_key, token) if secret}

    def page(self, path: str) -> URL:
        """The address of one of its pages; an absolute ``path`` begins at its root."""
        page = self.url.with_path(path) if path.startswith("/") else self.url / path
        return page.with_query(self.url.query)

    async def get(self, path: str, *, timeout: float = CONNECT_TIMEOUT) -> tuple[int, bytes]:
        """Status and body of one of its own pages. Raises aiohttp's errors, TimeoutError, TooLarge, GenerationError."""
        limit = aiohttp.ClientTimeout(total=timeout)
        async with (
            aiohttp.ClientSession(headers=self.headers, timeout=limit) as session,
            session.get(self.page(path), allow_redirects=False) as response,
        ):
            if 300 <= response.status < 400:
                raise self.redirected(response)
            return response.status, await read(response)

    async def tells(self, path: str) -> Any:
        """What one of its pages says, as JSON; None where there is none.

        Raises:
            GenerationError: the server is away, or refuses.
        """
        try:
            status, body = await self.get(path)
        except TimeoutError:
            what = f"did not answer GET {self.page(path).path} within {CONNECT_TIMEOUT:g} s"
            raise self.error(ModelTimeout, what) from None
        except TooLarge as error:
            raise self.error(ModelRefused, f"sent {error} to GET {self.page(path).path}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise self.unreachable(error) from None
        if status in (404, 405, 501):
            return None
        if status != 200:
            raise self.refusal(status, f"answered HTTP {status} to GET {self.page(path).path}")
        try:
            return parse(body)
        except ValueError:
            return None

    def refusal(
        self, status: int, what: str, *, too_long: bool = False, remedy: str = "", retry_after: float | None = None
    ) -> GenerationError:
        """The error for an HTTP status; one that is only a refusal may be because the prompt is ``too_long``."""
        kind = _BY_STATUS.get(status, ModelUnavailable if status >= 500 else ModelRefused)
        if too_long and kind is ModelRefused:
            kind = PromptTooLong
        return self.error(kind, what, remedy, retry_after=retry_after)

    def unreachable(self, error: Exception) -> GenerationError:
        """The error for a connection that could not be made, or did not hold."""
        remedy = UNKNOWN_NAME if isinstance(error, aiohttp.ClientConnectorDNSError) else ""
        found = self.error(ModelUnavailable, f"cannot be reached ({cause(error)})", remedy)
        if isinstance(found, ModelUnavailable):
            found.connected = not isinstance(error, aiohttp.ClientConnectorError)
        return found

    def answered(self, response: aiohttp.ClientResponse) -> str:
        """What a status says, in our own words: a server may write anything beside its number."""
        try:
            return f"answered HTTP {response.status} {HTTPStatus(response.status).phrase}"
        except ValueError:
            return f"answered HTTP {response.status}"

    def redirected(self, response: aiohttp.ClientResponse) -> GenerationError:
        """The error for a redirect: it would carry what people wrote, and the key, to wherever a server says."""
        try:
            target = str(URL(response.headers.get("Location", "")).with_user(None).with_query(None).with_fragment(None))
        except ValueError:
            target = ""
        remedy = "Set MODEL_URL to the server's own address; Parley follows no redirect."
        where = f" to {target[:200]}" if target and not any(secret in target for secret in self._secrets) else ""
        return self.error(ModelRefused, f"answered HTTP {response.status}: it redirects{where}", remedy)

    def broken(self, what: str, *, spoke: bool) -> GenerationError:
        """A stream that broke: in the middle of an answer, or before there was any."""
        return self.error(StreamBroken if spoke else ModelUnavailable, what)

    def error(
        self, kind: type[GenerationError], what: str, remedy: str = "", *, retry_after: float | None = None
    ) -> GenerationError:
        """``what`` completes a sentence that begins with the server."""
        if kind is ModelUnauthorized and not self._secrets and not remedy:
            remedy = "The server wants a key: set MODEL_API_KEY."
        return kind(
            f"The model's server at {self.where} {what}", remedy=remedy or _REMEDIES[kind], retry_after=retry_after
        )

    def quote(self, said: str, prompt: str) -> str:
        """What the server said, after a colon, for the log; without our key or anybody's words in it."""
        said, prompt = _folded(said)[:200], _folded(prompt)
        said = _QUOTED.sub(lambda found: "'…'" if found[2].strip() in prompt else found[0], said)
        pieces = (said[start : start + LONGEST_ECHO] for start in range(len(said) - LONGEST_ECHO + 1))
        if not said or any(secret in said for secret in self._secrets) or any(piece in prompt for piece in pieces):
            return ""
        asked = {word.lower() for word in _WORD.findall(prompt)}
        return f": {_WORD.sub(lambda found: found[0] if _is_ours(found[0], asked, prompt) else '…', said)}"


def _is_ours(word: str, asked: set[str], prompt: str) -> bool:
    """Whether a word that a server says need not come from people: it is one of servers, or is not in the prompt."""
    if word.isascii():
        return word.lower() in _SERVERS_WORDS or word.lower() not in asked
    return set(word.lower()).isdisjoint(prompt.lower())


def _folded(text: str) -> str:
    """A text on one line, also where its line breaks are written as such."""
    return " ".join(text.replace("\\n", " ").split())


def seconds(retry_after: str | None) -> float | None:
    """``Retry-After`` in seconds, from a number or a date; None for anything else, such as infinity."""
    try:
        found = float(retry_after or "")
    except ValueError:
        try:
            found = parsedate_to_datetime(retry_after or "").timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, found) if math.isfinite(found) else None


def _token(key: str, auth: str) -> str:
    """What follows ``auth`` in the header; for Basic, anything but ``user:password`` is taken as encoded already."""
    key = key.strip()
    return base64.b64encode(key.encode()).decode() if auth == "Basic" and ":" in key else key
