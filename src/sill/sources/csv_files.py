"""Reads CSV: finds the delimiter, refuses ragged rows by line, and leaves every cell as text."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sill.core.names import shorten
from sill.sources.failures import check_columns, check_rows, check_size, too_large, unreadable
from sill.sources.limits import ReadLimits

if TYPE_CHECKING:
    import pyarrow as pa

DELIMITERS = (",", ";", "\t", "|")
SAMPLE_CHARACTERS = 65_536
SAMPLE_RECORDS = 50
BLOCK_BYTES = 16 * 1024**2


def read_csv(path: Path, where: str, delimiter: str, limits: ReadLimits) -> "pa.Table":
    """All cells as text, columns named as the header has them; repeated names get `_2`, `_3`, …

    Raises:
        InvalidValue: no header, a row with more or fewer cells than it, a quote that is never closed.
        TooLarge: too many columns or rows, or a record longer than the reader's block.
    """
    if path.stat().st_size == 0:
        raise unreadable(where, "it is empty; a header line is needed.")
    separator = _check_delimiter(delimiter, where) if delimiter else find_delimiter(path, where, limits)
    header = _header(path, where, separator, limits)
    check_columns(where, len(header), limits)
    table = _body(path, where, separator, len(header), limits)
    return table.rename_columns(_distinct(header))


def find_delimiter(path: Path, where: str, limits: ReadLimits) -> str:
    """The delimiter that cuts the first records into equally many cells, the more the better; `,` if none does."""
    with path.open("r", encoding="utf-8", newline="") as file:
        sample = file.read(SAMPLE_CHARACTERS)
        is_whole = not file.read(1)
    scores = {separator: _score(sample, separator, is_whole) for separator in DELIMITERS}
    best = max(DELIMITERS, key=lambda separator: scores[separator])
    return best if scores[best][1] > 1 else ","


def _score(sample: str, separator: str, is_whole: bool) -> tuple[float, int]:
    """(share of records as wide as the first, width of the first)."""
    records: list[list[str]] = []
    try:
        for record in csv.reader(io.StringIO(sample, newline=""), delimiter=separator):
            if record:
                records.append(record)
            if len(records) > SAMPLE_RECORDS:
                break
    except csv.Error:
        return (0.0, 0)
    if not is_whole and len(records) > 1:
        records.pop()  # the last one may be cut
    if not records or len(records[0]) < 2:
        return (0.0, 1)
    return (sum(len(record) == len(records[0]) for record in records) / len(records), len(records[0]))


def _check_delimiter(delimiter: str, where: str) -> str:
    if len(delimiter) != 1 or delimiter.isalnum() or delimiter in '"\r\n\\' or not delimiter.isascii():
        raise unreadable(
            where, f"delimiter {shorten(delimiter)!r} is not allowed; one character such as , ; | or a tab is."
        )
    return delimiter


def _header(path: Path, where: str, separator: str, limits: ReadLimits) -> list[str]:
    """The first record, read from a bounded piece of the file."""
    with path.open("rb") as file:
        piece = file.read(limits.header_bytes_max)
        is_cut = bool(file.read(1))
    text = piece.decode("utf-8", "ignore")
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        header = next(record for record in reader if record)
    except StopIteration as empty:
        raise unreadable(where, "it holds no header line.") from empty
    except csv.Error as wrong:
        raise unreadable(where, f"the header cannot be read: {wrong}.", line=1) from wrong
    if is_cut and "\n" not in text and "\r" not in text:
        raise too_large(where, "header_bytes_max", "its first line does not end", limits.header_bytes_max)
    return header


def _body(path: Path, where: str, separator: str, width: int, limits: ReadLimits) -> "pa.Table":
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    names = [f"c{at}" for at in range(width)]
    ragged: list[Any] = []

    def keep_first(row: Any) -> str:
        if not ragged:
            ragged.append(row)
        return "skip"

    schema = pa.schema([(name, pa.string()) for name in names])
    batches: list[pa.RecordBatch] = []
    rows = size = 0
    try:
        reader = arrow_csv.open_csv(
            path,
            read_options=arrow_csv.ReadOptions(
                column_names=names, skip_rows_after_names=1, use_threads=False, block_size=BLOCK_BYTES
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=separator, newlines_in_values=True, invalid_row_handler=keep_first
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=schema, strings_can_be_null=False, quoted_strings_can_be_null=False
            ),
        )
        for batch in reader:
            if ragged:
                break
            rows, size = rows + batch.num_rows, size + batch.nbytes
            check_rows(where, rows, limits)
            check_size(where, size, limits)
            batches.append(batch)
    except pa.ArrowInvalid as wrong:
        raise _explain(path, where, separator, width, wrong) from wrong
    if ragged or (_has_odd_quotes(path) and not _closes(path, separator)):
        raise _explain(path, where, separator, width, None)
    return pa.Table.from_batches(batches, schema)


def _has_odd_quotes(path: Path) -> bool:
    odd = 0
    with path.open("rb") as file:
        while chunk := file.read(BLOCK_BYTES):
            odd ^= chunk.count(b'"') & 1
    return bool(odd)


def _closes(path: Path, separator: str) -> bool:
    """False if a quote is open at the end, which the fast reader takes for the end of the cell."""
    with path.open("r", encoding="utf-8", newline="") as file:
        try:
            for _ in csv.reader(file, delimiter=separator, strict=True):
                pass
        except csv.Error:
            return False
    return True


def _explain(path: Path, where: str, separator: str, width: int, cause: Exception | None) -> Exception:
    """The error for the first record that is not as wide as the header, found again by line."""
    shown = "tab" if separator == "\t" else separator
    with path.open("r", encoding="utf-8", newline="") as file:
        reader = csv.reader(file, delimiter=separator, strict=True)
        line = 1
        try:
            for record in reader:
                if record and len(record) != width:
                    return unreadable(
                        where,
                        f"{len(record)} cells where the header has {width} (delimiter {shown!r}): "
                        f"{shorten(separator.join(record))!r}.",
                        "Correct the line, put cells that hold the delimiter in double quotes, or name the delimiter.",
                        line=line,
                    )
                line = reader.line_num + 1
        except csv.Error as wrong:
            return unreadable(where, f"{wrong}.", "Close the quote, or double it inside a cell.", line=line)
    return unreadable(where, f"it is not CSV that can be read: {shorten(str(cause), 200)}.")


def _distinct(names: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return out
