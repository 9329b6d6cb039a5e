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
    delivery: str = ""
    """What became of its webhook: `waiting`, `delivered`, or why it was given up; empty without one."""
    open_flag: int = 1
    """1 while open; an indexed column."""
    revision: int = 0


class MonitorStatus(Value, frozen=True, kw_only=True):
    """A monitor as it stands: newest window, open incidents."""

    spec: MonitorSpec
    window: Window | None
    windows: int
    incidents: tuple[Incident, ...]
    requests_seen: int = 0
    """Requests of the live revision since it went live."""
    model_version: int = 0
    """The version that is watched; 0 before the first."""
    problem: str = ""
    """Why drift is not watched, if so."""


class Profile(Value, frozen=True, kw_only=True):
    """One column of the reference, cut into bins: what a window is compared with.

    Attributes:
        edges: of numbers: upper bounds of all bins but the last.
        names: of texts: categories with a bin of their own; others share hashed bins behind them.
        counts: rows of the reference in each bin; the last bin is for missing values.
        grid: of numbers: points at which distributions are compared (Kolmogorov-Smirnov) ...
        grid_ranks: ... and the share of the reference at or below each.
    """

    is_number: bool
    counts: tuple[int, ...]
    edges: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    grid: tuple[float, ...] = ()
    grid_ranks: tuple[float, ...] = ()
    mean: float | None = None


class Reference(Value, frozen=True, kw_only=True):
    """What the traffic of one model version should look like."""

    project: str
    name: str
    """The monitor's."""
    model_version: int
    columns: dict[str, Profile] = {}
    accuracy: float | None = None
    """What the version's evaluation promised."""
    problem: str = ""
    revision: int = 0


class Sketch(Value, frozen=True, kw_only=True):
    """A column of a window in little space. Two of the same profile can be merged."""

    kll: bytes = b""
    """Of numbers: a serialised KLL sketch."""
    counts: dict[str, int] = {}
    """Of texts: rows by category or hashed bin."""
    count: int = 0
    missing: int = 0
    total: float = 0.0


class OpenWindow(Value, frozen=True, kw_only=True):
    """The window that is being filled."""

    requests: int = 0
    errors: int = 0
    since_us: int = 0
    until_us: int = 0
    latency: Sketch = Sketch()
    columns: dict[str, Sketch] = {}


class Bucket(Value, frozen=True, kw_only=True):
    """Requests of one slice of the SLO's window. `at` counts slices since 1970."""

    at: int
    requests: int = 0
    errors: int = 0
    slow: int = 0


class MonitorState(Value, frozen=True, kw_only=True):
    """How far a monitor has come. Committed together with what it found, so that nothing is lost or counted twice.

    Attributes:
        cursor: place in the endpoint's request log behind the last row that was counted.
        requests_seen: requests of the live revision since it went live.
        bad, good: by kind of incident: windows in a row that were bad, or good.
        labels, labels_now: (labelled, correct) of the live revision at a few earlier times, and when last looked at;
            quality is judged on what came between the first and the last.
        problem: why nothing is watched, if so.
    """

    project: str
    name: str
    endpoint: str
    cursor: int = 0
    live_revision: int = 0
    model_version: int = 0
    requests_seen: int = 0
    windows: int = 0
    window: OpenWindow = OpenWindow()
    bad: dict[str, int] = {}
    good: dict[str, int] = {}
    buckets: tuple[Bucket, ...] = ()
    labels: tuple[tuple[int, int], ...] = ((0, 0),)
    labels_now: tuple[int, int] = (0, 0)
    problem: str = ""
    revision: int = 0
