"""Reads JSON lines and JSON documents: objects become rows, nested objects are flattened one level, the rest stays JSON."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from sill.core.names import shorten
from sill.sources.failures import too_large, unreadable
from sill.sources.limits import ReadLimits
from sill.sources.rows import RowTable

if TYPE_CHECKING:
    import pyarrow as pa

DEPTH_MAX = 64


def read_json_lines(path: Path, where: str, limits: ReadLimits) -> "pa.Table":
    """One object a line; blank lines are passed over.

    Raises:
        InvalidValue: a line that is not a JSON object; the message has its number.
    """
    rows = RowTable(where, limits)
    for number, line in _lines(path, where, limits):
        value = _decode(line, where, number)
        if not isinstance(value, dict):
            raise unreadable(where, f"{_shown(line)} is not a JSON object; one is needed on each line.", line=number)
        rows.add(flatten(value))
    return rows.table()


def read_json(path: Path, where: str, limits: ReadLimits) -> "pa.Table":
    """An array of objects, or one object. Lines of objects under the wrong name are read as such.

    Raises:
        InvalidValue: not JSON, or an array that holds anything but objects; the message has the element's number.
    """
    size = path.stat().st_size
    if _starts_with_line_objects(path):
        return read_json_lines(path, where, limits)
    if size > limits.json_bytes_max:
        raise too_large(where, "json_bytes_max", f"it is {size:,} bytes in one document", limits.json_bytes_max)
    value = _decode(path.read_bytes(), where, 0)
    rows = RowTable(where, limits)
    for number, one in enumerate(value if isinstance(value, list) else [value], 1):
        if not isinstance(one, dict):
            what = f"element {number} is {_shown(json.dumps(one).encode())}; an array of objects is needed."
            raise unreadable(where, what, line=0)
        rows.add(flatten(one))
    return rows.table()


def flatten(row: dict[str, Any]) -> dict[str, Any]:
    """Objects in the row give a column for each of their fields, `outer_inner`; deeper ones are kept as JSON text."""
    if not any(isinstance(value, dict | list) for value in row.values()):
        return row
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict) and value:
            for inner, one in value.items():
                flat[f"{name}_{inner}"] = _plain(one)
        else:
            flat[name] = _plain(value)
    return flat


def _plain(value: Any) -> Any:
    return msgspec.json.encode(value).decode() if isinstance(value, dict | list) else value


def _lines(path: Path, where: str, limits: ReadLimits) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(limits.cell_bytes_max + 1):
            number += 1
            if len(line) > limits.cell_bytes_max:
                raise too_large(where, "cell_bytes_max", f"line {number} does not end", limits.cell_bytes_max)
            if line.strip():
                yield number, line


def _decode(text: bytes, where: str, line: int) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        return _decode_lenient(text, where, line, wrong)


def _decode_lenient(text: bytes, where: str, line: int, cause: Exception) -> Any:
    """Many writers spell missing numbers NaN; those are missing. Anything else that is not JSON is refused."""

    def missing(_spelling: str) -> None:
        return None

    try:
        return json.loads(text, parse_constant=missing)
    except (ValueError, RecursionError) as wrong:
        _refuse(text, where, line, wrong if isinstance(wrong, ValueError) else cause)


def _refuse(text: bytes, where: str, line: int, wrong: Exception) -> NoReturn:
    what = f"{_shown(text)} is not JSON: {shorten(str(wrong) or type(wrong).__name__, 200)}."
    raise unreadable(where, what, "Write one JSON object a line, or one array of objects.", line=line) from wrong


def _starts_with_line_objects(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(1024**2).strip()
        has_more = bool(file.readline(16).strip())
    if not (first.startswith(b"{") and first.endswith(b"}") and has_more):
        return False
    try:
        return isinstance(msgspec.json.decode(first), dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _shown(text: bytes) -> str:
    return repr(shorten(text.strip()[:400].decode("utf-8", "replace")))
