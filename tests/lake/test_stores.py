"""The lake on the big stores: files on S3, pointers in PostgreSQL."""

import asyncio
from pathlib import Path

import pyarrow as pa
import pytest

from sill.core.actors import PLATFORM
from sill.core.clock import Ids, ManualClock
from sill.core.settings import Settings
from sill.lake.service import Lake
from sill.lake.types import Between, TableSpec, Upkeep
from sill.stores.blobs import Blobs, open_blobs
from sill.stores.database import Database, metadata, open_database

pytestmark = pytest.mark.anyio


async def test_tables_lie_on_s3(database: Database, clock: ManualClock, s3_url: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, blob_url=s3_url)
    blobs = open_blobs(settings)
    lake = Lake(database, blobs, clock, Ids(clock), settings)
    await lake.declare(PLATFORM, TableSpec(project="p", name="t", rules=(Between(column="a", high=10),)))

    await lake.append(PLATFORM, "p", "t", pa.table({"a": [1, 2, 99]}))
    await lake.append(PLATFORM, "p", "t", pa.table({"a": [3]}))

    assert (await lake.table(PLATFORM, "p", "t")).metadata_url.startswith(s3_url)
    assert sorted((await lake.scan(PLATFORM, "p", "t")).column("a").to_pylist()) == [1, 2, 3]
    clock.advance(1e9)
    assert (await lake.maintain(PLATFORM, "p", "t", Upkeep(keep_s=0))).bytes_freed > 0
    assert (await lake.delete(PLATFORM, "p", "t")).bytes_freed > 0
    assert list(blobs.names("lake/")) == []


async def test_pointers_move_in_postgres(
    postgres_url: str, blobs: Blobs, clock: ManualClock, settings: Settings
) -> None:
    one, other = open_database(postgres_url, clock), open_database(postgres_url, clock)
    metadata.create_all(one.engine)
    lakes = [Lake(database, blobs, clock, Ids(clock), settings) for database in (one, other)]
    try:
        batches = [pa.table({"a": [i]}) for i in range(8)]
        await asyncio.gather(
            *(lakes[i % 2].append(PLATFORM, "p", "t", data, key=f"k{i}") for i, data in enumerate(batches))
        )

        assert (await lakes[0].append(PLATFORM, "p", "t", batches[0], key="k0")).rows_written == 1
        assert sorted((await lakes[1].scan(PLATFORM, "p", "t")).column("a").to_pylist()) == list(range(8))
    finally:
        one.close()
        other.close()
