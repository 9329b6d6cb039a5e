"""Makes one kind of table of whatever was read: names, types, times, numbers and units as everywhere else in Sill."""

from typing import TYPE_CHECKING, NamedTuple

from sill.sources import texts, times
from sill.sources.alignment import cast_column, stack
from sill.sources.failures import check_cells, check_columns, unreadable
from sill.sources.limits import ReadLimits
from sill.sources.naming import find_name, unify_names, unknown_column
from sill.sources.types import Source, Unit

if TYPE_CHECKING:
    import pyarrow as pa


class Unified(NamedTuple):
    """A table in our form.

    Attributes:
        names: what each column was called → what it is called.
        notes: what was found and changed on the way, for a person to read.
    """

    table: "pa.Table"
    names: dict[str, str]
    notes: tuple[str, ...]


def unify(raw: "pa.Table", source: Source, where: str, limits: ReadLimits, *, is_typed: bool) -> Unified:
    """The table with unified names, types, times and units, and the columns `_source` and `_source_row` (1-based).

    Args:
        is_typed: the file declares its types, so that a text is meant as text.
    Raises:
        InvalidValue: a value that does not fit `times`, a unit for a column that is not numeric, a bad rename.
        TooLarge: a cell, or the number of columns after flattening.
    """
    import pyarrow as pa

    flat = _flatten(raw)
    check_columns(where, flat.num_columns, limits)
    check_cells(where, flat, limits)
    originals = list(flat.column_names)
    names = unify_names(originals, source.rename, where)
    mapping = dict(zip(originals, names, strict=True))
    columns, notes = _convert(dict(zip(names, flat.columns, strict=True)), source, mapping, where, is_typed)
    for original, name in mapping.items():
        if columns[name].null_count == len(columns[name]) and original.strip() == "":
            del columns[name]  # a delimiter at the end of every line, not a column
    for unit in source.units:
        _apply_unit(columns, unit, mapping, where, notes)
    table = pa.table(columns) if columns else flat.select([])
    return Unified(_number_rows(table, flat.num_rows, where, notes), mapping, tuple(notes))


def combine(parts: list[Unified], source: Source, where: str) -> Unified:
    """The rows of all files of a source; settings must name a column of at least one of them.

    Raises:
        InvalidValue: rename, units or times name a column that no file has.
    """
    names = {old: new for part in parts for old, new in part.names.items()}
    for setting, asked in (
        *(("rename", name) for name in source.rename),
        *(("units", unit.column) for unit in source.units),
        *(("times", name) for name in source.times),
    ):
        is_there = asked in names or find_name(asked, names) is not None
        if not is_there:
            raise unknown_column(asked, setting, names, where)
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    return Unified(settle(stack([part.table for part in parts])), names, notes)


def settle(table: "pa.Table") -> "pa.Table":
    """Columns in which nothing is known become text, so that every column has a type."""
    import pyarrow as pa

    fields = [pa.field(f.name, pa.string() if pa.types.is_null(f.type) else f.type) for f in table.schema]
    return table.cast(pa.schema(fields)).combine_chunks()


def _flatten(table: "pa.Table") -> "pa.Table":
    """Structs by one level; dictionaries and extension types as what they store."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns: dict[str, pa.ChunkedArray] = {}
    for name, original in zip(table.column_names, table.columns, strict=True):
        column = original
        if isinstance(column.type, pa.BaseExtensionType):
            column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
        if pa.types.is_dictionary(column.type):
            column = pc.cast(column, column.type.value_type)
        if not pa.types.is_struct(column.type):
            columns[_free(name, columns)] = column
            continue
        for at in range(column.type.num_fields):
            inner = column.type.field(at).name
            columns[_free(f"{name}_{inner}", columns)] = pc.struct_field(column, [at])
    return pa.table(columns) if columns else table


def _free(name: str, taken: "dict[str, pa.ChunkedArray]") -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _convert(
    columns: "dict[str, pa.ChunkedArray]", source: Source, mapping: dict[str, str], where: str, is_typed: bool
) -> "tuple[dict[str, pa.ChunkedArray], list[str]]":
    import pyarrow as pa
    import pyarrow.compute as pc

    named_times = {found for asked in source.times if (found := find_name(asked, mapping))}
    notes = [f"{old!r} is called {new}" for old, new in mapping.items() if old != new]
    is_text = {name: pa.types.is_string(c.type) or pa.types.is_large_string(c.type) for name, c in columns.items()}
    # Where a file declares text, blanks and words such as NA are part of it.
    is_loose = {name: is_text[name] and (not is_typed or name in named_times) for name in columns}
    cleaned = {n: texts.clean(c, source.null_values) if is_loose[n] else c for n, c in columns.items()}
    decimal = source.decimal
    if not is_typed and decimal == "." and texts.is_decimal_comma([c for n, c in cleaned.items() if is_text[n]]):
        decimal = ","
    out: dict[str, pa.ChunkedArray] = {}
    for name, column in cleaned.items():
        if name in named_times:
            out[name] = _as_time(column, source, where, name)
        elif is_text[name]:
            meaning = (
                texts.Meaning(pc.cast(column, pa.string()))
                if is_typed
                else texts.find_meaning(column, name, source, decimal)
            )
            out[name] = meaning.column
            notes += [f"{name}: {meaning.note}"] if meaning.note else []
        else:
            out[name] = _plain(column, source.time_zone, name, notes)
    return out, notes


def _as_time(column: "pa.ChunkedArray", source: Source, where: str, name: str) -> "pa.ChunkedArray":
    """A column that is said to hold times, whatever its type."""
    import pyarrow as pa

    zone = source.time_zone
    kind = column.type
    if pa.types.is_null(kind) or column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), pa.timestamp("us", tz="UTC"))])
    if pa.types.is_timestamp(kind):
        return times.to_utc(column, zone)
    if pa.types.is_date(kind):
        return times.dates_to_utc(column, zone)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return times.epoch_to_utc(column)
    if not pa.types.is_string(kind):
        raise unreadable(where, f"values of type {kind} are not times.", "Leave it out of `times`.", column=name)
    if source.time_format:
        return times.parse_pattern(column, source.time_format, zone, where, name)
    number = texts.find_meaning(column, name, source, source.decimal).column
    if pa.types.is_integer(number.type) or pa.types.is_floating(number.type):
        return times.epoch_to_utc(number)
    found = times.parse_iso(column, zone)
    if found is not None:
        return found
    row, text = times.first_misfit(column, f"({times.DATE})|({times.TIME})")
    what = f"row {row}: {text!r} is not an ISO 8601 date or time." if row else "a date in it does not exist."
    raise unreadable(where, what, "Give `time_format`, a strptime pattern such as %d.%m.%Y %H:%M.", column=name)


def _plain(column: "pa.ChunkedArray", zone: str, name: str, notes: list[str]) -> "pa.ChunkedArray":
    """A typed column in one of the few types that tables have here."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_timestamp(kind):
        return times.to_utc(column, zone)
    if pa.types.is_date(kind):
        return pc.cast(column, pa.date32())
    if pa.types.is_integer(kind):
        return _whole(column, name, notes)
    if pa.types.is_floating(kind):
        return _floats(column, name, notes)
    if pa.types.is_decimal(kind):
        notes.append(f"{name}: {kind} kept as a floating-point number")
        return pc.cast(column, pa.float64())
    if pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pc.cast(column, pa.binary())
    if pa.types.is_boolean(kind) or pa.types.is_binary(kind) or pa.types.is_null(kind):
        return column
    if _is_flat_list(kind):
        return pc.cast(column, pa.list_(kind.value_type))
    notes.append(f"{name}: {kind} kept as text")
    return cast_column(column, pa.string())


def _whole(column: "pa.ChunkedArray", name: str, notes: list[str]) -> "pa.ChunkedArray":
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return pc.cast(column, pa.int64())
    except pa.ArrowInvalid:
        notes.append(f"{name}: {column.type} beyond int64 kept as text")
        return pc.cast(column, pa.string())


def _floats(column: "pa.ChunkedArray", name: str, notes: list[str]) -> "pa.ChunkedArray":
    """float64, with NaN as missing: many writers have no other way to spell it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wide = pc.cast(column, pa.float64())
    is_nan = pc.is_nan(wide)
    if pc.any(is_nan).as_py():
        notes.append(f"{name}: NaN read as missing")
        return pc.if_else(is_nan, pa.scalar(None, pa.float64()), wide)
    return wide


def _is_flat_list(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list:
        return False
    value = kind.value_type
    return bool(
        pa.types.is_integer(value) or pa.types.is_floating(value) or pa.types.is_boolean(value) or value == pa.string()
    )


def _apply_unit(
    columns: "dict[str, pa.ChunkedArray]", unit: Unit, mapping: dict[str, str], where: str, notes: list[str]
) -> None:
    """`value * scale + offset`, for all values or those beyond `above` or `below`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    name = find_name(unit.column, mapping)
    if name is None or name not in columns:
        return  # another file of the source may have it; `combine` checks that one does
    column = columns[name]
    if pa.types.is_null(column.type):
        return
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        what = f"units cannot be converted: it holds {column.type}, not numbers."
        raise unreadable(where, what, "Correct the values that are not numbers.", column=name)
    values = pc.cast(column, pa.float64())
    converted = pc.add(pc.multiply(values, unit.scale), unit.offset)
    beyond = [pc.greater(values, unit.above)] if unit.above is not None else []
    beyond += [pc.less(values, unit.below)] if unit.below is not None else []
    if beyond:
        chosen = pc.fill_null(beyond[0] if len(beyond) == 1 else pc.or_(*beyond), False)
        notes.append(f"{name}: {pc.sum(chosen).as_py() or 0} values converted to the column's unit")
        converted = pc.if_else(chosen, converted, values)
    columns[name] = converted


def _number_rows(table: "pa.Table", rows: int, where: str, notes: list[str]) -> "pa.Table":
    """`_source` and `_source_row` behind the columns; rows in which every cell is missing are left out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = pa.array(range(1, rows + 1), pa.int64())
    sources = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([where], pa.string()))
    numbered = table.append_column("_source", pc.cast(sources, pa.string())).append_column("_source_row", numbers)
    if not table.num_columns or not rows:
        return numbered
    filled = pc.is_valid(table.column(0))
    for column in table.columns[1:]:
        if pc.all(filled).as_py():
            return numbered
        filled = pc.or_(filled, pc.is_valid(column))
    empty = rows - (pc.sum(filled).as_py() or 0)
    if empty:
        notes.append(f"{empty} empty rows left out")
        return numbered.filter(filled)
    return numbered
