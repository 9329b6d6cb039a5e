"""Spells an entity as one key of the online store. Two different entities never get the same key."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from sill.core.errors import InvalidValue
from sill.core.names import shorten

SPELLED_LENGTH_MAX = 240
"""Longer keys are replaced by their SHA-256, so that every key fits the online store (1,024 bytes)."""
KINDS = ("int", "float", "bool", "text", "time", "date")
_SPOKEN = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "text": "text",
    "time": "a time in ISO 8601 (without an offset: UTC)",
    "date": "a date in ISO 8601",
}


def entity_key(values: Sequence[Any]) -> str:
    """The key of an entity: each part with its type and length before it, so that no part can reach into the next.

    Args:
        values: the parts, none of them None; bool, int, float, str, date or datetime.
    """
    spelled = "e" + "".join(_part(value) for value in values)
    if len(spelled) <= SPELLED_LENGTH_MAX:
        return spelled
    return "h" + hashlib.sha256(spelled.encode("utf-8", "surrogatepass")).hexdigest()


def convert_entity(entity: Mapping[str, Any], columns: Sequence[str], kinds: Sequence[str]) -> list[Any]:
    """The parts of an entity as a client gives it, in the types the view has.

    Text is taken for numbers and times where it spells one exactly: some protocols carry nothing but text.

    Raises:
        InvalidValue: a column is missing, unknown, or has a value of another type.
    """
    if set(entity) != set(columns):
        raise InvalidValue(
            f"the entity has {shorten(', '.join(sorted(entity)) or 'no columns', 200)}; "
            f"exactly {', '.join(columns)} are needed.",
            field="entities",
        )
    return [_convert(name, entity[name], kind) for name, kind in zip(columns, kinds, strict=True)]


def _part(value: Any) -> str:
    if isinstance(value, bool):
        text, tag = ("1" if value else "0"), "b"
    elif isinstance(value, int):
        text, tag = str(value), "i"
    elif isinstance(value, float):
        text, tag = repr(value + 0.0), "f"  # + 0.0 makes one zero of the two
    elif isinstance(value, datetime):
        text, tag = _as_utc(value).isoformat(), "t"
    elif isinstance(value, date):
        text, tag = value.isoformat(), "d"
    elif isinstance(value, str):
        text, tag = value, "s"
    else:
        raise InvalidValue(f"a value of type {type(value).__name__} cannot be part of an entity.", field="entity")
    return f"{tag}{len(text)}:{text}"


def _convert(name: str, value: Any, kind: str) -> Any:
    try:
        if kind == "bool" and isinstance(value, bool):
            return value
        if isinstance(value, bool):
            raise ValueError
        if kind == "int" and (isinstance(value, int) or (isinstance(value, str) and str(int(value)) == value)):
            return int(value)
        if kind == "float" and isinstance(value, int | float | str):
            return float(value)
        if kind == "text" and isinstance(value, str):
            return value
        if kind == "time" and isinstance(value, str | datetime):
            return _as_utc(value if isinstance(value, datetime) else datetime.fromisoformat(value))
        if kind == "date" and isinstance(value, str | date):
            return value if isinstance(value, date) else date.fromisoformat(value)
        raise ValueError
    except (ValueError, OverflowError) as wrong:
        raise InvalidValue(
            f"entity column {name!r} has {shorten(repr(value))}; {_SPOKEN[kind]} is needed.", field=f"entities.{name}"
        ) from wrong


def _as_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
