"""Data quality rules: each row ends in one place, each repair and each refusal is counted with its reason."""

import math
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sill.core.errors import InvalidValue
from sill.lake.casts import cast
from sill.lake.rules import gate_reason, judge
from sill.lake.types import Between, Cast, Fill, Matches, NotNull, OneOf, QualityGate, Rule, TableSpec, Unique


def spec(*rules: Rule, time: str = "") -> TableSpec:
    return TableSpec(project="p", name="t", rules=rules, time=time)


def column(*values: Any) -> pa.Table:
    return pa.table({"a": list(values)})


def kept(table: pa.Table, *rules: Rule, time: str = "") -> list[Any]:
    result: list[Any] = judge(table, spec(*rules, time=time)).kept.column("a").to_pylist()
    return result


def test_values_outside_go_to_quarantine_and_missing_ones_pass() -> None:
    judged = judge(column(1, 5, None, 11), spec(Between(column="a", low=2, high=10)))

    assert judged.kept.column("a").to_pylist() == [5, None]
    assert judged.quarantined_rows == [0, 3]
    assert judged.quarantined == {"a is not within 2 to 10": 2}


def test_repair_clips_and_counts() -> None:
    judged = judge(column(-1.0, 0.5, 9.0, math.nan), spec(Between(column="a", low=0, high=1, action="repair")))

    assert judged.kept.column("a").to_pylist() == [0.0, 0.5, 1.0, None]
    assert (judged.rows_repaired, judged.repaired) == (3, {"a is not within 0 to 1": 3})


@pytest.mark.parametrize(
    ("strategy", "value", "found"),
    [("median", None, 2.0), ("mean", None, 3.0), ("mode", None, 1.0), ("value", 7.0, 7.0)],
)
def test_missing_values_are_filled(strategy: Any, value: float | None, found: float) -> None:
    rule = Fill(column="a", strategy=strategy, value=value)

    assert kept(column(1.0, 1.0, 3.0, 7.0, None, math.nan), rule)[-2:] == [found, found]


def test_a_batch_without_any_value_is_not_filled_from_nothing() -> None:
    assert kept(pa.table({"a": pa.array([None], pa.float64())}), Fill(column="a")) == [None]


def test_values_not_listed_are_set_missing_or_quarantined() -> None:
    assert kept(column("x", "y", None), OneOf(column="a", values=("x",), action="repair")) == ["x", None, None]
    assert kept(column(1, 2), OneOf(column="a", values=(1,))) == [1]


def test_missing_values_and_missing_columns_are_found() -> None:
    assert kept(column(1.0, None, math.nan), NotNull(column="a")) == [1.0]
    assert kept(column(1), NotNull(column="b")) == []


def test_a_rule_that_refuses_stops_the_batch() -> None:
    judged = judge(column(1, None), spec(NotNull(column="a", action="refuse")))

    assert gate_reason(QualityGate(), 2, judged) == "a is missing in 1 rows"


def test_of_equal_rows_the_newest_stays() -> None:
    rows = pa.table({"a": [1, 2, 3, 4], "id": ["x", "x", "y", None], "at": [5, 4, None, 1]})

    assert kept(rows, Unique(columns=("id",)), time="at") == [1, 3, 4]
    assert kept(rows, Unique(columns=("id",))) == [2, 3, 4]
    assert kept(rows, Unique(columns=("id",), keep="first")) == [1, 3, 4]


def test_a_unique_rule_about_a_column_that_is_not_there_is_told() -> None:
    with pytest.raises(InvalidValue, match="'id'"):
        judge(column(1), spec(Unique(columns=("id",))))


def test_text_matches_in_full() -> None:
    assert kept(column("ab", "abc", "x\nab", None), Matches(column="a", pattern="a.")) == ["ab", None]
    with pytest.raises(InvalidValue, match="cannot be read"):
        judge(column("a"), spec(Matches(column="a", pattern="(")))


def test_a_rule_for_numbers_says_so_of_text() -> None:
    with pytest.raises(InvalidValue, match=r"column 'a' has type string, such as 'x'"):
        judge(column("x"), spec(Between(column="a", low=0)))


def test_what_cannot_be_cast_is_quarantined_before_later_rules_see_it() -> None:
    judged = judge(column("1", " 2.0 ", "x", ""), spec(Cast(column="a", type="int64"), Fill(column="a")))

    assert judged.kept.column("a").to_pylist() == [1, 2, 2]
    assert judged.quarantined == {"a is not a whole number": 1}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int64", "9223372036854775807", 2**63 - 1),
        ("int64", "9223372036854775808", None),
        ("int64", "1.5", None),
        ("float64", "1e308", 1e308),
        ("float64", "1e309", None),
        ("float64", "nan", None),
        ("float64", "1_000", None),
        ("bool", "Yes", True),
        ("bool", "maybe", None),
        ("timestamp", "2020-01-02T03:04:05+02:00", datetime(2020, 1, 2, 1, 4, 5, tzinfo=UTC)),
        ("timestamp", "02/01/2020", None),
        ("date", "2020-02-30", None),
    ],
)
def test_text_is_read_strictly(kind: str, text: str, value: Any) -> None:
    result, failed = cast(pa.chunked_array([[text]]), kind)

    assert result.to_pylist() == [value]
    assert failed.to_pylist() == [value is None]


HOW = st.sampled_from(["quarantine", "repair"])
TEXTS = st.none() | st.sampled_from(["a", "b", "c", "dd", ""])
NUMBERS = st.none() | st.floats(-10, 10) | st.integers(-9, 9).map(float)
RULES = st.lists(
    st.one_of(
        st.builds(
            Between,
            column=st.just("n"),
            low=st.just(-5),
            high=st.just(5),
            action=HOW,
        ),
        st.builds(Fill, column=st.just("n"), strategy=st.sampled_from(["median", "mean", "mode"])),
        st.builds(OneOf, column=st.just("s"), values=st.just(("a", "b")), action=HOW),
        st.builds(NotNull, column=st.sampled_from(["n", "s"])),
        st.builds(Unique, columns=st.sampled_from([("s",), ("n", "s")]), keep=st.sampled_from(["first", "last"])),
        st.builds(Cast, column=st.just("s"), type=st.just("string")),
        st.builds(
            Cast,
            column=st.just("n"),
            type=st.sampled_from(["int64", "float64"]),
            action=HOW,
        ),
        st.builds(Matches, column=st.just("s"), pattern=st.just("[a-c]?")),
    ),
    max_size=5,
)
ROWS = st.lists(st.tuples(NUMBERS, TEXTS), max_size=30)


@given(rows=ROWS, rules=RULES)
@settings(max_examples=150, deadline=None)
def test_every_row_ends_in_one_place_and_what_was_not_repaired_is_unchanged(
    rows: list[tuple[float | None, str | None]], rules: list[Rule]
) -> None:
    table = pa.table(
        {"n": pa.array([n for n, _ in rows], pa.float64()), "s": pa.array([s for _, s in rows], pa.string())}
    )

    judged = judge(table, spec(*rules))

    assert len(rows) == judged.kept.num_rows + len(judged.quarantined_rows) + judged.dropped
    assert judged.kept.num_rows == len(judged.kept_rows)
    assert not set(judged.kept_rows) & set(judged.quarantined_rows)
    assert sum(judged.quarantined.values()) == len(judged.quarantined_rows) == len(judged.reasons)
    changed = [
        row
        for row, after in zip(judged.kept_rows, judged.kept.to_pylist(), strict=True)
        if (after["n"], after["s"]) != rows[row]
    ]
    assert len(changed) <= judged.rows_repaired <= sum(judged.repaired.values())
