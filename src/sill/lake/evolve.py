"""Writes rows into an Iceberg table, after making its columns fit: new ones are added, types widen, nothing is lost.

Iceberg widens no whole numbers to doubles. Where a column has to, it is replaced by a new one of the same name and all
rows are written again in the same commit; older snapshots keep the old column.
"""

from typing import TYPE_CHECKING, Any, Literal

from sill.core.errors import InvalidValue, Refused
from sill.lake.catalog import Change
from sill.lake.schemas import Agreement, UnknownEmpty, agree
from sill.lake.transactions import begin, expire
from sill.lake.types import Table

if TYPE_CHECKING:
    import pyarrow as pa

REWRITE_BYTES_MAX = 2 * 1024**3
SNAPSHOTS_MAX = 500
"""Snapshots a table keeps; beyond it the oldest are forgotten, so that the metadata stays small."""
SNAPSHOTS_DROPPED = 100


def write_rows(
    change: Change,
    table: Table,
    opened: Any,
    rows: "pa.Table",
    mode: Literal["append", "overwrite"],
    properties: dict[str, str],
) -> Agreement:
    """Stage the rows; `change.commit` makes them part of the table.

    Raises:
        InvalidValue: a column's values fit neither the table's column nor a wider one.
        Refused: a column has to widen and the table is too big to be written again.
    """
    if opened is None:
        opened = change.create(table, rows.schema)
    agreement = _agreement(opened, rows)
    transaction = begin(opened)
    old = _retyped(opened, table, agreement) if agreement.retyped and mode == "append" else None
    _evolve(transaction, agreement)
    if mode == "overwrite" and opened.current_snapshot() is not None:
        transaction.overwrite(agreement.data, snapshot_properties=properties)
    elif old is not None:
        transaction.overwrite(_joined(old, agreement.data), snapshot_properties=properties)
    else:
        transaction.append(agreement.data, snapshot_properties=properties)
    _forget_oldest(transaction, opened)
    transaction.commit_transaction()
    return agreement


def _agreement(opened: Any, rows: "pa.Table") -> Agreement:
    schema = _arrow_schema(opened)
    try:
        return agree(schema, rows)
    except UnknownEmpty:
        return agree(schema, rows, _empty_columns(opened, schema))


def _arrow_schema(opened: Any) -> Any:
    """The table's columns as plain Arrow, in the types `storable` uses."""
    import pyarrow as pa
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    from sill.lake.schemas import storable

    schema = schema_to_pyarrow(opened.schema(), include_field_ids=False)
    return storable(pa.schema([field.remove_metadata() for field in schema]).empty_table()).schema


def _empty_columns(opened: Any, schema: Any) -> frozenset[str]:
    """Text columns without a single value: what a column of nulls is kept as until its first value tells its type."""
    import pyarrow as pa

    texts = tuple(field.name for field in schema if pa.types.is_string(field.type))
    data = opened.scan(selected_fields=texts).to_arrow()
    return frozenset(name for name in texts if data.column(name).null_count == data.num_rows)


def _evolve(transaction: Any, agreement: Agreement) -> None:
    changed = (*agreement.retyped, *agreement.replaced)
    if not changed and not agreement.added:
        return
    schema = agreement.data.schema
    if changed:
        with transaction.update_schema(allow_incompatible_changes=True) as update:
            for name in changed:
                update.delete_column(name)
    with transaction.update_schema() as update:
        update.union_by_name(schema)


def _retyped(opened: Any, table: Table, agreement: Agreement) -> "pa.Table":
    """All rows of the table with the changed columns in their new type.

    Raises:
        InvalidValue: a whole number is too big for a double to hold it exactly.
    """
    import pyarrow as pa

    if table.size_bytes > REWRITE_BYTES_MAX:
        raise Refused(
            f"columns {', '.join(agreement.retyped)} of table {table.name!r} would widen, which writes all "
            f"{table.size_bytes} bytes again; at most {REWRITE_BYTES_MAX} are.",
            fix="Give the values as whole numbers, or under another column name.",
        )
    data = opened.scan().to_arrow()
    for name in agreement.retyped:
        wanted = agreement.data.schema.field(name).type
        try:
            data = data.set_column(data.column_names.index(name), name, data.column(name).cast(wanted))
        except pa.ArrowInvalid as lossy:
            raise InvalidValue(
                f"column {name!r} holds whole numbers beyond 2^53, the batch has fractions; no type holds both exactly.",
                fix="Give the values under another column name.",
                field=name,
            ) from lossy
    return data


def _joined(old: "pa.Table", new: "pa.Table") -> "pa.Table":
    import pyarrow as pa

    missing = [field for field in new.schema if field.name not in old.column_names]
    for field in missing:
        old = old.append_column(field.name, pa.nulls(old.num_rows, field.type))
    return pa.concat_tables([old.select(new.column_names).cast(new.schema), new])


def _forget_oldest(transaction: Any, opened: Any) -> None:
    snapshots = sorted(opened.metadata.snapshots, key=lambda one: one.timestamp_ms)
    if len(snapshots) < SNAPSHOTS_MAX:
        return
    kept = {reference.snapshot_id for reference in opened.metadata.refs.values()}
    expire(transaction, [one.snapshot_id for one in snapshots[:SNAPSHOTS_DROPPED] if one.snapshot_id not in kept])
