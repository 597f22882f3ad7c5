"""What a server says is checked here, where it comes in: numbers, texts, JSON and sizes. Nothing of it is believed.

Further in, a count is a count, and a text is one that can be stored and posted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import aiohttp

LARGEST_COUNT = 1_000_000_000
"""Tokens that any server may have counted."""
LARGEST_BODY = 4_000_000
"""Bytes of a whole response: a list of models, or an answer that does not stream. Compressed or not."""
LARGEST_REFUSAL = 100_000
"""Bytes that are read of a refusal."""
DEEPEST = 6
"""Levels to which a text or an error is looked for in lists and objects."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_HIGH = re.compile(r"[\ud800-\udbff]\Z")
_PLAIN_KEY = re.compile(r"[A-Za-z_][\w.-]{0,31}")


class TooLarge(ValueError):
    """More bytes than are read of anything."""


def count(value: Any) -> int | None:
    """A number of tokens; None for whatever is none, such as infinity, a negative number, or a text."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= LARGEST_COUNT else None


def parse(data: bytes) -> Any:
    """A JSON document. Raises ValueError for what is none, is no UTF-8, or is nested too deep."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deep") from None


def words(value: Any, kinds: frozenset[str], depth: int = DEEPEST) -> str:
    """The text in a value: of parts of one of these ``kinds``, "" being parts that do not say theirs; else ""."""
    if isinstance(value, str):
        return value if "" in kinds else ""
    if isinstance(value, dict) and depth:
        kind = value.get("type")
        if (kind if isinstance(kind, str) else "") not in kinds:
            return ""
        return next(filter(None, (words(value.get(key), _ANY, depth - 1) for key in _WORDS)), "")
    if isinstance(value, list) and depth:
        return "".join(words(part, kinds, depth - 1) for part in value)
    return ""


_ANY = frozenset({"", "text", "summary_text", "reasoning_text"})
_WORDS = ("text", "content", "thinking", "reasoning", "refusal", "summary", "value")
"""Keys under which a part has its text."""


class Halves:
    """Joins the two halves of a character that were escaped apart, and came in two pieces of text.

    Half a character whose other half never comes is U+FFFD: it could be neither stored nor posted.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """The text so far, but for a half at its end."""
        text = self._held + text
        self._held = ""
        if text.isascii() or not _SURROGATE.search(text):
            return text
        if _HIGH.search(text):
            text, self._held = text[:-1], text[-1]
        return whole(text)

    def flush(self) -> str:
        """What is left of the text when no more comes."""
        text, self._held = self._held, ""
        return whole(text)


def whole(text: str) -> str:
    """A text with halves of characters joined, and U+FFFD for those that have no other half."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") if text else ""


def described(value: Any) -> str:
    """What a value is, for an operator, without anything that people may have said in it."""
    if isinstance(value, dict):
        keys = [key for key in value if isinstance(key, str) and _PLAIN_KEY.fullmatch(key)][:6]
        return f"an object with {', '.join(keys)}" if keys else "an object"
    names = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "nothing")


def said(body: Any) -> str:
    """What an error says, whatever its shape: texts under the usual keys, also in lists, objects and texts of JSON."""
    return " ".join(part for part in _parts(body, DEEPEST) if part)[:2000]


_SAID = ("error", "errors", "detail", "details", "message", "msg", "error_message", "error_msg", "errorMessage", "type")
_ALSO_SAID = ("error_type", "code", "param", "loc", "reason", "status", "title", "description", "metadata", "raw")


def _parts(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        text = value.strip()
        if depth and text[:1] in ("{", "[") and len(text) < LARGEST_REFUSAL:
            try:
                yield from _parts(parse(text.encode("utf-8", "replace")), depth - 1)
            except ValueError:
                pass
            else:
                return
        yield text[:1000]
    elif isinstance(value, (list, dict)) and depth:
        found = value[:20] if isinstance(value, list) else [value.get(key) for key in (*_SAID, *_ALSO_SAID)]
        for one in found:
            yield from _parts(one, depth - 1)


async def read(response: aiohttp.ClientResponse, most: int = LARGEST_BODY) -> bytes:
    """A body. Raises TooLarge as soon as there is more of it than ``most`` bytes."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most:
            raise TooLarge(f"more than {most:,} bytes")
    return bytes(body)


async def read_some(response: aiohttp.ClientResponse, most: int = LARGEST_REFUSAL) -> bytes:
    """The first ``most`` bytes of a body, or fewer if the connection fails."""
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) >= most:
                break
    except (aiohttp.ClientError, OSError):
        pass
    return bytes(body[:most])
