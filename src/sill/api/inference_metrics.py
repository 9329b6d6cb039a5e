"""The inference plane's own metrics, in the Prometheus text format or as OpenMetrics. Counted since each model was loaded.

A token sees the models of its projects. Nothing is kept between scrapes.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from sill.api.adding_up import CONTENT_TYPE
from sill.endpoints.types import PlanToken
from sill.traffic.plane import Plane
from sill.traffic.pool import Model
from sill.traffic.rules import LATENCY_BOUNDS_MS

LABELS = ("project", "endpoint", "version", "revision")
BATCH_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
OPEN_METRICS = "application/openmetrics-text"

Place = tuple[tuple[str, ...], Model]


def exposition(plane: Plane, token: PlanToken, accept: str = "") -> tuple[bytes, str]:
    """The text and its content type.

    Args:
        accept: the request's Accept header.
    """
    from prometheus_client import CollectorRegistry
    from prometheus_client import exposition as plain
    from prometheus_client.openmetrics import exposition as open_metrics

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(list(_places(plane, token))))
    if OPEN_METRICS in accept:
        text: bytes = open_metrics.generate_latest(registry)  # type: ignore[no-untyped-call]
        return text, open_metrics.CONTENT_TYPE_LATEST
    return plain.generate_latest(registry), CONTENT_TYPE


def _places(plane: Plane, token: PlanToken) -> Iterator[Place]:
    for (project, name), route in sorted(plane.routes.items()):
        if token.may_ask(project):
            for model in (*route.answering, *route.shadows):
                revision = model.revision
                yield (project, name, str(revision.model_version), str(revision.number)), model


class _Collected:
    """What `prometheus_client` asks for the families."""

    def __init__(self, places: list[Place]) -> None:
        self._places = places

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        requests = CounterMetricFamily(
            "sill_inference_requests", "Requests by the status of their answer.", labels=(*LABELS, "status")
        )
        for labels, model in self._places:
            counted = model.batcher.statistics
            requests.add_metric((*labels, "200"), counted.answered)
            for status, count in sorted(counted.failures.items()):
                requests.add_metric((*labels, str(status)), count)
        yield requests
        for name, text, value in _COUNTERS:
            counter = CounterMetricFamily(f"sill_inference_{name}", text, labels=LABELS)
            for labels, model in self._places:
                counter.add_metric(labels, value(model.batcher.statistics))
            yield counter
        for name, text, value in _GAUGES:
            gauge = GaugeMetricFamily(f"sill_inference_{name}", text, labels=LABELS)
            for labels, model in self._places:
                gauge.add_metric(labels, value(model))
            yield gauge
        yield from self._histograms()

    def _histograms(self) -> Iterator[Any]:
        from prometheus_client.core import HistogramMetricFamily

        seconds = HistogramMetricFamily(
            "sill_inference_request_seconds", "From a request's arrival to its answer.", labels=LABELS
        )
        batches = HistogramMetricFamily("sill_inference_batch_rows", "Rows that were answered together.", labels=LABELS)
        for labels, model in self._places:
            counted = model.batcher.statistics
            bounds = [bound / 1e3 for bound in LATENCY_BOUNDS_MS]
            seconds.add_metric(labels, _buckets(bounds, counted.latency_counts), counted.total_ns / 1e9)
            sizes = [0] * (len(BATCH_BOUNDS) + 1)
            for size, count in counted.executions.items():
                sizes[sum(size > bound for bound in BATCH_BOUNDS)] += count
            rows = sum(size * count for size, count in counted.executions.items())
            batches.add_metric(labels, _buckets(BATCH_BOUNDS, sizes), rows)
        yield seconds
        yield batches


def _buckets(bounds: Iterable[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Cumulative counts, as the format has them."""
    named = [*(repr(float(bound)) for bound in bounds), "+Inf"]
    return list(zip(named, map(float, accumulate(counts)), strict=True))


def _memory_bytes(model: Any) -> float:
    held = getattr(model, "memory_bytes", 0)
    return float(held() if callable(held) else held)


_COUNTERS: tuple[tuple[str, str, Any], ...] = (
    ("rows", "Rows of answered requests.", lambda counted: counted.rows),
    ("executions", "How often the model was asked.", lambda counted: counted.executions.total()),
    ("queue_seconds", "What requests waited for their batch, summed.", lambda counted: counted.queue_ns / 1e9),
    ("compute_seconds", "The model's own time, summed.", lambda counted: counted.compute_ns / 1e9),
)
_GAUGES: tuple[tuple[str, str, Any], ...] = (
    ("waiting", "Requests in the queue now.", lambda model: model.batcher.waiting),
    ("weight_percent", "Share of the endpoint's traffic.", lambda model: model.weight),
    ("memory_bytes", "What the loaded model holds, as its runtime says.", _memory_bytes),
)
