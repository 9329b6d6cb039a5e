"""The Iceberg catalog: one change of one or more tables, all of it or nothing.

pyiceberg's transactions end in `commit_table`. Here that only writes the new metadata file and notes it; `commit` then
moves the pointers of all tables the change touched, records the digests of all files it wrote, and leaves its event and
its idempotency record, in one database transaction. A process that dies before it leaves files nobody points to, which
`upkeep` finds and removes.

pyiceberg asks for two methods of a catalog besides `commit_table` and checks no class, so this is not a subclass.
"""

import secrets
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from msgspec.structs import replace

from sill.core.clock import Clock, Ids
from sill.core.errors import Conflict, NotFound, Unavailable
from sill.lake.files import Digests, TableFiles
from sill.lake.store import TABLES, add_files, forget_files
from sill.lake.types import ColumnInfo, Table
from sill.stores.blobs import Blobs
from sill.stores.database import Database, Tx
from sill.stores.database.database import once

T = TypeVar("T")

TRIES_MAX = 20
PAUSE_MS = 10
PAUSE_DOUBLINGS_MAX = 6
"""The pause after a lost race is at most 10 ms at first and at most 640 ms in the end."""
"""How often a change is made again after somebody else's came first."""
LOCKS = 64
METADATA_VERSIONS_MAX = 10
MANIFESTS_PER_MERGE = 30
PROPERTIES = {
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": str(MANIFESTS_PER_MERGE),
    "commit.retry.num-retries": "0",  # a change that lost the race is made again as a whole, rules and duplicates too
    "write.metadata.previous-versions-max": str(METADATA_VERSIONS_MAX),
    "write.parquet.compression-codec": "zstd",
    "write.target-file-size-bytes": str(128 * 1024 * 1024),
}


class TableMoved(LookupError):
    """Somebody else changed a table between reading its pointer and moving it; the change is to be made again."""


@dataclass
class _Staged:
    """A table's new state, written and not yet pointed to."""

    table: Table
    base: Any
    metadata: Any
    location: str


@dataclass(frozen=True)
class Parts:
    """What every operation of the lake works with."""

    database: Database
    blobs: Blobs
    clock: Clock
    ids: Ids
    digests: Digests
    locks: tuple[threading.Lock, ...] = field(default_factory=lambda: tuple(threading.Lock() for _ in range(LOCKS)))

    def lock(self, project: str, table: str) -> threading.Lock:
        """The lock under which this process changes the table: it saves lost races, the pointer decides them."""
        return self.locks[hash((project, table)) % LOCKS]


class Change:
    """One change. Make one for each try; it ends with `commit` or `discard`."""

    def __init__(self, parts: Parts, project: str) -> None:
        self._database = parts.database
        self._blobs = parts.blobs
        self._digests = parts.digests
        self._project = project
        self._opened: dict[str, tuple[Table, Any, TableFiles]] = {}
        self._staged: dict[str, _Staged] = {}

    def open(self, table: Table) -> Any:
        """The pyiceberg table as the pointer says, or None if it holds no rows yet."""
        if not table.metadata_url:
            return None
        from pyiceberg.serializers import FromByteStream

        files = self._files(table)
        metadata = FromByteStream.table_metadata(files.new_input(table.metadata_url).open())
        return self._keep(table, metadata, table.metadata_url, files)

    def create(self, table: Table, schema: Any) -> Any:
        """A pyiceberg table of this Arrow schema, for a pointer that has none yet."""
        from pyiceberg.catalog import Catalog
        from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
        from pyiceberg.table.metadata import new_table_metadata
        from pyiceberg.table.sorting import UNSORTED_SORT_ORDER

        metadata = new_table_metadata(
            schema=Catalog._convert_schema_if_needed(schema),
            partition_spec=UNPARTITIONED_PARTITION_SPEC,
            sort_order=UNSORTED_SORT_ORDER,
            location=self._blobs.url(table.location),
            properties=dict(PROPERTIES),
        )
        return self._keep(table, metadata, "", self._files(table))

    def opened(self, name: str) -> tuple[Any, TableFiles]:
        """A table opened before, as its transactions left it, and its files."""
        _, opened, files = self._opened[name]
        return opened, files

    def commit_table(self, table: Any, requirements: tuple[Any, ...], updates: tuple[Any, ...]) -> Any:
        """What pyiceberg calls at the end of a transaction: write the new metadata, and wait for `commit`."""
        from pyiceberg.serializers import ToOutputFile
        from pyiceberg.table import CommitTableResponse
        from pyiceberg.table.update import update_table_metadata

        name = table.name()[-1]
        document, _, files = self._opened[name]
        for requirement in requirements:
            requirement.validate(table.metadata)
        metadata = update_table_metadata(table.metadata, updates, metadata_location=table.metadata_location or None)
        location = f"{metadata.location}/metadata/{document.revision:06d}-{uuid.uuid4().hex}.metadata.json"
        ToOutputFile.table_metadata(metadata, files.new_output(location))
        base = self._staged[name].base if name in self._staged else table.metadata
        self._staged[name] = _Staged(document, base, metadata, location)
        return CommitTableResponse(metadata=metadata, metadata_location=location)

    def load_table(self, identifier: tuple[str, ...]) -> Any:
        """What pyiceberg calls to refresh a table: within a change it stays as it was opened."""
        return self._opened[identifier[-1]][1]

    def supports_server_side_planning(self) -> bool:
        """What pyiceberg asks before a scan: no, it plans."""
        return False

    @staticmethod
    def _delete_old_metadata(_files: Any, _base: Any, _metadata: Any) -> None:
        """What pyiceberg calls after a transaction; too early here, `commit` does it."""

    def commit(self, key: str, request: Any, returns: type[T], work: Callable[[Tx, dict[str, Table]], T]) -> T:
        """Point to all that was written, and do `work` in the same transaction; at most once for a key.

        Args:
            work: gets the tables' new documents by name, emits the event, and returns the result.
        Raises:
            TableMoved: a pointer is no longer what it was when it was read.
            Conflict: the key was used for a different request.
        """
        is_first = False

        def move(tx: Tx) -> T:
            nonlocal is_first
            moved = {name: self._move(tx, staged) for name, staged in self._staged.items()}
            result = work(tx, moved)
            is_first = True
            return result

        try:
            result = self._database.write_sync(once(key, request, returns, move))
        except Unavailable:
            raise  # it may have happened: the files stay, upkeep knows whether they are pointed to
        except BaseException:
            self.discard()
            raise
        if is_first:
            self._remove_old_metadata()
        else:
            self.discard()
        return result

    def discard(self) -> None:
        """Remove what was written."""
        for _, _, files in self._opened.values():
            files.discard()

    def _move(self, tx: Tx, staged: _Staged) -> Table:
        current = TABLES.find(tx.connection, self._project, staged.table.name)
        if current is None or current.revision != staged.table.revision or current.location != staged.table.location:
            raise TableMoved(staged.table.name)
        files = self._opened[staged.table.name][2]
        add_files(tx, self._project, staged.table.name, files.pending.values())
        forget_files(tx, self._project, self._old_metadata(staged))
        return TABLES.replace(tx, described(staged.table, staged.metadata, staged.location, tx.now_us))

    def _old_metadata(self, staged: _Staged) -> list[str]:
        """Metadata files the new state no longer lists."""
        files = self._opened[staged.table.name][2]
        before = {entry.metadata_file for entry in staged.base.metadata_log}
        return [files.name(one) for one in before - {entry.metadata_file for entry in staged.metadata.metadata_log}]

    def _remove_old_metadata(self) -> None:
        for staged in self._staged.values():
            for name in self._old_metadata(staged):
                self._blobs.delete_named(name)

    def _files(self, table: Table) -> TableFiles:
        return TableFiles(self._database, self._blobs, self._digests, self._project, table.location)

    def _keep(self, table: Table, metadata: Any, location: str, files: TableFiles) -> Any:
        from pyiceberg.table import Table as IcebergTable

        opened = IcebergTable((self._project, table.name), metadata, location, files, self)  # type: ignore[arg-type,unused-ignore]
        self._opened[table.name] = (table, opened, files)
        return opened


def described(table: Table, metadata: Any, location: str, now_us: int) -> Table:
    """The pointer with what the metadata says about the current snapshot."""
    snapshot = metadata.current_snapshot()
    summary = dict(snapshot.summary.additional_properties) if snapshot is not None and snapshot.summary else {}
    return replace(
        table,
        metadata_url=location,
        snapshot_id=snapshot.snapshot_id if snapshot else 0,
        rows=int(summary.get("total-records", 0)),
        size_bytes=int(summary.get("total-files-size", 0)),
        columns=tuple(
            ColumnInfo(name=field.name, type=str(field.field_type), nullable=not field.required)
            for field in metadata.schema().fields
        ),
        updated_us=now_us,
    )


def snapshot_of(opened: Any, table: Table, snapshot_id: int) -> Any:
    """The snapshot of that id.

    Raises:
        NotFound: the table has none, or no longer.
    """
    found = opened.snapshot_by_id(snapshot_id) if opened is not None else None
    if found is None:
        raise NotFound(
            f"table {table.name!r} has no snapshot {snapshot_id}.", fix="List the table's snapshots; old ones expire."
        )
    return found


def answered(database: Database, key: str, request: Any, returns: type[T]) -> T | None:
    """What the operation answered the first time it was asked for under this key, or None.

    Raises:
        Conflict: the key was used for a different request.
    """
    if not key:
        return None

    def not_yet(_tx: Tx) -> T:
        raise _NotYet

    try:
        return database.write_sync(once(key, request, returns, not_yet))
    except _NotYet:
        return None


class _NotYet(LookupError):
    """No answer is kept under the key."""


def until_it_holds(parts: Parts, project: str, table: str, change: Callable[[], T]) -> T:
    """Make a change, again from the start when somebody else's came first.

    Raises:
        Conflict: it lost the race `TRIES_MAX` times.
    """
    for tried in range(TRIES_MAX):
        with parts.lock(project, table):
            try:
                return change()
            except TableMoved:
                pause_ms = secrets.randbelow(PAUSE_MS << min(tried, PAUSE_DOUBLINGS_MAX)) + 1
        time.sleep(pause_ms / 1_000)  # a random, growing pause: two processes that collide must not go on in step
    raise Conflict(
        f"table {table!r} was changed by others {TRIES_MAX} times while this change was being made.",
        fix="Try again, or write less often in bigger batches.",
    )
