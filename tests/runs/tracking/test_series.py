"""A series is what was logged, each point once, in order, however it came and however it is read."""

import itertools
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sill.core.errors import InvalidValue
from sill.runs.tracking import histories, series, store
from sill.runs.tracking.points import BY_STEP, Triple, extent, from_token, last, ordered, pack, rank, thin, unpack
from sill.runs.types import Batch, Metric
from sill.stores.database import Database, Tx

INT64 = st.integers(-(2**63), 2**63 - 1)
SMALL = st.integers(0, 5)
NUMBERS = itertools.count()
VALUES = st.one_of(st.floats(), st.sampled_from([0.0, 1.0, math.nan, math.inf, -math.inf]))
POINTS = st.lists(
    st.tuples(st.one_of(SMALL, INT64), st.one_of(SMALL, st.integers(0, 2**63 - 1)), VALUES), min_size=1, max_size=40
)


def bits(points: Any) -> list[tuple[Any, ...]]:
    """Points as what can be compared, NaN too."""
    return [(step, ms, "nan" if value != value else value) for step, ms, value in points]


def plain(points: list[Triple], first: int, second: int) -> list[tuple[Any, ...]]:
    """Points each once in an order, done plainly; NaN stands where 0 would, behind it."""
    known = {(step, ms, 0.0 if value != value else value, value != value) for step, ms, value in points}
    at = sorted(known, key=lambda one: (one[first], one[second], one[2], one[3]))
    return [(step, ms, "nan" if is_nan else value) for step, ms, value, is_nan in at]


def keep(database: Database, run_id: str, key: str, points: list[Triple]) -> None:
    metrics = tuple(Metric(key=key, step=step, timestamp_ms=ms, value=value) for step, ms, value in points)
    database.write_sync(lambda tx: store.log(tx, "p", run_id, Batch(metrics=metrics)))


def read(database: Database, run_id: str, key: str, limit: int) -> list[Triple]:
    """The whole history, page by page."""
    found: list[Triple] = []
    after = ""
    while True:
        page = database.read_sync(lambda c, a=after: histories.page(c, "p", run_id, key, a, limit))
        found += [(point.step, point.timestamp_ms, point.value) for point in page.items]
        after = page.next
        if not after:
            return found


@given(POINTS)
def test_points_are_packed_without_loss(points: list[Triple]) -> None:
    assert bits(unpack([pack(points)]).tolist()) == bits(points)


@given(POINTS)
def test_ordered_points_are_each_there_once(points: list[Triple]) -> None:
    assert bits(ordered(unpack([pack(points)]), BY_STEP).tolist()) == plain(points, 0, 1)


@given(POINTS)
def test_the_last_point_is_that_of_the_highest_step_time_and_value(points: list[Triple]) -> None:
    assert rank(last(points)) == max(rank(point) for point in points)
    assert extent(points).step_max == max(point[0] for point in points)


@given(st.integers(1, 300), st.integers(2, 50), st.integers(1, 60))
def test_a_thinned_series_keeps_its_ends_and_its_peaks(count: int, wanted: int, block: int) -> None:
    values = [math.sin(at * 7) * (at % 13) for at in range(count)]
    points = unpack([pack([(at, at, value) for at, value in enumerate(values)])])
    found = thin((points[at : at + block] for at in range(0, count, block)), count, wanted).tolist()

    assert {found[0][0], found[-1][0]} == {0, count - 1}
    assert {min(values), max(values)} <= {value for _, _, value in found}
    assert len(found) <= max(wanted, 4) + 2
    assert found == sorted(set(found))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(POINTS, min_size=1, max_size=6), st.integers(1, 9), st.integers(1, 3))
def test_what_is_logged_in_any_order_comes_back_in_mlflows(
    database: Database, monkeypatch: pytest.MonkeyPatch, batches: list[list[Triple]], limit: int, rows: int
) -> None:
    monkeypatch.setattr(series, "LOOSE_ROWS_MAX", rows)
    monkeypatch.setattr(series, "CHUNK_POINTS", 16)
    monkeypatch.setattr(series, "BLOCK_POINTS", 20)
    key = f"k{next(NUMBERS)}"
    for batch in batches:
        keep(database, "run-00000001", key, batch)
    every = [point for batch in batches for point in batch]

    assert bits(read(database, "run-00000001", key, limit)) == plain(every, 1, 0)
    state = next(s for s in database.read_sync(lambda c: store.states(c, "p", "run-00000001")) if s.key == key)
    assert state.logged == len(every)
    assert bits([rank((state.last.step, state.last.timestamp_ms, state.last.value))]) == bits(
        [max(rank(point) for point in every)]
    )


def test_a_long_series_becomes_few_rows(database: Database, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "CHUNK_POINTS", 200)

    def work(tx: Tx) -> None:
        for step in range(1_000):
            series.append(tx, "p", run_id, [Metric(key="m", value=1.0, step=step, timestamp_ms=step)])

    database.write_sync(work)
    rows = database.read_sync(lambda c: series.entries(c, "p", run_id, "m"))

    assert len(rows) <= 1_000 / 200 + series.LOOSE_ROWS_MAX
    assert [point[0] for point in read(database, run_id, "m", 300)] == list(range(1_000))


def test_points_of_other_models_are_not_mixed(database: Database, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "LOOSE_ROWS_MAX", 2)
    for at in range(6):
        metric = Metric(key="m", value=at, step=at, timestamp_ms=at, model_id=f"m-{at % 2}")
        database.write_sync(lambda tx, metric=metric: series.append(tx, "p", run_id, [metric]))
    query = "SELECT model_id, sum(points) FROM run_series GROUP BY model_id ORDER BY model_id"

    assert [tuple(row) for row in database.read_sync(lambda c: c.exec_driver_sql(query).all())] == [
        ("m-0", 3),
        ("m-1", 3),
    ]
    assert len(read(database, run_id, "m", 10)) == 6


def test_runs_are_sampled_at_the_same_steps_and_at_their_ends(database: Database, run_id: str) -> None:
    keep(database, run_id, "m", [(step, 1, 10.0) for step in range(10)])
    keep(database, "run-00000002", "m", [(step, 1, 10.0) for step in range(20)])

    def steps(run_ids: list[str], span: tuple[int, int] | None) -> list[tuple[str, int]]:
        found = database.read_sync(lambda c: histories.sampled(c, "p", run_ids, "m", span, 5))
        return [(one.run_id[-1], one.metric.step) for one in found]

    assert [step for _, step in steps([run_id], None)] == [0, 2, 4, 6, 8, 9]
    assert [step for _, step in steps([run_id], (0, 4))] == [0, 1, 2, 3, 4]
    both = [("1", step) for step in (0, 4, 8, 9)] + [("2", step) for step in (0, 4, 8, 9, 12, 16, 19)]
    assert steps([run_id, "run-00000002"], None) == both


def test_old_rows_are_packed_as_if_they_had_been_logged(database: Database, run_id: str) -> None:
    points = [(step, step, float(step)) for step in range(5_000)]
    rows, head = series.packed("p", run_id, "m", points)
    database.write_sync(
        lambda tx: (tx.execute(series.series.insert(), rows), tx.execute(series.last_metrics.insert(), head))
    )
    keep(database, run_id, "m", [(5_000, 5_000, math.nan)])

    assert bits(read(database, run_id, "m", 25_000)) == bits([*points, (5_000, 5_000, math.nan)])


@pytest.mark.parametrize("token", ["", "x", "1.2", "1.2.zz", "9" * 30 + ".1.0000000000000000", "1.2.3.4"])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(InvalidValue):
        from_token(token)
