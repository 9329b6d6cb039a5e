"""Finds the type that several columns of one name can share, and puts tables with different columns under each other."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def common_type(kinds: Iterable["pa.DataType"]) -> "pa.DataType":
    """The narrowest type all can become without loss of meaning.

    Missing gives way to anything; booleans count as 0 and 1 beside numbers; integers beside floats become floats; a date
    beside a time becomes the time at midnight UTC; whatever else differs becomes text.
    """
    import pyarrow as pa

    distinct = list(dict.fromkeys(kind for kind in kinds if not pa.types.is_null(kind)))
    if not distinct:
        return pa.null()
    if len(distinct) == 1:
        return distinct[0]
    if all(pa.types.is_integer(kind) or pa.types.is_boolean(kind) for kind in distinct):
        return pa.int64()
    if all(pa.types.is_integer(k) or pa.types.is_boolean(k) or pa.types.is_floating(k) for k in distinct):
        return pa.float64()
    if all(pa.types.is_date(kind) or pa.types.is_timestamp(kind) for kind in distinct):
        is_zoned = any(pa.types.is_timestamp(kind) and kind.tz for kind in distinct)
        return pa.timestamp("us", tz="UTC" if is_zoned else None)
    if all(pa.types.is_list(kind) for kind in distinct):
        return pa.list_(common_type([kind.value_type for kind in distinct]))
    if all(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) for kind in distinct):
        return pa.binary()
    return pa.string()


def cast_column(column: "pa.ChunkedArray", kind: "pa.DataType") -> "pa.ChunkedArray":
    """The column as a type that `common_type` chose."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.type == kind:
        return column
    if pa.types.is_string(kind) and (pa.types.is_nested(column.type) or pa.types.is_binary(column.type)):
        return pa.chunked_array([pa.array([_spell(value) for value in column.to_pylist()], pa.string())])
    if pa.types.is_boolean(column.type) and pa.types.is_floating(kind):
        column = pc.cast(column, pa.int8())
    if pa.types.is_timestamp(kind) and kind.tz and pa.types.is_date(column.type):
        column = pc.cast(column, pa.timestamp("us"))
    return pc.cast(column, kind, safe=False)


def stack(tables: Sequence["pa.Table"]) -> "pa.Table":
    """One table with the rows of all, in order; columns by name, in order of first appearance, missing where absent."""
    import pyarrow as pa

    names = list(dict.fromkeys(name for table in tables for name in table.column_names))
    kinds = {n: common_type(t.schema.field(n).type for t in tables if n in t.column_names) for n in names}
    schema = pa.schema([(name, kinds[name]) for name in names])
    return pa.concat_tables([_conform(table, schema) for table in tables]) if tables else schema.empty_table()


def _conform(table: "pa.Table", schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    columns = [
        cast_column(table.column(field.name), field.type)
        if field.name in table.column_names
        else pa.chunked_array([pa.nulls(table.num_rows, field.type)])
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _spell(value: object) -> str | None:
    import msgspec

    if value is None:
        return None
    return value.hex() if isinstance(value, bytes) else msgspec.json.encode(value, enc_hook=str).decode()
