"""One append: rules, gate, duplicates, schema, quarantine, and one commit for all of it."""

import hashlib
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import replace

from sill.core.actors import Actor
from sill.core.errors import InvalidValue, Refused, TooLarge
from sill.core.names import shorten
from sill.lake.catalog import Change, Parts, answered, until_it_holds
from sill.lake.declare import check_table_name, find_or_create
from sill.lake.evolve import write_rows
from sill.lake.quarantine import as_quarantined
from sill.lake.rules import Judged, gate_reason, judge
from sill.lake.schemas import SYSTEM_COLUMNS, Agreement, check_shape, storable
from sill.lake.store import quarantine_name
from sill.lake.types import Table, TableSpec, Unique, WriteReport
from sill.stores.database import Tx

if TYPE_CHECKING:
    import pyarrow as pa

Mode = Literal["append", "overwrite"]
Also = Callable[[Tx], object]

BATCH_BYTES_MAX = 4 * 1024**3
SOURCE_LENGTH_MAX = 2_000


def append(
    parts: Parts,
    actor: Actor,
    project: str,
    table: str,
    data: "pa.Table",
    key: str,
    mode: Mode,
    source: str,
    also: Also | None = None,
    means: Any = None,
) -> WriteReport:
    """Append a batch (or put it in the place of all rows), exactly once for a key.

    Args:
        also: done in the transaction that commits the rows, so that neither is there without the other.
        means: what the key stands for; the rows if it is None.
    Raises:
        InvalidValue, TooLarge: the batch has a shape or values the table cannot take; nothing is written.
        Refused: the quality gate refused the batch; nothing is written but the event `table.refused`.
    """
    check_table_name(table)
    check_shape(data.schema)
    if data.nbytes > BATCH_BYTES_MAX:
        raise TooLarge(
            f"the batch has {data.nbytes} bytes; at most {BATCH_BYTES_MAX} are allowed.", fix="Send it in parts."
        )
    batch = storable(data.drop_columns([name for name in ("_batch", "_ingested_at") if name in data.column_names]))
    said = means if means is not None or not key else fingerprint(batch)
    request = [project, table, mode, source, said]
    earlier = answered(parts.database, key, request, WriteReport)
    if earlier is not None:
        return earlier
    one = _Append(parts, actor, project, table, batch, mode, shorten(source, SOURCE_LENGTH_MAX), also)
    return until_it_holds(parts, project, table, lambda: one.attempt(key, request))


def fingerprint(data: "pa.Table") -> str:
    """SHA-256 over names, types and values of a batch, so that a key cannot be used again for other data."""
    import pyarrow as pa

    digest = hashlib.sha256()
    with pa.ipc.new_stream(_Hash(digest), data.schema) as stream:
        stream.write_table(data.combine_chunks())
    return digest.hexdigest()


class _Hash:
    """A file that only hashes."""

    closed = False

    def __init__(self, digest: Any) -> None:
        self._digest = digest

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing to close."""


class _Append:
    """One append over its tries."""

    def __init__(
        self,
        parts: Parts,
        actor: Actor,
        project: str,
        table: str,
        batch: "pa.Table",
        mode: Mode,
        source: str,
        also: Also | None,
    ) -> None:
        self._parts = parts
        self._actor = actor
        self._project = project
        self._table = table
        self._mode: Mode = mode
        self._batch_id = parts.ids.new("batch")
        self._batch = _with_origin(batch, source)
        self._also = also

    def attempt(self, key: str, request: Any) -> WriteReport:
        """Do all of it once against the table as it is now."""
        table = find_or_create(self._parts, self._actor, self._project, self._table)
        judged = judge(self._batch, table.spec)
        self._gate(table.spec, judged)
        change = Change(self._parts, self._project)
        try:
            report = self._write(change, table, judged)
        except BaseException:
            change.discard()
            raise
        return change.commit(key, request, WriteReport, lambda tx, moved: self._tell(tx, moved, table, report))

    def _gate(self, spec: TableSpec, judged: Judged) -> None:
        reason = gate_reason(spec.gate, self._batch.num_rows, judged)
        if not reason:
            return
        facts = {
            "rows_in": self._batch.num_rows,
            "quarantined": judged.quarantined,
            "repaired": judged.repaired,
            "dropped": judged.dropped,
        }
        self._parts.database.write_sync(
            lambda tx: tx.emit("table.refused", self._project, self._table, self._actor.id, reason=reason, **facts)
        )
        raise Refused(
            f"table {self._table!r} refused the batch: {reason}. Nothing was written.",
            fix="Correct the data at its source, or change the table's rules or gate.",
            **facts,
        )

    def _write(self, change: Change, table: Table, judged: Judged) -> WriteReport:
        """Write the files of both tables; the report lacks the snapshot until the commit."""
        opened = change.open(table)
        kept = self._stamped(judged.kept)
        if opened is not None and self._mode == "append":
            kept = _without_known(opened, table.spec, kept)
        known = judged.kept.num_rows - kept.num_rows
        added: tuple[str, ...] = ()
        if kept.num_rows or self._mode == "overwrite":
            agreement = write_rows(change, table, opened, kept, self._mode, {"sill.batch": self._batch_id})
            added = _added(agreement)
        if judged.quarantined_rows:
            self._quarantine(change, judged)
        return WriteReport(
            project=self._project,
            table=self._table,
            rows_in=self._batch.num_rows,
            rows_written=kept.num_rows,
            rows_repaired=judged.rows_repaired,
            rows_quarantined=len(judged.quarantined_rows),
            rows_dropped=judged.dropped + known,
            repaired=judged.repaired,
            quarantined=dict(Counter(judged.reasons)),
            columns_added=added,
            snapshot_id=table.snapshot_id,
        )

    def _quarantine(self, change: Change, judged: Judged) -> None:
        name = quarantine_name(self._table)
        table = find_or_create(self._parts, self._actor, self._project, name)
        rows = as_quarantined(self._batch.take(judged.quarantined_rows), judged.reasons)
        write_rows(change, table, change.open(table), self._stamped(rows), "append", {"sill.batch": self._batch_id})

    def _stamped(self, rows: "pa.Table") -> "pa.Table":
        """The rows with batch and time, the system columns behind the others."""
        import pyarrow as pa

        now = pa.scalar(self._parts.clock.now_us(), pa.timestamp("us", "UTC"))
        rows = rows.append_column("_batch", pa.repeat(pa.scalar(self._batch_id), rows.num_rows))
        rows = rows.append_column("_ingested_at", pa.repeat(now, rows.num_rows))
        return rows.select([*(name for name in rows.column_names if name not in SYSTEM_COLUMNS), *SYSTEM_COLUMNS])

    def _tell(self, tx: Tx, moved: dict[str, Table], table: Table, report: WriteReport) -> WriteReport:
        done = moved.get(self._table, table)
        if moved:
            tx.emit(
                "table.appended",
                self._project,
                self._table,
                self._actor.id,
                snapshot_id=done.snapshot_id,
                rows=report.rows_written,
                quarantined=report.rows_quarantined,
                dropped=report.rows_dropped,
                mode=self._mode,
                batch=self._batch_id,
            )
        if self._also is not None:
            self._also(tx)
        return replace(report, snapshot_id=done.snapshot_id)


def _with_origin(batch: "pa.Table", source: str) -> "pa.Table":
    """The batch with `_source` and `_source_row`, as given or made: the given name, and the place counted from 1."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = {
        "_source": (pa.string(), pa.repeat(pa.scalar(source), batch.num_rows)),
        "_source_row": (pa.int64(), pa.array(range(1, batch.num_rows + 1), pa.int64())),
    }
    for name, (kind, made) in wanted.items():
        if name not in batch.column_names:
            batch = batch.append_column(name, made)
            continue
        column = batch.column(name)
        if column.null_count == len(column):
            column = pa.chunked_array([pa.nulls(len(column), kind)])
        if column.type != kind:
            raise InvalidValue(
                f"column {name!r} has type {column.type}; {kind} is allowed.", fix="Leave it out.", field=name
            )
        batch = batch.set_column(batch.column_names.index(name), name, pc.coalesce(column, made))
    return batch


def _without_known(opened: Any, spec: TableSpec, rows: "pa.Table") -> "pa.Table":
    """The rows without those the table has already, by each `unique` rule's columns and the table's time."""
    for rule in spec.rules:
        if not isinstance(rule, Unique) or not rows.num_rows:
            continue
        columns = [*rule.columns, *([spec.time] if spec.time and spec.time not in rule.columns else [])]
        held = {field.name for field in opened.schema().fields}
        if held.issuperset(columns) and set(rows.column_names).issuperset(columns):
            rows = _anti_join(rows, opened.scan(selected_fields=tuple(columns)).to_arrow(), columns)
    return rows


def _anti_join(rows: "pa.Table", held: "pa.Table", columns: list[str]) -> "pa.Table":
    import pyarrow as pa

    held = held.select(columns)
    given = rows.select(columns)
    if given.schema.types != held.schema.types:  # numbers may differ in kind only: compare as the wider one
        if not all(_comparable(a, b) for a, b in zip(given.schema.types, held.schema.types, strict=True)):
            return rows
        given, held = _widened(given), _widened(held)
    given = given.append_column("__place", pa.array(range(given.num_rows), pa.int64()))
    fresh = given.join(held.group_by(columns).aggregate([]), keys=columns, join_type="left anti")
    return rows.take(fresh.column("__place").combine_chunks().sort())


def _comparable(one: Any, other: Any) -> bool:
    import pyarrow as pa

    def is_number(kind: Any) -> bool:
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))

    return one == other or (is_number(one) and is_number(other))


def _widened(table: "pa.Table") -> "pa.Table":
    import pyarrow as pa

    fields = [pa.field(f.name, pa.float64() if pa.types.is_integer(f.type) else f.type) for f in table.schema]
    return table.cast(pa.schema(fields))


def _added(agreement: Agreement) -> tuple[str, ...]:
    return tuple(name for name in agreement.added if name not in SYSTEM_COLUMNS)
