"""Metrics of traces, spans and assessments: counts, latencies, tokens and costs, by dimension and time bucket."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, literal_column, or_, select

from sill.core.errors import InvalidValue, Refused
from sill.core.names import shorten
from sill.runs.tracing import rules, store
from sill.runs.tracing.store import assessments, links, spans, texts, traces
from sill.runs.tracing.types import Aggregation, AggregationKind, DataPoint, MetricView, TraceMetricsQuery
from sill.runs.tracking.compare import compare
from sill.runs.tracking.filters import Clause, Entity, Fields, parse_filter

LIMIT_MAX = 1_000
AGGREGATIONS_MAX = 20
FILTERS_MAX = 20
VALUES_MAX = 1_000_000
"""Most values a percentile is taken of."""
BUCKET = "time_bucket"

_COUNT = frozenset({AggregationKind.COUNT})
_SPREAD = frozenset({AggregationKind.AVG, AggregationKind.MIN, AggregationKind.MAX, AggregationKind.PERCENTILE})
_SUMS = _SPREAD | {AggregationKind.SUM}


class Metric(NamedTuple):
    """What is measured: the column, how its values may become one, and by what they may be grouped."""

    column: Any
    aggregations: frozenset[AggregationKind]
    dimensions: tuple[str, ...]


_MODELS = ("span_model_name", "span_model_provider")
METRICS: dict[MetricView, dict[str, Metric]] = {
    MetricView.TRACES: {
        "trace_count": Metric(traces.c.id, _COUNT, ("trace_name", "trace_status")),
        "session_count": Metric(traces.c.session.distinct(), _COUNT, ()),
        "latency": Metric(traces.c.duration_ms, _SPREAD, ("trace_name",)),
        **{key: Metric(traces.c[key], _SUMS, ("trace_name",)) for key in rules.TOKEN_KEYS},
    },
    MetricView.SPANS: {
        "span_count": Metric(spans.c.span_id, _COUNT, ("span_name", "span_type", "span_status", *_MODELS)),
        "latency": Metric((spans.c.end_ns - spans.c.start_ns) // 1_000_000, _SPREAD, ("span_name", "span_status")),
        **{key: Metric(spans.c[key], _SUMS, _MODELS) for key in rules.COST_KEYS},
    },
    MetricView.ASSESSMENTS: {
        "assessment_count": Metric(assessments.c.id, _COUNT, ("assessment_name", "assessment_value")),
        "assessment_value": Metric(assessments.c.number, _SPREAD, ("assessment_name",)),
    },
}
DIMENSIONS: dict[str, Any] = {
    "trace_name": traces.c.name,
    "trace_status": traces.c.state,
    "span_name": spans.c.name,
    "span_type": spans.c.type,
    "span_status": spans.c.status,
    "span_model_name": spans.c.model,
    "span_model_provider": spans.c.provider,
    "assessment_name": assessments.c.name,
    "assessment_value": assessments.c.value,
}
FIELDS = Fields(
    tuple(Entity(name, frozenset({name}), operators=frozenset({"="})) for name in ("trace", "span", "assessment")),
    bare="trace",
)
_OF_VIEW = {"span": MetricView.SPANS, "assessment": MetricView.ASSESSMENTS}
_COLUMNS: dict[str, dict[str, Any]] = {
    "span": {"name": spans.c.name, "status": spans.c.status, "type": spans.c.type},
    "assessment": {"name": assessments.c.name, "type": assessments.c.kind},
}


def check(query: TraceMetricsQuery) -> TraceMetricsQuery:
    """The query itself, if it asks for something there is, in MLflow's words otherwise."""
    known = METRICS[query.view]
    if query.metric not in known:
        raise InvalidValue(
            f"metric_name must be one of {list(known)}, got {shorten(query.metric)!r}.", field="metric_name"
        )
    metric = known[query.metric]
    kinds = sorted(one.kind for one in query.aggregations if one.kind not in metric.aggregations)
    if kinds or not 1 <= len(query.aggregations) <= AGGREGATIONS_MAX:
        raise InvalidValue(
            f"Found invalid aggregation_type(s): {[str(kind) for kind in kinds]}. "
            f"Supported aggregation types: {sorted(metric.aggregations)}, 1 to {AGGREGATIONS_MAX} of them.",
            field="aggregations",
        )
    for one in query.aggregations:
        is_ranked = one.kind is AggregationKind.PERCENTILE
        if is_ranked != (one.percentile is not None) or not 0 <= (one.percentile or 0) <= 100:
            raise InvalidValue(
                f"{one.percentile} is no percentile of {one.kind}; PERCENTILE takes one from 0 to 100.",
                field="aggregations",
            )
    unknown = sorted(set(query.dimensions) - set(metric.dimensions))
    if unknown:
        raise InvalidValue(
            f"Found invalid dimension(s): {[shorten(name) for name in unknown]}. "
            f"Supported dimensions: {list(metric.dimensions)}.",
            field="dimensions",
        )
    _check_bounds(query)
    return query


def measure(connection: Connection, project: str, query: TraceMetricsQuery) -> tuple[DataPoint, ...]:
    """The values of a checked query, in the order of time and dimensions; groups without a value are left out."""
    metric = METRICS[query.view][query.metric]
    by = _groups(query)
    base = _selected(project, query, metric)
    plain = [one for one in query.aggregations if one.kind is not AggregationKind.PERCENTILE]
    columns = [*by, *(_sql(one, metric.column) for one in plain)]
    found: dict[tuple[Any, ...], dict[str, float]] = {}
    if plain:
        grouped = base.with_only_columns(*columns).group_by(*by).order_by(*by).limit(query.limit)
        for row in connection.execute(grouped):
            values = zip(plain, row[len(by) :], strict=True)
            found[tuple(row[: len(by)])] = {one.label: float(value) for one, value in values if value is not None}
    ranked = [one for one in query.aggregations if one.kind is AggregationKind.PERCENTILE]
    if ranked:
        _add_percentiles(connection, base, by, metric, ranked, found)
    points = (
        DataPoint(metric=query.metric, dimensions=_named(query, group), values=said)
        for group, said in found.items()
        if said
    )
    return tuple(points)[: query.limit]


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 100) of the values lie, linear between neighbours (Hyndman and Fan, 7)."""
    place = share / 100 * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _check_bounds(query: TraceMetricsQuery) -> None:
    if query.interval_s < 0 or (query.interval_s and None in (query.start_ms, query.end_ms)):
        raise InvalidValue("start_time_ms and end_time_ms are required if time_interval_seconds is set.")
    for value in (query.start_ms, query.end_ms):
        if value is not None and not 0 <= value <= rules.TIME_MS_MAX:
            raise InvalidValue(f"time {value} ms is outside 0 to {rules.TIME_MS_MAX}.", field="start_time_ms")
    if not 1 <= query.limit <= LIMIT_MAX:
        raise InvalidValue(f"max_results {query.limit} is not within 1 to {LIMIT_MAX}.", field="max_results")
    if len(query.filters) > FILTERS_MAX:
        raise InvalidValue(f"{len(query.filters)} filters are given; at most {FILTERS_MAX} are taken.", field="filters")


def _groups(query: TraceMetricsQuery) -> list[Any]:
    buckets = []
    if query.interval_s:
        width_ms: Any = literal_column(
            str(query.interval_s * 1_000)
        )  # PostgreSQL compares groups with bound values in vain
        buckets = [traces.c.started_ms - traces.c.started_ms % width_ms]
    return [*buckets, *(DIMENSIONS[name] for name in query.dimensions)]


def _selected(project: str, query: TraceMetricsQuery, metric: Metric) -> Select[Any]:
    """All rows that count."""
    t = traces
    base = select(t.c.id).where(t.c.project == project, t.c.experiment_id.in_(query.experiment_ids))
    if query.view is not MetricView.TRACES:
        of = spans if query.view is MetricView.SPANS else assessments
        base = base.join(of, and_(of.c.project == t.c.project, of.c.trace_id == t.c.id))
    if query.view is MetricView.ASSESSMENTS:
        base = base.where(assessments.c.is_valid == 1)
    if query.start_ms is not None:
        base = base.where(t.c.started_ms >= query.start_ms)
    if query.end_ms is not None:
        base = base.where(t.c.started_ms <= query.end_ms)
    needed = t.c.session if query.metric == "session_count" else metric.column
    base = base.where(needed.is_not(None), *(DIMENSIONS[name].is_not(None) for name in query.dimensions))
    return base.where(*(_filter(project, query, text) for text in query.filters))


def _filter(project: str, query: TraceMetricsQuery, text: str) -> ColumnElement[bool]:
    clauses = parse_filter(text, FIELDS)
    if len(clauses) != 1:
        raise InvalidValue(f"Invalid filter: {shorten(text)!r}. Expected one filter clause.", field="filters")
    clause = clauses[0]
    entity, _, key = clause.key.partition(".")
    if clause.entity != "trace":
        if _OF_VIEW[clause.entity] is not query.view:
            raise InvalidValue(
                f"Filtering by {clause.entity} is only supported for {_OF_VIEW[clause.entity]} view type, got {query.view}.",
                field="filters",
            )
        return compare(_column(_COLUMNS[clause.entity], clause), clause)
    if entity == "status" and not key:
        return compare(traces.c.state, clause)
    if entity not in ("tag", "metadata") or not key:
        raise InvalidValue(
            f"Invalid entity {shorten(clause.key)!r}: trace.status, trace.tag.KEY and trace.metadata.KEY are known.",
            field="filters",
        )
    return _of_text(project, entity, key.strip("`"), clause)


def _of_text(project: str, kind: str, key: str, clause: Clause) -> ColumnElement[bool]:
    t = texts
    here = and_(t.c.project == project, t.c.trace_id == traces.c.id, t.c.kind == kind, t.c.key == key)
    found = exists().where(here, compare(t.c.value, clause))
    if (kind, key) != (store.METADATA, rules.RUN_KEY):
        return found
    linked = and_(links.c.project == project, links.c.kind == store.RUN, links.c.trace_id == traces.c.id)
    return or_(found, exists().where(linked, compare(links.c.target, clause)))


def _column(columns: dict[str, Any], clause: Clause) -> Any:
    if clause.key not in columns:
        raise InvalidValue(
            f"Invalid entity {shorten(clause.key)!r} for {clause.entity}: {', '.join(columns)} are known.",
            field="filters",
        )
    return columns[clause.key]


def _sql(one: Aggregation, column: Any) -> Any:
    functions: dict[AggregationKind, Any] = {
        AggregationKind.COUNT: func.count,
        AggregationKind.SUM: func.sum,
        AggregationKind.AVG: func.avg,
        AggregationKind.MIN: func.min,
        AggregationKind.MAX: func.max,
    }
    return functions[one.kind](column)


def _add_percentiles(
    connection: Connection,
    base: Select[Any],
    by: list[Any],
    metric: Metric,
    ranked: list[Aggregation],
    found: dict[tuple[Any, ...], dict[str, float]],
) -> None:
    """No SQL that both databases speak has percentiles: the values are read in order, a group at a time."""
    query = base.with_only_columns(*by, metric.column).order_by(*by, metric.column).limit(VALUES_MAX + 1)
    rows = connection.execution_options(yield_per=10_000).execute(query)
    for group, values in _runs_of(rows, len(by)):
        said = found.setdefault(group, {})
        for one in ranked:
            said[one.label] = percentile(values, one.percentile or 0.0)


def _runs_of(rows: Iterable[Any], width: int) -> Iterable[tuple[tuple[Any, ...], list[float]]]:
    group: tuple[Any, ...] | None = None
    values: list[float] = []
    for count, row in enumerate(rows):
        if count >= VALUES_MAX:
            raise Refused(
                f"a percentile of more than {VALUES_MAX} values is asked for.", fix="Narrow the time or the filters."
            )
        if group != tuple(row[:width]) and group is not None:
            yield group, values
            values = []
        group = tuple(row[:width])
        values.append(float(row[width]))
    if group is not None:
        yield group, values


def _named(query: TraceMetricsQuery, group: tuple[Any, ...]) -> dict[str, str]:
    names = [*([BUCKET] if query.interval_s else []), *query.dimensions]
    found = dict(zip(names, group, strict=True))
    if BUCKET in found:
        found[BUCKET] = datetime.fromtimestamp(int(found[BUCKET]) / 1_000, UTC).isoformat()
    return {name: str(value) for name, value in found.items()}
