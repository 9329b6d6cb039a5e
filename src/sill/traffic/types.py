"""Requests and answers as rows, labels that arrive later, and what they say about each revision."""

from typing import Any

from sill.core.values import Value
from sill.endpoints.types import RevisionState


class RequestRow(Value, frozen=True, kw_only=True, gc=False):
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
    agrees: bool | None = None
    """Of a shadow's answer: whether the live revision answered the same."""
    is_kept: bool = True
    """False: counted for the rollout's judge, but left out of the lake by the endpoint's `log_sample`, or by the rate."""
    times: int = 1
    """How many answers a row that is not kept stands for: all of one revision, status and range of latency.
    Latency and CPU are their means."""


class LogBatch(Value, frozen=True, kw_only=True):
    """Rows the inference plane hands over. `id` makes a repeat harmless."""

    id: str
    rows: tuple[RequestRow, ...]


class Recorded(Value, frozen=True, kw_only=True):
    """How many rows of a batch belonged to an endpoint that still exists."""

    rows: int


class ServingReport(Value, frozen=True, kw_only=True):
    """A revision the inference plane could not make ready. It takes no traffic there."""

    project: str
    endpoint: str
    revision: int
    error: str


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


class Decision(Value, frozen=True, kw_only=True):
    """What the rollout's judge says: wait where it is (`is_move` false), or move to a state and weight, and why."""

    number: int
    is_move: bool
    state: RevisionState
    weight: int
    reason: str


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


class ReplicaState(Value, frozen=True, kw_only=True):
    """What a replica that is a run says of itself: who it is, where it answers gateways, and whether it is about to end.

    `name` is RUN.ATTEMPT, `certificate` a PEM: gateways speak to it alone.
    """

    name: str
    host: str
    port: int
    grpc_port: int
    certificate: str
    is_leaving: bool = False


class Gateways(Value, frozen=True, kw_only=True):
    """Certificates of the gateways whose requests a replica answers."""

    certificates: tuple[str, ...]


class GatewayState(Value, frozen=True, kw_only=True):
    """What a gateway says of itself: its certificate, how many replicas its load needs, and whether they are to be renewed."""

    certificate: str
    wanted: int
    is_renewing: bool = False


class ReplicaList(Value, frozen=True, kw_only=True):
    """The replicas that are there, and how many seconds the newest took from being asked for to being there."""

    replicas: tuple[ReplicaState, ...]
    ready_s: float = 0.0
