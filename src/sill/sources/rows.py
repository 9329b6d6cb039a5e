"""Turns rows of Python values (JSON, Excel, SQL) into Arrow columns, a chunk at a time, with one type for each column."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from sill.sources.alignment import stack
from sill.sources.failures import check_columns, check_rows, check_size
from sill.sources.limits import ROWS_PER_CHUNK, ReadLimits

if TYPE_CHECKING:
    import pyarrow as pa

INT64_MAX = 2**63 - 1


class RowTable:
    """Collects rows; memory is one chunk of Python values and the Arrow columns made so far."""

    def __init__(self, where: str, limits: ReadLimits) -> None:
        self._where = where
        self._limits = limits
        self._columns: dict[str, list[Any]] = {}
        self._waiting = 0
        self._rows = 0
        self._bytes = 0
        self._chunks: list[pa.Table] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """One row; columns it lacks are missing, columns that are new were missing before."""
        for name, value in row.items():
            column = self._columns.get(name)
            if column is None:
                check_columns(self._where, len(self._columns) + 1, self._limits)
                column = self._columns[name] = []
            column.extend([None] * (self._waiting - len(column)))
            column.append(value)
        self._waiting += 1
        if self._waiting >= ROWS_PER_CHUNK:
            self._flush()

    def table(self, names: Iterable[str] = ()) -> "pa.Table":
        """All rows. `names` are columns to have even where no row had them."""
        for name in names:
            self._columns.setdefault(name, [])
        self._flush()
        return stack(self._chunks)

    def _flush(self) -> None:
        import pyarrow as pa

        self._rows += self._waiting
        check_rows(self._where, self._rows, self._limits)
        arrays = {}
        for name, values in self._columns.items():
            values.extend([None] * (self._waiting - len(values)))
            arrays[name] = to_array(values)
            values.clear()
        self._waiting = 0
        chunk = pa.table(arrays)
        self._bytes += chunk.nbytes
        check_size(self._where, self._bytes, self._limits)
        self._chunks.append(chunk)


def to_array(values: list[Any]) -> "pa.Array":
    """Python values as an Arrow array: of their one type, of the number type that holds all, or as text."""
    import pyarrow as pa

    kinds = {_kind(value) for value in values} - {type(None)}
    if not kinds:
        return pa.nulls(len(values))
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {int}:
        return pa.array(values, pa.int64())
    if kinds <= {int, float, Decimal, bool} and kinds != {bool, int}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if kinds == {bool, int}:
        return pa.array([None if value is None else int(value) for value in values], pa.int64())
    if kinds == {datetime} and len({value.tzinfo is None for value in values if value is not None}) == 1:
        is_naive = next(value.tzinfo is None for value in values if value is not None)
        return pa.array(values, pa.timestamp("us", tz=None if is_naive else "UTC"))
    if kinds == {date}:
        return pa.array(values, pa.date32())
    if kinds == {bytes}:
        return pa.array(values, pa.binary())
    return pa.array([spell(value) for value in values], pa.string())


def spell(value: Any) -> str | None:
    """A value as text that the text rules read back: JSON spelling, ISO 8601 for times."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, int | float | Decimal | timedelta):
        return str(value)
    return msgspec.json.encode(value, enc_hook=str).decode()


def _kind(value: Any) -> type:
    """The type that decides; integers that int64 cannot hold count as text, so that no digit is lost."""
    kind = type(value)
    if kind is int and not -INT64_MAX - 1 <= value <= INT64_MAX:
        return str
    if kind in (memoryview, bytearray):
        return object
    return kind
