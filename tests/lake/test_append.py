"""Appending: what is written is what is read, once, in columns that fit."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from sill.core.actors import PLATFORM, Actor
from sill.core.errors import Conflict, Forbidden, InvalidValue, NotFound, Refused, TooLarge
from sill.lake.service import Lake
from sill.lake.types import Between, Fill, Matches, QualityGate, TableSpec, Unique
from sill.stores.database import Database
from sill.stores.log import events_after

pytestmark = pytest.mark.anyio


def people(ages: list[object], first: int = 1) -> pa.Table:
    return pa.table({"id": list(range(first, first + len(ages))), "age": ages})


def kinds(database: Database) -> list[str]:
    return [event.kind for event in database.read_sync(lambda c: events_after(c, 0, "p", (), 1000))]


async def test_what_is_written_is_what_is_read(lake: Lake) -> None:
    given = people([40, None, 7])

    report = await lake.append(PLATFORM, "p", "people", given, source="by hand")
    read = await lake.scan(PLATFORM, "p", "people")

    assert (report.rows_in, report.rows_written) == (3, 3)
    assert read.select(["id", "age"]).to_pydict() == given.to_pydict()
    assert read.column("_source").to_pylist() == ["by hand"] * 3
    assert read.column("_source_row").to_pylist() == [1, 2, 3]
    assert set(read.column("_ingested_at").to_pylist()) == {datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)}


async def test_every_kind_of_value_survives(lake: Lake) -> None:
    given = pa.table(
        {
            "text": ["a", "", None],
            "flag": [True, None, False],
            "number": [0.1, -1e300, None],
            "at": pa.array([datetime(2020, 1, 1, 12, 30, 1, 5, UTC), None, None], pa.timestamp("us", "UTC")),
            "raw": [b"\x00\xff", b"", None],
            "many": [[1.5, None], [], None],
            "nested": [{"x": 1, "y": "z"}, None, {"x": None, "y": ""}],
        }
    )

    await lake.append(PLATFORM, "p", "t", given)

    assert (await lake.scan(PLATFORM, "p", "t", columns=given.column_names)).to_pylist() == given.to_pylist()


async def test_new_columns_are_added_and_missing_ones_are_null(lake: Lake) -> None:
    await lake.append(PLATFORM, "p", "t", pa.table({"a": [1]}))

    report = await lake.append(PLATFORM, "p", "t", pa.table({"b": ["x"]}))

    rows = (await lake.scan(PLATFORM, "p", "t", columns=("a", "b"))).to_pylist()
    assert report.columns_added == ("b",)
    assert sorted(rows, key=str) == sorted([{"a": 1, "b": None}, {"a": None, "b": "x"}], key=str)


async def test_whole_numbers_widen_to_fractions_and_old_snapshots_stay(lake: Lake) -> None:
    first = await lake.append(PLATFORM, "p", "t", pa.table({"a": [1, 2]}))
    await lake.append(PLATFORM, "p", "t", pa.table({"a": [2.5], "b": ["x"]}))

    now = await lake.scan(PLATFORM, "p", "t", columns=("a", "b"))
    then = await lake.scan(PLATFORM, "p", "t", columns=("a",), snapshot_id=first.snapshot_id)

    assert sorted(now.column("a").to_pylist()) == [1.0, 2.0, 2.5]
    assert then.to_pydict() == {"a": [1, 2]}
    assert then.schema.field("a").type == pa.int64()


async def test_a_column_of_nulls_takes_the_type_of_its_first_value(lake: Lake) -> None:
    await lake.append(PLATFORM, "p", "t", pa.table({"a": [1], "b": pa.nulls(1)}))
    await lake.append(PLATFORM, "p", "t", pa.table({"a": [2], "b": [7]}))

    assert sorted((await lake.scan(PLATFORM, "p", "t")).column("b").to_pylist(), key=str) == [7, None]


async def test_text_into_a_column_of_numbers_is_told_with_column_and_value(lake: Lake) -> None:
    await lake.append(PLATFORM, "p", "t", pa.table({"age": [1]}))

    with pytest.raises(InvalidValue, match=r"'age' holds whole numbers; the batch has text, such as 'forty'"):
        await lake.append(PLATFORM, "p", "t", pa.table({"age": ["forty"]}))
    assert (await lake.table(PLATFORM, "p", "t")).rows == 1


async def test_numbers_beyond_exactness_do_not_become_fractions(lake: Lake) -> None:
    await lake.append(PLATFORM, "p", "t", pa.table({"a": [2**60 + 1]}))

    with pytest.raises(InvalidValue, match="2\\^53"):
        await lake.append(PLATFORM, "p", "t", pa.table({"a": [0.5]}))


async def test_a_key_is_good_for_one_append(lake: Lake) -> None:
    first = await lake.append(PLATFORM, "p", "t", people([1]), key="k")
    again = await lake.append(PLATFORM, "p", "t", people([1]), key="k")

    assert again == first
    assert (await lake.table(PLATFORM, "p", "t")).rows == 1
    with pytest.raises(Conflict, match="different request"):
        await lake.append(PLATFORM, "p", "t", people([2]), key="k")


async def test_overwrite_replaces_all_rows_and_keeps_the_old_snapshot(lake: Lake) -> None:
    old = await lake.append(PLATFORM, "p", "t", people([1, 2]))
    await lake.append(PLATFORM, "p", "t", people([9]), mode="overwrite")

    assert (await lake.scan(PLATFORM, "p", "t")).column("age").to_pylist() == [9]
    assert (await lake.scan(PLATFORM, "p", "t", snapshot_id=old.snapshot_id)).num_rows == 2


async def test_rows_the_table_has_are_dropped(lake: Lake) -> None:
    await lake.declare(
        PLATFORM, TableSpec(project="p", name="t", key=("id",), time="at", rules=(Unique(columns=("id",)),))
    )
    await lake.append(PLATFORM, "p", "t", pa.table({"id": [1, 2], "at": [10, 10]}))

    report = await lake.append(PLATFORM, "p", "t", pa.table({"id": [1, 1, 2, 3], "at": [10, 11, 10, 10]}))

    assert (report.rows_written, report.rows_dropped) == (2, 2)
    read = (await lake.scan(PLATFORM, "p", "t", columns=("id", "at"))).to_pylist()
    assert sorted((row["id"], row["at"]) for row in read) == [(1, 10), (1, 11), (2, 10), (3, 10)]


async def test_a_refused_batch_leaves_nothing_but_its_event(lake: Lake, database: Database) -> None:
    rules = (Between(column="age", low=0, high=120),)
    gate = QualityGate(quarantined_fraction_max=0.4)
    await lake.declare(PLATFORM, TableSpec(project="p", name="people", rules=rules, gate=gate))

    with pytest.raises(Refused, match=r"1 of 2 rows would be quarantined \(50.0%; at most 40.0% may be\)"):
        await lake.append(PLATFORM, "p", "people", people([10, 400]))

    assert (await lake.table(PLATFORM, "p", "people")).rows == 0
    assert kinds(database) == ["table.declared", "table.refused"]


async def test_quarantined_rows_are_kept_as_they_came_with_the_reason(lake: Lake) -> None:
    rules = (Fill(column="age", strategy="value", value=1), Between(column="age", high=120))
    await lake.declare(PLATFORM, TableSpec(project="p", name="people", rules=rules))

    report = await lake.append(PLATFORM, "p", "people", people([10, 400, None]))
    kept = await lake.quarantine(PLATFORM, "p", "people")

    assert report.quarantined == {"age is not at most 120": 1}
    assert report.repaired == {"age was missing": 1}
    assert kept.select(["id", "age", "_reason", "_source_row"]).to_pylist() == [
        {"id": "2", "age": "400", "_reason": "age is not at most 120", "_source_row": 2}
    ]
    assert [table.name for table in await lake.tables(PLATFORM, "p")] == ["people"]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (pa.table([[1]] * 2001, names=[f"c{i}" for i in range(2001)]), TooLarge),
        (pa.table([[1], [2]], names=["a", "a"]), InvalidValue),
        (pa.table([[1], [2]], names=["a", "A"]), InvalidValue),
        (pa.table({"a b": [1]}), InvalidValue),
        (pa.table({"": [1]}), InvalidValue),
        (pa.table({"_reason": [1]}), InvalidValue),
        (pa.table({"__row": [1]}), InvalidValue),
        (pa.table({"a": pa.array([[[[[[[[[1]]]]]]]]])}), TooLarge),
        (pa.table({"a": pa.array([2**64 - 1], pa.uint64())}), InvalidValue),
        (pa.table({"a": pa.array([1], pa.duration("s"))}), InvalidValue),
    ],
    ids=["columns", "double", "capitals", "blank", "empty", "reserved", "hidden", "deep", "big", "duration"],
)
async def test_shapes_a_table_cannot_have_are_refused(lake: Lake, data: pa.Table, error: type[Exception]) -> None:
    with pytest.raises(error):
        await lake.append(PLATFORM, "p", "t", data)


@pytest.mark.parametrize("name", ["A", "a__quarantine", "../x", "", "a" * 101, "ä"])
async def test_names_a_table_cannot_have_are_refused(lake: Lake, name: str) -> None:
    with pytest.raises(InvalidValue):
        await lake.append(PLATFORM, "p", name, people([1]))
    with pytest.raises(InvalidValue):
        await lake.declare(PLATFORM, TableSpec(project="p", name=name))


async def test_another_tenants_table_is_not_there(lake: Lake) -> None:
    await lake.append(PLATFORM, "p", "t", people([1]))
    other = Actor(id="o", scopes=frozenset({"data:*"}), projects=frozenset({"q"}))
    reader = Actor(id="r", scopes=frozenset({"data:read"}), projects=frozenset({"p"}))

    with pytest.raises(NotFound):
        await lake.scan(other, "p", "t")
    with pytest.raises(NotFound):
        await lake.scan(other, "q", "t")
    with pytest.raises(Forbidden):
        await lake.append(reader, "p", "t", people([1]))


@pytest.mark.parametrize(
    "spec",
    [
        TableSpec(project="p", name="t", key=("a b",)),
        TableSpec(project="p", name="t", rules=(Matches(column="a", pattern="("),)),
        TableSpec(project="p", name="t", rules=(Matches(column="a", pattern="x" * 1001),)),
        TableSpec(project="p", name="t", rules=(Unique(columns=()),)),
        TableSpec(project="p", name="t", rules=(Between(column="a"),) * 1001),
        TableSpec(project="p", name="t", gate=QualityGate(quarantined_fraction_max=2)),
    ],
    ids=["key", "pattern", "long pattern", "unique", "many", "gate"],
)
async def test_declarations_without_sense_are_refused(lake: Lake, spec: TableSpec) -> None:
    with pytest.raises(InvalidValue):
        await lake.declare(PLATFORM, spec)


async def test_declaring_again_changes_rules_and_keeps_rows(lake: Lake, database: Database) -> None:
    await lake.append(PLATFORM, "p", "t", people([1]))
    spec = TableSpec(project="p", name="t", rules=(Between(column="age", high=5, action="repair"),))

    declared = await lake.declare(PLATFORM, spec)
    assert await lake.declare(PLATFORM, spec) == declared
    await lake.append(PLATFORM, "p", "t", people([9], first=2))

    assert sorted((await lake.scan(PLATFORM, "p", "t")).column("age").to_pylist()) == [1, 5]
    assert kinds(database) == ["table.declared", "table.appended", "table.declared", "table.appended"]
