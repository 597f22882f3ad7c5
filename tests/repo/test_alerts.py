"""The alerts that come with Parley are about what Parley measures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.metrics.meters import Histogram
from core.metrics.page import METERS

ROOT = Path(__file__).parents[2]
GROUPS: list[Any] = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
RULES: dict[str, Any] = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
OURS = {meter.name: meter for meter in METERS}
SCRAPED = {"instance", "job", "le"}
"""Labels that Prometheus and its histograms add."""


def measured(name: str) -> str:
    """The meter that a series belongs to."""
    meter = re.sub(r"_(bucket|count|sum)$", "", name)
    return meter if isinstance(OURS.get(meter), Histogram) else name


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_is_about_something_that_is_measured(alert: str) -> None:
    """Its series exist, and so do the labels that it looks at."""
    expression = RULES[alert]["expr"]
    series = [measured(name) for name in re.findall(r"\b(?:parley_\w+|up)\b", expression)]
    assert series
    assert set(series) <= OURS.keys() | {"up"}, series
    labels = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
    labels |= set(re.findall(r"[{,]\s*(\w+)\s*(?:=~|=|!=)", expression))
    known = {label for name in series if name in OURS for label in OURS[name].labels}
    assert labels <= known | SCRAPED, labels


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_says_what_to_do(alert: str) -> None:
    """And how bad it is; commands and settings in it exist."""
    rule = RULES[alert]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "action"}
    from bots.platforms import all_settings

    for setting in re.findall(r"\b[A-Z]+_[A-Z_]+\b", rule["annotations"]["action"]):
        assert setting.lower() in all_settings().model_fields
    said = re.findall(r"`parley ([a-z]+)", rule["annotations"]["action"])
    assert set(said) <= {"doctor", "queue", "run"}


def test_what_matters_most_has_an_alert() -> None:
    """That people wait, that messages are given up, that nobody listens, that the model fails, that Redis is away."""
    watched = " ".join(rule["expr"] for rule in RULES.values())
    for name in ("queue_oldest_age_seconds", "dead_letters", "socket_connected", "model_errors", "redis_disruptions"):
        assert f"parley_{name}" in watched
