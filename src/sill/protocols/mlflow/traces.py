"""Messages about traces: the whole ones of today, and the ones of version 2 that are begun and ended."""

from typing import Annotated, Any

import msgspec

from sill.core.names import shorten
from sill.protocols.mlflow.assessments import AssessmentWire, assessment_in, assessment_out
from sill.protocols.mlflow.errors import invalid, missing_value
from sill.protocols.mlflow.experiments import Tag, TagOut, texts_in, texts_out
from sill.protocols.mlflow.spans import span_out
from sill.protocols.mlflow.times import read_duration, read_time, write_duration, write_time
from sill.protocols.mlflow.wire import Int64, Number, Wire, number
from sill.runs.tracing.types import (
    Aggregation,
    AggregationKind,
    Correlation,
    DataPoint,
    MetricView,
    Trace,
    TraceEnd,
    TraceMetricsQuery,
    TraceRecord,
    TraceSelection,
    TraceState,
)

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
MAX_RESULTS = 100
EXPERIMENT = "MLFLOW_EXPERIMENT"
_STATES = tuple(
    state.value for state in (TraceState.UNSPECIFIED, TraceState.OK, TraceState.ERROR, TraceState.IN_PROGRESS)
)
_VIEWS = ("", *(view.value for view in MetricView))
_KINDS = ("", "COUNT", "SUM", "AVG", "PERCENTILE", "MIN", "MAX")


class ExperimentPlace(Wire, frozen=True, kw_only=True):
    """An experiment as the place of a trace."""

    experiment_id: str | None = None


class Location(Wire, frozen=True, kw_only=True):
    """Where a trace is."""

    type: str | int | None = None
    mlflow_experiment: ExperimentPlace | None = None


class TraceInfo(Wire, frozen=True, kw_only=True):
    """A trace without its spans."""

    trace_id: str | None = None
    client_request_id: str | None = None
    trace_location: Location | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    request_time: str | None = None
    execution_duration: str | None = None
    state: str | int | None = None
    trace_metadata: dict[str, str] | None = None
    assessments: tuple[AssessmentWire, ...] | None = None
    tags: dict[str, str] | None = None


class TraceWire(Wire, frozen=True, kw_only=True):
    """A trace, with spans in answers that have them."""

    trace_info: TraceInfo | None = None
    spans: tuple[dict[str, Any], ...] | None = None


class StartTrace(Wire, frozen=True, kw_only=True):
    """Request: a whole trace."""

    trace: TraceWire | None = None


class TraceAnswer(Wire, frozen=True, kw_only=True):
    """Answer with one trace."""

    trace: TraceWire


class GetTrace(Wire, frozen=True, kw_only=True):
    """Request of one trace with its spans."""

    trace_id: str | None = None
    allow_partial: bool | str | None = None


class TraceIds(Wire, frozen=True, kw_only=True):
    """Request of several traces."""

    trace_ids: tuple[str, ...] | None = None


class TracesAnswer(Wire, frozen=True, kw_only=True):
    """Answer with traces and their spans."""

    traces: tuple[TraceWire, ...] = ()


class TraceInfosAnswer(Wire, frozen=True, kw_only=True):
    """Answer with traces without spans."""

    trace_infos: tuple[TraceInfo, ...] = ()


class SearchTraces(Wire, frozen=True, kw_only=True):
    """Request."""

    locations: tuple[Location, ...] | None = None
    filter: str | None = None
    max_results: Int32 = MAX_RESULTS
    order_by: tuple[str, ...] | None = None
    page_token: str | None = None


class FoundTraces(Wire, frozen=True, kw_only=True):
    """Answer."""

    traces: tuple[TraceInfo, ...] = ()
    next_page_token: str | None = None


class DeleteTraces(Wire, frozen=True, kw_only=True):
    """Request."""

    experiment_id: str | None = None
    max_timestamp_millis: Int64 | None = None
    max_traces: Int32 | None = None
    request_ids: tuple[str, ...] | None = None


class DeletedTraces(Wire, frozen=True, kw_only=True):
    """Answer."""

    traces_deleted: int = 0


class TraceTag(Wire, frozen=True, kw_only=True):
    """Request of setting or deleting a tag."""

    key: str | None = None
    value: str | None = None


class LinkTraces(Wire, frozen=True, kw_only=True):
    """Request."""

    trace_ids: tuple[str, ...] | None = None
    run_id: str | None = None


class PromptRef(Wire, frozen=True, kw_only=True):
    """A version of a prompt."""

    name: str | None = None
    version: str | int | None = None


class LinkPrompts(Wire, frozen=True, kw_only=True):
    """Request."""

    trace_id: str | None = None
    prompt_versions: tuple[PromptRef, ...] | None = None


class Correlate(Wire, frozen=True, kw_only=True):
    """Request."""

    experiment_ids: tuple[str, ...] | None = None
    filter_string1: str | None = None
    filter_string2: str | None = None
    base_filter: str | None = None


class Correlated(Wire, frozen=True, kw_only=True):
    """Answer."""

    npmi: Number
    npmi_smoothed: Number
    filter1_count: int
    filter2_count: int
    joint_count: int
    total_count: int


class AggregationWire(Wire, frozen=True, kw_only=True):
    """How values become one."""

    aggregation_type: str | int | None = None
    percentile_value: float | None = None


class QueryMetrics(Wire, frozen=True, kw_only=True):
    """Request."""

    experiment_ids: tuple[str, ...] | None = None
    view_type: str | int | None = None
    metric_name: str | None = None
    aggregations: tuple[AggregationWire, ...] | None = None
    dimensions: tuple[str, ...] | None = None
    filters: tuple[str, ...] | None = None
    time_interval_seconds: Annotated[int, msgspec.Meta(ge=0, le=10**9)] | None = None
    start_time_ms: Int64 | None = None
    end_time_ms: Int64 | None = None
    max_results: Int32 = 1_000
    page_token: str | None = None


class PointWire(Wire, frozen=True, kw_only=True):
    """The values of one group."""

    metric_name: str
    dimensions: dict[str, str] = {}
    values: dict[str, float] = {}


class MetricsAnswer(Wire, frozen=True, kw_only=True):
    """Answer."""

    data_points: tuple[PointWire, ...] = ()


class TraceInfoV2(Wire, frozen=True, kw_only=True):
    """A trace of version 2."""

    request_id: str
    experiment_id: str
    timestamp_ms: int
    execution_time_ms: int | None = None
    status: str = ""
    request_metadata: tuple[TagOut, ...] = ()
    tags: tuple[TagOut, ...] = ()


class BeginTraceV2(Wire, frozen=True, kw_only=True):
    """Request of version 2."""

    experiment_id: str | None = None
    timestamp_ms: Int64 | None = None
    request_metadata: tuple[Tag, ...] = ()
    tags: tuple[Tag, ...] = ()


class EndTraceV2(Wire, frozen=True, kw_only=True):
    """Request of version 2."""

    timestamp_ms: Int64 | None = None
    status: str | int | None = None
    request_metadata: tuple[Tag, ...] = ()
    tags: tuple[Tag, ...] = ()


class TraceInfoAnswerV2(Wire, frozen=True, kw_only=True):
    """Answer of version 2."""

    trace_info: TraceInfoV2


class SearchTracesV2(Wire, frozen=True, kw_only=True):
    """Request of version 2, in a query string."""

    experiment_ids: tuple[str, ...] | None = None
    filter: str | None = None
    max_results: Int32 = MAX_RESULTS
    order_by: tuple[str, ...] | None = None
    page_token: str | None = None


class FoundTracesV2(Wire, frozen=True, kw_only=True):
    """Answer of version 2."""

    traces: tuple[TraceInfoV2, ...] = ()
    next_page_token: str | None = None


class TraceFile(Wire, frozen=True, kw_only=True):
    """Request of `traces.json`, or of an attachment at `path`."""

    request_id: str | None = None
    path: str | None = None


def trace_in(told: StartTrace) -> Trace:
    """The trace that a client reports.

    Raises:
        InvalidValue: its id or its experiment is missing, or a time is none.
    """
    info = told.trace.trace_info if told.trace else None
    if info is None or not info.trace_id:
        raise missing_value("trace.trace_info.trace_id")
    return Trace(
        id=info.trace_id,
        experiment_id=experiment_of(info.trace_location),
        started_ms=read_time(info.request_time, "request_time") if info.request_time else 0,
        duration_ms=read_duration(info.execution_duration, "execution_duration") if info.execution_duration else None,
        state=TraceState(named(info.state, _STATES, "state")),
        client_request_id=info.client_request_id,
        request_preview=_without_nul(info.request_preview),
        response_preview=_without_nul(info.response_preview),
        metadata=info.trace_metadata or {},
        tags=info.tags or {},
        assessments=tuple(assessment_in(each, info.trace_id) for each in info.assessments or ()),
    )


def experiment_of(location: Location | None) -> str:
    """The experiment a trace is in.

    Raises:
        InvalidValue: it is somewhere else.
    """
    place = location.mlflow_experiment if location else None
    if place is None or not place.experiment_id:
        raise invalid("Traces are kept in experiments: set `trace_location.mlflow_experiment.experiment_id`.")
    return place.experiment_id


def experiments_of(locations: tuple[Location, ...] | None) -> tuple[str, ...]:
    """The experiments among the places; others are left out, as MLflow does."""
    places = [location.mlflow_experiment for location in locations or () if location.mlflow_experiment]
    return tuple(place.experiment_id for place in places if place.experiment_id)


def info_out(trace: Trace) -> TraceInfo:
    """The trace as a message."""
    return TraceInfo(
        trace_id=trace.id,
        client_request_id=trace.client_request_id,
        trace_location=Location(type=EXPERIMENT, mlflow_experiment=ExperimentPlace(experiment_id=trace.experiment_id)),
        request_preview=trace.request_preview,
        response_preview=trace.response_preview,
        request_time=write_time(trace.started_ms),
        execution_duration=None if trace.duration_ms is None else write_duration(trace.duration_ms),
        state=trace.state.value,
        trace_metadata=trace.metadata,
        assessments=tuple(map(assessment_out, trace.assessments)) or None,
        tags=trace.tags,
    )


def record_out(record: TraceRecord) -> TraceWire:
    """The trace with its spans as a message."""
    return TraceWire(trace_info=info_out(record.trace), spans=tuple(map(span_out, record.spans)))


def selection_in(told: DeleteTraces) -> TraceSelection:
    """Which traces are to be deleted."""
    return TraceSelection(ids=told.request_ids or (), until_ms=told.max_timestamp_millis, limit=told.max_traces)


def prompts_in(told: LinkPrompts) -> list[tuple[str, str]]:
    """Names and versions of prompts.

    Raises:
        InvalidValue: one is missing, or a version is no number.
    """
    found = []
    for prompt in told.prompt_versions or ():
        version = str(prompt.version or "")
        if not prompt.name or not version.isdigit():
            raise invalid(f"Invalid prompt version {shorten(prompt.name or '')!r}/{shorten(version)!r}.")
        found.append((prompt.name, version))
    return found


def correlation_out(found: Correlation) -> Correlated:
    """The correlation as a message."""
    return Correlated(
        npmi=number(found.npmi),
        npmi_smoothed=number(found.npmi_smoothed),
        filter1_count=found.first,
        filter2_count=found.second,
        joint_count=found.joint,
        total_count=found.total,
    )


def query_in(told: QueryMetrics) -> TraceMetricsQuery:
    """What is to be measured.

    Raises:
        InvalidValue: view or aggregation is not known.
    """
    return TraceMetricsQuery(
        experiment_ids=told.experiment_ids or (),
        view=MetricView(named(told.view_type, _VIEWS, "view_type") or "TRACES"),
        metric=told.metric_name or "",
        aggregations=tuple(
            Aggregation(
                kind=AggregationKind(named(each.aggregation_type, _KINDS, "aggregations") or "COUNT"),
                percentile=each.percentile_value,
            )
            for each in told.aggregations or ()
        ),
        dimensions=told.dimensions or (),
        filters=told.filters or (),
        interval_s=told.time_interval_seconds or 0,
        start_ms=told.start_time_ms,
        end_ms=told.end_time_ms,
        limit=told.max_results,
    )


def point_out(point: DataPoint) -> PointWire:
    """The values of a group as a message."""
    return PointWire(metric_name=point.metric, dimensions=point.dimensions, values=point.values)


def begun_in(told: BeginTraceV2) -> Trace:
    """The trace that begins."""
    return Trace(
        id="",
        experiment_id=told.experiment_id or "0",
        started_ms=told.timestamp_ms or 0,
        metadata=texts_in(told.request_metadata, "request_metadata"),
        tags=texts_in(told.tags, "tags"),
    )


def end_in(told: EndTraceV2) -> TraceEnd:
    """How the trace ended."""
    return TraceEnd(
        ended_ms=told.timestamp_ms or 0,
        state=TraceState(
            named(told.status, ("TRACE_STATUS_UNSPECIFIED", *_STATES[1:]), "status").replace("TRACE_STATUS", "STATE")
        ),
        metadata=texts_in(told.request_metadata, "request_metadata"),
        tags=texts_in(told.tags, "tags"),
    )


def info_out_v2(trace: Trace) -> TraceInfoV2:
    """The trace as a message of version 2."""
    return TraceInfoV2(
        request_id=trace.id,
        experiment_id=trace.experiment_id,
        timestamp_ms=trace.started_ms,
        execution_time_ms=trace.duration_ms,
        status=trace.state.value.replace("STATE_", "TRACE_STATUS_"),
        request_metadata=texts_out(trace.metadata),
        tags=texts_out(trace.tags),
    )


def named(given: str | int | None, names: tuple[str, ...], field: str) -> str:
    """The name of an enum's value, given as name or as number; nothing is its first.

    Raises:
        InvalidValue: there is none.
    """
    if isinstance(given, str) and given.isdigit():
        given = int(given)
    if given is None or given in names:
        return str(given or names[0])
    if isinstance(given, int) and 0 <= given < len(names):
        return names[given]
    raise invalid(
        f"Invalid value {shorten(str(given))!r} for parameter '{field}'; one of {list(filter(None, names))} is."
    )


def _without_nul(preview: str | None) -> str | None:
    return preview.replace("\0", "\ufffd") if preview else preview
