"""Backup and restore: every row, every blob and the keys in one tar, the same for SQLite and PostgreSQL.

Because the form is that of neither database, a laptop's backup can be restored into PostgreSQL and S3: growing up is
`sill backup`, two environment variables, `sill restore`.
"""

import asyncio
import base64
import hashlib
import io
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Connection, Float, LargeBinary, MetaData, Table, func, insert, select

from sill import __version__
from sill.api.home import lock_home, prepare_home
from sill.core.clock import SystemClock
from sill.core.errors import Conflict, Damaged, InvalidValue, NotFound, Refused, SillError, Unavailable
from sill.core.names import shorten
from sill.core.numbers import to_number
from sill.core.settings import Settings, read_settings
from sill.core.values import Value
from sill.safety import strict_json
from sill.safety.archive import ArchiveLimits, extract
from sill.safety.paths import Folder
from sill.safety.private_files import write_private
from sill.stores.blobs import Blobs, open_blobs
from sill.stores.database import Database, Tx, open_database
from sill.stores.migrate import ensure_schema, newest_revision, step_back

if TYPE_CHECKING:
    from sill.api.services import Services

ROWS_PER_READ = 1_000
REVISION_TABLE = "alembic_version"
KEYS = ("master.key", "signing.key")
LIMITS = ArchiveLimits(bytes_max=2**50, entries_max=10_000_000, seconds_max=24 * 3600, ratio_max=10_000)


class BackupManifest(Value, frozen=True, kw_only=True):
    """What a backup holds: SHA-256 of every file in it. `revision` is that of its tables."""

    version: str
    created_us: int
    digests: dict[str, str]
    revision: str = "0001"


async def write_backup(services: "Services") -> Path:
    """Write a backup into the home and return its path; whoever asked sends it on and removes it."""
    return await asyncio.to_thread(_write, services)


def _write(services: "Services") -> Path:
    folder = services.settings.home / "backups"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"sill-{services.clock.now_us()}.tar"
    try:
        _fill(path, services)
    except BaseException as wrong:
        path.unlink(missing_ok=True)  # what is there of it holds secrets
        if isinstance(wrong, NotFound):
            raise Unavailable("something was deleted while the backup was written.", fix="Try again.") from wrong
        raise
    return path


def _fill(path: Path, services: "Services") -> None:
    digests: dict[str, str] = {}
    with path.open("xb") as file, tarfile.open(fileobj=file, mode="w") as archive:
        os.fchmod(file.fileno(), 0o600)

        def add(name: str, content: bytes) -> None:
            digests[name] = hashlib.sha256(content).hexdigest()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))

        # One read transaction sees one state of all tables; blobs are never changed, so they may follow.
        services.database.read_sync(lambda connection: _add_tables(connection, add))
        for digest in services.blobs.digests():
            add(f"blobs/{digest}", services.blobs.get(digest))
        for name in services.blobs.names(""):
            add(f"named/{name}", services.blobs.get_named(name))
        for key in KEYS:
            add(f"keys/{key}", (services.settings.home / "keys" / key).read_bytes())
        facts = {"version": __version__, "revision": newest_revision()}
        manifest = BackupManifest(**facts, created_us=services.clock.now_us(), digests=dict(digests))
        add("manifest.json", msgspec.json.encode(manifest))


def _add_tables(connection: Connection, add: Any) -> None:
    for table in _tables(connection):
        lines = [msgspec.json.encode(row) for row in _rows(connection, table)]
        add(f"tables/{table.name}.jsonl", b"\n".join(lines))


def _tables(connection: Connection) -> list[Table]:
    """The tables there are in the database, whichever revision made them."""
    present = MetaData()
    present.reflect(connection)
    return [table for table in present.sorted_tables if table.name != REVISION_TABLE]


def _rows(connection: Connection, table: Table) -> Iterator[dict[str, Any]]:
    for row in connection.execution_options(yield_per=ROWS_PER_READ).execute(select(table)).mappings():
        # JSON has no word for infinities. Bytes it writes in base64 by itself.
        yield {name: to_number(value) if isinstance(value, float) else value for name, value in row.items()}


def restore(path: Path, settings: Settings) -> int:
    """Fill an empty home (or empty big stores) from a backup; returns the number of rows.

    Raises:
        Conflict: there is something in the database already, or a Sill runs on the home.
        Damaged: a file of the backup is not what was written.
        InvalidValue: it is not a backup.
    """
    prepare_home(settings.home)
    with lock_home(settings.home):
        return _restore(path, settings)


def _restore(path: Path, settings: Settings) -> int:
    unpacked = settings.home / "restoring"
    shutil.rmtree(unpacked, ignore_errors=True)  # of a restore that was killed
    unpacked.mkdir(mode=0o700)
    folder = Folder(unpacked)
    try:
        with path.open("rb") as archive:
            names = extract(archive, folder, LIMITS)
        manifest = _check(folder, names)
        database = open_database(settings.database, SystemClock())
        try:
            ensure_schema(database)
            _refuse_if_filled(database)
            _restore_blobs(folder, names, open_blobs(settings))
            step_back(database, manifest.revision)
            rows = database.write_sync(lambda tx: _restore_tables(tx, folder, names))
            ensure_schema(database)
        finally:
            database.close()
        (settings.home / "keys").mkdir(mode=0o700, exist_ok=True)
        for key in KEYS:
            write_private(settings.home / "keys" / key, _content(folder, f"keys/{key}"))
        return rows
    finally:
        shutil.rmtree(unpacked)


def _check(folder: Folder, names: list[str]) -> BackupManifest:
    if "manifest.json" not in names:
        raise InvalidValue(
            "this archive is not a backup of Sill: it has no manifest.json.", fix="Give a file `sill backup` wrote."
        )
    manifest = strict_json.decode(_content(folder, "manifest.json"), BackupManifest)
    unlisted = sorted(set(names) - set(manifest.digests) - {"manifest.json"})
    if unlisted:
        raise Damaged(f"{shorten(unlisted[0])} is in the backup and was not written to it.", fix="Use another backup.")
    for name, digest in manifest.digests.items():
        if name not in names or hashlib.sha256(_content(folder, name)).hexdigest() != digest:
            raise Damaged(f"{name} in the backup is missing or is not what was written.", fix="Use another backup.")
    if manifest.revision > newest_revision():
        raise Refused(
            f"the backup's tables are of revision {manifest.revision}, this Sill knows revisions up to "
            f"{newest_revision()}.",
            fix="Install the Sill that wrote it, or a newer one.",
        )
    return manifest


def _content(folder: Folder, name: str) -> bytes:
    with folder.open(name) as file:
        return file.read()


def _refuse_if_filled(database: Database) -> None:
    filled = database.read_sync(
        lambda connection: [
            table.name
            for table in _tables(connection)
            if connection.execute(select(table).limit(1)).first() is not None
        ]
    )
    if filled:
        raise Conflict(
            f"the database has rows already (in {', '.join(filled[:3])}).",
            fix="Restore into a new SILL_HOME or an empty database.",
        )


def _restore_blobs(folder: Folder, names: list[str], blobs: Blobs) -> None:
    for name in names:
        kind, _, rest = name.partition("/")
        if kind == "blobs" and blobs.put_bytes(_content(folder, name)) != rest:
            raise Damaged(f"blob {rest} in the backup is not what its name says.", fix="Use another backup.")
        if kind == "named":
            blobs.put_named(rest, _content(folder, name))


def _restore_tables(tx: Tx, folder: Folder, names: list[str]) -> int:
    """The rows, into the tables as they are now: those of the backup's revision."""
    rows = 0
    for table in _tables(tx.connection):
        name = f"tables/{table.name}.jsonl"
        if name not in names:
            continue
        lines = [line for line in _content(folder, name).split(b"\n") if line]
        for at in range(0, len(lines), ROWS_PER_READ):
            tx.execute(insert(table), [_read(table, line) for line in lines[at : at + ROWS_PER_READ]])
        rows += len(lines)
        _count_on(tx, table)
    return rows


def _read(table: Table, line: bytes) -> dict[str, Any]:
    """A row as it was, with the numbers and bytes that JSON has no form for."""
    row: dict[str, Any] = msgspec.json.decode(line)
    for name, value in row.items():
        kind = table.c[name].type
        if isinstance(value, str) and isinstance(kind, LargeBinary):
            row[name] = base64.b64decode(value)
        elif isinstance(value, str) and isinstance(kind, Float):
            row[name] = float(value)
    return row


def _count_on(tx: Tx, table: Table) -> None:
    """Let PostgreSQL number new rows behind the restored ones; SQLite does so by itself."""
    counted = table.autoincrement_column
    if tx.connection.dialect.name != "postgresql" or counted is None or counted.autoincrement is not True:
        return
    newest = select(func.coalesce(func.max(counted), 0) + 1).scalar_subquery()
    tx.execute(select(func.setval(func.pg_get_serial_sequence(table.name, counted.name), newest, False)))


def main(arguments: list[str]) -> int:
    """`python -m sill.api.backup FILE [--json]`: restore."""
    as_json = "--json" in arguments[1:]
    try:
        settings = read_settings()
        rows = restore(Path(arguments[0]), settings)
    except (SillError, OSError) as wrong:
        refused = wrong if isinstance(wrong, SillError) else InvalidValue(f"{wrong.filename}: {wrong.strerror}.")
        said = msgspec.json.encode(refused.to_dict()).decode() if as_json else refused.for_terminal()
        print(said, file=sys.stderr)
        return 2
    if as_json:
        print(msgspec.json.encode({"rows": rows, "home": str(settings.home)}).decode())
    else:
        print(f"restored {rows} rows into {settings.home}; start it with `sill up`.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
