"""What values become: names, truth values, numbers, times and zones, units."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from sill.core.errors import InvalidValue
from sill.sources.naming import snake
from sill.sources.types import Unit

Read = Callable[..., Any]


def column(unified: Any, name: str) -> list[Any]:
    found: list[Any] = unified.table.column(name).to_pylist()
    return found


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("Customer ID", "customer_id"),
        ("meanRadius (mm)", "mean_radius_mm"),
        ("HTTPCode2", "http_code2"),
        ("Größe", "grosse"),
        ("2024", "c_2024"),
        ("_source", "source"),
        ("年龄", "column_3"),
        ("  ", "column_3"),
    ],
)
def test_names_follow_one_grammar(given: str, wanted: str) -> None:
    assert snake(given, 3) == wanted


def test_names_that_meet_are_kept_apart(read: Read) -> None:
    found = read("Age,age,AGE\n1,2,3\n")
    assert found.table.column_names[:3] == ["age", "age_2", "age_3"]
    assert found.names == {"Age": "age", "age": "age_2", "AGE": "age_3"}


@pytest.mark.parametrize("asked", ["Full Name", "full_name"])
def test_rename_takes_the_old_or_the_unified_name(read: Read, asked: str) -> None:
    assert column(read("Full Name,x\nAda,1\n", rename={asked: "person"}), "person") == ["Ada"]


def test_a_rename_of_nothing_is_refused_with_the_columns(read: Read) -> None:
    with pytest.raises(InvalidValue, match=r"'nam', which is not there. Columns: name, x"):
        read("name,x\nAda,1\n", rename={"nam": "person"})


def test_yes_and_no_are_truth_values_and_zeros_and_ones_are_not(read: Read) -> None:
    found = read("a,b,c\nyes,1,true\nNo,0,maybe\n")
    assert column(found, "a") == [True, False]
    assert column(found, "b") == [1, 0]
    assert column(found, "c") == ["true", "maybe"]


def test_leading_zeros_and_huge_integers_stay_text(read: Read) -> None:
    found = read("zip,big\n01234,99999999999999999999\n98765,1\n")
    assert column(found, "zip") == ["01234", "98765"]
    assert found.table.schema.field("big").type in (pa.string(), pa.float64())


def test_ids_written_as_floats_are_integers(read: Read) -> None:
    assert column(read("customer_id,x\n1.0,1\n,2\n3.0,3\n"), "customer_id") == [1, None, 3]


def test_dates_are_dates_and_times_are_utc(read: Read) -> None:
    found = read("d,t\n2024-02-29,2024-07-01T12:00:00\n2023-01-01,2024-01-01 12:00:00.5\n", time_zone="Europe/Berlin")
    assert column(found, "d") == [date(2024, 2, 29), date(2023, 1, 1)]
    assert column(found, "t") == [
        datetime(2024, 7, 1, 10, tzinfo=UTC),
        datetime(2024, 1, 1, 11, 0, 0, 500_000, tzinfo=UTC),
    ]


def test_offsets_win_over_the_zone(read: Read) -> None:
    texts = ["2024-07-01T12:00:00Z", "2024-07-01 12:00:00+0200", "2024-07-01T12:00:00.123456789-05", "2024-07-01T12:00"]
    found = read("t,x\n" + "".join(f"{text},1\n" for text in texts), time_zone="Asia/Tokyo")
    assert [at.hour for at in column(found, "t")] == [12, 10, 17, 3]


def test_a_day_that_does_not_exist_stays_text(read: Read) -> None:
    assert column(read("d,x\n2024-02-30,1\n"), "d") == ["2024-02-30"]


def test_a_pattern_reads_named_columns(read: Read) -> None:
    found = read(
        "when,x\n31.12.2023 23:30,1\n,2\n", times=("when",), time_format="%d.%m.%Y %H:%M", time_zone="Asia/Tokyo"
    )
    assert column(found, "when") == [datetime(2023, 12, 31, 14, 30, tzinfo=UTC), None]


def test_a_value_that_does_not_fit_the_pattern_is_named(read: Read) -> None:
    with pytest.raises(InvalidValue, match=r"column 'when': row 2: 'soon' does not fit time_format"):
        read("when,x\n31.12.2023,1\nsoon,2\n", times=("when",), time_format="%d.%m.%Y")
    with pytest.raises(InvalidValue, match=r"row 2: 'soon' is not an ISO 8601"):
        read("when,x\n2023-12-31,1\nsoon,2\n", times=("when",))


@pytest.mark.parametrize("number", ["1700000000", "1700000000000", "1700000000000000", "1700000000.0"])
def test_epoch_numbers_of_a_time_column_are_times(read: Read, number: str) -> None:
    assert column(read(f"t,x\n{number},1\n", times=("t",)), "t") == [datetime.fromtimestamp(1_700_000_000, UTC)]


def test_a_unit_converts_all_or_those_beyond(read: Read) -> None:
    found = read(
        "h,w\n180,80000\n170,70\n", units=(Unit(column="h", scale=0.01), Unit(column="w", scale=0.001, above=500))
    )
    assert column(found, "h") == pytest.approx([1.8, 1.7])
    assert column(found, "w") == pytest.approx([80.0, 70.0])


def test_a_unit_of_text_is_refused(read: Read) -> None:
    with pytest.raises(InvalidValue, match="holds string, not numbers"):
        read("h,w\ntall,1\n", units=(Unit(column="h", scale=2),))


def test_a_column_without_values_is_text(read: Read) -> None:
    assert read("a,b\n1,\n2,\n").table.schema.field("b").type == pa.string()
