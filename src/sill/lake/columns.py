"""Sums over columns that the quality rules need: what fills a gap, which of equal rows is the newest. Pure."""

from typing import Any

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.lake.types import Fill

ROW = "__row"
"""A row's place in its batch, while rules go over it."""


def filling(rule: Fill, column: Any) -> Any:
    """The scalar missing values become, or None if the batch has no value to take it from."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if rule.strategy == "value":
        try:
            return pa.scalar(rule.value, column.type) if rule.value is not None else None
        except (pa.ArrowInvalid, pa.ArrowTypeError) as wrong:
            raise InvalidValue(
                f"rule fill gives {rule.column!r} the value {rule.value!r}, the column has type {column.type}.",
                fix="Give a value of the column's type.",
            ) from wrong
    if column.null_count == len(column):
        return None
    if rule.strategy == "mode":
        return mode_of(rule, column)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise not_for(rule.column, column, f"fill by {rule.strategy}", "numbers")
    middle = (
        pc.mean(column).as_py()
        if rule.strategy == "mean"
        else pc.quantile(column, 0.5, interpolation="linear")[0].as_py()
    )
    return pa.scalar(round(middle) if pa.types.is_integer(column.type) else middle, column.type)


def mode_of(rule: Fill, column: Any) -> Any:
    """The commonest value; of equally common ones the least."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_nested(column.type):
        raise not_for(rule.column, column, "fill by mode", "single values")
    counts = pc.value_counts(column.drop_null()).to_pylist()
    return pa.scalar(min((-one["counts"], one["values"]) for one in counts)[1], column.type)


def split_nulls(table: Any, columns: tuple[str, ...]) -> tuple[Any, Any]:
    """(rows with a value in every column, the others): a missing value equals no other."""
    import pyarrow.compute as pc

    valid = pc.is_valid(table.column(columns[0]))
    for name in columns[1:]:
        valid = pc.and_(valid, pc.is_valid(table.column(name)))
    return table.filter(valid), table.filter(pc.invert(valid))


def ranked(table: Any, time: str, *, keep_first: bool) -> Any:
    """The rows with a column `__rank`: of equal rows the one with the highest stays."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ordered = table
    if time in table.column_names:  # rows without a time count as the oldest
        timed = pc.is_valid(table.column(time))
        late = table.filter(timed).sort_by([(time, "ascending"), (ROW, "ascending")])
        ordered = pa.concat_tables([table.filter(pc.invert(timed)), late])
    step = -1 if keep_first else 1
    ranks = pa.array([step * place for place in range(table.num_rows)], pa.int64())
    return ordered.append_column("__rank", ranks)


def without_nan(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.fill_null(pc.is_nan(column), False), pa.scalar(None, column.type), column)


def bound_of(bound: float, column: Any) -> Any:
    """The bound as a value of the column; a fraction cannot be one of whole numbers."""
    import pyarrow as pa

    try:
        return pa.scalar(bound, pa.float64()).cast(column.type)
    except pa.ArrowInvalid as wrong:
        raise InvalidValue(
            f"rule between clips whole numbers to {bound}, which is none.", fix="Give a whole bound."
        ) from wrong


def not_for(name: str, column: Any, rule: str, wanted: str) -> InvalidValue:
    sample = next((value for value in column.to_pylist() if value is not None), None)
    return InvalidValue(
        f"rule {rule} needs {wanted}; column {name!r} has type {column.type}, such as {shorten(repr(sample))}.",
        fix=f"Declare a cast rule for {name!r} before it.",
        field=name,
    )
