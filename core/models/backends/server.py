"""What all model servers have in common: an address, a key, and refusals that become typed errors.

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
from core.models.backends.untrusted import TooLarge, parse_json, read_body

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a connection, and for any page about the server itself."""

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
"""Characters in a row that a server's message may share with the prompt: both need the words of their language."""
_WORD = re.compile(r"\w+")
_SERVER_WORDS = frozenset(
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
"""Words that servers need in their errors. Any other word is passed on only if it is not in the prompt."""
UNKNOWN_HOST = (
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
    """The server at ``url``, its key, and the errors that name it.

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
        token = _credentials(api_key or "", auth)
        self.url = address.with_user(None)
        self.where = str(self.url.with_query(None))
        # What is not compressed cannot swell.
        self.headers = {"Accept-Encoding": "identity"}
        if token:
            self.headers["Authorization"] = f"{auth} {token}"
        self._secrets = {secret for secret in (api_key, token) if secret}

    def page(self, path: str) -> URL:
        """The address of one of its pages; an absolute ``path`` starts at the server's root."""
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
            return response.status, await read_body(response)

    async def get_json(self, path: str) -> Any:
        """The JSON of one of its pages; None if there is no such page.

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
            return parse_json(body)
        except ValueError:
            return None

    def refusal(
        self, status: int, what: str, *, too_long: bool = False, remedy: str = "", retry_after: float | None = None
    ) -> GenerationError:
        """The error for an HTTP status; ``too_long`` makes PromptTooLong of a plain refusal."""
        kind = _BY_STATUS.get(status, ModelUnavailable if status >= 500 else ModelRefused)
        if too_long and kind is ModelRefused:
            kind = PromptTooLong
        return self.error(kind, what, remedy, retry_after=retry_after)

    def unreachable(self, error: Exception) -> GenerationError:
        """The error for a connection that failed."""
        remedy = UNKNOWN_HOST if isinstance(error, aiohttp.ClientConnectorDNSError) else ""
        found = self.error(ModelUnavailable, f"cannot be reached ({cause(error)})", remedy)
        if isinstance(found, ModelUnavailable):
            found.connected = not isinstance(error, aiohttp.ClientConnectorError)
        return found

    def status_line(self, response: aiohttp.ClientResponse) -> str:
        """A response's status in our own words, because a server can write anything beside its number."""
        try:
            return f"answered HTTP {response.status} {HTTPStatus(response.status).phrase}"
        except ValueError:
            return f"answered HTTP {response.status}"

    def redirected(self, response: aiohttp.ClientResponse) -> GenerationError:
        """The error for a redirect, which would carry messages and the key to another server."""
        try:
            target = str(URL(response.headers.get("Location", "")).with_user(None).with_query(None).with_fragment(None))
        except ValueError:
            target = ""
        remedy = "Set MODEL_URL to the server's own address; Parley follows no redirect."
        where = f" to {target[:200]}" if target and not any(secret in target for secret in self._secrets) else ""
        return self.error(ModelRefused, f"answered HTTP {response.status}: it redirects{where}", remedy)

    def broken(self, what: str, *, spoke: bool) -> GenerationError:
        """The error for a broken stream: StreamBroken if the answer had begun, else ModelUnavailable."""
        return self.error(StreamBroken if spoke else ModelUnavailable, what)

    def error(
        self, kind: type[GenerationError], what: str, remedy: str = "", *, retry_after: float | None = None
    ) -> GenerationError:
        """An error whose text is "The model's server at … ``what``"; the default remedy is that of its kind."""
        if kind is ModelUnauthorized and not self._secrets and not remedy:
            remedy = "The server wants a key: set MODEL_API_KEY."
        return kind(
            f"The model's server at {self.where} {what}", remedy=remedy or _REMEDIES[kind], retry_after=retry_after
        )

    def quote(self, said: str, prompt: str) -> str:
        """A colon and the server's own message, for the log: without our key and without anything from the prompt."""
        said, prompt = _on_one_line(said)[:200], _on_one_line(prompt)
        said = _QUOTED.sub(lambda found: "'…'" if found[2].strip() in prompt else found[0], said)
        pieces = (said[start : start + LONGEST_ECHO] for start in range(len(said) - LONGEST_ECHO + 1))
        if not said or any(secret in said for secret in self._secrets) or any(piece in prompt for piece in pieces):
            return ""
        asked = {word.lower() for word in _WORD.findall(prompt)}
        return f": {_WORD.sub(lambda found: found[0] if _is_server_word(found[0], asked, prompt) else '…', said)}"


def _is_server_word(word: str, asked: set[str], prompt: str) -> bool:
    """Whether a word of a server's message is its own: it is a usual one, or not in the prompt."""
    if word.isascii():
        return word.lower() in _SERVER_WORDS or word.lower() not in asked
    return set(word.lower()).isdisjoint(prompt.lower())


def _on_one_line(text: str) -> str:
    """A text on one line; escaped line breaks count as line breaks."""
    return " ".join(text.replace("\\n", " ").split())


def retry_after_seconds(retry_after: str | None) -> float | None:
    """``Retry-After`` in seconds, from a number or a date; None for anything else."""
    try:
        found = float(retry_after or "")
    except ValueError:
        try:
            found = parsedate_to_datetime(retry_after or "").timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, found) if math.isfinite(found) else None


def _credentials(key: str, auth: str) -> str:
    """The header's credentials; for Basic, anything but ``user:password`` counts as encoded already."""
    key = key.strip()
    return base64.b64encode(key.encode()).decode() if auth == "Basic" and ":" in key else key
