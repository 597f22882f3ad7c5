"""Counters, gauges and histograms that cost nothing until they are read; ``core.metrics.page`` defines all of them.

They are our own because of time: importing prometheus_client takes 0.14 s, and `parley chat` shows its first words
within half a second. Where HTTP_PORT is served, ``bots.health`` imports it to write the page.

Values belong to the process. ``isolated_values`` gives a block its own, for tests. One event loop, no threads.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

Labels = tuple[str, ...]
"""Values of a meter's labels, in the order of their names."""

BUCKET_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of a histogram's buckets, from an acknowledgement to the longest answer."""


class Values:
    """The values of all meters: numbers of counters and gauges, bucket counts and sums of histograms."""

    def __init__(self) -> None:
        self.numbers: dict[str, dict[Labels, float]] = {}
        self.histograms: dict[str, dict[Labels, tuple[list[int], list[float]]]] = {}


_process = Values()
_values: ContextVar[Values] = ContextVar("values")


def values() -> Values:
    """The values of the process, or of the surrounding ``isolated_values`` block."""
    return _values.get(_process)


@contextmanager
def isolated_values() -> Iterator[Values]:
    """Give the block, and tasks that begin in it, values of their own."""
    own = Values()
    token = _values.set(own)
    try:
        yield own
    finally:
        _values.reset(token)


class Meter:
    """A metric: its name, its help text, and the names of its labels."""

    def __init__(self, name: str, help_text: str, *labels: str) -> None:
        self.name = name
        self.help = help_text
        self.labels = labels

    def _key(self, given: Mapping[str, str]) -> Labels:
        if given.keys() != set(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, and not {tuple(given)}")
        return tuple(given[name] for name in self.labels)

    def _numbers(self) -> dict[Labels, float]:
        return values().numbers.setdefault(self.name, {})


class Counter(Meter):
    """A number that only grows."""

    def add(self, amount: float = 1.0, /, **labels: str) -> None:
        """Count ``amount`` more."""
        numbers, key = self._numbers(), self._key(labels)
        numbers[key] = numbers.get(key, 0.0) + amount

    def value(self, **labels: str) -> float:
        """The count so far."""
        return self._numbers().get(self._key(labels), 0.0)

    def samples(self) -> Mapping[Labels, float]:
        """Every series; one without labels is there from the start, as 0."""
        return self._numbers() or ({} if self.labels else {(): 0.0})


class Gauge(Meter):
    """A number that goes up and down."""

    def set(self, value: float, /, **labels: str) -> None:
        """Set the current value."""
        self._numbers()[self._key(labels)] = value

    def clear(self) -> None:
        """Remove the value, because it is not known any more: no value is better than an old one."""
        self._numbers().clear()

    def value(self, **labels: str) -> float | None:
        """The current value; None if it is not known."""
        return self._numbers().get(self._key(labels))

    def samples(self) -> Mapping[Labels, float]:
        """Every series that is known."""
        return self._numbers()


class Histogram(Meter):
    """Durations, in seconds."""

    def observe(self, seconds: float, /, **labels: str) -> None:
        """Record one duration."""
        histograms = values().histograms.setdefault(self.name, {})
        counts, total = histograms.setdefault(self._key(labels), ([0] * (len(BUCKET_SECONDS) + 1), [0.0]))
        counts[bisect_left(BUCKET_SECONDS, seconds)] += 1
        total[0] += seconds

    @contextmanager
    def time(self, **labels: str) -> Iterator[None]:
        """Record how long the block takes, unless it raises."""
        begun = time.monotonic()
        yield
        self.observe(time.monotonic() - begun, **labels)

    def count(self, **labels: str) -> int:
        """How many durations were recorded."""
        found = values().histograms.get(self.name, {}).get(self._key(labels))
        return sum(found[0]) if found else 0

    def samples(self) -> Mapping[Labels, tuple[Sequence[int], float]]:
        """Every series: counts per bucket, the last one above all bounds, and the sum."""
        found = values().histograms.get(self.name, {})
        return {labels: (counts, total[0]) for labels, (counts, total) in found.items()}
