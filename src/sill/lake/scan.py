"""Reads a table: at any snapshot, some columns, rows that fulfil a condition."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.lake.catalog import Change, Parts, snapshot_of
from sill.lake.schemas import SYSTEM_COLUMNS
from sill.lake.types import SnapshotInfo, Table

if TYPE_CHECKING:
    import pyarrow as pa

CONDITIONS_MAX = 100
VALUES_MAX = 10_000
OPERATORS = ("eq", "ne", "lt", "le", "gt", "ge", "in", "is_null")


def scan(
    parts: Parts,
    table: Table,
    *,
    snapshot_id: int = 0,
    columns: Sequence[str] = (),
    where: Mapping[str, Any] | None = None,
    limit: int = 0,
) -> "pa.Table":
    """The rows of a table, every byte verified; the system columns come last.

    Args:
        snapshot_id: read the table as it was then; 0 means as it is now.
        columns: which, in this order; all when empty.
        where: column → value, or column → `{"ge": 1, "lt": 5, "in": […], "is_null": true, …}`; all must hold.
        limit: most rows; 0 means all.
    Raises:
        NotFound: there is no such snapshot. InvalidValue: no such column, or a condition it cannot have.
        Damaged: a stored file is not what was written; it is named.
    """
    import pyarrow as pa

    opened = Change(parts, table.project).open(table)
    if opened is None:
        if snapshot_id:
            snapshot_of(opened, table, snapshot_id)
        return pa.table({})
    if snapshot_id:
        # pyiceberg binds conditions to the current schema; a column may have been another one then
        then = snapshot_of(opened, table, snapshot_id).schema_id
        opened.metadata = opened.metadata.model_copy(update={"current_schema_id": then})
    names = [field.name for field in opened.schema().fields]
    wanted = _wanted(table, names, columns)
    data = opened.scan(
        row_filter=_condition(table, opened.schema(), where or {}),
        selected_fields=tuple(wanted),
        snapshot_id=snapshot_id or None,
        limit=limit or None,
    ).to_arrow()
    return data.select(wanted).replace_schema_metadata(None)


def snapshots(parts: Parts, table: Table) -> tuple[SnapshotInfo, ...]:
    """The states the table can be read at, the oldest first."""
    opened = Change(parts, table.project).open(table)
    if opened is None:
        return ()
    return tuple(
        SnapshotInfo(
            id=one.snapshot_id,
            parent_id=one.parent_snapshot_id or 0,
            at_us=one.timestamp_ms * 1_000,
            operation=one.summary.operation.value if one.summary else "",
            rows_added=int(_summary(one).get("added-records", 0)),
            rows_total=int(_summary(one).get("total-records", 0)),
            is_current=one.snapshot_id == table.snapshot_id,
            summary=_summary(one),
        )
        for one in sorted(opened.metadata.snapshots, key=lambda one: one.sequence_number)
    )


def _summary(snapshot: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in snapshot.summary.additional_properties.items()} if snapshot.summary else {}


def _wanted(table: Table, names: list[str], columns: Sequence[str]) -> list[str]:
    for name in columns:
        if name not in names:
            raise _no_column(table, name, names)
    if columns:
        return list(dict.fromkeys(columns))
    system = [name for name in SYSTEM_COLUMNS if name in names]
    return [*(name for name in names if name not in system), *system]


def _no_column(table: Table, name: str, names: list[str]) -> InvalidValue:
    return InvalidValue(
        f"table {table.name!r} has no column {shorten(name)!r}; it has {shorten(', '.join(names), 300)}.",
        fix="Use one of its columns.",
        field=name,
    )


def _condition(table: Table, schema: Any, where: Mapping[str, Any]) -> Any:
    from pyiceberg.expressions import AlwaysTrue, And
    from pyiceberg.expressions.visitors import bind

    condition: Any = AlwaysTrue()
    names = [field.name for field in schema.fields]
    if len(where) > CONDITIONS_MAX:
        raise InvalidValue(f"{len(where)} conditions are given; at most {CONDITIONS_MAX} are allowed.", field="where")
    for name, asked in where.items():
        if name not in names:
            raise _no_column(table, name, names)
        for operator, value in (asked if isinstance(asked, Mapping) else {"eq": asked}).items():
            term = _term(name, operator, value)
            try:
                bind(schema, term, True)
            except (ValueError, TypeError) as wrong:
                kind = schema.find_field(name).field_type
                raise InvalidValue(
                    f"column {name!r} of type {kind} cannot be compared with {shorten(repr(value))}.",
                    field=f"where.{name}",
                ) from wrong
            condition = And(condition, term)
    return condition


def _term(name: str, operator: str, value: Any) -> Any:
    from pyiceberg import expressions as e

    if operator == "is_null":
        return e.IsNull(name) if value else e.NotNull(name)
    if operator == "in" or (operator == "eq" and isinstance(value, list | tuple)):
        if len(value) > VALUES_MAX:
            raise InvalidValue(f"condition on {name!r} lists {len(value)} values; at most {VALUES_MAX} are allowed.")
        return e.In(name, {_literal(name, one) for one in value}) if value else e.AlwaysFalse()
    if operator == "eq" and value is None:
        return e.IsNull(name)
    kinds = {
        "eq": e.EqualTo,
        "ne": e.NotEqualTo,
        "lt": e.LessThan,
        "le": e.LessThanOrEqual,
        "gt": e.GreaterThan,
        "ge": e.GreaterThanOrEqual,
    }
    if operator not in kinds:
        raise InvalidValue(
            f"condition {shorten(operator)!r} on {name!r} is not known; {', '.join(OPERATORS)} are.",
            field=f"where.{name}",
        )
    return kinds[operator](name, _literal(name, value))


def _literal(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bool | int | float | str | bytes):
        return value
    raise InvalidValue(f"condition on {name!r} compares with {shorten(repr(value))}; give text, a number or a time.")
