"""The base of MLflow's messages as JSON: what a message is, how numbers are read and written, how one is decoded.

A message is a `Wire` struct. Every field of a request is optional and may be null, as in protobuf's JSON form; which
are required is declared with the route. int64 is accepted as a number or as text and written as a number, as MLflow's
server does; NaN and infinities travel as "NaN", "Infinity" and "-Infinity". Unknown fields are ignored.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import msgspec

from sill.core.errors import InvalidValue
from sill.safety import strict_json

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
Int64 = Annotated[int, msgspec.Meta(ge=INT64_MIN, le=INT64_MAX)]
Number = float | str
"""A double as it is written: text if it is not finite."""

W = TypeVar("W", bound="Wire")


class Wire(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message. A field that has its default is left out when written, as protobuf leaves out what is not set."""


@cache
def _decoder(kind: type[W]) -> "msgspec.json.Decoder[W]":
    return msgspec.json.Decoder(kind, strict=False)


@cache
def _repeated(kind: type[Wire]) -> frozenset[str]:
    """Names of the fields that hold several values."""
    hints = get_type_hints(kind)
    return frozenset(name for name, hint in hints.items() if "tuple" in repr((hint, get_args(hint))))


def decode(body: bytes | bytearray, kind: type[W]) -> W:
    """The body as a message; an empty body is an empty message, and what is null was not given.

    Raises:
        InvalidValue: it is not JSON, or JSON that is refused everywhere.
        msgspec.ValidationError: a field is of another type; `culprit` tells which.
    """
    try:
        message: W = strict_json.decode_open(body or b"{}", _decoder(kind))
    except msgspec.ValidationError as wrong:
        if "`null`" not in str(wrong):
            raise
        message = msgspec.convert(_without_nulls(plain(body)), kind, strict=False)
    return message


def plain(body: bytes | bytearray) -> Any:
    """The body as dicts, lists and values: the slow way, to look at what is wrong.

    Raises:
        InvalidValue: it is not JSON.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as wrong:
        raise InvalidValue("the body is not JSON that can be accepted.", fix="Send plain UTF-8 JSON.") from wrong


def from_query(given: Mapping[str, Sequence[str]], kind: type[W]) -> W:
    """The message in a query string: of a repeated field all values, of the others the first.

    Raises:
        msgspec.ValidationError: a field is of another type.
    """
    repeated = _repeated(kind)
    known = {name: values if name in repeated else values[0] for name, values in given.items()}
    return msgspec.convert(known, kind, strict=False)


def culprit(said: Any, wrong: msgspec.ValidationError) -> tuple[str, Any, bool]:
    """What msgspec complains about, as `metrics[0].key`; the value there; and whether it is missing.

    Args:
        said: the message as plain dicts, lists and values.
    """
    found = _COMPLAINT.match(str(wrong))
    path = found["path"] or "" if found else ""
    value = said
    for part in _PART.findall(path):
        value = _at(value, part)
    missing = found["missing"] if found else None
    return f"{path.lstrip('.')}.{missing}".lstrip(".") if missing else path.lstrip("."), value, bool(missing)


def encode(message: Any) -> bytes:
    """The message as JSON."""
    return _ENCODER.encode(message)


def number(value: float) -> Number:
    """A double as protobuf's JSON form writes it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def as_json(value: object) -> str:
    """A value in the compact form that MLflow's error texts show it in."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


_ENCODER = msgspec.json.Encoder()
_COMPLAINT = re.compile(
    r"^(?:Object missing required field `(?P<missing>[^`]*)`|.*?)(?: - at `\$(?P<path>[^`]*)`)?$", re.DOTALL
)
_PART = re.compile(r"[^.\[\]]+")


def _at(value: Any, part: str) -> Any:
    if isinstance(value, dict):
        return value.get(part)
    if isinstance(value, list) and part.isdigit() and int(part) < len(value):
        return value[int(part)]
    return None


def _without_nulls(value: Any, depth: int = 0) -> Any:
    if depth > strict_json.DEPTH_MAX:
        raise InvalidValue(f"the body is nested more than {strict_json.DEPTH_MAX} levels deep.")
    if isinstance(value, dict):
        return {name: _without_nulls(inner, depth + 1) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner, depth + 1) for inner in value] if isinstance(value, list) else value
