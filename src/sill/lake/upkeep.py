"""Tidies tables and takes them away: compaction, expiry of old snapshots, removal of files nobody points to.

No clock tells which files are in use. A change writes its files only after it has read the table's pointer, and is
committed only if that has not moved since. So upkeep lists the files first, then moves the pointer, and only then
removes those of the list that the new state does not need: whoever wrote one of them without committing has lost.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Connection

from sill.core.actors import Actor
from sill.core.errors import Conflict, InvalidValue
from sill.lake.catalog import Change, Parts, TableMoved, snapshot_of, until_it_holds
from sill.lake.store import TABLES, file_sizes, forget_files, forget_table_files, quarantine_name
from sill.lake.transactions import begin, expire
from sill.lake.types import Freed, Table, Upkeep, UpkeepReport
from sill.stores.database import Tx

Holder = Callable[[Connection, str, str], str]
"""Asked before a table is deleted: (connection, project, table) → what uses it, or nothing."""
COMPACT_BYTES_MAX = 1024**3
"""Larger tables are not rewritten: it happens in memory."""
COMPACT_FILES_MIN = 2
KEEP_S_MAX = 1e9


def maintain(parts: Parts, actor: Actor, project: str, name: str, asked: Upkeep) -> UpkeepReport:
    """Compact the table, let old snapshots go, and remove every file nothing points to any more."""
    if not 0 <= asked.keep_s <= KEEP_S_MAX:
        raise InvalidValue(f"keep_s {asked.keep_s} is not within 0 to {KEEP_S_MAX:g}.", field="keep_s")
    return until_it_holds(parts, project, name, lambda: _maintain(parts, actor, project, name, asked))


def _maintain(parts: Parts, actor: Actor, project: str, name: str, asked: Upkeep) -> UpkeepReport:
    listed = _listed(parts, project, name)
    table = parts.database.read_sync(lambda connection: TABLES.get(connection, project, name))
    change = Change(parts, project)
    try:
        before, after, note, expired = _rewrite(change, parts, table, asked)
        needed = _needed(change, table)
    except BaseException:
        change.discard()
        raise
    garbage = [one for one in listed if one.startswith(f"{table.location}/") and one not in needed]

    def tell(tx: Tx, moved: dict[str, Table]) -> UpkeepReport:
        if not moved:  # nothing to rewrite or expire: the pointer moves all the same, so that late writers lose
            if TABLES.get(tx.connection, project, name).revision != table.revision:
                raise TableMoved(name)
            TABLES.replace(tx, table)
        forget_files(tx, project, garbage)
        report = UpkeepReport(
            project=project,
            table=name,
            files_before=before,
            files_after=after,
            snapshots_expired=expired,
            files_removed=len(garbage),
            bytes_freed=0,
            note=note,
        )
        tx.emit("table.maintained", project, name, actor.id, expired=expired, files_removed=len(garbage), files=after)
        return report

    report = change.commit("", None, UpkeepReport, tell)
    return replace(report, bytes_freed=sum(parts.blobs.delete_named(one) for one in garbage))


def _listed(parts: Parts, project: str, name: str) -> list[str]:
    """Names of all files under the table's places, read before its pointer."""
    return list(parts.blobs.names(f"lake/{project}/{name}-"))


def _rewrite(change: Change, parts: Parts, table: Table, asked: Upkeep) -> tuple[int, int, str, int]:
    """(data files before, after, why nothing was compacted, snapshots expired)."""
    opened = change.open(table)
    if opened is None or opened.current_snapshot() is None:
        return 0, 0, "the table has no rows", 0
    before = after = _data_files(opened)
    note = _why_not(table, before) if asked.compact else "not asked for"
    if not note:
        rows = opened.scan().to_arrow()
        transaction = begin(opened)
        transaction.overwrite(rows, snapshot_properties={"sill.operation": "compact"})
        transaction.commit_transaction()
        after = _data_files(opened)
    before_us = parts.clock.now_us() - round(asked.keep_s * 1e6)
    expired = _expire(opened, datetime.fromtimestamp(before_us / 1e6, UTC))
    return before, after, note, expired


def _why_not(table: Table, files: int) -> str:
    if files < COMPACT_FILES_MIN:
        return f"{files} data file: nothing to join"
    if table.size_bytes > COMPACT_BYTES_MAX:
        return f"{table.size_bytes} bytes are more than are rewritten in memory ({COMPACT_BYTES_MAX})"
    return ""


def _data_files(opened: Any) -> int:
    snapshot = opened.current_snapshot()
    return int(snapshot.summary.additional_properties.get("total-data-files", 0))


def _expire(opened: Any, before: datetime) -> int:
    kept = {reference.snapshot_id for reference in opened.metadata.refs.values()}
    old = [
        one.snapshot_id
        for one in opened.metadata.snapshots
        if one.timestamp_ms <= before.timestamp() * 1e3 and one.snapshot_id not in kept
    ]
    if old:
        transaction = begin(opened)
        expire(transaction, old)
        transaction.commit_transaction()
    return len(old)


def _needed(change: Change, table: Table) -> set[str]:
    """Names of all files the table's state, as the change leaves it, points to."""
    if not table.metadata_url:
        return set()
    opened, files = change.opened(table.name)
    needed = {files.name(entry.metadata_file) for entry in opened.metadata.metadata_log}
    needed.add(files.name(opened.metadata_location))
    for snapshot in opened.metadata.snapshots:
        needed.add(files.name(snapshot.manifest_list))
        for manifest in snapshot.manifests(files):
            name = files.name(manifest.manifest_path)
            if name in needed:
                continue
            needed.add(name)
            entries = manifest.fetch_manifest_entry(files, discard_deleted=True)
            needed.update(files.name(entry.data_file.file_path) for entry in entries)
    return needed


def rollback(parts: Parts, actor: Actor, project: str, name: str, snapshot_id: int, key: str) -> Table:
    """Make an earlier snapshot the current one, columns included; later ones stay readable until they expire.

    Raises:
        NotFound: the table has no such snapshot.
    """

    def attempt() -> Table:
        table = parts.database.read_sync(lambda connection: TABLES.get(connection, project, name))
        change = Change(parts, project)
        opened = change.open(table)
        snapshot = snapshot_of(opened, table, snapshot_id)
        try:
            _set_current(opened, snapshot)
        except BaseException:
            change.discard()
            raise

        def tell(tx: Tx, moved: dict[str, Table]) -> Table:
            done = moved.get(name, table)
            tx.emit(
                "table.rolled_back",
                project,
                name,
                actor.id,
                snapshot_id=snapshot_id,
                before=table.snapshot_id,
                rows=done.rows,
            )
            return done

        return change.commit(key, ["rollback", project, name, snapshot_id], Table, tell)

    return until_it_holds(parts, project, name, attempt)


def _set_current(opened: Any, snapshot: Any) -> None:
    from pyiceberg.table.update import SetCurrentSchemaUpdate

    transaction = begin(opened)
    if snapshot.schema_id is not None and snapshot.schema_id != opened.metadata.current_schema_id:
        transaction._stage((SetCurrentSchemaUpdate(schema_id=snapshot.schema_id),))
    updates, requirements = transaction._set_ref_snapshot(
        snapshot_id=snapshot.snapshot_id, ref_name="main", type="branch"
    )
    transaction._stage(updates, requirements)
    transaction.commit_transaction()


def delete(parts: Parts, actor: Actor, project: str, name: str, holders: Sequence[Holder] = ()) -> Freed:
    """Take a table away, with the rows it quarantined; its files go at once.

    Raises:
        NotFound: it is not there.
        Conflict: something uses it; the message names it.
    """
    with parts.lock(project, name):
        gone = parts.database.write_sync(lambda tx: _forget(tx, actor, project, name, holders))
    return _removed(parts, gone)


def _forget(tx: Tx, actor: Actor, project: str, name: str, holders: Sequence[Holder]) -> list[Table]:
    gone = [TABLES.get(tx.connection, project, name)]
    users = [user for holder in holders if (user := holder(tx.connection, project, name))]
    if users:
        raise Conflict(
            f"table {name!r} is in use by {', '.join(users)}.", fix="Delete that first, then the table.", field="name"
        )
    rejected = TABLES.find(tx.connection, project, quarantine_name(name))
    gone += [rejected] if rejected is not None else []
    for table in gone:
        TABLES.delete(tx, project, table.name)
        forget_table_files(tx, project, table.name)
    tx.emit("table.deleted", project, name, actor.id, rows=gone[0].rows, size_bytes=gone[0].size_bytes)
    return gone


def _removed(parts: Parts, gone: list[Table]) -> Freed:
    names = [name for table in gone for name in parts.blobs.names(f"{table.location}/")]
    freed = sum(parts.blobs.delete_named(name) for name in names)
    return Freed(tables=tuple(table.name for table in gone), files=len(names), bytes_freed=freed)


def sweep(parts: Parts, project: str) -> Freed:
    """Remove the files of tables that are gone: what a deletion left that was cut short.

    A table's place stands in the database before its first file is written, so a file in a place nobody has is garbage.
    """
    listed = list(parts.blobs.names(f"lake/{project}/"))
    places = {
        table.location for table in parts.database.read_sync(lambda connection: TABLES.every(connection, project))
    }
    garbage = [name for name in listed if "/".join(name.split("/")[:3]) not in places]
    freed = sum(parts.blobs.delete_named(name) for name in garbage)
    return Freed(tables=(), files=len(garbage), bytes_freed=freed)


def used_bytes(parts: Parts, project: str, name: str) -> int:
    """Bytes of all files of a table, those of older snapshots and of metadata included."""
    return sum(parts.database.read_sync(lambda connection: file_sizes(connection, project, name)).values())
