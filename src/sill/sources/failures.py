"""How reading fails: every message names the source and the place in it, the value, what is allowed, and the way out."""

from typing import TYPE_CHECKING, Any

from sill.core.errors import InvalidValue, TooLarge
from sill.core.names import shorten
from sill.sources.limits import ReadLimits

if TYPE_CHECKING:
    import pyarrow as pa


def unreadable(where: str, what: str, fix: str = "", *, line: int = 0, column: str = "") -> InvalidValue:
    """The error for a source whose content cannot be taken.

    Args:
        where: the source as a person knows it: a URL without secrets, or the upload's name.
        line: 1-based line or row, if known.
    """
    place = f"{shorten(where, 200)}" + (f" line {line}" if line else "") + (f" column {column!r}" if column else "")
    facts: dict[str, Any] = (
        {"source": where} | ({"line": line} if line else {}) | ({"column": column} if column else {})
    )
    return InvalidValue(f"{place}: {what}", fix=fix, **facts)


def too_large(where: str, limit: str, got: str, allowed: int) -> TooLarge:
    """The error for a source that passes the named limit."""
    return TooLarge(
        f"{shorten(where, 200)}: {got}; {limit} allows {allowed:,}.",
        fix="Give a smaller source, or split it.",
        source=where,
        limit=limit,
        allowed=allowed,
    )


def check_columns(where: str, count: int, limits: ReadLimits) -> None:
    """Refuses too many columns before any of them is read."""
    if count > limits.columns_max:
        raise too_large(where, "columns_max", f"it has {count:,} columns", limits.columns_max)


def check_rows(where: str, count: int, limits: ReadLimits) -> None:
    """Refuses too many rows."""
    if count > limits.rows_max:
        raise too_large(where, "rows_max", f"it has {count:,} rows or more", limits.rows_max)


def check_size(where: str, size_bytes: int, limits: ReadLimits) -> None:
    """Refuses a table that grew too large in memory."""
    if size_bytes > limits.table_bytes_max:
        raise too_large(where, "table_bytes_max", f"it is {size_bytes:,} bytes in memory", limits.table_bytes_max)


def check_cells(where: str, table: "pa.Table", limits: ReadLimits) -> None:
    """Refuses values that are too long, naming column and row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        is_sized = pa.types.is_string(kind) or pa.types.is_binary(kind)
        if not (is_sized or pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)) or not len(column):
            continue
        lengths = pc.binary_length(column)
        longest = pc.max(lengths).as_py() or 0
        if longest > limits.cell_bytes_max:
            row = pc.index(lengths, longest).as_py() + 1
            got = f"row {row} column {shorten(name)!r} holds {longest:,} bytes"
            raise too_large(where, "cell_bytes_max", got, limits.cell_bytes_max)
