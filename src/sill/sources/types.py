"""Where data comes from and how it is to be read."""

from typing import Any, Literal

from sill.core.values import Value

Format = Literal["", "csv", "jsonl", "json", "parquet", "excel", "arrow", "images", "text"]


class Unit(Value, frozen=True, kw_only=True):
    """A column's values given in another unit: `value * scale + offset` is what is kept.

    `above`/`below`, if set, limit the conversion to values beyond them (one wrong unit in an otherwise right column).
    """

    column: str
    scale: float = 1.0
    offset: float = 0.0
    above: float | None = None
    below: float | None = None


class Source(Value, frozen=True, kw_only=True):
    """One place to read from.

    Attributes:
        url: `https://…`, `s3://bucket/key`, `postgresql://…`, `upload://DIGEST/NAME` (a file given by a client), or in
            clients a local path or glob, which the SDK uploads first.
        format: empty means by content and name.
        query: SQL for a database source.
        rename: column names here → column names wanted.
        units: conversions.
        decimal: `,` for decimal commas.
        time_zone: of times without one, IANA name; times are kept in UTC.
        time_format: strptime pattern for columns named in `times`; ISO 8601 when empty.
        null_values: texts that mean missing, besides the empty cell.
    """

    url: str
    format: Format = ""
    query: str = ""
    sheet: str = ""
    delimiter: str = ""
    decimal: str = "."
    encoding: str = ""
    time_zone: str = "UTC"
    time_format: str = ""
    times: tuple[str, ...] = ()
    rename: dict[str, str] = {}
    units: tuple[Unit, ...] = ()
    null_values: tuple[str, ...] = ("NA", "N/A", "NaN", "nan", "null", "None", "-", "?")
    secret: str = ""
    """Name of a secret whose value replaces `{secret}` in the url."""


class IngestionSpec(Value, frozen=True, kw_only=True):
    """Sources that fill a table, by hand or on a schedule."""

    project: str
    name: str
    table: str
    sources: tuple[Source, ...] = ()
    function: str = ""
    """A function of the project's code that returns the data, instead of sources."""
    every: str = ""
    """`1h`, `15m`, `1d`, or a cron expression; empty means by hand."""
    code: str = ""
    revision: int = 0


class Upload(Value, frozen=True, kw_only=True):
    """A file given by a client."""

    digest: str
    name: str
    size_bytes: int
    url: str


class PreviewColumn(Value, frozen=True, kw_only=True):
    """A column as it would be read."""

    name: str
    type: str
    original: str
    """What the source calls it."""
    missing: int
    """Rows without a value."""


class Preview(Value, frozen=True, kw_only=True):
    """The first rows of a source, and what was unified on the way in."""

    columns: tuple[PreviewColumn, ...]
    rows: tuple[dict[str, Any], ...]
    rows_total: int
    notes: tuple[str, ...]
