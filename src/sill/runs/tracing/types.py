"""Traces and spans, as the API, the SDK and the store know them. Words are OpenTelemetry's, then MLflow's."""

from enum import StrEnum
from typing import Any

from sill.core.values import Value


class SpanKind(StrEnum):
    """What side of a call a span stands on."""

    UNSPECIFIED = "UNSPECIFIED"
    INTERNAL = "INTERNAL"
    SERVER = "SERVER"
    CLIENT = "CLIENT"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


class SpanStatus(StrEnum):
    """How the work of a span ended; unset while nobody has said so."""

    UNSET = "UNSET"
    OK = "OK"
    ERROR = "ERROR"


class SpanEvent(Value, frozen=True, kw_only=True):
    """Something that happened at one moment of a span."""

    name: str
    time_ns: int
    attributes: dict[str, Any] = {}


class SpanLink(Value, frozen=True, kw_only=True):
    """A span of any trace that this one has to do with."""

    trace_id: str
    span_id: str
    attributes: dict[str, Any] = {}


class Span(Value, frozen=True, kw_only=True):
    """One piece of the work of a call.

    Attributes:
        trace_id: `tr-` and 32 hex digits.
        span_id: 16 hex digits; `parent_id` is empty for the root.
        end_ns: nanoseconds since 1970 UTC; 0 while it goes on.
        attributes: plain JSON; bytes are base64 text, numbers that are none are the texts NaN and ±Infinity.
        resource: what sent it (`service.name` …).
    """

    trace_id: str
    span_id: str
    parent_id: str = ""
    name: str = ""
    kind: SpanKind = SpanKind.INTERNAL
    start_ns: int = 0
    end_ns: int = 0
    status: SpanStatus = SpanStatus.UNSET
    message: str = ""
    attributes: dict[str, Any] = {}
    events: tuple[SpanEvent, ...] = ()
    links: tuple[SpanLink, ...] = ()
    resource: dict[str, Any] = {}


class TraceState(StrEnum):
    """How a trace stands."""

    UNSPECIFIED = "STATE_UNSPECIFIED"
    OK = "OK"
    ERROR = "ERROR"
    IN_PROGRESS = "IN_PROGRESS"


class AssessmentKind(StrEnum):
    """What an assessment is: what somebody found, what was to be expected, or an issue it belongs to."""

    FEEDBACK = "feedback"
    EXPECTATION = "expectation"
    ISSUE = "issue"


class AssessmentError(Value, frozen=True, kw_only=True):
    """Why a judge gave no value."""

    code: str = ""
    message: str = ""
    stack_trace: str = ""


class Assessment(Value, frozen=True, kw_only=True):
    """What a person, a judge or a program says of a trace.

    Attributes:
        value: plain JSON; of an issue, its name (`name` is then the issue's id).
        source_type: `HUMAN`, `LLM_JUDGE`, `CODE` or `SOURCE_TYPE_UNSPECIFIED`.
        overrides: id of the assessment it replaces, which is not valid as long as this one is there.
    """

    id: str = ""
    trace_id: str = ""
    name: str
    kind: AssessmentKind
    value: Any = None
    error: AssessmentError | None = None
    source_type: str = "CODE"
    source_id: str = ""
    span_id: str = ""
    rationale: str | None = None
    metadata: dict[str, str] = {}
    overrides: str = ""
    is_valid: bool = True
    created_ms: int = 0
    updated_ms: int = 0


class AssessmentChange(Value, frozen=True, kw_only=True):
    """What changes of an assessment; None leaves a field as it is, metadata are merged."""

    name: str | None = None
    kind: AssessmentKind | None = None
    """Of the value that is given; it must be the assessment's own."""
    value: Any = None
    error: AssessmentError | None = None
    rationale: str | None = None
    metadata: dict[str, str] = {}


class Trace(Value, frozen=True, kw_only=True):
    """One call from its request to its response, without its spans.

    Attributes:
        started_ms: milliseconds since 1970 UTC.
        duration_ms: None while it goes on.
        metadata: what the client says once (user, session, token usage …); tags may change later.
    """

    id: str
    project: str = ""
    experiment_id: str = "0"
    started_ms: int = 0
    duration_ms: int | None = None
    state: TraceState = TraceState.IN_PROGRESS
    client_request_id: str | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    assessments: tuple[Assessment, ...] = ()


class TraceRecord(Value, frozen=True, kw_only=True):
    """A trace with its spans: the root first, then by their start."""

    trace: Trace
    spans: tuple[Span, ...] = ()


class TraceEnd(Value, frozen=True, kw_only=True):
    """How a trace ended, in the older way of reporting: begun first, ended later."""

    ended_ms: int
    state: TraceState
    metadata: dict[str, str] = {}
    tags: dict[str, str] = {}


class TraceSelection(Value, frozen=True, kw_only=True):
    """Which traces of an experiment: these, or the oldest up to a time, at most so many of them."""

    ids: tuple[str, ...] = ()
    until_ms: int | None = None
    limit: int | None = None


class TracesDeleted(Value, frozen=True, kw_only=True):
    """How many traces were deleted, with all that belongs to them, and what their files freed."""

    traces: int
    bytes_freed: int = 0


class Correlation(Value, frozen=True, kw_only=True):
    """How often two filters hold together.

    Attributes:
        npmi: normalised pointwise mutual information, -1 (never together) to 1 (always); NaN if one never holds.
        npmi_smoothed: the same with half a trace added to each of the four counts (Jeffreys' prior).
    """

    npmi: float
    npmi_smoothed: float
    first: int
    second: int
    joint: int
    total: int


class SpansLogged(Value, frozen=True, kw_only=True):
    """How many spans of how many traces were kept."""

    spans: int
    traces: tuple[str, ...]


class MetricView(StrEnum):
    """What a metric of traces is measured on."""

    TRACES = "TRACES"
    SPANS = "SPANS"
    ASSESSMENTS = "ASSESSMENTS"


class AggregationKind(StrEnum):
    """How values become one."""

    COUNT = "COUNT"
    SUM = "SUM"
    AVG = "AVG"
    MIN = "MIN"
    MAX = "MAX"
    PERCENTILE = "PERCENTILE"


class Aggregation(Value, frozen=True, kw_only=True):
    """How values become one; `percentile` (0 to 100, linear between neighbours) belongs to the kind of that name."""

    kind: AggregationKind
    percentile: float | None = None

    @property
    def label(self) -> str:
        """The name of the value in the answer."""
        return f"P{self.percentile}" if self.kind is AggregationKind.PERCENTILE else self.kind.value


class TraceMetricsQuery(Value, frozen=True, kw_only=True):
    """Which metric of which traces, by which dimensions.

    Attributes:
        filters: one clause each, such as `trace.status = 'OK'` or `span.type = 'LLM'`; all must hold.
        interval_s: width of the time buckets; 0 for none. Wants `start_ms` and `end_ms`, both inclusive.
    """

    experiment_ids: tuple[str, ...]
    view: MetricView
    metric: str
    aggregations: tuple[Aggregation, ...]
    dimensions: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    interval_s: int = 0
    start_ms: int | None = None
    end_ms: int | None = None
    limit: int = 1_000


class DataPoint(Value, frozen=True, kw_only=True):
    """The values of one group."""

    metric: str
    dimensions: dict[str, str] = {}
    values: dict[str, float] = {}


class IssueStatus(StrEnum):
    """Whether somebody has looked at an issue, and what came of it."""

    PENDING = "pending"
    REJECTED = "rejected"
    RESOLVED = "resolved"


class IssueSeverity(StrEnum):
    """How bad an issue is."""

    NOT_AN_ISSUE = "not_an_issue"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class IssueSpec(Value, frozen=True, kw_only=True):
    """An issue to note: something that goes wrong in the traces of an experiment."""

    experiment_id: str
    name: str
    description: str
    status: IssueStatus = IssueStatus.PENDING
    severity: IssueSeverity | None = None
    root_causes: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    source_run_id: str = ""
    created_by: str = ""


class IssueChange(Value, frozen=True, kw_only=True):
    """What changes of an issue; None leaves a field as it is."""

    name: str | None = None
    description: str | None = None
    status: IssueStatus | None = None
    severity: IssueSeverity | None = None


class Issue(Value, frozen=True, kw_only=True):
    """An issue. Assessments of kind `issue` say which traces have it."""

    id: str
    project: str
    spec: IssueSpec
    experiment_id: str = "0"
    status: IssueStatus = IssueStatus.PENDING
    source_run_id: str = ""
    created_us: int = 0
    updated_us: int = 0
    revision: int = 0


class Scorer(Value, frozen=True, kw_only=True):
    """A version of a scorer of an experiment: the client's own description of a judge, which is kept and never run."""

    id: str
    project: str
    scorer_id: str
    experiment_id: str
    name: str
    version: int
    serialized: str
    created_us: int = 0
    revision: int = 0
