"""A trace is the sum of its spans and of what its client said of it, whatever came first."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from sill.core.actors import Actor
from sill.core.errors import Forbidden, InvalidValue, NotFound
from sill.runs.experiments import store as experiments
from sill.runs.store import RUNS
from sill.runs.tracing.types import Span, SpanStatus, Trace, TraceEnd, TraceSelection, TraceState
from sill.runs.types import Run, RunSpec, RunState

TRACE = "tr-00000000000000000000000000000001"
Spans = Callable[..., Span]
Log = Callable[..., Awaitable[Any]]


@pytest.mark.anyio
async def test_a_trace_begins_with_its_first_span(house: Any, ada: Actor, log: Log, span: Spans) -> None:
    await log(
        span(attributes={"mlflow.spanInputs": {"q": "hi"}, "session.id": "s-1"}, resource={"service.name": "shop"})
    )

    trace = await house.traces.trace(ada, "p", TRACE)

    assert (trace.state, trace.started_ms, trace.duration_ms) == (TraceState.OK, 1_700_000_000_000, 5)
    assert trace.request_preview == '{"q": "hi"}'
    assert trace.metadata["mlflow.trace.session"] == "s-1"
    assert trace.tags["service.name"] == "shop"


@pytest.mark.anyio
async def test_children_that_come_first_leave_the_trace_open(house: Any, ada: Actor, log: Log, span: Spans) -> None:
    await log(span(number=2, parent=1, at_ms=3, for_ms=10))
    before = await house.traces.trace(ada, "p", TRACE)
    await log(span(number=1, status=SpanStatus.ERROR, for_ms=4))

    after = await house.traces.trace(ada, "p", TRACE)

    assert (before.state, after.state) == (TraceState.IN_PROGRESS, TraceState.ERROR)
    assert (after.started_ms - 1_700_000_000_000, after.duration_ms) == (0, 13)


@pytest.mark.anyio
async def test_what_the_client_reports_stands_whatever_comes_later(
    house: Any, ada: Actor, log: Log, span: Spans
) -> None:
    told = Trace(id=TRACE, started_ms=1_000, duration_ms=2, state=TraceState.OK, metadata={"k": "v"}, tags={"t": "1"})
    await log(span(number=1))
    await house.tracing.report(ada, "p", told)
    await log(span(number=2, parent=1, status=SpanStatus.ERROR, for_ms=900))

    trace = await house.traces.trace(ada, "p", TRACE)

    assert (trace.started_ms, trace.duration_ms, trace.state) == (1_000, 2, TraceState.OK)
    assert (trace.metadata["k"], trace.tags["t"], trace.tags["mlflow.trace.spansLocation"]) == (
        "v",
        "1",
        "TRACKING_STORE",
    )


@pytest.mark.anyio
async def test_a_span_that_is_sent_again_is_kept_once(house: Any, ada: Actor, log: Log, span: Spans) -> None:
    await log(span(name="first"), span(name="second"))
    await log(span(name="third"))

    record = await house.traces.record(ada, "p", TRACE)

    assert [each.name for each in record.spans] == ["third"]


@pytest.mark.anyio
async def test_a_span_speaks_for_the_tokens_of_all_below_it(house: Any, ada: Actor, log: Log, span: Spans) -> None:
    used = {"mlflow.chat.tokenUsage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}}
    await log(span(number=1), span(number=2, parent=1, attributes=used), span(number=3, parent=2, attributes=used))
    await log(span(number=4, parent=1, attributes=used))

    trace = await house.traces.trace(ada, "p", TRACE)

    assert msgspec.json.decode(trace.metadata["mlflow.trace.tokenUsage"])["total_tokens"] == 14


@pytest.mark.anyio
async def test_a_trace_is_not_shown_whole_before_its_spans_are_there(
    house: Any, ada: Actor, log: Log, span: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sill.runs.tracing.traces.WHOLE_S_MAX", 0.01)
    await house.tracing.report(ada, "p", Trace(id=TRACE, metadata={"mlflow.trace.sizeStats": '{"num_spans": 2}'}))
    await log(span())

    with pytest.raises(NotFound, match="not fully exported"):
        await house.traces.record(ada, "p", TRACE)
    assert len((await house.traces.record(ada, "p", TRACE, is_partial=True)).spans) == 1
    assert await house.traces.records(ada, "p", [TRACE]) == ()


@pytest.mark.anyio
async def test_later_spans_leave_a_trace_in_its_experiment_and_a_report_of_the_whole_moves_it(
    house: Any, ada: Actor, log: Log, span: Spans
) -> None:
    other = house.database.write_sync(lambda tx: experiments.create(tx, "p", "other", "", {}, "ada"))
    await log(span())

    await log(span(number=2), experiment_id=other.id)
    assert (await house.traces.trace(ada, "p", TRACE)).experiment_id == "0"
    await house.tracing.report(ada, "p", Trace(id=TRACE, experiment_id=other.id))

    assert (await house.traces.trace(ada, "p", TRACE)).experiment_id == other.id
    with pytest.raises(NotFound):
        await log(span(trace=2), experiment_id="99")


@pytest.mark.anyio
async def test_other_tenants_and_readers_change_nothing(house: Any, ada: Actor, log: Log, span: Spans) -> None:
    await log(span())
    stranger = Actor(id="eve", scopes=frozenset({"*"}), projects=frozenset({"q"}))
    reader = Actor(id="rob", scopes=frozenset({"runs:read"}))

    with pytest.raises(NotFound):
        await house.traces.trace(stranger, "p", TRACE)
    with pytest.raises(NotFound):
        await house.traces.trace(stranger, "q", TRACE)
    with pytest.raises(Forbidden):
        await house.tracing.set_tag(reader, "p", TRACE, "k", "v")


@pytest.mark.anyio
async def test_tags_are_set_and_taken_off_but_for_the_servers_own(
    house: Any, ada: Actor, log: Log, span: Spans
) -> None:
    await log(span())
    await house.tracing.set_tag(ada, "p", TRACE, "k", "v")
    await house.tracing.delete_tag(ada, "p", TRACE, "k")

    with pytest.raises(NotFound, match="No trace tag"):
        await house.tracing.delete_tag(ada, "p", TRACE, "k")
    with pytest.raises(InvalidValue, match="immutable"):
        await house.tracing.set_tag(ada, "p", TRACE, "mlflow.artifactLocation", "file:///etc")


@pytest.mark.anyio
async def test_deletion_takes_the_oldest_first_and_leaves_no_row(house: Any, ada: Actor, log: Log, span: Spans) -> None:
    await log(*(span(trace=number, at_ms=number) for number in (3, 1, 2)))

    deleted = await house.tracing.delete(ada, "p", "0", TraceSelection(until_ms=10**13, limit=2))
    rest = await house.traces.search(ada, "p", ["0"])
    await house.tracing.delete(ada, "p", "0", TraceSelection(ids=(rest.items[0].id,)))

    assert (deleted.traces, [trace.id[-1] for trace in rest.items]) == (2, ["3"])
    for table in ("traces", "trace_texts", "trace_spans"):
        rows = house.database.read_sync(
            lambda c, name=table: c.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar()
        )
        assert rows == 0, table


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (TraceSelection(), "Either"),
        (TraceSelection(ids=("a",), until_ms=1), "Only one"),
        (TraceSelection(ids=("a",), limit=1), "can't be specified"),
        (TraceSelection(until_ms=1, limit=0), "positive"),
    ],
)
@pytest.mark.anyio
async def test_a_deletion_says_which_or_until_when(
    house: Any, ada: Actor, selection: TraceSelection, said: str
) -> None:
    with pytest.raises(InvalidValue, match=said):
        await house.tracing.delete(ada, "p", "0", selection)


@pytest.mark.anyio
async def test_the_older_way_begins_a_trace_and_ends_it(house: Any, ada: Actor) -> None:
    begun = await house.tracing.begin(ada, "p", Trace(id="", started_ms=1_000, tags={"a": "1", "b": "2"}))
    end = TraceEnd(ended_ms=3_000, state=TraceState.OK, tags={"a": "3"})

    ended = await house.tracing.end(ada, "p", begun.id, end)

    assert (ended.state, ended.duration_ms) == (TraceState.OK, 2_000)
    assert (ended.tags["a"], ended.tags["b"]) == ("3", "2")
    with pytest.raises(InvalidValue, match="outside"):
        await house.tracing.end(ada, "p", begun.id, TraceEnd(ended_ms=1, state=TraceState.OK))


@pytest.mark.anyio
async def test_a_run_finds_traces_made_in_it_and_linked_to_it(house: Any, ada: Actor, log: Log, span: Spans) -> None:
    run = Run(id="run-00000001", project="p", spec=RunSpec(), state=RunState.RUNNING)
    house.database.write_sync(lambda tx: RUNS.create(tx, run))
    await log(*(span(trace=number) for number in (1, 2, 3)))
    await house.tracing.report(ada, "p", Trace(id=TRACE, metadata={"mlflow.sourceRun": run.id}))
    await house.tracing.link_run(ada, "p", run.id, [TRACE[:-1] + "2", TRACE[:-1] + "2", "tr-gone"])

    found = await house.traces.search(ada, "p", ["0"], filter=f"attribute.run_id = '{run.id}'")

    assert sorted(trace.id[-1] for trace in found.items) == ["1", "2"]
    with pytest.raises(NotFound):
        await house.tracing.link_run(ada, "p", "run-00000009", [TRACE])
