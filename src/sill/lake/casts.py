"""Turns values of a column into another type, one by one where need be, and says which ones would not go. Pure."""

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_WHOLE = re.compile(r"[+-]?\d{1,19}(\.0*)?")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_LONG_MAX = 2**63 - 1
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def cast(column: "pa.ChunkedArray", name: str) -> tuple["pa.ChunkedArray", "pa.Array"]:
    """The column as type `name` (`int64`, `float64`, `string`, `bool`, `timestamp`, `date`), and which values failed.

    A value that cannot be turned without loss becomes null and is marked in the second array. Text is read strictly:
    numbers with a decimal point, times and dates in ISO 8601, true/false/yes/no/1/0; blanks around it do not matter,
    empty text is missing.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = _TYPES[name][0]()
    if column.type == wanted:
        return column, _none(len(column))
    if name == "string" and not pa.types.is_nested(column.type) and not pa.types.is_binary(column.type):
        return column.cast(wanted), _none(len(column))
    encoded = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_nested(encoded.type):  # Arrow cannot tell nested values apart cheaply
        values, indices = encoded.to_pylist(), pa.array(range(len(encoded)), pa.int64())
    else:
        dictionary = pc.dictionary_encode(encoded)
        values, indices = dictionary.dictionary.to_pylist(), dictionary.indices
    turned, failed = _each(values, _TYPES[name][1])
    result = pa.array(turned, wanted).take(indices)
    bad = pc.fill_null(pa.array(failed, pa.bool_()).take(indices), False)
    return pa.chunked_array([result]), bad


def _none(count: int) -> "pa.Array":
    import pyarrow as pa

    return pa.array([False] * count, pa.bool_()) if count else pa.array([], pa.bool_())


def _each(values: list[Any], turn: Callable[[Any], Any]) -> tuple[list[Any], list[bool]]:
    turned: list[Any] = []
    failed: list[bool] = []
    for value in values:
        try:
            turned.append(None if value is None or value == "" else turn(value))
            failed.append(False)
        except (ValueError, TypeError, OverflowError, ArithmeticError):
            turned.append(None)
            failed.append(True)
    return turned, failed


def _whole(value: Any) -> int:
    if isinstance(value, str):
        text = value.strip()
        if not _WHOLE.fullmatch(text):
            raise ValueError(text)
        number = int(text.partition(".")[0])
    elif isinstance(value, bool | int | float | Decimal):
        number = int(value)
        if number != value:
            raise ValueError(value)
    else:
        raise TypeError(value)
    if not -_LONG_MAX - 1 <= number <= _LONG_MAX:
        raise OverflowError(value)
    return number


def _number(value: Any) -> float:
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER.fullmatch(text):
            raise ValueError(text)
        number = float(text)
    elif isinstance(value, bool | int | float | Decimal):
        number = float(value)
        if isinstance(value, int) and int(number) != value:
            raise ValueError(value)
    else:
        raise TypeError(value)
    if math.isinf(number):
        raise OverflowError(value)
    return number


def _truth(value: Any) -> bool:
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _WORDS:
            return _WORDS[word]
    elif isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    raise ValueError(value)


def _time(value: Any) -> datetime:
    if isinstance(value, str):
        value = datetime.fromisoformat(value.strip())
    elif not isinstance(value, datetime) and isinstance(value, date):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        raise TypeError(value)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _date(value: Any) -> date:
    if isinstance(value, str):
        return date.fromisoformat(value.strip())
    if isinstance(value, datetime):
        if (value.hour, value.minute, value.second, value.microsecond) != (0, 0, 0, 0):
            raise ValueError(value)
        return value.date()
    raise TypeError(value)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else repr(value)


def _arrow(name: str) -> Callable[[], Any]:
    def make() -> Any:
        import pyarrow as pa

        return pa.timestamp("us", "UTC") if name == "timestamp" else getattr(pa, name)()

    return make


_TYPES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "int64": (_arrow("int64"), _whole),
    "float64": (_arrow("float64"), _number),
    "string": (_arrow("string"), _text),
    "bool": (_arrow("bool_"), _truth),
    "timestamp": (_arrow("timestamp"), _time),
    "date": (_arrow("date32"), _date),
}
