"""Rows on the wire: Arrow streams and JSON, in and out. What comes in is checked before it is used."""

import base64
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sill.core.errors import InvalidValue, TooLarge
from sill.core.names import shorten
from sill.lake.types import ColumnInfo

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_MAX = 1_000_000
"""Most rows given as JSON at once; Arrow streams are bounded by their bytes."""
EXPANSION_MAX = 1_000
"""A compressed Arrow stream may unfold to this many times its size."""


def from_arrow_stream(data: bytes) -> "pa.Table":
    """The table an Arrow IPC stream holds; every buffer is checked, extension types are data only.

    Raises:
        InvalidValue: it is not an Arrow stream, or its buffers contradict each other.
        TooLarge: it unfolds to far more than was sent.
    """
    import pyarrow as pa

    try:
        with pa.ipc.open_stream(pa.BufferReader(data)) as stream:
            batches, size = [], 0
            for batch in stream:
                size += batch.nbytes
                if size > EXPANSION_MAX * max(len(data), 1_000):
                    raise TooLarge(
                        f"the Arrow stream unfolds to more than {EXPANSION_MAX} times its size.",
                        fix="Send it in parts.",
                    )
                batches.append(batch)
            table = pa.Table.from_batches(batches, stream.schema)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as wrong:
        raise InvalidValue(
            f"the body is not a sound Arrow stream: {shorten(str(wrong))}.", fix="Send an Arrow IPC stream, not a file."
        ) from wrong
    return table


def to_arrow_stream(table: "pa.Table") -> bytes:
    """The table as an Arrow IPC stream."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    result: bytes = sink.getvalue().to_pybytes()
    return result


def from_rows(rows: Sequence[Any]) -> "pa.Table":
    """The table of JSON rows: a column for each name in the order they first appear, missing where a row has none.

    Raises:
        InvalidValue: a row is no object, or a column mixes kinds of values.
        TooLarge: there are too many rows.
    """
    import pyarrow as pa

    if len(rows) > ROWS_MAX:
        raise TooLarge(
            f"{len(rows)} rows were sent; at most {ROWS_MAX} are allowed.", fix="Send an Arrow stream.", limit=ROWS_MAX
        )
    names: dict[str, None] = {}
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InvalidValue(
                f"row {place} is {shorten(repr(row))}; an object of column: value is allowed.", field=f"rows.{place}"
            )
        names.update(dict.fromkeys(row))
    return pa.table({name: _column(name, [row.get(name) for row in rows]) for name in names})


def to_json_rows(table: "pa.Table") -> tuple[tuple[Any, ...], ...]:
    """Rows as JSON values.

    Times and dates are ISO 8601 (times in UTC end in `Z`), bytes base64, decimals text, maps lists of pairs, durations
    seconds; a float that JSON has no number for (NaN, infinite) is null.
    """
    columns = [[to_json(value) for value in column.to_pylist()] for column in table.columns]
    return tuple(zip(*columns, strict=True))


def column_infos(table: "pa.Table") -> tuple[ColumnInfo, ...]:
    """Names and Arrow types of a result."""
    return tuple(ColumnInfo(name=field.name, type=str(field.type), nullable=field.nullable) for field in table.schema)


def to_json(value: Any) -> Any:
    """One value as JSON can hold it."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat() if value.tzinfo is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return {str(key): to_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(one) for one in value]
    return str(value)


def _column(name: str, values: list[Any]) -> "pa.Array":
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, TypeError) as mixed:
        kinds = sorted({type(value).__name__ for value in values if value is not None})
        raise InvalidValue(
            f"column {shorten(name)!r} mixes {', '.join(kinds)}: {shorten(str(mixed))}.",
            fix="Give all its values as one kind; text and a cast rule take anything.",
            field=name,
        ) from mixed
