"""What a filter finds, and what is measured, is the same on both databases."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sill.core.actors import Actor
from sill.core.errors import InvalidValue
from sill.runs.tracing.traces import correlation
from sill.runs.tracing.types import (
    Aggregation,
    AggregationKind,
    Assessment,
    AssessmentKind,
    MetricView,
    Span,
    SpanStatus,
    Trace,
    TraceMetricsQuery,
    TraceState,
)

Spans = Callable[..., Span]
ADA = Actor(id="ada", scopes=frozenset({"*"}))


async def fill(house: Any, ada: Actor, span: Spans) -> None:
    """Trace 1 is fine, 2 failed, 3 is fine, slow and has an LLM below."""
    model = {"mlflow.spanType": "LLM", "mlflow.llm.model": "m-1", "mlflow.llm.cost": {"total_cost": 0.5}, "depth": 3}
    spans = (
        span(trace=1, attributes={"fruit": "Apple", "ripe": True}),
        span(trace=2, at_ms=10, status=SpanStatus.ERROR),
        span(trace=3, at_ms=20, for_ms=50),
        span(trace=3, number=2, parent=1, at_ms=21, attributes=model),
    )
    await house.tracing.log_spans(ada, "p", "0", spans)
    for number, name in ((1, "one"), (2, "two"), (3, "one")):
        told = Trace(
            id=f"tr-{number:032x}",
            started_ms=number * 1_000,
            duration_ms=number * 100,
            state=TraceState.ERROR if number == 2 else TraceState.OK,
            tags={"mlflow.traceName": name, "team": "ml_x" if number == 1 else "ops"},
            metadata={"mlflow.trace.session": "s"} if number > 1 else {},
        )
        await house.tracing.report(ada, "p", told)
    said = ((1, "score", 0.9, {}), (2, "score", 0.1, {}), (3, "good", "yes", {"mlflow.trace.session": "s"}))
    for number, name, value, more in said:
        kind = AssessmentKind.FEEDBACK
        given = Assessment(trace_id=f"tr-{number:032x}", name=name, kind=kind, value=value, metadata=more)
        await house.assessments.log(ada, "p", given)


@pytest.fixture(scope="module")
def three(both: Any, span: Spans) -> Any:
    asyncio.run(fill(both, ADA, span))
    return both


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "321"),
        ("status = 'OK'", "31"),
        ("trace.status IN ('ERROR', 'IN_PROGRESS')", "2"),
        ("timestamp_ms > 1000 AND execution_time < 300", "2"),
        ("end_time_ms >= 3300", "3"),
        ("name = 'one' AND tags.team = 'ops'", "3"),
        ("tags.team LIKE 'ml_%'", "1"),
        ("tags.team LIKE 'ML%'", ""),
        ("tags.team ILIKE 'ML%'", "1"),
        ("tags.team IS NULL", ""),
        ("metadata.`mlflow.trace.session` IS NOT NULL", "32"),
        ("span.type = 'LLM'", "3"),
        ("span.type = 'LLM' AND span.attributes.model = 'x'", ""),
        ("span.attributes.fruit = 'Apple'", "1"),
        ("span.attributes.`mlflow.llm.model` LIKE 'm-%'", "3"),
        ("span.attributes.depth = '3'", "3"),
        ("span.attributes.ripe = 'true'", "1"),
        ("trace.text LIKE '%Apple%'", "1"),
        ("feedback.score > 0.5", "1"),
        ("feedback.score = 0.1", "2"),
        ("feedback.good = 'yes'", "32"),
        ("feedback.good IS NULL", "1"),
        (f"timestamp_ms < {10**30} AND execution_time > -{10**30}", "321"),
        (f"feedback.score = {10**30}", ""),
    ],
)
@pytest.mark.anyio
async def test_a_filter_finds(three: Any, ada: Actor, text: str, found: str) -> None:
    page = await three.traces.search(ada, "p", ["0"], filter=text)

    assert "".join(trace.id[-1] for trace in page.items) == found


@pytest.mark.parametrize(
    "text",
    [
        "colour = 'red'",
        "span.colour = 'red'",
        "span.attributes. = 'red'",
        "tags.team RLIKE '.*'",
        "status > 'OK'",
        "timestamp_ms = 'now'",
        "issue.name = 'x'",
        "prompt != 'a/1'",
        "prompt = 'a'",
        "status = 'OK' OR status = 'ERROR'",
        "trace.text = 'x'",
    ],
)
@pytest.mark.anyio
async def test_a_filter_outside_the_grammar_is_refused(three: Any, ada: Actor, text: str) -> None:
    with pytest.raises(InvalidValue):
        await three.traces.search(ada, "p", ["0"], filter=text)


@pytest.mark.anyio
async def test_pages_follow_the_order_and_end(three: Any, ada: Actor) -> None:
    first = await three.traces.search(ada, "p", ["0"], order_by=["tags.team ASC", "execution_time DESC"], limit=2)
    rest = await three.traces.search(
        ada, "p", ["0"], order_by=["tags.team ASC", "execution_time DESC"], after=first.next
    )

    assert [trace.id[-1] for trace in (*first.items, *rest.items)] == ["1", "3", "2"]
    assert rest.next == ""
    with pytest.raises(InvalidValue, match="page token"):
        await three.traces.search(ada, "p", ["0"], after="nonsense")


@pytest.mark.anyio
async def test_prompts_are_found_by_name_and_version(three: Any, ada: Actor) -> None:
    await three.tracing.link_prompts(ada, "p", f"tr-{2:032x}", [("greet", "3"), ("greet", "3")])

    page = await three.traces.search(ada, "p", ["0"], filter="prompt = 'greet/3'")

    assert [trace.id[-1] for trace in page.items] == ["2"]


@pytest.mark.anyio
async def test_filters_are_correlated(three: Any, ada: Actor) -> None:
    found = await three.traces.correlate(ada, "p", ["0"], "status = 'OK'", "name = 'one'")

    assert (found.first, found.second, found.joint, found.total) == (2, 2, 2, 3)
    assert found.npmi == pytest.approx(1.0)


def test_correlation_is_undefined_where_a_filter_never_holds() -> None:
    assert str(correlation(0, 3, 0, 9).npmi) == "nan"
    assert correlation(2, 3, 0, 9).npmi == -1.0
    assert correlation(6, 7, 6, 10).npmi == pytest.approx(0.698, abs=0.001)


@pytest.mark.parametrize(
    ("fields", "points"),
    [
        (
            {"metric": "trace_count", "dimensions": ("trace_status",)},
            [({"trace_status": "ERROR"}, 1.0), ({"trace_status": "OK"}, 2.0)],
        ),
        ({"metric": "trace_count", "filters": ("trace.tag.team = 'ops'",)}, [({}, 2.0)]),
        ({"metric": "session_count"}, [({}, 1.0)]),
        (
            {"metric": "trace_count", "interval_s": 2, "start_ms": 0, "end_ms": 9_000},
            [({"time_bucket": "1970-01-01T00:00:00+00:00"}, 1.0), ({"time_bucket": "1970-01-01T00:00:02+00:00"}, 2.0)],
        ),
        (
            {"view": MetricView.SPANS, "metric": "span_count", "dimensions": ("span_model_name",)},
            [({"span_model_name": "m-1"}, 1.0)],
        ),
        (
            {"view": MetricView.ASSESSMENTS, "metric": "assessment_count", "filters": ("assessment.name = 'score'",)},
            [({}, 2.0)],
        ),
    ],
)
@pytest.mark.anyio
async def test_counts(three: Any, ada: Actor, fields: dict[str, Any], points: list[Any]) -> None:
    given = {
        "experiment_ids": ("0",),
        "view": MetricView.TRACES,
        "aggregations": (Aggregation(kind=AggregationKind.COUNT),),
    }

    found = await three.traces.measure(ada, "p", TraceMetricsQuery(**given | fields))

    assert [(point.dimensions, point.values["COUNT"]) for point in found] == points


@pytest.mark.anyio
async def test_percentiles_lie_between_neighbours(three: Any, ada: Actor) -> None:
    wanted = (Aggregation(kind=AggregationKind.PERCENTILE, percentile=50.0), Aggregation(kind=AggregationKind.MAX))
    query = TraceMetricsQuery(
        experiment_ids=("0",), view=MetricView.TRACES, metric="latency", aggregations=wanted, dimensions=("trace_name",)
    )

    found = await three.traces.measure(ada, "p", query)

    assert [point.values for point in found] == [{"P50.0": 200.0, "MAX": 300.0}, {"P50.0": 200.0, "MAX": 200.0}]


@pytest.mark.parametrize(
    "fields",
    [
        {"metric": "colour"},
        {"metric": "latency"},
        {"dimensions": ("span_name",)},
        {"interval_s": 5},
        {"filters": ("span.name = 'x'",)},
        {"filters": ("trace.colour = 'x'",)},
        {"limit": 0},
    ],
)
@pytest.mark.anyio
async def test_what_cannot_be_measured_is_refused(house: Any, ada: Actor, fields: dict[str, Any]) -> None:
    given: dict[str, Any] = {"experiment_ids": ("0",), "view": MetricView.TRACES, "metric": "trace_count"}
    count = (Aggregation(kind=AggregationKind.COUNT),)

    with pytest.raises(InvalidValue):
        await house.traces.measure(ada, "p", TraceMetricsQuery(**given | {"aggregations": count} | fields))
