"""Crashes and flipped bits: a table is as it was before or after a change, and damaged bytes are never data."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sill.core.actors import PLATFORM
from sill.core.clock import Ids, ManualClock
from sill.core.errors import Damaged
from sill.core.settings import Settings
from sill.lake.service import Lake
from sill.lake.types import Between, TableSpec
from sill.stores.blobs import Blobs
from sill.stores.database import Database

pytestmark = pytest.mark.anyio


class Killed(BaseException):
    """The process ends here."""


class DyingBlobs:
    """A blob store whose process is killed at the nth call that changes something."""

    def __init__(self, inner: Blobs, calls: int) -> None:
        self._inner = inner
        self.left = calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def put_named(self, name: str, data: bytes) -> None:
        self._step()
        self._inner.put_named(name, data)

    def delete_named(self, name: str) -> int:
        self._step()
        return self._inner.delete_named(name)

    def _step(self) -> None:
        self.left -= 1
        if self.left <= 0:
            raise Killed


async def fill(lake: Lake, key: str, *ages: int) -> None:
    await lake.append(PLATFORM, "p", "t", pa.table({"a": list(ages)}), key=key)


async def both(lake: Lake) -> tuple[list[int], list[str]]:
    rows = await lake.scan(PLATFORM, "p", "t")
    rejected = await lake.quarantine(PLATFORM, "p", "t")
    texts = rejected.column("a").to_pylist() if rejected.num_rows else []
    return sorted(rows.column("a").to_pylist()), texts


@pytest.mark.parametrize("step", range(1, 9))
async def test_an_append_killed_between_files_leaves_both_tables_as_they_were(
    lake: Lake, database: Database, blobs: Blobs, clock: ManualClock, settings: Settings, step: int
) -> None:
    await lake.declare(PLATFORM, TableSpec(project="p", name="t", rules=(Between(column="a", high=100),)))
    await fill(lake, "k1", 1, 101)
    dying = DyingBlobs(blobs, step)

    with pytest.raises(Killed):
        await fill(Lake(database, dying, clock, Ids(clock), settings), "k2", 2, 102)  # type: ignore[arg-type]

    assert await both(lake) == ([1], ["101"])
    await fill(lake, "k2", 2, 102)
    await fill(lake, "k2", 2, 102)
    assert await both(lake) == ([1, 2], sorted(["101", "102"], reverse=True))
    await lake.maintain(PLATFORM, "p", "t")
    assert (await lake.maintain(PLATFORM, "p", "t")).files_removed == 0


async def test_a_commit_that_fails_leaves_the_table_as_it_was(
    lake: Lake, database: Database, monkeypatch: pytest.MonkeyPatch, blobs: Blobs
) -> None:
    await fill(lake, "k1", 1)
    before = sorted(blobs.names("lake/"))
    write = database.write_sync

    def refuse(work: Callable[..., Any]) -> Any:
        if "Change.commit" in getattr(work, "__qualname__", ""):
            raise LookupError("the transaction was rolled back")
        return write(work)

    monkeypatch.setattr(database, "write_sync", refuse)
    with pytest.raises(LookupError):
        await fill(lake, "", 2)
    monkeypatch.undo()

    assert (await lake.table(PLATFORM, "p", "t")).rows == 1
    assert sorted(blobs.names("lake/")) == before


async def outcome(lake: Lake, file: str) -> str:
    """`damaged` if reading raised and named the file, `sound` if it was not needed and the rows are right."""
    try:
        rows = await lake.scan(PLATFORM, "p", "t")
    except Damaged as told:
        return "damaged" if file in str(told) else "wrong file named"
    return "sound" if sorted(rows.column("a").to_pylist()) == [1, 2, 3, 4] else "wrong rows"


@pytest.mark.parametrize("kind", ["parquet", "avro", "json"])
async def test_a_flipped_bit_is_an_error_that_names_the_file(
    lake: Lake, blobs: Blobs, tmp_path: Path, kind: str
) -> None:
    await fill(lake, "k1", 1, 2, 3)
    await fill(lake, "k2", 4)
    current = (await lake.table(PLATFORM, "p", "t")).metadata_url
    dice = random.Random(7)
    files = [
        path for path in (tmp_path / "blobs" / "named").rglob(f"*.{kind}") if kind != "json" or path.as_uri() == current
    ]
    seen: list[str] = []
    for path in files:
        sound = path.read_bytes()
        for _ in range(4):
            broken = bytearray(sound)
            broken[dice.randrange(len(sound))] ^= 1 << dice.randrange(8)
            path.write_bytes(broken)
            seen.append(await outcome(lake, path.name))
        path.write_bytes(sound)
    assert seen.count("damaged") >= 4
    assert set(seen) <= {"damaged", "sound"}
    assert (await lake.scan(PLATFORM, "p", "t")).num_rows == 4


async def test_a_file_that_is_gone_or_swapped_is_an_error(lake: Lake, tmp_path: Path) -> None:
    await fill(lake, "k1", 1)
    await fill(lake, "k2", 2)
    one, two = sorted((tmp_path / "blobs" / "named").rglob("*.parquet"))
    sound = one.read_bytes()

    one.write_bytes(two.read_bytes())
    with pytest.raises(Damaged):
        await lake.scan(PLATFORM, "p", "t")
    one.unlink()
    with pytest.raises(Damaged, match="is gone"):
        await lake.scan(PLATFORM, "p", "t")
    one.write_bytes(sound)
    assert (await lake.scan(PLATFORM, "p", "t")).num_rows == 2
