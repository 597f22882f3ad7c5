"""Counters, gauges and histograms that cost nothing until somebody looks; ``core.metrics.page`` is the page of them.

They are ours because of time: `parley chat` says its first words within half a second, and prometheus_client takes 0.14
seconds of that to import. It is imported where HTTP_PORT is served, and writes the page there (``bots.health``).

Values belong to the process. ``apart`` gives a block values of its own, so that a test sees what it did and nothing
else. One event loop, no threads.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

Labels = tuple[str, ...]
"""Values of a meter's labels, in the order of their names."""

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of what a histogram of seconds counts, from an acknowledgement to the longest answer."""


class Values:
    """What all meters show: numbers of counters and gauges, and of histograms (bucket counts, sum)."""

    def __init__(self) -> None:
        self.numbers: dict[str, dict[Labels, float]] = {}
        self.histograms: dict[str, dict[Labels, tuple[list[int], list[float]]]] = {}


_process = Values()
_values: ContextVar[Values] = ContextVar("values")


def values() -> Values:
    """Those of the process, or of the block that asked for its own."""
    return _values.get(_process)


@contextmanager
def apart() -> Iterator[Values]:
    """Values of its own for what happens inside, and in the tasks that begin there."""
    own = Values()
    token = _values.set(own)
    try:
        yield own
    finally:
        _values.reset(token)


class Meter:
    """What is measured: a name, what it says, and the names of its labels."""

    def __init__(self, name: str, says: str, *labels: str) -> None:
        self.name = name
        self.says = says
        self.labels = labels

    def _key(self, given: Mapping[str, str]) -> Labels:
        if given.keys() != set(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, and not {tuple(given)}")
        return tuple(given[name] for name in self.labels)

    def _numbers(self) -> dict[Labels, float]:
        return values().numbers.setdefault(self.name, {})


class Counter(Meter):
    """Only ever grows."""

    def add(self, amount: float = 1.0, /, **labels: str) -> None:
        """Count ``amount`` more."""
        numbers, key = self._numbers(), self._key(labels)
        numbers[key] = numbers.get(key, 0.0) + amount

    def value(self, **labels: str) -> float:
        """What was counted so far."""
        return self._numbers().get(self._key(labels), 0.0)

    def samples(self) -> Mapping[Labels, float]:
        """Every series; one without labels is there from the start, as 0."""
        return self._numbers() or ({} if self.labels else {(): 0.0})


class Gauge(Meter):
    """Goes up and down."""

    def set(self, value: float, /, **labels: str) -> None:
        """It is this much now."""
        self._numbers()[self._key(labels)] = value

    def forget(self) -> None:
        """It is not known any more: better no value than an old one."""
        self._numbers().clear()

    def value(self, **labels: str) -> float | None:
        """What it was set to; None if it is not known."""
        return self._numbers().get(self._key(labels))

    def samples(self) -> Mapping[Labels, float]:
        """Every series that is known."""
        return self._numbers()


class Histogram(Meter):
    """How long things take, in seconds."""

    def observe(self, seconds: float, /, **labels: str) -> None:
        """Something took so long."""
        histograms = values().histograms.setdefault(self.name, {})
        counts, total = histograms.setdefault(self._key(labels), ([0] * (len(SECONDS) + 1), [0.0]))
        counts[bisect_left(SECONDS, seconds)] += 1
        total[0] += seconds

    @contextmanager
    def time(self, **labels: str) -> Iterator[None]:
        """Observe how long the block takes, unless it raises."""
        begun = time.monotonic()
        yield
        self.observe(time.monotonic() - begun, **labels)

    def count(self, **labels: str) -> int:
        """How often something was observed."""
        found = values().histograms.get(self.name, {}).get(self._key(labels))
        return sum(found[0]) if found else 0

    def samples(self) -> Mapping[Labels, tuple[Sequence[int], float]]:
        """Every series: how many stayed within each of ``SECONDS`` (and more than all), and their sum."""
        found = values().histograms.get(self.name, {})
        return {labels: (counts, total[0]) for labels, (counts, total) in found.items()}
