"""How much one read may take. A value, so that tests and operators choose smaller ones."""

import msgspec


class ReadLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one read; passing one is `TooLarge` with its name.

    Attributes:
        source_bytes_max: bytes fetched for one source, as stored (all its files together).
        table_bytes_max: bytes of the Arrow table made from it, whatever the files claimed.
        rows_max: rows of that table.
        columns_max: columns of any file.
        cell_bytes_max: bytes of one text or binary value.
        header_bytes_max: bytes of a CSV file's first record.
        parts_max: files of a prefix, a glob or an archive.
        row_groups_max: row groups of a Parquet file.
        json_bytes_max: bytes of a JSON document that is not lines, which is held whole.
        excel_bytes_max: bytes a workbook unpacks to.
        image_pixels_max: pixels of one image.
        seconds_max: time a download or a database query may take.
    """

    source_bytes_max: int = 4 * 1024**3
    table_bytes_max: int = 1024**3
    rows_max: int = 50_000_000
    columns_max: int = 10_000
    cell_bytes_max: int = 16 * 1024**2
    header_bytes_max: int = 4 * 1024**2
    parts_max: int = 100_000
    row_groups_max: int = 100_000
    json_bytes_max: int = 256 * 1024**2
    excel_bytes_max: int = 512 * 1024**2
    image_pixels_max: int = 50_000_000
    seconds_max: float = 600.0


DEFAULT_LIMITS = ReadLimits()
ROWS_PER_CHUNK = 20_000
"""Rows of Python values held at once before they become Arrow."""
