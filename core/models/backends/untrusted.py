"""Checks what a model server sends, where it comes in: numbers, texts, JSON and sizes. Nothing of it is trusted.

Further in, a count is a count, and a text is one that can be stored and posted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import aiohttp

MAX_TOKEN_COUNT = 1_000_000_000
"""The largest token count that is accepted."""
MAX_BODY_BYTES = 4_000_000
"""Bytes of a whole response, such as a list of models, or an answer that does not stream."""
MAX_REFUSAL_BYTES = 100_000
"""Bytes of a refusal that are read."""
MAX_DEPTH = 6
"""How deep lists and objects are searched for a text or an error."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_HIGH = re.compile(r"[\ud800-\udbff]\Z")
_PLAIN_KEY = re.compile(r"[A-Za-z_][\w.-]{0,31}")


class TooLarge(ValueError):
    """A response is larger than anything that is read."""


def token_count(value: Any) -> int | None:
    """A number of tokens; None for anything else, such as infinity, a negative number, or a text."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= MAX_TOKEN_COUNT else None


def parse_json(data: bytes) -> Any:
    """Parse JSON. Raises ValueError if it is invalid, not UTF-8, or nested too deep."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deep") from None


def text_in(value: Any, kinds: frozenset[str], depth: int = MAX_DEPTH) -> str:
    """The text of all parts of these ``kinds`` in a value, where "" means parts without a kind; "" if there is none."""
    if isinstance(value, str):
        return value if "" in kinds else ""
    if isinstance(value, dict) and depth:
        kind = value.get("type")
        if (kind if isinstance(kind, str) else "") not in kinds:
            return ""
        return next(filter(None, (text_in(value.get(key), _ANY_KIND, depth - 1) for key in _TEXT_KEYS)), "")
    if isinstance(value, list) and depth:
        return "".join(text_in(part, kinds, depth - 1) for part in value)
    return ""


_ANY_KIND = frozenset({"", "text", "summary_text", "reasoning_text"})
_TEXT_KEYS = ("text", "content", "thinking", "reasoning", "refusal", "summary", "value")
"""Keys that hold a part's text."""


class SurrogateJoiner:
    """Joins the two surrogate halves of a character that came in two pieces of text.

    A half whose other never comes becomes U+FFFD, because it could be neither stored nor posted.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """Take the next piece; returns it without a half at its end."""
        text = self._held + text
        self._held = ""
        if text.isascii() or not _SURROGATE.search(text):
            return text
        if _HIGH.search(text):
            text, self._held = text[:-1], text[-1]
        return join_surrogates(text)

    def flush(self) -> str:
        """Take the end of the text; returns the rest."""
        text, self._held = self._held, ""
        return join_surrogates(text)


def join_surrogates(text: str) -> str:
    """Join surrogate halves in a text; a half without its other becomes U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") if text else ""


def describe(value: Any) -> str:
    """Describe a value for the operator, without anything that people may have written."""
    if isinstance(value, dict):
        keys = [key for key in value if isinstance(key, str) and _PLAIN_KEY.fullmatch(key)][:6]
        return f"an object with {', '.join(keys)}" if keys else "an object"
    names = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "nothing")


def error_text(body: Any) -> str:
    """The text of an error of any shape: under the usual keys, also in lists, objects and texts of JSON."""
    return " ".join(part for part in _error_parts(body, MAX_DEPTH) if part)[:2000]


_ERROR_KEYS = (
    "error",
    "errors",
    "detail",
    "details",
    "message",
    "msg",
    "error_message",
    "error_msg",
    "errorMessage",
    "type",
)
_MORE_ERROR_KEYS = ("error_type", "code", "param", "loc", "reason", "status", "title", "description", "metadata", "raw")


def _error_parts(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        text = value.strip()
        if depth and text[:1] in ("{", "[") and len(text) < MAX_REFUSAL_BYTES:
            try:
                yield from _error_parts(parse_json(text.encode("utf-8", "replace")), depth - 1)
            except ValueError:
                pass
            else:
                return
        yield text[:1000]
    elif isinstance(value, (list, dict)) and depth:
        found = value[:20] if isinstance(value, list) else [value.get(key) for key in (*_ERROR_KEYS, *_MORE_ERROR_KEYS)]
        for one in found:
            yield from _error_parts(one, depth - 1)


async def read_body(response: aiohttp.ClientResponse, most: int = MAX_BODY_BYTES) -> bytes:
    """Read a body. Raises TooLarge at more than ``most`` bytes."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most:
            raise TooLarge(f"more than {most:,} bytes")
    return bytes(body)


async def read_beginning(response: aiohttp.ClientResponse, most: int = MAX_REFUSAL_BYTES) -> bytes:
    """Read the first ``most`` bytes of a body, or fewer if the connection fails."""
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) >= most:
                break
    except (aiohttp.ClientError, OSError):
        pass
    return bytes(body[:most])
