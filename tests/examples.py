"""How many examples Hypothesis tries: all of them in `make test-all`, a part in every other run."""

from __future__ import annotations

from hypothesis import settings

QUICK, FULL = 30, 100
"""Examples of a test that asks for no number of its own."""


def examples(number: int) -> settings:
    """So many in `make test-all`; otherwise the same part of them as of all others."""
    return settings(max_examples=max(5, number * settings().max_examples // FULL))
