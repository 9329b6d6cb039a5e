"""The point-in-time join against an oracle that tries every pair of rows."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sill.core.errors import InvalidValue
from sill.features.joins import join_as_of, newest_rows

START = datetime(2024, 1, 1, tzinfo=UTC)
UTC_TIME = pa.timestamp("us", tz="UTC")


def at(second: int | None) -> datetime | None:
    return None if second is None else START + timedelta(seconds=second)


def feature_table(rows: list[tuple[Any, Any, int | None]]) -> pa.Table:
    columns = {
        "a": pa.array([row[0] for row in rows], pa.int64()),
        "b": pa.array([row[1] for row in rows], pa.string()),
        "known": pa.array([at(row[2]) for row in rows], UTC_TIME),
        "value": pa.array(range(len(rows)), pa.int64()),
    }
    return pa.table(columns)


def spine_table(rows: list[tuple[Any, Any, int | None]]) -> pa.Table:
    columns = {
        "b": pa.array([row[1] for row in rows], pa.string()),
        "a": pa.array([row[0] for row in rows], pa.int64()),
        "asked": pa.array([at(row[2]) for row in rows], UTC_TIME),
    }
    return pa.table(columns)


def oracle(spine: list[Any], rows: list[Any], ttl_s: int) -> list[int | None]:
    found: list[int | None] = []
    for a, b, asked in spine:
        best = None
        for index, (key_a, key_b, known) in enumerate(rows):
            is_usable = None not in (a, b, asked, key_a, key_b, known) and (a, b) == (key_a, key_b) and known <= asked
            is_young = is_usable and (not ttl_s or asked - known <= ttl_s)
            if is_young and (best is None or known >= rows[best][2]):
                best = index
        found.append(best)
    return found


ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 2)),
        st.one_of(st.none(), st.sampled_from(["", "x"])),
        st.one_of(st.none(), st.integers(0, 6)),
    ),
    max_size=14,
)


@settings(max_examples=200, deadline=None)
@given(spine=ROWS, rows=ROWS, ttl_s=st.integers(0, 3))
def test_the_join_agrees_with_the_oracle(spine: list[Any], rows: list[Any], ttl_s: int) -> None:
    joined = join_as_of(
        spine_table(spine), feature_table(rows), ("a", "b"), spine_time="asked", time="known", ttl_s=ttl_s
    )
    assert joined.column("value").to_pylist() == oracle(spine, rows, ttl_s)
    assert joined.select(["b", "a", "asked"]).equals(spine_table(spine))


@settings(max_examples=100, deadline=None)
@given(rows=ROWS)
def test_the_newest_row_is_the_join_at_the_end_of_time(rows: list[Any]) -> None:
    newest = newest_rows(feature_table(rows), ("a", "b"), "known")
    keys = [(row["a"], row["b"], 10**6) for row in newest.to_pylist()]
    assert newest.column("value").to_pylist() == oracle(keys, rows, 0)
    assert len(set(keys)) == len(keys)
    usable = {(a, b) for a, b, known in rows if None not in (a, b, known)}
    assert {(a, b) for a, b, _ in keys} == usable


def test_nothing_from_the_future_is_seen() -> None:
    rows = feature_table([(1, "x", 5), (1, "x", 10)])
    joined = join_as_of(
        spine_table([(1, "x", 4), (1, "x", 9), (1, "x", 10)]), rows, ("a", "b"), spine_time="asked", time="known"
    )
    assert joined.column("value").to_pylist() == [None, 0, 1]


def test_without_times_the_last_row_counts() -> None:
    rows = feature_table([(1, "x", None), (1, "x", None)]).drop_columns(["known"])
    joined = join_as_of(spine_table([(1, "x", None), (2, "x", 0)]), rows, ("a", "b"), spine_time="", time="")
    assert joined.column("value").to_pylist() == [1, None]


def test_a_column_of_both_sides_is_refused() -> None:
    spine = spine_table([(1, "x", 1)]).append_column("value", pa.array([1]))
    with pytest.raises(InvalidValue, match="both have column 'value'"):
        join_as_of(spine, feature_table([]), ("a", "b"), spine_time="asked", time="known")


def test_an_entity_of_another_type_is_refused() -> None:
    spine = pa.table({"a": ["one"], "b": ["x"]})
    with pytest.raises(InvalidValue, match="'a' is string in the spine and int64"):
        join_as_of(spine, feature_table([(1, "x", 1)]), ("a", "b"), spine_time="", time="known")


def test_a_time_that_is_a_number_is_refused() -> None:
    rows = feature_table([(1, "x", 1)]).drop_columns(["known"]).append_column("known", pa.array([1]))
    with pytest.raises(InvalidValue, match="a timestamp or date is needed"):
        newest_rows(rows, ("a", "b"), "known")
