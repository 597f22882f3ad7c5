"""Reads stored values without trusting them.

A field may be missing, be of another type, or hold an unusable number. Readers raise ``Unreadable``, so that one
damaged entry is lost alone.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

LATEST = 253_402_300_799.0
"""The last second of the year 9999, in seconds since the epoch: the latest one that can be written as a date."""
MOST = 2**53
"""From here on, the doubles of Redis's scripts skip whole numbers."""
_HALF_SURROGATE = re.compile("[\ud800-\udfff]")
_REQUIRED: Any = object()


class Unreadable(ValueError):
    """A stored entry is not one that Parley writes. The message says why, without contents of the entry."""


def read_record(text: str | bytes) -> dict[str, Any]:
    """Parse a stored JSON object. Raises Unreadable for anything else."""
    try:
        record = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise Unreadable("it is not JSON") from None
    if not isinstance(record, dict):
        raise Unreadable("it is not a JSON object")
    return record


def text_in(record: Mapping[str, Any], name: str, default: str = _REQUIRED) -> str:
    """A text in a record; half a surrogate pair, which no platform accepts, becomes U+FFFD. Raises Unreadable."""
    value = _field(record, name, default)
    if not isinstance(value, str):
        raise Unreadable(f"{name} is not text")
    return value if value.isascii() else _HALF_SURROGATE.sub("\ufffd", value)


def time_in(record: Mapping[str, Any], name: str, default: float = _REQUIRED) -> float:
    """A time in seconds since the epoch, until the year 9999. Raises Unreadable."""
    value = _field(record, name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LATEST:
        raise Unreadable(f"{name} is not a time")
    return float(value)


def count_in(record: Mapping[str, Any], name: str, default: int = _REQUIRED) -> int:
    """A whole number from 0 to 2**53, which Redis's scripts can add to. Raises Unreadable."""
    value = _field(record, name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MOST or value % 1:
        raise Unreadable(f"{name} is not a number of things")
    return int(value)


def flag_in(record: Mapping[str, Any], name: str, default: bool = _REQUIRED) -> bool:
    """True or false. Raises Unreadable."""
    value = _field(record, name, default)
    if not isinstance(value, bool):
        raise Unreadable(f"{name} is not true or false")
    return value


def choice_in(record: Mapping[str, Any], name: str, kind: Callable[[Any], T], default: T = _REQUIRED) -> T:
    """One of an enumeration's values. Raises Unreadable, also for the value of a newer version."""
    value = _field(record, name, default)
    try:
        return kind(value)
    except (ValueError, TypeError):
        raise Unreadable(f"{name} is none of the values that this version knows") from None


def record_in(record: Mapping[str, Any], name: str, default: Mapping[str, Any] = _REQUIRED) -> Mapping[str, Any]:
    """A record inside another. Raises Unreadable."""
    value = _field(record, name, default)
    if not isinstance(value, Mapping):
        raise Unreadable(f"{name} is not a JSON object")
    return value


def texts_in(record: Mapping[str, Any], name: str) -> dict[str, str]:
    """A JSON object of texts; {} if it is missing. Raises Unreadable."""
    inner = record_in(record, name, {})
    return {text_in({"a name": key}, "a name"): text_in(inner, key) for key in inner}


def list_in(record: Mapping[str, Any], name: str, default: list[Any] = _REQUIRED) -> list[Any]:
    """A list. Raises Unreadable."""
    value = _field(record, name, default)
    if not isinstance(value, list):
        raise Unreadable(f"{name} is not a list")
    return value


def whole_number(text: object, default: int = 0) -> int:
    """The whole number from 0 in a field of a hash; ``default`` if it holds none."""
    if isinstance(text, int) and not isinstance(text, bool):
        return text if 0 <= text < MOST else default
    if isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= len(str(MOST)):
        return int(text) if int(text) < MOST else default
    return default


def finite(text: object, default: float = 0.0) -> float:
    """The finite number in a field of a hash; ``default`` if it holds none."""
    try:
        number = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return default
    return number if math.isfinite(number) and abs(number) < MOST else default


def readable(read: Callable[[str], T], entries: Iterable[str]) -> tuple[list[T], int]:
    """The readable ``entries``, in their order, and the number of unreadable ones."""
    found: list[T] = []
    unreadable = 0
    for entry in entries:
        try:
            found.append(read(entry))
        except Unreadable:
            unreadable += 1
    return found, unreadable


def _field(record: Mapping[str, Any], name: str, default: Any) -> Any:
    value = record.get(name, default)
    if value is _REQUIRED:
        raise Unreadable(f"{name} is missing")
    return value
