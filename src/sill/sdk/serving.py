"""What the inference plane counts of each endpoint, as rates between two looks at its metrics."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import httpx

from sill.core.errors import Unavailable
from sill.core.values import Value
from sill.sdk.client import Client, open_http, raise_for_error

TIMEOUT_S = 10.0
PREFIX = "sill_inference_"
OK = "200"

Revision = tuple[str, str, str]
"""Endpoint, version, revision."""
Place = tuple[Revision, str]
"""What serves, and the replica it is in; "" where there is but one."""


class Serving(Value, frozen=True, kw_only=True):
    """One revision of an endpoint between two looks. Latencies are upper bounds of the ranges they lie in, 0 for none."""

    endpoint: str
    version: str
    revision: str
    requests_per_s: float
    errors_per_s: float
    p50_ms: float
    p99_ms: float
    waiting: int
    batch_rows: float
    """Mean rows of a batch."""
    memory_bytes: int


class Look(Value, frozen=True, kw_only=True):
    """The metrics at one moment: by place, name (with the status or the bucket's bound behind it) → value."""

    at_s: float
    values: dict[Place, dict[str, float]]


class Watch:
    """Looks at the inference plane's metrics, of the client's project."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._http = open_http(client.inference_url, TIMEOUT_S)

    def look(self) -> Look:
        """The metrics now.

        Raises:
            Unavailable: no inference plane answers.
        """
        url = f"{self._client.inference_url}/metrics"
        try:
            answer = self._http.get(url, headers=self._client.authorization)
        except httpx.TransportError as broken:
            raise Unavailable(f"no inference plane answers at {url}.", fix="Start it with `sill up`.") from broken
        raise_for_error(answer)
        return Look(at_s=time.monotonic(), values=read_metrics(answer.text, self._client.project))


def read_metrics(text: str, project: str) -> dict[Place, dict[str, float]]:
    """One project's metrics out of the Prometheus text."""
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[Place, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            if labels.get("project") != project or not sample.name.startswith(PREFIX):
                continue
            name = f"{sample.name.removeprefix(PREFIX)}{labels.get('status', '')}{labels.get('le', '')}"
            place = (labels["endpoint"], labels["version"], labels["revision"]), labels.get("replica", "")
            found.setdefault(place, {})[name] = sample.value
    return found


def between(before: Look, now: Look) -> tuple[Serving, ...]:
    """What was done from one look to the next, in all replicas together. A model that was loaded anew meanwhile counts from
    its load; a replica that is new, or did not answer the look before, from the next one."""
    passed_s = max(now.at_s - before.at_s, 1e-9)
    replicas = {replica for _, replica in before.values}
    grown: defaultdict[Revision, Counter[str]] = defaultdict(Counter)
    gauges: defaultdict[Revision, Counter[str]] = defaultdict(Counter)
    for (revision, replica), values in now.values.items():
        is_new = bool(replicas) and replica not in replicas
        grown[revision].update(_grown(values if is_new else before.values.get((revision, replica), {}), values))
        gauges[revision].update(values)
    return tuple(_serving(revision, grown[revision], gauges[revision], passed_s) for revision in sorted(grown))


def _grown(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    is_same = all(now.get(name, 0.0) >= value for name, value in before.items() if name.startswith("requests_total"))
    return {name: value - (before.get(name, 0.0) if is_same else 0.0) for name, value in now.items()}


def _serving(revision: Revision, grown: Mapping[str, float], now: Mapping[str, float], passed_s: float) -> Serving:
    statuses = {
        name.removeprefix("requests_total"): n for name, n in grown.items() if name.startswith("requests_total")
    }
    batches = grown.get("batch_rows_count", 0.0)
    latencies = _ranges("request_seconds_bucket", grown)
    return Serving(
        endpoint=revision[0],
        version=revision[1],
        revision=revision[2],
        requests_per_s=sum(statuses.values()) / passed_s,
        errors_per_s=sum(n for status, n in statuses.items() if status != OK) / passed_s,
        p50_ms=_percentile_ms(latencies, 0.5),
        p99_ms=_percentile_ms(latencies, 0.99),
        waiting=int(now.get("waiting", 0.0)),
        batch_rows=grown.get("batch_rows_sum", 0.0) / batches if batches else 0.0,
        memory_bytes=int(now.get("memory_bytes", 0.0)),
    )


def _ranges(name: str, grown: Mapping[str, float]) -> list[tuple[float, float]]:
    """Upper bounds (s) and how many lie below each, rising."""
    return sorted((float(key.removeprefix(name)), count) for key, count in grown.items() if key.startswith(name))


def _percentile_ms(ranges: Iterable[tuple[float, float]], share: float) -> float:
    known = list(ranges)
    total = known[-1][1] if known else 0.0
    if not total:
        return 0.0
    finite = [bound for bound, _ in known if bound != float("inf")]
    bound = next(bound for bound, below in known if below >= share * total)
    return 1e3 * min(bound, finite[-1] if finite else 0.0)
