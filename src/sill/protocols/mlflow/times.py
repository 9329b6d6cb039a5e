"""Times and durations as protobuf's JSON form writes them (`2026-11-21T09:00:00.250Z`, `1.5s`), in milliseconds here."""

import re
from datetime import UTC, datetime, timedelta

from sill.core.names import shorten
from sill.protocols.mlflow.errors import invalid

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_DURATION = re.compile(r"(-?)(\d{1,12})(\.\d{1,9})?s")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_time(text: str, field: str) -> int:
    """Milliseconds since 1970 UTC.

    Raises:
        InvalidValue: it is no time.
    """
    match = _TIME.fullmatch(text)
    try:
        at = datetime.fromisoformat(match[1] + match[3]) if match else None
    except ValueError:
        at = None
    if match is None or at is None:
        raise invalid(
            f"Invalid value {shorten(text)!r} for parameter '{field}': a time such as 2026-11-21T09:00:00Z is meant."
        )
    return (at - _EPOCH) // timedelta(milliseconds=1) + _fraction_ms(match[2])


def write_time(ms: int) -> str:
    """The text of a time."""
    at = _EPOCH + timedelta(milliseconds=ms)
    return at.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0") + (f".{ms % 1_000:03d}Z" if ms % 1_000 else "Z")


def read_duration(text: str, field: str) -> int:
    """Milliseconds.

    Raises:
        InvalidValue: it is no duration.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise invalid(f"Invalid value {shorten(text)!r} for parameter '{field}': a duration such as 1.5s is meant.")
    return (int(match[2]) * 1_000 + _fraction_ms(match[3])) * (-1 if match[1] else 1)


def write_duration(ms: int) -> str:
    """The text of a duration."""
    seconds, rest = divmod(abs(ms), 1_000)
    return f"{'-' if ms < 0 else ''}{seconds}{f'.{rest:03d}' if rest else ''}s"


def _fraction_ms(text: str | None) -> int:
    return int((text or ".")[1:4].ljust(3, "0"))
