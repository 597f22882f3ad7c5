"""What is measured names nobody, and a look at it shows what happened."""

from __future__ import annotations

import asyncio
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bots.health.exposition import write_page
from core import metrics
from core.metrics.meters import isolated_values


def page(accept: str = "") -> dict[str, float]:
    """What Prometheus reads: every sample by its name and labels."""
    text = write_page(accept)[0].decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {f"{s.name}{sorted(s.labels.items()) or ''}": s.value for s in samples}


def test_no_label_names_a_person_a_channel_or_a_conversation() -> None:
    """Their number has no bound, and the page has no password."""
    known = {"platform", "type", "outcome", "result", "kind", "mark"}
    assert {label for meter in metrics.METERS for label in meter.labels} <= known


def test_every_meter_has_a_name_of_ours_and_says_what_it_is() -> None:
    """Counters end in _total, as Prometheus has it."""
    names = [meter.name for meter in metrics.METERS]
    assert len(names) == len(set(names))
    for meter in metrics.METERS:
        assert re.fullmatch(r"parley_[a-z_]+", meter.name)
        assert meter.help.endswith(".")
        assert (type(meter).__name__ == "Counter") is meter.name.endswith("_total")


def test_the_page_shows_what_happened() -> None:
    """Counters without labels are there before anything happened; gauges that are not known are not."""
    with isolated_values():
        metrics.EDITS.add(platform="slack", result="ok")
        metrics.EDITS.add(2, platform="slack", result="ok")
        metrics.QUEUE_DEPTH.set(3)
        metrics.DEAD_LETTERS.set(1)
        metrics.DEAD_LETTERS.clear()
        for seconds in (0.02, 0.1, 1000):
            metrics.TURN_DURATION.observe(seconds, outcome="complete")
        shown = page()
    assert shown["parley_edits_total[('platform', 'slack'), ('result', 'ok')]"] == 3
    assert shown["parley_takeovers_total"] == 0
    assert shown["parley_queue_depth"] == 3
    assert "parley_dead_letters" not in shown
    buckets = {
        bound: shown[f"parley_turn_duration_seconds_bucket[('le', '{bound}'), ('outcome', 'complete')]"]
        for bound in ("0.01", "0.1", "600.0", "+Inf")
    }
    assert buckets == {"0.01": 0, "0.1": 2, "600.0": 2, "+Inf": 3}
    assert shown["parley_turn_duration_seconds_count[('outcome', 'complete')]"] == 3
    assert shown["parley_turn_duration_seconds_sum[('outcome', 'complete')]"] == pytest.approx(1000.12)


def test_openmetrics_is_written_for_who_asks_for_it() -> None:
    """As Prometheus does."""
    page, content_type = write_page("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert page.endswith(b"# EOF\n")


async def test_what_is_measured_apart_is_seen_only_there() -> None:
    """And in the tasks that begin there: no test sees another's numbers."""

    async def elsewhere() -> None:
        metrics.TAKEOVERS.add()

    before = metrics.TAKEOVERS.value()
    with isolated_values():
        await asyncio.create_task(elsewhere())
        assert metrics.TAKEOVERS.value() == 1
    assert metrics.TAKEOVERS.value() == before


def test_a_wrong_label_is_refused() -> None:
    """A series that nobody knows is worse than a loud mistake."""
    with isolated_values(), pytest.raises(ValueError, match="parley_edits_total has the labels"):
        metrics.EDITS.add(user="U1")


def test_a_failure_is_not_timed() -> None:
    """How long it took to fail says nothing about how long it takes."""
    with isolated_values():
        with metrics.INGRESS_ACK.time(platform="slack"):
            pass
        with pytest.raises(OSError, match="away"), metrics.INGRESS_ACK.time(platform="slack"):
            raise OSError("away")
        assert metrics.INGRESS_ACK.count(platform="slack") == 1
