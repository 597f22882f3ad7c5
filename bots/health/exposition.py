"""The page of metrics as Prometheus reads it, written by prometheus_client. Imported only where it is served."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from core.metrics import BUCKET_SECONDS, METERS, Counter, Gauge, Histogram


class ParleyCollector(Collector):
    """Reads ``core.metrics.page`` at the moment of asking."""

    def collect(self) -> Iterator[Metric]:
        """Every meter, in the order of its page."""
        for meter in METERS:
            match meter:
                case Counter():
                    counter = CounterMetricFamily(meter.name, meter.help, labels=meter.labels)
                    for labels, value in meter.samples().items():
                        counter.add_metric(labels, value)
                    yield counter
                case Gauge():
                    gauge = GaugeMetricFamily(meter.name, meter.help, labels=meter.labels)
                    for labels, value in meter.samples().items():
                        gauge.add_metric(labels, value)
                    yield gauge
                case Histogram():
                    histogram = HistogramMetricFamily(meter.name, meter.help, labels=meter.labels)
                    for labels, (counts, total) in meter.samples().items():
                        bounds = [*map(str, BUCKET_SECONDS), "+Inf"]
                        reached = [sum(counts[: place + 1]) for place in range(len(counts))]
                        histogram.add_metric(labels, list(zip(bounds, reached, strict=True)), total)
                    yield histogram


def write_page(accept: str) -> tuple[bytes, str]:
    """The page in the best format that ``accept`` names, and its content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ParleyCollector())
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
