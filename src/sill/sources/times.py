"""Reads dates and times: ISO 8601 or a given pattern, in a given zone, kept as microseconds UTC."""

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.sources.failures import unreadable

if TYPE_CHECKING:
    import pyarrow as pa

DATE = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$"
TIME = (
    r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d([.,]\d{1,9})?)?"
    r" ?(Z|z|UTC|[+-]\d{2}(:?\d{2})?)?$"
)
_ZONED = r"(Z|[+-]\d{2}:\d{2})$"
EPOCH_S_MAX, EPOCH_MS_MAX = 10**11, 10**14


def check_zone(name: str) -> str:
    """The zone itself, if it is an IANA name.

    Raises:
        InvalidValue: it is not.
    """
    try:
        if not name or name.startswith(("/", ".")) or ".." in name:
            raise ZoneInfoNotFoundError(name)
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as unknown:
        raise InvalidValue(
            f"time_zone {shorten(name)!r} is not known.",
            fix="Give an IANA name such as Europe/Berlin, or UTC.",
            field="time_zone",
        ) from unknown
    return name


def is_dates(column: "pa.ChunkedArray") -> bool:
    """True if all texts are ISO dates."""
    return _all_match(column, DATE)


def is_times(column: "pa.ChunkedArray") -> bool:
    """True if all texts are ISO dates or times, at least one of them a time."""
    return _all_match(column, f"({DATE})|({TIME})")


def parse_dates(column: "pa.ChunkedArray") -> "pa.ChunkedArray | None":
    """ISO dates as date32; None if one does not exist (30 February)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return pc.cast(column, pa.date32())
    except pa.ArrowInvalid:
        return None


def parse_iso(column: "pa.ChunkedArray", zone: str) -> "pa.ChunkedArray | None":
    """ISO dates and times as UTC; those without an offset are in `zone`. None if one cannot be read."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = _normalize(column)
    is_zoned = pc.fill_null(pc.match_substring_regex(texts, _ZONED), False)
    none = pa.scalar(None, pa.string())
    try:
        absolute = pc.cast(pc.if_else(is_zoned, texts, none), pa.timestamp("us", tz="UTC"))
        local = pc.cast(pc.if_else(is_zoned, none, texts), pa.timestamp("us"))
        return pc.coalesce(absolute, to_utc(local, zone))
    except pa.ArrowInvalid:
        return None


def to_utc(column: "pa.ChunkedArray", zone: str) -> "pa.ChunkedArray":
    """Timestamps as microseconds UTC; naive ones are in `zone` (the earlier of two, where clocks are set back)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.type.tz is None:
        plain = pc.cast(column, pa.timestamp("us"), safe=False)
        column = pc.assume_timezone(plain, zone, ambiguous="earliest", nonexistent="latest")
    return pc.cast(column, pa.timestamp("us", tz="UTC"), safe=False)


def dates_to_utc(column: "pa.ChunkedArray", zone: str) -> "pa.ChunkedArray":
    """Dates as the moment they begin in `zone`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return to_utc(pc.cast(column, pa.timestamp("us")), zone)


def epoch_to_utc(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Numbers since 1970 UTC: seconds, milliseconds or microseconds, by the largest of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    top = max(abs(pc.max(column).as_py() or 0), abs(pc.min(column).as_py() or 0))
    factor = 1_000_000 if top < EPOCH_S_MAX else 1_000 if top < EPOCH_MS_MAX else 1
    micros = pc.cast(pc.round(pc.multiply(pc.cast(column, pa.float64()), float(factor))), pa.int64())
    if pa.types.is_integer(column.type):
        micros = pc.multiply(pc.cast(column, pa.int64()), factor)
    return pc.cast(micros, pa.timestamp("us", tz="UTC"))


def parse_pattern(column: "pa.ChunkedArray", pattern: str, zone: str, where: str, name: str) -> "pa.ChunkedArray":
    """Texts read by a strptime pattern.

    Raises:
        InvalidValue: a text that does not fit it; the message names the row.
    """
    import pyarrow as pa

    local = ZoneInfo(zone)
    known: dict[str, datetime] = {}
    out: list[datetime | None] = []
    for row, text in enumerate(column.to_pylist(), 1):
        if text is None:
            out.append(None)
            continue
        if text not in known:
            try:
                found = datetime.strptime(text, pattern)
                known[text] = _as_utc(found, local)
            except (ValueError, OverflowError) as wrong:
                what = f"row {row}: {shorten(text)!r} does not fit time_format {shorten(pattern)!r}."
                raise unreadable(where, what, "Correct the value or the format.", column=name) from wrong
        out.append(known[text])
    return pa.chunked_array([pa.array(out, pa.timestamp("us", tz="UTC"))])


def first_misfit(column: "pa.ChunkedArray", pattern: str) -> tuple[int, str]:
    """(1-based row, text) of the first text that does not match."""
    import pyarrow.compute as pc

    misfits = pc.invert(pc.fill_null(pc.match_substring_regex(column, pattern), True))
    row = pc.index(misfits, True).as_py()
    return (row + 1, column[row].as_py()) if row >= 0 else (0, "")


def _as_utc(found: datetime, local: ZoneInfo) -> datetime:
    placed = found if found.tzinfo else found.replace(tzinfo=local)
    offset = placed.utcoffset() or timedelta(0)
    return (placed.replace(tzinfo=None) - offset).replace(tzinfo=timezone.utc)  # noqa: UP017


def _normalize(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Offsets as `+HH:MM` or `Z`, a point before fractions, no more than microseconds."""
    import pyarrow.compute as pc

    steps = (
        (r" ?(?:UTC|z)$", "Z"),
        (r"(:\d{2}),(\d)", r"\1.\2"),
        (r"(\.\d{6})\d+", r"\1"),
        (r"(:\d{2}(?:\.\d+)?) ?([+-]\d{2}):?(\d{2})$", r"\1\2:\3"),
        (r"(:\d{2}(?:\.\d+)?) ?([+-]\d{2})$", r"\1\2:00"),
        (r" Z$", "Z"),
    )
    for pattern, replacement in steps:
        column = pc.replace_substring_regex(column, pattern, replacement)
    return column


def _all_match(column: "pa.ChunkedArray", pattern: str) -> bool:
    import pyarrow.compute as pc

    return bool(pc.all(pc.match_substring_regex(column, pattern), min_count=1).as_py())
