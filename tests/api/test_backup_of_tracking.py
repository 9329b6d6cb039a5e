"""Series with any numbers go through a backup as they are, and a backup of the first release is brought up to date."""

import hashlib
import io
import math
import tarfile
from pathlib import Path

import msgspec
import pytest
from alembic import command
from sqlalchemy import MetaData, insert, select

from sill.api.backup import BackupManifest, restore, write_backup
from sill.api.services import build_services
from sill.core.actors import PLATFORM
from sill.core.clock import SystemClock
from sill.core.settings import Settings
from sill.runs.tracking import histories
from sill.runs.types import Batch, ExternalStart, Metric
from sill.stores import migrate
from sill.stores.database import open_database

pytestmark = pytest.mark.anyio


async def test_packed_points_and_infinities_are_restored_as_they_were(tmp_path: Path) -> None:
    services = await build_services(Settings(home=tmp_path / "old"), SystemClock())
    run = await services.external_runs.start(PLATFORM, "p", ExternalStart())
    values = (1.5, math.inf, -math.inf, math.nan)
    points = tuple(Metric(key="m", value=value, step=step) for step, value in enumerate(values))
    await services.tracking.log(PLATFORM, "p", run.id, Batch(metrics=(*points, Metric(key="top", value=math.inf))))
    before = await services.tracking.record(PLATFORM, "p", run.id)
    backup = await write_backup(services)
    services.close()
    restore(backup, Settings(home=tmp_path / "new"))
    restored = await build_services(Settings(home=tmp_path / "new"), SystemClock())
    page = await restored.tracking.history(PLATFORM, "p", run.id, "m")
    after = await restored.tracking.record(PLATFORM, "p", run.id)
    restored.close()

    assert [str(point.value) for point in page.items] == ["1.5", "inf", "-inf", "nan"]
    assert str(after) == str(before)


def test_a_backup_of_the_first_release_keeps_its_points(tmp_path: Path) -> None:
    path = tmp_path / "old.tar"
    path.write_bytes(first_release(tmp_path / "sill.db"))
    restore(path, Settings(home=tmp_path / "home"))

    database = open_database(f"sqlite:///{tmp_path}/home/sill.db", SystemClock())
    with database.engine.connect() as connection:
        page = histories.page(connection, "p", "run-00000001", "loss", "", 10)
        revision = migrate.current_revision(connection)
    database.close()
    assert [(point.step, point.value) for point in page.items] == [(0, 0.5), (1, 0.25)]
    assert revision == migrate.newest_revision()


def first_release(database_path: Path) -> bytes:
    """A backup as the first release wrote it: no revision in the manifest, a row of JSON for each point."""
    database = open_database(f"sqlite:///{database_path}", SystemClock())
    with database.engine.begin() as connection:
        command.upgrade(migrate._config(connection), "0001")
        tables = MetaData()
        tables.reflect(connection)
        named = {"project": "p", "run_id": "run-00000001", "key": "loss"}
        for step, value in ((0, 0.5), (1, 0.25)):
            connection.execute(
                insert(tables.tables["run_metrics"]), named | {"step": step, "timestamp_ms": 1, "value": value}
            )
        last = {"step": 1, "timestamp_ms": 1, "value": 0.25}
        connection.execute(insert(tables.tables["run_last_metrics"]), named | last)
        files = {
            f"tables/{name}.jsonl": b"\n".join(
                msgspec.json.encode(dict(row)) for row in connection.execute(select(table)).mappings()
            )
            for name, table in tables.tables.items()
            if name != "alembic_version"
        }
    database.close()
    files |= {"keys/master.key": b"m" * 32, "keys/signing.key": b"s" * 32}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = msgspec.to_builtins(BackupManifest(version="0.1", created_us=1, digests=digests))
    del manifest["revision"]
    return packed(files | {"manifest.json": msgspec.json.encode(manifest)})


def packed(files: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()
