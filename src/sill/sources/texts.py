"""Finds what a column of texts means: truth values, integers, numbers, dates, times, or just text."""

from typing import TYPE_CHECKING, NamedTuple

from sill.sources import times
from sill.sources.types import Source

if TYPE_CHECKING:
    import pyarrow as pa

_INTEGER = r"^[+-]?(0|[1-9]\d{0,18})$"
_LEADING_ZERO = r"^[+-]?0\d"
_POINT = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$"
_COMMA = r"^[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d{1,3})?$"
_GROUPED_POINT = r"^[+-]?\d{1,3}([,' ]\d{3})+(\.\d*)?$"
_GROUPED_COMMA = r"^[+-]?\d{1,3}([.' ]\d{3})+(,\d*)?$"
_WHOLE_POINT_ZERO = r"^[+-]?\d{1,15}\.0$"
_ONLY_COMMA = r"^[+-]?\d+,(\d{1,2}|\d{4,})([eE][+-]?\d{1,3})?$"
_TRUE = ("true", "yes", "t", "y", "1")
_FALSE = ("false", "no", "f", "n", "0")
_WORDS = ("true", "yes", "false", "no", "t", "f", "y", "n")


class Meaning(NamedTuple):
    """A column in the type it was found to have, and what a person should know about that (or nothing)."""

    column: "pa.ChunkedArray"
    note: str = ""


def clean(column: "pa.ChunkedArray", null_values: tuple[str, ...]) -> "pa.ChunkedArray":
    """Texts without blanks around them; the empty text and `null_values` are missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = pc.utf8_trim_whitespace(pc.cast(column, pa.string()))
    missing = pc.is_in(column, value_set=pa.array(["", *null_values], pa.string()))
    return pc.if_else(missing, pa.scalar(None, pa.string()), column)


def is_decimal_comma(columns: "list[pa.ChunkedArray]") -> bool:
    """True if numbers of these columns can only be meant with a decimal comma, and none with a point.

    `1,5` can only be; `1,234` could be grouped thousands and says nothing.
    """
    has_comma = False
    for column in columns:
        if column.null_count == len(column):
            continue
        if _all(column, f"({_COMMA})|({_GROUPED_COMMA})") and _any(column, _ONLY_COMMA):
            has_comma = True
        elif _all(column, _POINT) and _any(column, r"\."):
            return False
    return has_comma


def find_meaning(column: "pa.ChunkedArray", name: str, source: Source, decimal: str) -> Meaning:
    """The cleaned column in the narrowest type that holds every value of it; text if there is none."""
    import pyarrow as pa

    if column.null_count == len(column):
        return Meaning(pa.chunked_array([pa.nulls(len(column))]))
    return (
        _truth(column)
        or _integers(column)
        or _numbers(column, name, decimal)
        or _moments(column, source.time_zone)
        or Meaning(column)
    )


def _truth(column: "pa.ChunkedArray") -> Meaning | None:
    """Truth values, if all are and one is a word: a column of 0 and 1 alone stays numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lower = pc.utf8_lower(column)
    if not pc.all(pc.is_in(pc.drop_null(lower), value_set=pa.array([*_TRUE, *_FALSE]))).as_py():
        return None
    if not pc.any(pc.is_in(pc.drop_null(lower), value_set=pa.array(_WORDS))).as_py():
        return None
    truth = pc.is_in(lower, value_set=pa.array(_TRUE))
    return Meaning(pc.if_else(pc.is_valid(column), truth, pa.scalar(None, pa.bool_())), "yes/no read as true/false")


def _integers(column: "pa.ChunkedArray") -> Meaning | None:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not _all(column, _INTEGER):
        return None
    try:
        return Meaning(pc.cast(pc.replace_substring_regex(column, r"^\+", ""), pa.int64()))
    except pa.ArrowInvalid:
        return None  # beyond int64: stays text, so that no digit is lost


def _numbers(column: "pa.ChunkedArray", name: str, decimal: str) -> Meaning | None:
    """Numbers by one convention for the whole column: the given decimal mark first, the other if only it fits."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if _any(column, _LEADING_ZERO + r"\d*$"):
        return None  # an identifier such as a postal code
    conventions = {
        ".": (_POINT, _GROUPED_POINT, "[,' ]", False),
        ",": (_COMMA, _GROUPED_COMMA, "[.' ]", True),
    }
    order = [decimal] if decimal == "." else [",", "."]
    for mark in order:
        plain, grouped, separators, is_comma = conventions[mark]
        is_plain = _all(column, plain)
        if not is_plain and not _all(column, f"({plain})|({grouped})"):
            continue
        texts = column if is_plain else pc.replace_substring_regex(column, separators, "")
        texts = pc.replace_substring(texts, ",", ".") if is_comma else texts
        numbers = pc.cast(pc.replace_substring_regex(texts, r"^\+", ""), pa.float64())
        notes = [*(["decimal commas read"] if is_comma else []), *([] if is_plain else ["grouped thousands read"])]
        if column.null_count and (name == "id" or name.endswith("_id")) and _all(column, _WHOLE_POINT_ZERO):
            # How programs without integer nulls write ids that are sometimes missing.
            return Meaning(pc.cast(numbers, pa.int64()), "ids written as 1.0 read as integers")
        return Meaning(numbers, ", ".join(notes))
    return None


def _moments(column: "pa.ChunkedArray", zone: str) -> Meaning | None:
    if times.is_dates(column):
        dates = times.parse_dates(column)
        return None if dates is None else Meaning(dates, "read as dates")
    if times.is_times(column):
        found = times.parse_iso(column, zone)
        return None if found is None else Meaning(found, f"read as times, those without offset in {zone}")
    return None


def _all(column: "pa.ChunkedArray", pattern: str) -> bool:
    import pyarrow.compute as pc

    return bool(pc.all(pc.match_substring_regex(column, pattern), min_count=1).as_py())


def _any(column: "pa.ChunkedArray", pattern: str) -> bool:
    import pyarrow.compute as pc

    return bool(pc.any(pc.match_substring_regex(column, pattern)).as_py())
