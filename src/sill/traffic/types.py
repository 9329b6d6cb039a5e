"""Requests and answers as rows, labels that arrive later, and what they say about each revision."""

from typing import Any

from sill.core.values import Value


class RequestRow(Value, frozen=True, kw_only=True):
    """One answered (or failed) request of one revision.

    `features` are the named inputs of a tabular model, else empty; `prediction` is the class, or the number;
    `score` the probability of the predicted class, where there is one. Times in microseconds since 1970 UTC.
    """

    request_id: str
    at_us: int
    project: str
    endpoint: str
    revision: int
    model_version: int
    is_shadow: bool
    status: int
    latency_ms: float
    features: dict[str, float | str | None] = {}
    prediction: str = ""
    score: float | None = None
    entity: dict[str, str] = {}
    error: str = ""
    cpu_ms: float = 0.0


class LogBatch(Value, frozen=True, kw_only=True):
    """Rows the inference plane hands over. `id` makes a repeat harmless."""

    id: str
    rows: tuple[RequestRow, ...]


class Label(Value, frozen=True, kw_only=True):
    """The truth about a request, known later."""

    request_id: str
    label: str


class LabelBatch(Value, frozen=True, kw_only=True):
    """Labels that arrived."""

    labels: tuple[Label, ...]


class LabelReport(Value, frozen=True, kw_only=True):
    """How many labels found their request."""

    joined: int
    unknown: int
    repeated: int


class RevisionStats(Value, frozen=True, kw_only=True):
    """What is known about one revision's answers since `since_us`.

    Latencies are kept as counts over fixed bounds (`LATENCY_BOUNDS_MS`), so that they add up.
    """

    project: str
    id: str
    """`ENDPOINT/REVISION/PHASE`, where a phase is a rollout step."""
    endpoint: str
    number: int
    since_us: int
    requests: int = 0
    errors: int = 0
    latency_counts: tuple[int, ...] = ()
    compared: int = 0
    disagreed: int = 0
    labelled: int = 0
    correct: int = 0
    cpu_ms: float = 0.0
    revision: int = 0


class Explanation(Value, frozen=True, kw_only=True):
    """The chain from one answer back to its source rows. `chain` holds (what, address, facts) from answer to source."""

    request: RequestRow
    label: str
    chain: tuple["ExplanationLink", ...]
    source_rows: tuple[dict[str, Any], ...]
    cost_usd: float = 0.0
    energy_wh: float = 0.0
    carbon_g: float = 0.0


class ExplanationLink(Value, frozen=True, kw_only=True):
    """One step of the chain."""

    what: str
    address: str
    facts: dict[str, str] = {}
