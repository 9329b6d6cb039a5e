"""Monitors, windows, scores and incidents."""

from enum import StrEnum
from typing import Any

from sill.core.values import Value


class MonitorSpec(Value, frozen=True, kw_only=True):
    """What is watched about an endpoint. Defaults are meant to be right for most.

    Attributes:
        window_requests: requests in one window.
        psi_min: smallest population stability index that counts as a shift at all.
        false_alarm: chance of a false alarm for one window over all features together (family-wise).
        windows_to_open: shifted windows in a row that open an incident.
        windows_to_close: clean windows in a row that close it.
        accuracy_drop_max: with labels: how far accuracy may fall below the evaluation's.
        labels_min: fewest labels for a verdict on quality.
        webhook: where incidents are sent, if anywhere; `webhook_secret` names the secret that signs.
    """

    project: str
    name: str
    endpoint: str
    window_requests: int = 200
    psi_min: float = 0.2
    false_alarm: float = 0.001
    windows_to_open: int = 1
    windows_to_close: int = 2
    accuracy_drop_max: float = 0.05
    labels_min: int = 50
    webhook: str = ""
    webhook_secret: str = ""
    revision: int = 0


class FeatureScore(Value, frozen=True, kw_only=True):
    """How far one column's window lies from the reference."""

    column: str
    psi: float
    ks: float | None
    js: float
    p_value: float
    is_shifted: bool
    window_mean: float | None = None
    reference_mean: float | None = None


class Window(Value, frozen=True, kw_only=True):
    """One window of an endpoint's traffic and its scores."""

    project: str
    id: str
    """`ENDPOINT/NUMBER`, the number with leading zeros."""
    endpoint: str
    number: int
    since_us: int
    until_us: int
    requests: int
    errors: int
    latency_ms_p99: float
    scores: tuple[FeatureScore, ...] = ()
    shifted: tuple[str, ...] = ()
    accuracy: float | None = None
    labelled: int = 0
    revision: int = 0


class IncidentKind(StrEnum):
    """What went wrong."""

    DRIFT = "drift"
    QUALITY = "quality"
    LATENCY = "latency"
    ERRORS = "errors"


class Incident(Value, frozen=True, kw_only=True):
    """Something went wrong: opened once, with its evidence, closed when it is over."""

    id: str
    project: str
    endpoint: str
    kind: IncidentKind
    is_open: bool
    summary: str
    evidence: dict[str, Any]
    opened_us: int
    closed_us: int = 0
    closed_because: str = ""
    requests_seen: int = 0
    """Requests the endpoint had answered since the model went live, when it opened."""
    open_flag: int = 1
    """1 while open; an indexed column."""
    revision: int = 0


class MonitorStatus(Value, frozen=True, kw_only=True):
    """A monitor as it stands: newest window, open incidents."""

    spec: MonitorSpec
    window: Window | None
    windows: int
    incidents: tuple[Incident, ...]
