"""Snapshots, going back, tidying, deletion: what stays readable and what is freed."""

import asyncio
from pathlib import Path

import pyarrow as pa
import pytest

from sill.core.actors import PLATFORM
from sill.core.clock import Ids, ManualClock
from sill.core.errors import InvalidValue, NotFound
from sill.core.settings import Settings
from sill.lake.service import Lake
from sill.lake.types import Between, TableSpec, Upkeep
from sill.stores.blobs import Blobs
from sill.stores.database import Database

pytestmark = pytest.mark.anyio


async def fill(lake: Lake, *batches: list[float], table: str = "t") -> list[int]:
    return [(await lake.append(PLATFORM, "p", table, pa.table({"a": rows}))).snapshot_id for rows in batches]


async def values(lake: Lake, **how: int) -> list[float]:
    return sorted((await lake.scan(PLATFORM, "p", "t", **how)).column("a").to_pylist())


async def test_each_append_is_a_snapshot_that_can_be_read(lake: Lake) -> None:
    first, second = await fill(lake, [1], [2, 3])

    listed = await lake.snapshots(PLATFORM, "p", "t")

    assert [(one.id, one.rows_added, one.rows_total, one.is_current) for one in listed] == [
        (first, 1, 1, False),
        (second, 2, 3, True),
    ]
    assert await values(lake, snapshot_id=first) == [1]
    with pytest.raises(NotFound, match="no snapshot 7"):
        await values(lake, snapshot_id=7)


async def test_rollback_brings_back_rows_and_columns(lake: Lake) -> None:
    first, second = await fill(lake, [1, 2], [0.5])

    table = await lake.rollback(PLATFORM, "p", "t", first)

    assert (table.snapshot_id, table.rows) == (first, 2)
    assert (await lake.scan(PLATFORM, "p", "t", columns=("a",))).to_pydict() == {"a": [1, 2]}
    assert await values(lake, snapshot_id=second) == [0.5, 1, 2]
    await fill(lake, [3])
    assert await values(lake) == [1, 2, 3]


async def test_maintain_joins_files_and_frees_what_expired(lake: Lake, blobs: Blobs, clock: ManualClock) -> None:
    first, *_ = await fill(lake, *([i] for i in range(6)))
    files_before = len(list(blobs.names("lake/p/")))

    kept = await lake.maintain(PLATFORM, "p", "t")
    assert (kept.files_before, kept.files_after, kept.snapshots_expired) == (6, 1, 0)
    assert await values(lake, snapshot_id=first) == [0]

    clock.advance(1e9)
    report = await lake.maintain(PLATFORM, "p", "t", Upkeep(keep_s=0))
    assert report.bytes_freed > 0
    assert len(list(blobs.names("lake/p/"))) < files_before
    assert await values(lake) == [0, 1, 2, 3, 4, 5]
    with pytest.raises(NotFound):
        await values(lake, snapshot_id=first)


async def test_maintain_removes_files_nothing_points_to(lake: Lake, blobs: Blobs) -> None:
    await fill(lake, [1])
    place = (await lake.table(PLATFORM, "p", "t")).location
    blobs.put_named(f"{place}/data/orphan.parquet", b"left by a crash")

    report = await lake.maintain(PLATFORM, "p", "t")

    assert (report.files_removed, report.bytes_freed) == (1, 15)
    assert await values(lake) == [1]


async def test_maintain_of_an_empty_table_does_nothing(lake: Lake) -> None:
    await lake.declare(PLATFORM, TableSpec(project="p", name="t"))

    assert (await lake.maintain(PLATFORM, "p", "t")).note == "the table has no rows"
    assert (await lake.scan(PLATFORM, "p", "t")).num_rows == 0
    assert await lake.snapshots(PLATFORM, "p", "t") == ()


async def test_deletion_frees_every_file_and_the_name(lake: Lake, blobs: Blobs) -> None:
    await lake.declare(PLATFORM, TableSpec(project="p", name="t", rules=(Between(column="a", high=10),)))
    await fill(lake, [1, 2], [3, 99])

    freed = await lake.delete(PLATFORM, "p", "t")

    assert freed.tables == ("t", "t__quarantine")
    assert freed.bytes_freed > 0
    assert list(blobs.names("lake/p/")) == []
    with pytest.raises(NotFound):
        await lake.table(PLATFORM, "p", "t")
    await fill(lake, [5])
    assert await values(lake) == [5]


async def test_sweep_removes_what_a_cut_deletion_left_and_nothing_else(lake: Lake, blobs: Blobs) -> None:
    await fill(lake, [1])
    blobs.put_named("lake/p/gone-0123/data/x.parquet", b"12345")

    assert (await lake.sweep(PLATFORM, "p")).bytes_freed == 5
    assert await values(lake) == [1]


async def test_twenty_appends_at_once_through_two_processes_are_all_there(
    lake: Lake, database: Database, blobs: Blobs, clock: ManualClock, settings: Settings
) -> None:
    other = Lake(database, blobs, clock, Ids(clock), settings)
    both = (lake, other)

    await asyncio.gather(*(fill(both[i % 2], [i]) for i in range(20)))

    assert await values(lake) == list(range(20))
    assert (await lake.table(PLATFORM, "p", "t")).rows == 20


async def test_metadata_files_do_not_pile_up(lake: Lake, tmp_path: Path, blobs: Blobs) -> None:
    await fill(lake, *([i] for i in range(14)))

    assert len([name for name in blobs.names("lake/p/") if name.endswith(".metadata.json")]) == 11


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"a": 2}, [2]),
        ({"a": {"ge": 2, "lt": 4}}, [2, 3]),
        ({"a": [1, 5]}, [1, 5]),
        ({"a": {"ne": 1}}, [2, 3, 4, 5]),
        ({"a": {"is_null": True}}, []),
        ({"_source": "x"}, []),
    ],
)
async def test_conditions_choose_rows(lake: Lake, where: dict[str, object], found: list[int]) -> None:
    await fill(lake, [1, 2, 3], [4, 5])

    assert sorted((await lake.scan(PLATFORM, "p", "t", where=where)).column("a").to_pylist()) == found


@pytest.mark.parametrize("where", [{"b": 1}, {"a": {"like": 1}}, {"a": "x"}, {"a": {"ge": {}}}])
async def test_conditions_a_column_cannot_have_are_refused(lake: Lake, where: dict[str, object]) -> None:
    await fill(lake, [1])

    with pytest.raises(InvalidValue):
        await lake.scan(PLATFORM, "p", "t", where=where)


async def test_limit_and_columns_are_kept(lake: Lake) -> None:
    await fill(lake, [1, 2, 3])

    assert (await lake.scan(PLATFORM, "p", "t", columns=("_source_row", "a"), limit=2)).to_pydict() == {
        "_source_row": [1, 2],
        "a": [1, 2],
    }
    with pytest.raises(InvalidValue, match="no column 'z'"):
        await lake.scan(PLATFORM, "p", "t", columns=("z",))


async def test_the_oldest_snapshots_are_forgotten_beyond_the_limit(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sill.lake.evolve.SNAPSHOTS_MAX", 4)
    monkeypatch.setattr("sill.lake.evolve.SNAPSHOTS_DROPPED", 2)

    await fill(lake, *([i] for i in range(6)))

    assert len(await lake.snapshots(PLATFORM, "p", "t")) <= 4
    assert await values(lake) == list(range(6))


@pytest.mark.parametrize("keep_s", [-1, 1e300, float("nan")])
async def test_times_beyond_sense_are_refused(lake: Lake, keep_s: float) -> None:
    await fill(lake, [1])

    with pytest.raises(InvalidValue, match="keep_s"):
        await lake.maintain(PLATFORM, "p", "t", Upkeep(keep_s=keep_s))
