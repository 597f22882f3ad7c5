"""A measured figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Figure:
    """``value`` in ``unit``, of what ``name`` says."""

    name: str
    value: float
    unit: str

    def as_json(self) -> dict[str, str | float]:
        """For a file."""
        return asdict(self)


def milliseconds(name: str, seconds: Sequence[float]) -> Figure:
    """The median of what was measured."""
    return Figure(name, round(median(seconds) * 1000, 1), "ms")


def at(share: float, values: Sequence[float]) -> float:
    """The value below which this share of the others lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
