"""Column types: what a table can hold, and how a batch and a table come to agree. Pure; Arrow in, Arrow out.

Whole numbers are kept as 64 bits and decimals as doubles, so that few columns ever need to widen. Times are kept as
microseconds in UTC; a time without a zone is taken as UTC.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sill.core.errors import InvalidValue, TooLarge
from sill.core.names import check_column, shorten

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS_MAX = 2_000
NESTED_DEPTH_MAX = 8
NESTED_FIELDS_MAX = 2_000
SYSTEM_COLUMNS = ("_source", "_source_row", "_batch", "_ingested_at")
RESERVED = ("_reason",)


@dataclass(frozen=True)
class Agreement:
    """What the table must become so that it holds the batch.

    Attributes:
        data: the batch with the table's columns and types, missing columns as nulls.
        added: columns the table gets.
        retyped: columns whose type changes; their rows have to be written again.
        replaced: columns that held nothing but nulls and take the batch's type.
    """

    data: "pa.Table"
    added: tuple[str, ...]
    retyped: tuple[str, ...]
    replaced: tuple[str, ...]


def check_shape(schema: "pa.Schema") -> None:
    """Refuse shapes that would harm: too many columns, odd or double names, deep nesting.

    Raises:
        InvalidValue, TooLarge: naming the column and the limit.
    """
    if len(schema) > COLUMNS_MAX:
        raise TooLarge(
            f"the batch has {len(schema)} columns; at most {COLUMNS_MAX} are allowed.",
            fix="Leave columns out, or put them into one column of lists.",
            limit=COLUMNS_MAX,
        )
    if len(schema) == 0:
        raise InvalidValue("the batch has no columns.", fix="Give at least one column.")
    seen: dict[str, str] = {}
    for field in schema:
        name = check_column(field.name)
        if name in RESERVED or name.startswith("__"):
            raise InvalidValue(f"column name {name!r} is reserved.", fix="Rename the column.", field=name)
        if name.lower() in seen:
            raise InvalidValue(
                f"columns {seen[name.lower()]!r} and {name!r} have the same name; capitals do not tell names apart.",
                fix="Rename one of them.",
                field=name,
            )
        seen[name.lower()] = name
        _check_nested(name, field.type)


def storable(data: "pa.Table") -> "pa.Table":
    """The batch with each column in the type a table keeps it in; no value changes.

    Raises:
        InvalidValue: a column's type cannot be kept, or a value would be changed by it.
    """
    import pyarrow as pa

    columns = [_storable_column(field.name, column) for field, column in zip(data.schema, data.columns, strict=True)]
    return pa.table(columns, names=data.schema.names) if columns else data


def agree(table: "pa.Schema", data: "pa.Table", empty: frozenset[str] | None = None) -> Agreement:
    """How the table takes the batch (already `storable`).

    Args:
        empty: the table's columns known to hold only nulls; None if that was not looked up. A conflict that could be
            solved by it raises `UnknownEmpty`.
    Raises:
        InvalidValue: the batch's values do not fit a column and the column cannot widen to hold both.
    """
    import pyarrow as pa

    columns: list[Any] = []
    names: list[str] = []
    retyped: list[str] = []
    replaced: list[str] = []
    given = {name.lower(): name for name in data.schema.names}
    for field in table:
        name = given.pop(field.name.lower(), None)
        column = pa.nulls(data.num_rows, field.type) if name is None else _fit(field, data.column(name))
        if column is None:
            column = data.column(name)
            if pa.types.is_integer(field.type) and pa.types.is_floating(column.type):
                retyped.append(field.name)
            elif empty is None:
                raise UnknownEmpty
            elif field.name in empty:
                replaced.append(field.name)
            else:
                raise _misfit(field, column)
        columns.append(column)
        names.append(field.name)
    added = tuple(given.values())
    for name in added:
        columns.append(data.column(name))
        names.append(name)
    if len(names) > COLUMNS_MAX:
        raise TooLarge(
            f"the table would have {len(names)} columns; at most {COLUMNS_MAX} are allowed.", limit=COLUMNS_MAX
        )
    return Agreement(pa.table(columns, names=names), added, tuple(retyped), tuple(replaced))


class UnknownEmpty(LookupError):
    """The answer depends on which columns of the table hold only nulls: look, and ask again."""


def describe_type(kind: "pa.DataType") -> str:
    """A type in the words of an error message."""
    import pyarrow as pa

    for test, words in (
        (pa.types.is_boolean, "true or false"),
        (pa.types.is_integer, "whole numbers"),
        (pa.types.is_floating, "numbers"),
        (pa.types.is_string, "text"),
        (pa.types.is_date, "dates"),
        (pa.types.is_timestamp, "times"),
    ):
        if test(kind):
            return words
    return str(kind)


def _check_nested(name: str, kind: Any) -> None:
    """Walk a type without recursion: it came from outside."""
    waiting, fields = [(kind, 1)], 0
    while waiting:
        current, depth = waiting.pop()
        fields += 1
        if depth > NESTED_DEPTH_MAX:
            raise TooLarge(
                f"column {name!r} is nested deeper than {NESTED_DEPTH_MAX} levels.",
                fix="Flatten it.",
                limit=NESTED_DEPTH_MAX,
            )
        if fields > NESTED_FIELDS_MAX:
            raise TooLarge(
                f"column {name!r} has more than {NESTED_FIELDS_MAX} nested fields.",
                fix="Flatten it.",
                limit=NESTED_FIELDS_MAX,
            )
        waiting += [(current.field(i).type, depth + 1) for i in range(current.num_fields)]


def _storable_column(name: str, column: Any) -> Any:
    import pyarrow as pa

    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):  # extension metadata is data, never code (SECURITY B86)
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type)
        return _storable_column(name, column)
    wanted = _storable_type(name, kind)
    if wanted == kind:
        return column
    if pa.types.is_null(kind):
        return pa.chunked_array([pa.nulls(len(column), wanted)])
    try:
        return column.cast(wanted)
    except pa.ArrowInvalid as lossy:
        raise InvalidValue(
            f"column {name!r} of type {kind} has a value that {wanted} cannot hold exactly: {shorten(str(lossy))}.",
            fix="Round or scale the column before.",
            field=name,
        ) from lossy
    except pa.ArrowNotImplementedError as unknown:
        raise _unknown_type(name, kind) from unknown


def _storable_type(name: str, kind: Any) -> Any:
    import pyarrow as pa

    t = pa.types
    if t.is_dictionary(kind):
        return _storable_type(name, kind.value_type)
    if t.is_integer(kind):
        return pa.int64()
    if t.is_floating(kind):
        return pa.float64()
    if t.is_null(kind) or t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind):
        return pa.string()
    if t.is_timestamp(kind):
        return pa.timestamp("us", "UTC")
    if t.is_date(kind):
        return pa.date32()
    if t.is_time(kind):
        return pa.time64("us")
    if t.is_binary(kind) or t.is_large_binary(kind) or t.is_binary_view(kind) or t.is_fixed_size_binary(kind):
        return pa.binary()
    if t.is_boolean(kind) or t.is_decimal128(kind):
        return kind
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        return pa.list_(pa.field("element", _storable_type(name, kind.value_type)))
    if t.is_struct(kind) and kind.num_fields:
        fields = [kind.field(i) for i in range(kind.num_fields)]
        return pa.struct([pa.field(check_column(f.name, name), _storable_type(name, f.type)) for f in fields])
    if t.is_map(kind):
        return pa.map_(_storable_type(name, kind.key_type), _storable_type(name, kind.item_type))
    raise _unknown_type(name, kind)


def _unknown_type(name: str, kind: Any) -> InvalidValue:
    return InvalidValue(
        f"column {name!r} has type {shorten(str(kind))}; numbers, text, booleans, times, dates, decimals, bytes, lists, "
        "structs and maps can be kept.",
        fix="Convert the column before.",
        field=name,
    )


def _fit(field: Any, column: Any) -> Any:
    """The column in the table's type if no value changes by it, else None."""
    import pyarrow as pa

    if column.type == field.type:
        return column
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), field.type)])
    if not _may_cast(column.type, field.type):
        return None
    try:
        return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _may_cast(given: Any, kept: Any) -> bool:
    import pyarrow as pa

    def is_number(kind: Any) -> bool:
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))

    return (
        (is_number(given) and is_number(kept))
        or (pa.types.is_nested(given) and pa.types.is_nested(kept) and given.id == kept.id)
        or (pa.types.is_date(given) and pa.types.is_timestamp(kept))
    )


def _misfit(field: Any, column: Any) -> InvalidValue:
    sample = next((value for value in column.to_pylist() if value is not None), None)
    return InvalidValue(
        f"column {field.name!r} holds {describe_type(field.type)}; the batch has {describe_type(column.type)}, "
        f"such as {shorten(repr(sample))}.",
        fix=f"Declare a cast rule for {field.name!r}, or give the values under another column name.",
        field=field.name,
    )
