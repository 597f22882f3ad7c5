"""Retries without long pauses for all tests of the models."""

from __future__ import annotations

import pytest

from core.models import models as core_models


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow one another without a long pause."""
    monkeypatch.setattr(core_models, "BACKOFF_SECONDS", 0.02)
