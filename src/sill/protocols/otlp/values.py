"""OTLP's attribute values as plain JSON, and back."""

import base64
import binascii
import math
from typing import Any

from sill.core.errors import InvalidValue
from sill.protocols import protobuf

DEPTH_MAX = 32
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1
_STRING, _BOOL, _INT, _DOUBLE, _ARRAY, _KVLIST, _BYTES = range(1, 8)


def read_attributes(message: memoryview, found: dict[str, Any], depth: int = 0) -> None:
    """Add one `KeyValue` to the attributes; a key that comes twice keeps its last value."""
    key, value = "", None
    for field in protobuf.fields(message):
        if field.number == 1:
            key = protobuf.text(field)
        elif field.number == 2:
            value = read_value(protobuf.content(field), depth)
    found[check_text(key)] = value


def read_value(message: memoryview, depth: int) -> Any:
    """An `AnyValue`: text, truth, number, list or object; bytes become base64 text."""
    if depth > DEPTH_MAX:
        raise InvalidValue(f"an attribute is nested more than {DEPTH_MAX} levels deep.", fix="Flatten it.")
    value: Any = None
    for field in protobuf.fields(message):
        if field.number == _STRING:
            value = check_text(protobuf.text(field))
        elif field.number == _BOOL:
            value = bool(protobuf.number(field))
        elif field.number == _INT:
            value = protobuf.signed(field)
        elif field.number == _DOUBLE:
            value = finite(protobuf.double(field))
        elif field.number == _ARRAY:
            pieces = protobuf.fields(protobuf.content(field))
            value = [read_value(protobuf.content(piece), depth + 1) for piece in pieces if piece.number == 1]
        elif field.number == _KVLIST:
            value = {}
            for piece in protobuf.fields(protobuf.content(field)):
                if piece.number == 1:
                    read_attributes(protobuf.content(piece), value, depth + 1)
        elif field.number == _BYTES:
            value = base64.b64encode(protobuf.content(field)).decode()
    return value


def from_json(value: Any, depth: int = 0) -> Any:
    """The same from OTLP's JSON form (`{"stringValue": …}`)."""
    if depth > DEPTH_MAX:
        raise InvalidValue(f"an attribute is nested more than {DEPTH_MAX} levels deep.", fix="Flatten it.")
    given = an_object(value, "value")
    kind, content = next(((name, held) for name, held in given.items() if held is not None), ("", None))
    match kind:
        case "stringValue" | "bytesValue":
            return _checked_bytes(content) if kind == "bytesValue" else check_text(a_text(content, kind))
        case "boolValue" if isinstance(content, bool):
            return content
        case "intValue":
            return an_integer(content, "intValue", INTEGER_MIN, INTEGER_MAX)
        case "doubleValue" if isinstance(content, int | float) and not isinstance(content, bool):
            return finite(float(content))
        case "doubleValue" if content in ("NaN", "Infinity", "-Infinity"):
            return content
        case "arrayValue":
            return [from_json(each, depth + 1) for each in a_list(an_object(content, kind).get("values"), kind)]
        case "kvlistValue":
            return attributes_from_json(an_object(content, kind).get("values"), depth + 1)
        case "":
            return None
        case _:
            raise InvalidValue(f"{kind!r} is no attribute value of OTLP, or holds another type.", field="attributes")


def attributes_from_json(value: Any, depth: int = 0) -> dict[str, Any]:
    """A list of `{"key": …, "value": …}` as an object."""
    found = {}
    for each in a_list(value, "attributes"):
        pair = an_object(each, "attributes")
        found[check_text(a_text(pair.get("key", ""), "key"))] = from_json(pair.get("value") or {}, depth)
    return found


def finite(value: float) -> float | str:
    """The number, or the text protobuf's JSON has for one that JSON cannot hold."""
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def check_text(value: str) -> str:
    """The text, without NUL, which no database keeps."""
    return value.replace("\0", "\ufffd") if "\0" in value else value


def an_object(value: Any, field: str) -> dict[str, Any]:
    """The value, if it is an object."""
    if not isinstance(value, dict):
        raise InvalidValue(f"{field} is not an object.", fix="Send OTLP's JSON form.", field=field)
    return value


def a_list(value: Any, field: str) -> list[Any]:
    """The value, if it is a list; nothing is an empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidValue(f"{field} is not a list.", fix="Send OTLP's JSON form.", field=field)
    return value


def a_text(value: Any, field: str) -> str:
    """The value, if it is text."""
    if not isinstance(value, str):
        raise InvalidValue(f"{field} is not text.", fix="Send OTLP's JSON form.", field=field)
    return value


def an_integer(value: Any, field: str, least: int, most: int) -> int:
    """A number, or the text of one, as protobuf's JSON writes 64-bit integers."""
    try:
        number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
    except ValueError:
        number = None
    if number is None or not least <= number <= most:
        raise InvalidValue(f"{field} is not an integer within {least} to {most}.", field=field)
    return number


def _checked_bytes(value: Any) -> str:
    try:
        return base64.b64encode(base64.b64decode(a_text(value, "bytesValue"), validate=True)).decode()
    except binascii.Error as wrong:
        raise InvalidValue("bytesValue is not base64.", field="bytesValue") from wrong
